//! An offer: what people define, and the same ready to be applied to a basket.
//!
//! Owns the limits of a definition, and when and for what it counts. Names are resolved once, when
//! a definition is compiled; nothing here knows where they come from.

mod definition;
mod worth;

use jiff::civil::Date;

pub use self::definition::{
    Articles, Definition, Delivery, Funding, Limits, OfferError, Reward, SharedCode, Stacking,
    Weekday,
};
use super::basket::{Line, LineKind};
use super::budget::{Budget, Budgets, Counts, Pace, Pacing};
use super::coupon::Code;
use super::product::Product;
use super::programme::Level;
use super::target::{Numbers, Target};

/// Most money that a definition may name, in minor units.
const MONEY_MAX: i64 = 1_000_000_000;
/// Most coupons that a limit may name.
const LIMIT_MAX: u16 = 1_000;

/// An offer, ready to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its number inside Tillside.
    pub offer_no: i32,
    /// As it was written.
    pub definition: Definition,
    /// What it may cost.
    pub budgets: Budgets,
    /// The day on which it was stored, where that is known: the first one that is paced when its
    /// definition names none.
    pub stored_on: Option<Date>,
    target: Target,
    /// Sorted.
    stores: Vec<u32>,
    /// A bit for each day, Monday lowest.
    weekdays: u8,
    /// Stands for the name of its stacking group.
    group: Option<u64>,
}

/// What counted before a coupon, as far as it decides about it: what was beyond a limit did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Coupons of its offer, by its account.
    pub by_account: usize,
    /// Of those, on this business date.
    pub on_day: usize,
    /// Coupons of its offer in this transaction.
    pub in_swipe: usize,
    /// Whether another offer of its group counts in this transaction.
    pub of_group: bool,
    /// Whether it was used by everybody as often as it counts.
    pub is_used_up: bool,
    /// What the till gave for it in this transaction already, in minor units, where all of that
    /// is one discount.
    pub given_minor: i64,
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
        reward_is_sound(*reward)?;
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
            definition.push.is_none_or(|push| (1..=9).contains(&push) && definition.at_the_till),
            "push must lie within 1 to 9, of an offer that is at_the_till",
        )?;
        limit(
            !definition.goodwill || definition.at_the_till,
            "goodwill is for offers that are at_the_till",
        )?;
        let (since, until) = (definition.since.unwrap_or(Date::MIN), definition.until);
        limit(until.is_none_or(|until| since <= until), "until must not be before since")?;
        let Limits { per_account, per_day, per_swipe } = definition.limits;
        for (most, words) in [
            (per_account, "limits.per_account must lie within 1 to 1000"),
            (per_day, "limits.per_day must lie within 1 to 1000"),
            (per_swipe, "limits.per_swipe must lie within 1 to 1000"),
        ] {
            limit(most.is_none_or(|most| (1..=LIMIT_MAX).contains(&most)), words)?;
        }
        let group = definition.stacking.as_ref().map(|stacking| stacking.group.as_str());
        limit(
            group.is_none_or(|group| is_text(group, 64)),
            "stacking.group must be 1 to 64 printable characters",
        )?;
        let (group, weekdays) = (group.map(number_of_group), Weekday::bits(&definition.weekdays));
        let scope = resolved(&definition.scope, &find)?;
        let scope = (!definition.scope.is_empty()).then_some(scope);
        let target = Target { scope, except: resolved(&definition.except, &find)? };
        let stores = numbers(Level::Store, &definition.stores, &find)?;
        let max_uses = definition.shared_code.as_ref().and_then(|shared| shared.max_uses);
        let budget =
            Budget { coupons: max_uses.or(definition.budget.coupons), ..definition.budget.clone() };
        let budgets = Budgets::compile(&budget, &find)?;
        limit(
            definition.budget.pacing != Some(Pacing::Even)
                || definition.at_the_till && until.is_some() && budgets.limits(Counts::Coupons),
            "budget.pacing even is for offers that are at_the_till, with an until and a budget of \
             coupons",
        )?;
        delivery_is_sound(&definition, &budgets)?;
        let stored_on = None;
        Ok(Self { offer_no, definition, budgets, stored_on, target, stores, weekdays, group })
    }

    /// The dates of a coupon that is issued on a day; none when the offer is over or has not
    /// begun. A coupon never outlives its offer.
    pub fn validity(&self, issued_on: Date) -> Option<(Date, Date)> {
        let Definition { until, valid_days, .. } = self.definition;
        let until = until.unwrap_or(Date::MAX);
        let days = jiff::Span::new().days(i64::from(valid_days) - 1);
        let last = issued_on.checked_add(days).unwrap_or(Date::MAX).min(until);
        let Definition { since, until, .. } = self.definition;
        is_within(since, until, issued_on).then_some((issued_on, last))
    }

    /// Whether it counts in all stores.
    pub fn counts_everywhere(&self) -> bool {
        self.stores.is_empty()
    }

    /// How far its coupons may have been issued at tills by a business date; none where they are
    /// not spread over its days.
    pub fn pace_on(&self, business_date: Date) -> Option<Pace> {
        let Definition { since, until, at_the_till, budget, .. } = &self.definition;
        let first = since.or(self.stored_on)?;
        let is_paced = *at_the_till && budget.pacing != Some(Pacing::None);
        until.filter(|_| is_paced).map(|last| Pace::of(first, last, business_date))
    }

    /// Whether it counts in a store.
    pub fn counts_in(&self, store_no: u32) -> bool {
        self.stores.is_empty() || self.stores.binary_search(&store_no).is_ok()
    }

    /// Whether it counts on the day of the week that a date is.
    pub fn counts_on(&self, business_date: Date) -> bool {
        self.weekdays & Weekday::bit_of(business_date) != 0
    }

    /// Whether one coupon more is within its limits.
    pub fn is_within_limits(&self, earlier: &Earlier) -> bool {
        let Limits { per_account, per_day, per_swipe } = self.definition.limits;
        [
            (per_account, earlier.by_account),
            (per_day, earlier.on_day),
            (per_swipe, earlier.in_swipe),
        ]
        .into_iter()
        .all(|(most, before)| !earlier.is_used_up && most.is_none_or(|it| before < it.into()))
    }

    /// Whether of it and another only one counts in a transaction.
    pub fn excludes(&self, other: &Self) -> bool {
        self.group.is_some() && self.group == other.group && self.offer_no != other.offer_no
    }

    /// Of offers that exclude each other the one with the highest counts.
    pub fn priority(&self) -> i16 {
        self.definition.stacking.as_ref().map_or(0, |stacking| stacking.priority)
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

    /// Whether each use of it is a coupon of its own, issued when it is used: it is everybody's,
    /// by one code or with any card.
    pub fn is_shared(&self) -> bool {
        self.definition.delivery == Delivery::SharedCode || self.is_automatic()
    }

    /// Whether everybody who has a card gets it, without a code.
    pub fn is_automatic(&self) -> bool {
        self.definition.delivery == Delivery::Automatic
    }

    /// Whether a till gives it on a day in a store, whatever is in the basket.
    pub fn is_given(&self, business_date: Date, store_no: u32) -> bool {
        let Definition { since, until, .. } = self.definition;
        is_within(since, until, business_date)
            && self.counts_on(business_date)
            && self.counts_in(store_no)
    }

    /// What it is for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The lines of sale that it is for.
    fn lines<'a>(&self, basket: &Basket<'a>) -> impl Iterator<Item = &'a Line> {
        self.places(basket).map(|(_, line)| line)
    }

    /// The same, each with its place.
    fn places<'a>(&self, basket: &Basket<'a>) -> impl Iterator<Item = (usize, &'a Line)> {
        let lines = basket.lines.iter().zip(basket.products).enumerate();
        lines
            .filter(move |(_, (line, product))| {
                line.kind == LineKind::Sale && self.target.holds(product)
            })
            .map(|(at, (line, _))| (at, line))
    }
}

/// Whether what a definition says of its coupons can be said of how they come to customers.
fn delivery_is_sound(definition: &Definition, budgets: &Budgets) -> Result<(), OfferError> {
    let limit = |holds: bool, text| if holds { Ok(()) } else { Err(OfferError::Limit(text)) };
    let Definition { delivery, shared_code, at_the_till, budget, valid_days, .. } = definition;
    let is_automatic = *delivery == Delivery::Automatic;
    limit(
        (1..=3_660).contains(valid_days) || is_automatic && *valid_days == 0,
        "valid_days must lie within 1 to 3660",
    )?;
    let gives_points =
        matches!(definition.reward, Reward::PointsBonus { .. } | Reward::PointsMultiplier { .. });
    limit(
        !is_automatic || !gives_points,
        "reward must be money: points for everybody who has a card are a rule of the programme",
    )?;
    let is_price = matches!(definition.reward, Reward::FixedPrice { .. });
    limit(
        !is_automatic || !is_price || !definition.scope.is_empty(),
        "scope must name the articles that have this price: without it everything would",
    )?;
    limit(
        !at_the_till || *delivery == Delivery::Personal,
        "at_the_till must be left out: only personal coupons are chosen for customers",
    )?;
    limit(
        shared_code.is_some() == (*delivery == Delivery::SharedCode),
        "shared_code must be there for the delivery shared-code, and for no other",
    )?;
    if let Some(SharedCode { code, max_uses }) = shared_code {
        let in_code = |letter: char| matches!(letter, 'A'..='Z' | '0'..='9');
        limit(
            (4..=24).contains(&code.len()) && code.chars().all(in_code),
            "shared_code.code must be 4 to 24 of A to Z and 0 to 9",
        )?;
        limit(
            Code::parse(code).is_none(),
            "shared_code.code could be the code of a coupon: change a character",
        )?;
        limit(
            max_uses.is_none_or(|most| (1..=MONEY_MAX).contains(&most)),
            "shared_code.max_uses must lie within 1 to 1000000000",
        )?;
        limit(
            budget.coupons.is_none(),
            "budget.coupons must be left out: shared_code.max_uses says how often a code counts",
        )?;
    }
    limit(
        *delivery != Delivery::CodePool || !budgets.limits(Counts::Coupons),
        "budget must not limit the coupons of a code pool: there are as many as codes are made",
    )
}

fn reward_is_sound(reward: Reward) -> Result<(), OfferError> {
    let (holds, words) = match reward {
        Reward::PercentOff { percent } => {
            ((1..=100).contains(&percent), "reward.percent must lie within 1 to 100")
        }
        Reward::AmountOff { amount_minor: amount } | Reward::FixedPrice { price_minor: amount } => {
            ((0..=MONEY_MAX).contains(&amount), "reward: money must lie within 0 to 1000000000")
        }
        Reward::CheapestFree { of } => {
            ((2..=100).contains(&of), "reward.of must lie within 2 to 100")
        }
        Reward::PointsBonus { points } => {
            ((1..=1_000_000).contains(&points), "reward.points must lie within 1 to 1000000")
        }
        Reward::PointsMultiplier { times_percent } => (
            (101..=10_000).contains(&times_percent),
            "reward.times_percent must lie within 101 to 10000: 200 is twice the points",
        ),
    };
    if holds { Ok(()) } else { Err(OfferError::Limit(words)) }
}

/// What stands for the name of a stacking group: FNV-1a, 64 bits, so that groups are compared
/// without their names and offers are compiled one by one. Two of a few thousand groups have the
/// same one with a chance of one in 10¹².
fn number_of_group(name: &str) -> u64 {
    let byte = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, byte)
}

/// Whether a day lies between two, both included; without one of them there is no such bound.
pub fn is_within(since: Option<Date>, until: Option<Date>, day: Date) -> bool {
    since.is_none_or(|since| since <= day) && until.is_none_or(|until| day <= until)
}
