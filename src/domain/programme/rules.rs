//! The rules as people write them, and what is wrong with them.
//!
//! Owns the language: its words, its limits, and what is left out when nothing is said. It must
//! never know how rules are applied, nor in which file they stand: a finding names its place by
//! a JSON pointer, which whoever has the text turns into a line.

use std::collections::HashSet;
use std::fmt;

use jiff::civil::Date;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::caps::{self, AccountCap};
use super::tiers::{self, Tier, TierPolicy};
use crate::domain::quantity::Quantity;

/// Most earn rules of a programme: one bit of a machine word pair for each.
pub const RULES_MAX: usize = 128;
/// Most points that a single minor unit of money may earn, multipliers included.
const POINTS_PER_MINOR_MAX: u64 = 10_000;
const FIXED_POINTS_MAX: u32 = 1_000_000;
const POINTS_PER_ITEM_MAX: u32 = 1_000;
const PENDING_DAYS_MAX: u16 = 365;
pub(super) const MINOR_MAX: i64 = 1_000_000_000_000;
const NAMES_MAX: usize = 10_000;

/// A programme as it is written and stored; compiled to a [`super::Programme`] when loaded.
/// What a stored programme of an older version does not say means what it meant then.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Points expire at the end of the month this many months after the purchase, 1 to 120;
    /// absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after_months: Option<u8>,
    /// Points can be spent this many days after the purchase, 0 to 365; 0: at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pending_days: u16,
    /// Whether a return may take more points than there are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub negative_balance: NegativeBalance,
    /// Most points that one transaction earns; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_per_swipe: Option<u32>,
    /// Most points that an account earns on one business date; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_per_day: Option<u32>,
    /// Names of departments that earn nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_departments: Vec<String>,
    /// Names of categories that earn nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_categories: Vec<String>,
    /// Names of types that earn nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_types: Vec<String>,
    /// Names of brands that earn nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_brands: Vec<String>,
    /// Articles that earn nothing, as tills name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_skus: Vec<String>,
    /// Names of departments whose articles are not for everybody, such as spirits: no coupon for
    /// them is chosen at the till, and they count only for offers that name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub age_restricted_departments: Vec<String>,
    /// Most points that an account earns within a period; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_per_account: Option<AccountCap>,
    /// Points for every whole `per_minor` of eligible sales.
    pub earn: BaseRate,
    /// What a point is worth when it pays.
    #[serde(default)]
    pub redeem: RedemptionRate,
    /// How tiers are earned and kept; absent: within a year, without grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_policy: Option<TierPolicy>,
    /// What customers reach by spending, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// What earns more than the base rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<EarnRule>,
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

/// What happens when a return takes back more points than there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativeBalance {
    /// The rest is owed.
    #[default]
    Debt,
    /// The rest is let off: no return takes a balance below zero.
    Floor,
}

/// Something that earns more than the base rate. Every condition that is stated must hold; of
/// the names in one list any will do. Exactly one of `multiplier`, `fixed_points` and
/// `points_per_item` says what it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EarnRule {
    /// What people call it; unique in its programme.
    pub name: String,
    /// Departments of the articles.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub departments: Vec<String>,
    /// Their categories.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Their types.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Their brands.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub brands: Vec<String>,
    /// The articles themselves, as tills name them.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub skus: Vec<String>,
    /// Tiers that the customer holds before the transaction.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<String>,
    /// Stores, by id.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    /// Days of the week, of the business date.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Weekday>,
    /// Hours of the day, by the till's clock in the zone of its store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Business dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dates: Option<Dates>,
    /// What the articles of the transaction that earn points must come to at least, in minor
    /// units; returns are not counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub minimum_minor: i64,
    /// The base rate times this, 1 to 100. Of several the highest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Multiplier>,
    /// Points for the transaction, once, when something in scope was paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_points: Option<u32>,
    /// Points for each unit sold: a piece, a kilogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points_per_item: Option<u32>,
    /// Most points that it gives in one transaction, beyond the base rate; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_per_swipe: Option<u32>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they say it all")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A part of the day. One that ends before it begins goes over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The first minute.
    pub from: TimeOfDay,
    /// The first minute after it.
    pub to: TimeOfDay,
}

/// Days of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dates {
    /// The first; absent: no beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// The last; absent: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// Minutes since midnight, 0 to 1,440; written `08:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(pub u16);

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let two = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse::<u16>().ok() } else { None }
        };
        let minutes = text.split_once(':').and_then(|(hour, minute)| {
            let (hour, minute) = (two(hour)?, two(minute)?);
            (minute < 60).then_some(hour * 60 + minute).filter(|minutes| *minutes <= 24 * 60)
        });
        let expected = "a time of day between \"00:00\" and \"24:00\", such as \"08:30\"";
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &expected);
        minutes.map(Self).ok_or_else(wrong)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

/// A factor in thousandths; written `"1.5"`, so that it is exactly what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Multiplier(pub u32);

impl<'de> Deserialize<'de> for Multiplier {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Decimal;
        impl Visitor<'_> for Decimal {
            type Value = Multiplier;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a whole number or a decimal in quotes with at most three places, such as \
                     \"1.5\"",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Multiplier, E> {
                let thousandths = text.parse().map(Quantity::thousandths).ok();
                let thousandths = thousandths.and_then(|value| u32::try_from(value).ok());
                let wrong = || E::invalid_value(Unexpected::Str(text), &self);
                thousandths.map(Multiplier).ok_or_else(wrong)
            }

            fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Multiplier, E> {
                let thousandths = whole.checked_mul(1_000).and_then(|it| u32::try_from(it).ok());
                let wrong = || E::invalid_value(Unexpected::Unsigned(whole), &self);
                thousandths.map(Multiplier).ok_or_else(wrong)
            }
        }
        from.deserialize_any(Decimal)
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.0 / 1_000, format!("{:03}", self.0 % 1_000));
        match places.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            places => write!(f, "{whole}.{places}"),
        }
    }
}

impl Serialize for Multiplier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// An empty list would read as "none" and mean "all": it is refused.
fn some<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = Vec::deserialize(from)?;
    let why = "an empty list says nothing: name something, or leave the line out";
    if list.is_empty() { Err(D::Error::custom(why)) } else { Ok(list) }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Rules {
    /// One point per 100 minor units, worth one, gone at the end of the month two years later.
    fn default() -> Self {
        Self {
            expire_after_months: Some(24),
            pending_days: 0,
            negative_balance: NegativeBalance::Debt,
            cap_per_swipe: None,
            cap_per_day: None,
            cap_per_account: None,
            excluded_departments: Vec::new(),
            excluded_categories: Vec::new(),
            excluded_types: Vec::new(),
            excluded_brands: Vec::new(),
            excluded_skus: Vec::new(),
            age_restricted_departments: Vec::new(),
            earn: BaseRate { points: 1, per_minor: 100 },
            redeem: RedemptionRate::default(),
            tier_policy: None,
            tiers: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// What a name in the rules is the name of. The numbers of the first four are those of the
/// levels of the merchandise hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Level {
    /// A department.
    Department = 1,
    /// A category.
    Category = 2,
    /// A type.
    Type = 3,
    /// A brand.
    Brand = 4,
    /// An article, as tills name it.
    Sku = 5,
    /// A store, by its id.
    Store = 6,
}

/// What is wrong with a set of rules, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct RulesError {
    /// JSON pointer (RFC 6901) to the place.
    pub pointer: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Rules {
    /// Everything that is wrong, in the order of the text.
    pub fn findings(&self) -> Vec<RulesError> {
        let mut found = Vec::new();
        let mut require = |holds: bool, pointer: &dyn fmt::Display, problem: &str| {
            if !holds {
                let (pointer, problem) = (pointer.to_string(), problem.to_owned());
                found.push(RulesError { pointer, problem });
            }
        };
        let months = self.expire_after_months;
        let in_range = months.is_none_or(|months| (1..=120).contains(&months));
        require(in_range, &"/expire_after_months", "must lie within 1 and 120");
        let in_range = self.pending_days <= PENDING_DAYS_MAX;
        require(in_range, &"/pending_days", "must lie within 0 and 365");
        // The shortest life: bought on the last day of a month, with February in between.
        let lives = months.is_none_or(|months| self.pending_days < u16::from(months) * 28);
        let problem = "the points would expire before they can be spent: less than 28 days for \
                       each of expire_after_months";
        require(lives, &"/pending_days", problem);
        caps::require(self, |holds, pointer, problem| require(holds, &pointer, problem));
        let BaseRate { points, per_minor } = self.earn;
        require(points <= 10_000, &"/earn/points", "must lie within 0 and 10000");
        let in_range = (1..=1_000_000).contains(&per_minor);
        require(in_range, &"/earn/per_minor", "must lie within 1 and 1000000");
        let RedemptionRate { points, value_minor } = self.redeem;
        let in_range = (1..=1_000_000).contains(&points);
        require(in_range, &"/redeem/points", "must lie within 1 and 1000000");
        let in_range = value_minor <= 1_000_000;
        require(in_range, &"/redeem/value_minor", "must lie within 0 and 1000000");
        tiers::require(self, |holds, pointer, problem| require(holds, &pointer, problem));
        let few = self.rules.len() <= RULES_MAX;
        require(few, &"/rules", "at most 128: put what earns alike into the lists of one rule");
        let few = self.names().len() <= NAMES_MAX;
        require(few, &"/rules", "at most 10000 names in all lists: use a level above the articles");
        require(caps::are_few(&self.rules), &"/rules", caps::TOO_MANY);
        let mut names = HashSet::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let unique = names.insert(rule.name.as_str());
            let place = format!("/rules/{at}");
            let problem = "two rules have this name: give each one of its own";
            require(unique, &format_args!("{place}/name"), problem);
            rule.require(self.earn, |holds, field, problem| {
                require(holds, &format_args!("{place}{field}"), problem);
            });
        }
        found
    }

    /// Every name of a level or a store, with its place.
    pub fn names(&self) -> Vec<(Level, String, &str)> {
        let mut lists: Vec<(Level, String, &Vec<String>)> = Vec::new();
        for (level, field, names) in self.excluded() {
            lists.push((level, format!("/{field}"), names));
        }
        let field = "/age_restricted_departments".to_owned();
        lists.push((Level::Department, field, &self.age_restricted_departments));
        for (at, rule) in self.rules.iter().enumerate() {
            for (level, field, names) in rule.scope() {
                lists.push((level, format!("/rules/{at}/{field}"), names));
            }
            lists.push((Level::Store, format!("/rules/{at}/stores"), &rule.stores));
        }
        let mut all = Vec::new();
        for (level, place, names) in lists {
            let named = names.iter().enumerate();
            all.extend(named.map(|(at, name)| (level, format!("{place}/{at}"), name.as_str())));
        }
        all
    }

    /// The lists of what earns nothing, by level.
    pub(super) fn excluded(&self) -> [(Level, &'static str, &Vec<String>); 5] {
        [
            (Level::Department, "excluded_departments", &self.excluded_departments),
            (Level::Category, "excluded_categories", &self.excluded_categories),
            (Level::Type, "excluded_types", &self.excluded_types),
            (Level::Brand, "excluded_brands", &self.excluded_brands),
            (Level::Sku, "excluded_skus", &self.excluded_skus),
        ]
    }
}

impl EarnRule {
    /// The lists of the articles that it is about, by level.
    pub(super) fn scope(&self) -> [(Level, &'static str, &Vec<String>); 5] {
        [
            (Level::Department, "departments", &self.departments),
            (Level::Category, "categories", &self.categories),
            (Level::Type, "types", &self.types),
            (Level::Brand, "brands", &self.brands),
            (Level::Sku, "skus", &self.skus),
        ]
    }

    fn require(&self, earn: BaseRate, mut require: impl FnMut(bool, &str, &str)) {
        let printable = !self.name.chars().any(char::is_control);
        let named = (1..=64).contains(&self.name.chars().count()) && printable;
        require(named, "/name", "1 to 64 printable characters");
        let lasts = self.hours.is_none_or(|hours| hours.from != hours.to);
        require(lasts, "/hours", "from and to are the same: leave hours out for the whole day");
        let dates = self.dates.unwrap_or(Dates { from: None, until: None });
        let ordered = dates.from.is_none_or(|from| dates.until.is_none_or(|until| from <= until));
        require(ordered, "/dates", "until lies before from: no day would be in it");
        let in_range = (0..=MINOR_MAX).contains(&self.minimum_minor);
        require(in_range, "/minimum_minor", "must lie within 0 and 1000000000000");

        let effects = [
            self.multiplier.is_some(),
            self.fixed_points.is_some(),
            self.points_per_item.is_some(),
        ];
        let one = effects.into_iter().filter(|given| *given).count() == 1;
        let problem = "say what it gives, once: multiplier, fixed_points or points_per_item";
        require(one, "", problem);
        let thousandths = self.multiplier.map_or(1_000, |multiplier| multiplier.0);
        let in_range = (1_000..=100_000).contains(&thousandths);
        let problem = "must lie within 1 and 100: to take points away, exclude the articles";
        require(in_range, "/multiplier", problem);
        // A rate without money is a finding of its own.
        let most = POINTS_PER_MINOR_MAX * 1_000 * u64::from(earn.per_minor.max(1));
        let in_range = u64::from(earn.points) * u64::from(thousandths) <= most;
        let problem = "with this a minor unit would earn more than 10000 points";
        require(in_range, "/multiplier", problem);
        let in_range = self.fixed_points.is_none_or(|it| (1..=FIXED_POINTS_MAX).contains(&it));
        require(in_range, "/fixed_points", "must lie within 1 and 1000000");
        let in_range =
            self.points_per_item.is_none_or(|it| (1..=POINTS_PER_ITEM_MAX).contains(&it));
        require(in_range, "/points_per_item", "must lie within 1 and 1000");
        caps::require_own(self, require);
    }
}
