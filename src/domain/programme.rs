//! The rules by which purchases earn points, and what points are worth. One value per epoch,
//! never changed.
//!
//! The one rounding rule: fractions of a point are dropped, once, on the sum over a
//! transaction; shares of single lines are cut from that sum so that they add up to it.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::ledger::{LotKey, NEVER};
use super::product::{Product, Taxa};

/// The rules as people write them. Stored as they are; compiled to a [`Programme`] when loaded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Rules {
    /// Points for every whole `per_minor` of eligible sales.
    pub earn: BaseRate,
    /// What a point is worth when it pays.
    #[serde(default)]
    pub redeem: RedemptionRate,
    /// Names of departments that earn nothing.
    #[serde(default)]
    pub excluded_departments: Vec<String>,
    /// Names of categories that earn nothing.
    #[serde(default)]
    pub excluded_categories: Vec<String>,
    /// Points expire at the end of the month this many months after the purchase;
    /// absent: never.
    #[serde(default)]
    pub expire_after_months: Option<u8>,
}

/// So many points for so much money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BaseRate {
    /// Points, 0 to 10,000.
    pub points: u32,
    /// Minor units of money, 1 to 1,000,000.
    pub per_minor: u32,
}

/// So much money for so many points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedemptionRate {
    /// Points, 1 to 1,000,000.
    pub points: u32,
    /// Minor units of money, 0 to 1,000,000.
    pub value_minor: u32,
}

impl Default for RedemptionRate {
    /// A point is worth one minor unit.
    fn default() -> Self {
        Self { points: 1, value_minor: 1 }
    }
}

impl Default for Rules {
    /// One point per 100 minor units, worth one, gone at the end of the month two years later.
    fn default() -> Self {
        Self {
            earn: BaseRate { points: 1, per_minor: 100 },
            redeem: RedemptionRate::default(),
            excluded_departments: Vec::new(),
            excluded_categories: Vec::new(),
            expire_after_months: Some(24),
        }
    }
}

/// The rules, ready to be applied: names resolved, limits checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programme {
    rate: BaseRate,
    redeem: RedemptionRate,
    excluded_departments: Vec<u32>,
    excluded_categories: Vec<u32>,
    expire_after_months: Option<u8>,
}

/// What is wrong with a set of rules, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A rate outside its limits.
    #[error("earn: points must lie within 0 to 10000 and per_minor within 1 to 1000000")]
    Rate,
    /// A redemption rate outside its limits.
    #[error("redeem: points must lie within 1 to 1000000 and value_minor within 0 to 1000000")]
    Redemption,
    /// A lifetime outside its limits.
    #[error("expire_after_months must lie within 1 to 120")]
    Expiry,
}

impl Programme {
    /// Compiles rules. `department_no` and `category_no` resolve names; a name that no
    /// catalogue has excludes nothing yet.
    ///
    /// # Errors
    /// When a number lies outside its limits.
    pub fn compile(
        rules: &Rules,
        department_no: impl Fn(&str) -> Option<u32>,
        category_no: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, RulesError> {
        let BaseRate { points, per_minor } = rules.earn;
        if points > 10_000 || !(1..=1_000_000).contains(&per_minor) {
            return Err(RulesError::Rate);
        }
        let RedemptionRate { points, value_minor } = rules.redeem;
        if !(1..=1_000_000).contains(&points) || value_minor > 1_000_000 {
            return Err(RulesError::Redemption);
        }
        if rules.expire_after_months.is_some_and(|months| !(1..=120).contains(&months)) {
            return Err(RulesError::Expiry);
        }
        let sorted = |mut numbers: Vec<u32>| {
            numbers.sort_unstable();
            numbers
        };
        Ok(Self {
            rate: rules.earn,
            redeem: rules.redeem,
            excluded_departments: sorted(
                rules.excluded_departments.iter().filter_map(|n| department_no(n)).collect(),
            ),
            excluded_categories: sorted(
                rules.excluded_categories.iter().filter_map(|n| category_no(n)).collect(),
            ),
            expire_after_months: rules.expire_after_months,
        })
    }

    /// Whether an article earns points. One that no catalogue has earns the base rate.
    pub fn earns(&self, product: &Product) -> bool {
        let Taxa { department_no, category_no, .. } = product.taxa;
        !product.no_points
            && self.excluded_departments.binary_search(&department_no).is_err()
            && self.excluded_categories.binary_search(&category_no).is_err()
    }

    /// Points for an amount in minor units; nothing for a negative one.
    pub fn points_for(&self, amount_minor: i64) -> i64 {
        let exact = i128::from(amount_minor.max(0)) * i128::from(self.rate.points)
            / i128::from(self.rate.per_minor);
        i64::try_from(exact).expect("amounts and rates are bounded far below this")
    }

    /// What points are worth when they pay, in minor units; fractions are dropped.
    pub fn value_minor_of(&self, points: i64) -> i64 {
        let exact = i128::from(points.max(0)) * i128::from(self.redeem.value_minor)
            / i128::from(self.redeem.points);
        i64::try_from(exact).expect("points and rates are bounded far below this")
    }

    /// The lot into which a purchase of a business date earns.
    pub fn lot_of(&self, business_date: Date) -> LotKey {
        let expires_on = self
            .expire_after_months
            .and_then(|months| {
                let span = jiff::Span::new().months(i64::from(months));
                business_date.last_of_month().checked_add(span).ok()
            })
            .map_or(NEVER, Date::last_of_month);
        LotKey { expires_on, available_from: business_date.first_of_month() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn programme(rules: &Rules) -> Programme {
        Programme::compile(rules, |name| (name == "FUEL").then_some(7), |_| None).expect("valid")
    }

    #[test]
    fn fractions_of_a_point_are_dropped() {
        let programme =
            programme(&Rules { earn: BaseRate { points: 3, per_minor: 200 }, ..Rules::default() });
        for (amount_minor, points) in [(0, 0), (66, 0), (67, 1), (199, 2), (200, 3), (-500, 0)] {
            assert_eq!(programme.points_for(amount_minor), points, "{amount_minor}");
        }
        assert_eq!(programme.points_for(i64::MAX / 1_000), 138_350_580_552_821);
    }

    #[test]
    fn points_of_a_month_share_one_lot_and_end_with_a_month() {
        let programme = programme(&Rules::default());
        let lot = |day| programme.lot_of(day);
        assert_eq!(lot(date(2024, 1, 31)).expires_on, date(2026, 1, 31));
        assert_eq!(lot(date(2024, 2, 29)).expires_on, date(2026, 2, 28));
        assert_eq!(lot(date(2022, 2, 3)).expires_on, date(2024, 2, 29));
        assert_eq!(lot(date(2024, 1, 1)), lot(date(2024, 1, 31)));
    }

    #[test]
    fn without_a_lifetime_points_never_expire() {
        let programme = programme(&Rules { expire_after_months: None, ..Rules::default() });
        assert_eq!(programme.lot_of(date(2026, 3, 14)).expires_on, NEVER);
    }

    #[test]
    fn exclusions_hold_for_departments_and_for_marked_articles() {
        let rules = Rules {
            excluded_departments: vec!["FUEL".into(), "NOT THERE YET".into()],
            ..Rules::default()
        };
        let programme = programme(&rules);
        let taxa = |department_no| Taxa { department_no, ..Taxa::default() };
        assert!(programme.earns(&Product::default()));
        assert!(programme.earns(&Product { taxa: taxa(3), ..Product::default() }));
        assert!(!programme.earns(&Product { taxa: taxa(7), ..Product::default() }));
        assert!(!programme.earns(&Product { no_points: true, ..Product::default() }));
    }

    #[test]
    fn numbers_outside_their_limits_are_refused() {
        let rules =
            |earn, months| Rules { earn, expire_after_months: Some(months), ..Rules::default() };
        let compile = |rules: &Rules| Programme::compile(rules, |_| None, |_| None);
        let rate = BaseRate { points: 1, per_minor: 0 };
        assert_eq!(compile(&rules(rate, 24)), Err(RulesError::Rate));
        let rate = BaseRate { points: 1, per_minor: 100 };
        assert_eq!(compile(&rules(rate, 0)), Err(RulesError::Expiry));
    }
}
