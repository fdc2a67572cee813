//! The rules by which purchases earn points, and what points are worth. One value per epoch,
//! never changed. [`rules`] owns the language, [`earning`] its application, [`tiers`] what is
//! said of tiers, [`caps`] the most that is earned; this file owns what is asked of a programme.
//! What it needs to know of an account it is told: which is which, [`super::swipe`] knows.
//!
//! What a transaction earns, in order of precedence:
//!
//! 1. **Exclusions.** A line whose article is marked `no_points`, or stands in any list of what
//!    is excluded, earns nothing of any kind, and its money counts towards no minimum. No rule
//!    brings it back.
//! 2. **Which rules hold** is decided once for the transaction: store, day of the week and dates
//!    by the business date, hours by `occurred_at` in the zone of the store, the minimum by what
//!    all lines of sale that are not excluded come to (a line below zero counts as zero), tiers
//!    by the one that was held before the transaction (see [`tiers`]).
//! 3. **The best multiplier.** Each line earns the base rate times the highest multiplier among
//!    the rules that hold and have its article in scope; of equal ones the first that is
//!    written. They do not stack: two campaigns that meet by accident never multiply, the order
//!    in which rules are written changes no sum, and a further rule can only give more.
//! 4. **Points per item** are added, from every rule that holds, for the quantity of the line,
//!    whatever it cost.
//! 5. **Fixed points** are added once for each rule that holds and has in scope anything that
//!    was paid for.
//! 6. **Caps of single rules**: a rule gives at most its own `cap_per_swipe` in a transaction; of
//!    a multiplier that is what it adds to the base rate. A multiplier with such a cap counts for
//!    all of its lines or for none: where the transaction earns more without it, it stands back.
//!    So a further rule can still only give more, and a cap never gives more than none would.
//! 7. **The caps of the whole**, last: of the transaction, of the account's day and of its
//!    period, the lowest of them (see [`caps`]).
//!
//! The one rounding rule: fractions of a point are dropped, once, on the sum over a transaction;
//! shares of single lines are cut from that sum so that they add up to it. So are those of fixed
//! points, in proportion to what the lines in scope cost, those of what a rule's own cap leaves,
//! and those of a sum that was capped.
//!
//! A return takes back its share of what its line earned. One whose sale is not known takes back
//! the base rate alone: what a rule added cannot be known to have been given.

pub mod caps;
pub mod earning;
pub mod rules;
pub mod tiers;

use jiff::civil::Date;

use self::caps::Caps;
use self::earning::{Scopes, Timed};
pub use self::rules::{BaseRate, EarnRule, Level, NegativeBalance, RedemptionRate, Rules};
pub use self::rules::{Multiplier, RulesError};
use self::tiers::Tiers;
use super::ledger::{LotKey, NEVER};
use super::product::{Product, Taxa};

/// The rules, ready to be applied: names resolved, limits checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programme {
    rate: BaseRate,
    redeem: RedemptionRate,
    excluded: Excluded,
    /// Numbers of departments, sorted.
    age_restricted: Vec<u32>,
    expire_after_months: Option<u8>,
    pending_days: u16,
    negative_balance: NegativeBalance,
    caps: Caps,
    tiers: Tiers,
    /// What decides whether a rule holds, and what it gives; each has its bit in the scopes.
    /// Multipliers stand first, the highest foremost.
    rules: Vec<Timed>,
    scopes: Scopes,
}

/// Numbers of what earns nothing, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Excluded {
    departments: Vec<u32>,
    categories: Vec<u32>,
    types: Vec<u32>,
    brands: Vec<u32>,
    products: Vec<u32>,
}

impl Programme {
    /// Compiles rules. `number` resolves names; one that no catalogue has excludes nothing yet,
    /// and is nothing's scope.
    ///
    /// # Errors
    /// When something lies outside its limits: the first of [`Rules::findings`].
    pub fn compile(
        rules: &Rules,
        number: impl Fn(Level, &str) -> Option<u32>,
    ) -> Result<Self, RulesError> {
        if let Some(finding) = rules.findings().into_iter().next() {
            return Err(finding);
        }
        let sorted = |level, names: &[String]| {
            let mut numbers: Vec<u32> =
                names.iter().filter_map(|name| number(level, name)).collect();
            numbers.sort_unstable();
            numbers
        };
        let [departments, categories, types, brands, products] =
            rules.excluded().map(|(level, _, names)| sorted(level, names));
        let (timed, scopes) = earning::compile(&rules.rules, &rules.tiers, &number);
        Ok(Self {
            rate: rules.earn,
            redeem: rules.redeem,
            excluded: Excluded { departments, categories, types, brands, products },
            age_restricted: sorted(Level::Department, &rules.age_restricted_departments),
            expire_after_months: rules.expire_after_months,
            pending_days: rules.pending_days,
            negative_balance: rules.negative_balance,
            caps: Caps::of(rules),
            tiers: Tiers::of(rules),
            rules: timed,
            scopes,
        })
    }

    /// Whether an article earns points. One that no catalogue has earns the base rate.
    pub fn earns(&self, product: &Product) -> bool {
        let Excluded { departments, categories, types, brands, products } = &self.excluded;
        let Taxa { department_no, category_no, type_no, brand_no } = product.taxa;
        !product.no_points
            && departments.binary_search(&department_no).is_err()
            && categories.binary_search(&category_no).is_err()
            && types.binary_search(&type_no).is_err()
            && brands.binary_search(&brand_no).is_err()
            && products.binary_search(&product.product_no).is_err()
    }

    /// Whether an article may not be sold to everybody.
    pub fn is_age_restricted(&self, product: &Product) -> bool {
        let department_no = product.taxa.department_no;
        department_no > 0 && self.age_restricted.binary_search(&department_no).is_ok()
    }

    /// Points for an amount in minor units at the base rate; nothing for a negative one.
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

    /// The most that returns may take from an account that has so many points.
    pub fn takes_at_most(&self, balance: i64) -> i64 {
        match self.negative_balance {
            NegativeBalance::Debt => i64::MAX,
            NegativeBalance::Floor => balance.max(0),
        }
    }

    /// Whether a return takes back less than it should from an account that has not got it.
    pub fn lets_off(&self) -> bool {
        self.negative_balance == NegativeBalance::Floor
    }

    /// The lot into which a purchase of a business date earns: one for a month, unless points
    /// are pending for some days; then one for a day, as each becomes available on its own.
    pub fn lot_of(&self, business_date: Date) -> LotKey {
        let at_once = self.lot_at_once(business_date);
        if self.pending_days == 0 {
            return at_once;
        }
        let pending = jiff::Span::new().days(i64::from(self.pending_days));
        let available_from = business_date.saturating_add(pending);
        LotKey { available_from, ..at_once }
    }

    /// The lot for what a person gives on a business date, which nobody has to wait for.
    pub fn lot_at_once(&self, business_date: Date) -> LotKey {
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
        Programme::compile(rules, |_, name| (name == "FUEL").then_some(7)).expect("valid")
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
        let wrong = |rules: &Rules| {
            Programme::compile(rules, |_, _| None).expect_err("outside the limits").pointer
        };
        let rate = BaseRate { points: 1, per_minor: 0 };
        assert_eq!(wrong(&rules(rate, 24)), "/earn/per_minor");
        let rate = BaseRate { points: 1, per_minor: 100 };
        assert_eq!(wrong(&rules(rate, 0)), "/expire_after_months");
    }
}
