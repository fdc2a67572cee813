//! Budgets of an offer: what coupons and money it may cost, in the whole chain and in each store.
//!
//! Owns the form of a budget, its limits, which budgets a coupon is counted against, and how much
//! of one may be issued by a day. Knows nothing of what has been spent.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::offer::OfferError;
use super::programme::Level;

/// What an offer may cost, as people write it. A coupon is counted when it is issued and never
/// given back; where everybody may use it, a use is, and is given back when the sale is voided.
/// Money is counted when a coupon is redeemed, by what the till gave for it, and given back when
/// the sale is voided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = OfferBudget)]
pub struct Budget {
    /// The most coupons that are issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupons: Option<i64>,
    /// What redemptions may come to, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_minor: Option<i64>,
    /// What each store may issue and redeem, the chain's own budget besides.
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    pub each_store: Amounts,
    /// The same for single stores, instead of what each may.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stores: BTreeMap<String, Amounts>,
    /// How tills spread the coupons over the days of the offer; absent: evenly, where the offer is
    /// `at_the_till` and has an `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing: Option<Pacing>,
}

/// How tills spread the coupons of an offer over its days. What people issue is never held up,
/// but counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = OfferPacing)]
pub enum Pacing {
    /// By the end of each day no larger part of a budget is issued than of the days has passed.
    Even,
    /// As fast as customers come.
    None,
}

/// Amounts of a store's budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = OfferBudgetOfStore)]
pub struct Amounts {
    /// The most coupons that are issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupons: Option<i64>,
    /// What redemptions may come to, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_minor: Option<i64>,
}

impl Amounts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(self, counts: Counts) -> Option<i64> {
        match counts {
            Counts::Coupons => self.coupons,
            Counts::Value => self.value_minor,
        }
    }
}

impl Budget {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Budget {
    /// With other amounts where `new` names some. What was not limited cannot be, since nothing
    /// was counted: then the JSON pointer (RFC 6901) to what is wrong.
    ///
    /// # Errors
    /// When it names what has no budget.
    pub fn with_amounts(&self, new: &Self) -> Result<Self, String> {
        let mut changed = self.clone();
        changed.pacing = new.pacing.or(self.pacing);
        let put =
            |old: &mut Option<i64>, new: Option<i64>, limited: bool, pointer: String| match new {
                Some(_) if !limited => Err(pointer),
                Some(amount) => {
                    *old = Some(amount);
                    Ok(())
                }
                None => Ok(()),
            };
        let (is, place) = (self.coupons.is_some(), "/coupons".to_owned());
        put(&mut changed.coupons, new.coupons, is, place)?;
        let (is, place) = (self.value_minor.is_some(), "/value_minor".to_owned());
        put(&mut changed.value_minor, new.value_minor, is, place)?;
        let each = self.each_store;
        let place = "/each_store".to_owned();
        put(
            &mut changed.each_store.coupons,
            new.each_store.coupons,
            each.coupons.is_some(),
            place,
        )?;
        let (is, place) = (each.value_minor.is_some(), "/each_store".to_owned());
        put(&mut changed.each_store.value_minor, new.each_store.value_minor, is, place)?;
        for (store, amounts) in &new.stores {
            // A store that is named has what it names, and nothing of what each store has.
            let own = changed.stores.entry(store.clone()).or_insert(each);
            let before = *own;
            let escaped = store.replace('~', "~0").replace('/', "~1");
            let place = || format!("/stores/{escaped}");
            put(&mut own.coupons, amounts.coupons, before.coupons.is_some(), place())?;
            put(&mut own.value_minor, amounts.value_minor, before.value_minor.is_some(), place())?;
        }
        Ok(changed)
    }
}

/// What a budget counts. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum Counts {
    /// Coupons that are issued. Never overspent.
    Coupons = 0,
    /// What tills gave for coupons, in minor units. What a till has given is counted as over the
    /// budget where it does not fit.
    Value = 1,
}

impl Counts {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Coupons, Self::Value];

    /// How people and programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coupons => "coupons",
            Self::Value => "value",
        }
    }
}

/// Names a budget. It is made when it is first drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The offer.
    pub offer_no: i32,
    /// The store, 0 for the whole chain.
    pub store_no: u32,
    /// What it counts.
    pub counts: Counts,
}

/// How far an offer has come on a business date: the part of its days that has passed with it.
///
/// What a day leaves is there on the next ones. A part is rounded up, so that each day has
/// something, and the last one has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    on: Date,
    passed: i64,
    days: i64,
}

impl Pace {
    /// Of an offer with these first and last days. A date before the first counts as it.
    pub fn of(first: Date, last: Date, on: Date) -> Self {
        let since_first = |date: Date| i64::from((date - first).get_days()) + 1;
        let days = since_first(last).max(1);
        Self { on, passed: since_first(on).clamp(1, days), days }
    }

    /// The business date.
    pub fn on(&self) -> Date {
        self.on
    }

    /// How much of a whole budget may be issued by the end of the day.
    pub fn part_of(&self, whole: i64) -> i64 {
        let parts = i128::from(whole) * i128::from(self.passed);
        let days = i128::from(self.days);
        i64::try_from((parts + days - 1).div_euclid(days)).expect("no more than the whole")
    }
}

/// [`Budget`] with stores by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    chain: Amounts,
    each_store: Amounts,
    stores: BTreeMap<u32, Amounts>,
}

impl Budgets {
    /// Most that a budget may name.
    const AMOUNT_MAX: i64 = 1_000_000_000_000;

    /// Compiles what people wrote. `find` resolves names.
    ///
    /// # Errors
    /// When an amount lies outside its limits, or no store has a name.
    pub fn compile(
        budget: &Budget,
        find: &impl Fn(Level, &str) -> Option<u32>,
    ) -> Result<Self, OfferError> {
        let Budget { coupons, value_minor, each_store, stores, .. } = budget;
        let chain = Amounts { coupons: *coupons, value_minor: *value_minor };
        let sound = [&chain, each_store]
            .into_iter()
            .chain(stores.values())
            .flat_map(|amounts| Counts::ALL.map(|counts| amounts.of(counts)))
            .flatten()
            .all(|amount| (0..=Self::AMOUNT_MAX).contains(&amount));
        if !sound {
            return Err(OfferError::Limit("budget: amounts must lie within 0 to 1000000000000"));
        }
        let number = |(name, amounts): (&String, &Amounts)| match find(Level::Store, name) {
            Some(store_no) => Ok((store_no, *amounts)),
            None => Err(OfferError::NoSuchName(Level::Store, name.clone())),
        };
        let stores = stores.iter().map(number).collect::<Result<_, OfferError>>()?;
        Ok(Self { chain, each_store: *each_store, stores })
    }

    /// Whether anything of this kind is limited anywhere.
    pub fn limits(&self, counts: Counts) -> bool {
        let mut all = [&self.chain, &self.each_store].into_iter().chain(self.stores.values());
        all.any(|amounts| amounts.of(counts).is_some())
    }

    /// The budgets that something is counted against which happens in a store, or nowhere when
    /// it is done by people: the chain's and the store's, each with its whole amount.
    pub fn of(&self, offer_no: i32, store_no: Option<u32>, counts: Counts) -> Vec<(Key, i64)> {
        let of_store = store_no.and_then(|store_no| {
            let amounts = self.stores.get(&store_no).copied().unwrap_or(self.each_store);
            Some((store_no, amounts.of(counts)?))
        });
        let of_chain = self.chain.of(counts).map(|amount| (0, amount));
        let key = |(store_no, amount)| (Key { offer_no, store_no, counts }, amount);
        [of_chain, of_store].into_iter().flatten().map(key).collect()
    }
}
