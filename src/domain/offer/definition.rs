//! An offer as people write it: its words, and where in it something is wrong.
//!
//! Owns the form of a definition. What its words mean is compiled in [`super`] and applied there.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::budget::Budget;
use super::super::programme::Level;

/// An offer as people write it. Stored as it is; compiled to an [`super::Offer`] when loaded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OfferDefinition)]
pub struct Definition {
    /// Names it for ever: 1 to 64 of a to z, 0 to 9 and hyphens.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// What customers read, in a few words.
    pub headline: String,
    /// How it comes to customers.
    pub delivery: Delivery,
    /// The code of a `shared-code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_code: Option<SharedCode>,
    /// What it gives.
    pub reward: Reward,
    /// What it is for; nothing named: everything, unless it is the price of what is
    /// `automatic`. Articles that the catalogue marks `no_discount`
    /// or `sensitive` never are; those of an age-restricted department only when department,
    /// category, type or article is named here.
    #[serde(default, skip_serializing_if = "Articles::is_empty")]
    pub scope: Articles,
    /// Of that, what it is not for.
    #[serde(default, skip_serializing_if = "Articles::is_empty")]
    pub except: Articles,
    /// What the whole basket must come to, before discounts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minimum_basket_minor: i64,
    /// How many of what it is for must be bought.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minimum_quantity: i64,
    /// Stores in which it counts; none named: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    /// The first day on which it is issued or redeemed; absent: it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    pub since: Option<Date>,
    /// The last one; absent: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<Date>,
    /// Days of the week on which it counts, by the business date; none named: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Weekday>,
    /// How often its coupons count; nothing named: as often as there are coupons.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Offers of which only one counts in a transaction; absent: it counts beside any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacking: Option<Stacking>,
    /// Whether the till chooses it for customers whom it fits; if not, only people issue it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_the_till: bool,
    /// For how many days a coupon counts, the one on which it is issued included. Only what is
    /// `automatic`, and issues none, may leave it out.
    #[serde(default, skip_serializing_if = "is_zero_days")]
    pub valid_days: u16,
    /// The most that a till may give for it; of what is `automatic`, in a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount_max_minor: Option<i64>,
    /// Who pays, and how much of it.
    pub funding: Funding,
    /// What it may cost; nothing named: anything.
    #[serde(default, skip_serializing_if = "Budget::is_empty")]
    pub budget: Budget,
    /// Has tills give it before others, also to customers who never bought anything like it: 1
    /// first, 9 last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 9)]
    pub push: Option<u8>,
    /// Whether tills give it also to the share of customers who are otherwise held out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub goodwill: bool,
}

/// How an offer comes to customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = OfferDelivery)]
pub enum Delivery {
    /// As a coupon for one account.
    Personal,
    /// As codes for print or mail, each for one use. Whoever uses one first has it: should that
    /// sale be voided, it is a coupon of that account.
    CodePool,
    /// As one code for everybody who has a card.
    SharedCode,
    /// By itself, to everybody who has a card: a member price. Tills learn what there is with
    /// `GET /v1/member-prices`, and name the offer in the swipe.
    Automatic,
}

/// A code that everybody uses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OfferSharedCode)]
pub struct SharedCode {
    /// 4 to 24 of A to Z and 0 to 9, and nothing that could be the code of a coupon. No other
    /// offer ever has it. Tills may send it in small letters.
    #[schema(example = "WELCOME10")]
    pub code: String,
    /// How often it counts in all, 1 to 1,000,000,000; absent: as often as it is used. The use of
    /// a sale that is voided is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<i64>,
}

/// What an offer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[schema(as = OfferReward)]
pub enum Reward {
    /// Part of what is bought.
    PercentOff {
        /// 1 to 100.
        percent: u8,
    },
    /// An amount off what is bought.
    AmountOff {
        /// In minor units.
        amount_minor: i64,
    },
    /// One article for a price; of what is `automatic` every one of them, and what is sold by
    /// weight for that price a unit.
    FixedPrice {
        /// In minor units.
        price_minor: i64,
    },
    /// Of so many pieces the cheapest for nothing, as often as so many were bought: of the
    /// dearest so many the cheapest, of the next so many theirs, and so on. What is sold by
    /// weight is one piece.
    CheapestFree {
        /// 2 to 100.
        of: u8,
    },
    /// Points, besides what the basket earns. The till gives nothing. Not `automatic`: what
    /// everybody earns is said by the programme.
    PointsBonus {
        /// 1 to 1,000,000.
        points: u32,
    },
    /// More points for what it is for: what the rules of the programme gave for it counts as so
    /// many per cent, 300 being three times. The till gives nothing.
    PointsMultiplier {
        /// 101 to 10,000.
        times_percent: u16,
    },
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = OfferWeekday)]
#[expect(missing_docs, reason = "they say it all")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// A bit for each day, Monday lowest; all of them when none is named.
    pub(super) fn bits(days: &[Self]) -> u8 {
        let named = days.iter().fold(0, |bits, day| bits | 1 << *day as u8);
        if days.is_empty() { 0x7f } else { named }
    }

    /// The bit of a day.
    pub(super) fn bit_of(date: Date) -> u8 {
        1 << date.weekday().to_monday_zero_offset()
    }
}

/// How often the coupons of an offer count; of what is `automatic`, how often a till may name it.
/// A till has given the discount already, so what is beyond a limit is booked all the same, and
/// marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = OfferLimits)]
pub struct Limits {
    /// For an account, in all; 1 to 1,000. Of accounts that were merged, each keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_account: Option<u16>,
    /// For an account on one business date; 1 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u16>,
    /// In one transaction; 1 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_swipe: Option<u16>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what an account has redeemed before says whether a coupon is within them.
    pub fn look_back(&self) -> bool {
        self.per_account.is_some() || self.per_day.is_some()
    }
}

/// Offers of which only one counts in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OfferStacking)]
pub struct Stacking {
    /// What the offers have in common: 1 to 64 printable characters of the chain's own.
    #[schema(example = "spring")]
    pub group: String,
    /// The highest counts, and of equal ones the one that the till names first.
    #[serde(default, skip_serializing_if = "is_zero_priority")]
    pub priority: i16,
}

/// Articles by name, at any level of the hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Articles {
    /// Names of departments.
    pub departments: Vec<String>,
    /// Names of categories.
    pub categories: Vec<String>,
    /// Names of types.
    pub types: Vec<String>,
    /// Names of brands.
    pub brands: Vec<String>,
    /// Articles as tills name them.
    pub skus: Vec<String>,
}

impl Articles {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who pays for what an offer gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OfferFunding)]
pub struct Funding {
    /// A name of the chain's own.
    pub party: String,
    /// Their share, 0 to 100; the chain pays the rest.
    pub share_percent: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero_days(days: &u16) -> bool {
    *days == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero_priority(number: &i16) -> bool {
    *number == 0
}

/// What is wrong with a definition, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// A value outside its limits.
    #[error("{0}")]
    Limit(&'static str),
    /// A name that nothing has.
    #[error("{0:?}: nothing in the catalogue or among the stores is named {1:?}")]
    NoSuchName(Level, String),
}

impl OfferError {
    /// JSON pointer (RFC 6901) to what is wrong in a definition. The words about a limit begin
    /// with the field that they are about.
    pub fn pointer(&self, definition: &Definition) -> String {
        let (level, name) = match self {
            Self::Limit(words) => {
                let end = words.find(|letter: char| !matches!(letter, 'a'..='z' | '_' | '.'));
                let field = &words[..end.unwrap_or(words.len())];
                return format!("/{}", field.replace('.', "/"));
            }
            Self::NoSuchName(level, name) => (*level, name),
        };
        let Definition { scope, except, stores, .. } = definition;
        let lists = [("/scope", scope), ("/except", except)].map(|(place, articles)| {
            let (field, names) = match level {
                Level::Department => ("departments", &articles.departments),
                Level::Category => ("categories", &articles.categories),
                Level::Type => ("types", &articles.types),
                Level::Brand => ("brands", &articles.brands),
                Level::Sku => ("skus", &articles.skus),
                Level::Store => return ("/stores".to_owned(), stores),
            };
            (format!("{place}/{field}"), names)
        });
        let found = lists.iter().find_map(|(place, names)| {
            let at = names.iter().position(|it| it == name)?;
            Some(format!("{place}/{at}"))
        });
        let of_budget = definition.budget.stores.contains_key(name).then(|| {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            format!("/budget/stores/{escaped}")
        });
        found.or(of_budget).unwrap_or_default()
    }
}
