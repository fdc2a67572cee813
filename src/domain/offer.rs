//! An offer: what people define, and the same ready to be applied to a basket.
//!
//! Owns the form of a definition, its limits, and what a reward is worth at most. Names are
//! resolved once, when a definition is compiled; nothing here knows where they come from.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::basket::{Line, LineKind};
use super::budget::{Budget, Budgets};
use super::product::Product;
use super::programme::Level;
use super::target::{Numbers, Target};

/// An offer as people write it. Stored as it is; compiled to an [`Offer`] when loaded.
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
    /// What it gives.
    pub reward: Reward,
    /// What it is for; nothing named: everything.
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
    /// Whether the till chooses it for customers whom it fits; if not, only people issue it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_the_till: bool,
    /// For how many days a coupon counts, the one on which it is issued included.
    pub valid_days: u16,
    /// The most that a till may give for it.
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
    /// One article for a price.
    FixedPrice {
        /// In minor units.
        price_minor: i64,
    },
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
    fn is_empty(&self) -> bool {
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
fn is_zero(number: &i64) -> bool {
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

/// Most money that a definition may name, in minor units.
const MONEY_MAX: i64 = 1_000_000_000;

/// An offer, ready to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its number inside Tillside.
    pub offer_no: i32,
    /// As it was written.
    pub definition: Definition,
    /// What it may cost.
    pub budgets: Budgets,
    target: Target,
    /// Sorted.
    stores: Vec<u32>,
}

/// [`Articles`] by number.
fn resolved(
    articles: &Articles,
    find: &impl Fn(Level, &str) -> Option<u32>,
) -> Result<Numbers, OfferError> {
    Ok(Numbers {
        departments: numbers(Level::Department, &articles.departments, find)?,
        categories: numbers(Level::Category, &articles.categories, find)?,
        types: numbers(Level::Type, &articles.types, find)?,
        brands: numbers(Level::Brand, &articles.brands, find)?,
        products: numbers(Level::Sku, &articles.skus, find)?,
    })
}

fn numbers(
    level: Level,
    names: &[String],
    find: &impl Fn(Level, &str) -> Option<u32>,
) -> Result<Vec<u32>, OfferError> {
    let number = |name: &String| {
        find(level, name).ok_or_else(|| OfferError::NoSuchName(level, name.clone()))
    };
    let mut numbers = names.iter().map(number).collect::<Result<Vec<u32>, OfferError>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// A basket as offers look at it.
#[derive(Clone, Copy, Debug)]
pub struct Basket<'a> {
    /// The day that it counts for.
    pub business_date: Date,
    /// Where it was bought.
    pub store_no: u32,
    /// Its lines.
    pub lines: &'a [Line],
    /// The article of each line.
    pub products: &'a [Product],
}

impl Offer {
    /// Compiles a definition. `find` resolves names.
    ///
    /// # Errors
    /// When a value lies outside its limits, or nothing has a name.
    pub fn compile(
        offer_no: i32,
        definition: Definition,
        find: impl Fn(Level, &str) -> Option<u32>,
    ) -> Result<Self, OfferError> {
        let limit = |holds: bool, text| if holds { Ok(()) } else { Err(OfferError::Limit(text)) };
        let in_id = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-');
        let is_text = |text: &str, max: usize| {
            (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        let money = |amount: i64| (0..=MONEY_MAX).contains(&amount);
        let Definition { offer, headline, reward, funding, .. } = &definition;
        limit(
            is_text(offer, 64) && offer.chars().all(in_id),
            "offer must be 1 to 64 of a to z, 0 to 9 and hyphens",
        )?;
        limit(is_text(headline, 120), "headline must be 1 to 120 printable characters")?;
        limit(is_text(&funding.party, 64), "funding.party must be 1 to 64 printable characters")?;
        limit(funding.share_percent <= 100, "funding.share_percent must lie within 0 to 100")?;
        match *reward {
            Reward::PercentOff { percent } => {
                limit((1..=100).contains(&percent), "reward.percent must lie within 1 to 100")?;
            }
            Reward::AmountOff { amount_minor: amount }
            | Reward::FixedPrice { price_minor: amount } => {
                limit(money(amount), "reward: money must lie within 0 to 1000000000")?;
            }
        }
        let amounts = [
            definition.minimum_basket_minor,
            definition.minimum_quantity,
            definition.discount_max_minor.unwrap_or(0),
        ];
        limit(
            amounts.into_iter().all(money),
            "minimum_basket_minor, minimum_quantity and discount_max_minor must lie within 0 to \
             1000000000",
        )?;
        limit(
            (1..=3_660).contains(&definition.valid_days),
            "valid_days must lie within 1 to 3660",
        )?;
        limit(
            definition.push.is_none_or(|push| (1..=9).contains(&push) && definition.at_the_till),
            "push must lie within 1 to 9, of an offer that is at_the_till",
        )?;
        limit(
            !definition.goodwill || definition.at_the_till,
            "goodwill is for offers that are at_the_till",
        )?;
        let (since, until) = (definition.since.unwrap_or(Date::MIN), definition.until);
        limit(until.is_none_or(|until| since <= until), "until must not be before since")?;
        let scope = resolved(&definition.scope, &find)?;
        let scope = (!definition.scope.is_empty()).then_some(scope);
        let target = Target { scope, except: resolved(&definition.except, &find)? };
        let stores = numbers(Level::Store, &definition.stores, &find)?;
        let budgets = Budgets::compile(&definition.budget, &find)?;
        Ok(Self { offer_no, definition, budgets, target, stores })
    }

    /// The dates of a coupon that is issued on a day; none when the offer is over or has not
    /// begun. A coupon never outlives its offer.
    pub fn validity(&self, issued_on: Date) -> Option<(Date, Date)> {
        let Definition { since, until, valid_days, .. } = self.definition;
        let until = until.unwrap_or(Date::MAX);
        let days = jiff::Span::new().days(i64::from(valid_days) - 1);
        let last = issued_on.checked_add(days).unwrap_or(Date::MAX).min(until);
        let is_live = since.is_none_or(|since| since <= issued_on) && issued_on <= until;
        is_live.then_some((issued_on, last))
    }

    /// Whether it counts in a store.
    pub fn counts_in(&self, store_no: u32) -> bool {
        self.stores.is_empty() || self.stores.binary_search(&store_no).is_ok()
    }

    /// Whether something was sold that it is for.
    pub fn is_for(&self, basket: &Basket<'_>) -> bool {
        self.lines(basket).next().is_some()
    }

    /// Whether as much was bought as it asks for.
    pub fn has_enough(&self, basket: &Basket<'_>) -> bool {
        let sold = basket.lines.iter().filter(|line| line.kind == LineKind::Sale);
        let bought: i128 = sold.map(|line| i128::from(line.amount_minor)).sum();
        let thousandths: i128 =
            self.lines(basket).map(|line| i128::from(line.quantity.thousandths())).sum();
        bought >= i128::from(self.definition.minimum_basket_minor)
            && thousandths >= i128::from(self.definition.minimum_quantity) * 1_000
    }

    /// The most that a till may give for one coupon on a basket, in minor units. Percentages
    /// are rounded up on each line, since tills round as they like.
    pub fn worth_minor(&self, basket: &Basket<'_>) -> i64 {
        let amounts = self.lines(basket).map(|line| i128::from(line.amount_minor));
        let worth = match self.definition.reward {
            Reward::PercentOff { percent } => {
                amounts.map(|amount| (amount * i128::from(percent) + 99) / 100).sum()
            }
            Reward::AmountOff { amount_minor } => amounts.sum::<i128>().min(amount_minor.into()),
            Reward::FixedPrice { price_minor } => {
                let dearest = self.lines(basket).map(price_of_one).max().unwrap_or(0);
                (dearest - i128::from(price_minor)).max(0)
            }
        };
        let worth = i64::try_from(worth).unwrap_or(i64::MAX);
        self.definition.discount_max_minor.map_or(worth, |most| worth.min(most))
    }

    /// What it is for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The lines of sale that it is for.
    fn lines<'a>(&self, basket: &Basket<'a>) -> impl Iterator<Item = &'a Line> {
        let lines = basket.lines.iter().zip(basket.products);
        lines
            .filter(move |(line, product)| {
                line.kind == LineKind::Sale && self.target.holds(product)
            })
            .map(|(line, _)| line)
    }
}

/// What one of a line costs, rounded up; all of it when less than one was sold.
fn price_of_one(line: &Line) -> i128 {
    let (amount, thousandths) = (i128::from(line.amount_minor), line.quantity.thousandths());
    if thousandths <= 1_000 { amount } else { (amount * 1_000).div_euclid(thousandths.into()) + 1 }
}
