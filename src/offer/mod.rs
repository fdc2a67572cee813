//! Offers as people define, read and end them, and the life of each coupon. A definition is
//! checked against the catalogue before it is stored; replicas hear of it by the reference
//! version. Must never touch an account or change a coupon: `commit` does that.

mod budgets;
pub mod codes;
pub mod coupons;
pub mod handouts;
pub mod http;
pub mod held {
    //! The coupons of an account, for whoever is asked about them.

    pub mod http;
    mod sql;
}
pub mod report;
mod sql;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalogue::Snapshot;
use crate::db::pool::Pool;
use crate::domain::budget::{Budget, Counts, Key};
use crate::domain::coupon::{self, Code};
use crate::domain::offer::{Definition, OfferError};
use crate::error::Error;
use crate::office::{Actor, Settle, Trace};
pub use budgets::{Standing, budgets};
pub use sql::life_in;

/// Why an offer that names such articles is not chosen at the till.
const RESTRICTED: &str = "at_the_till must be left out: the scope names articles of a department \
                          that the programme restricts by age, for which people issue coupons";

/// Why an offer was not stored.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The definition is not sound.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// An offer has this name, which it keeps for ever.
    #[error("there is an offer {0} already; names are never used again")]
    NameTaken(String),
    /// Another offer has its shared code, which it keeps for ever.
    #[error("another offer has this code already; codes are never used again")]
    CodeTaken,
    /// The database failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Why the budgets of an offer were not changed.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// Something has no budget that could be changed; a JSON pointer says what.
    #[error("{0}: nothing is limited there, and what was issued and given was not counted")]
    NotLimited(String),
    /// An amount lies outside its limits, or no store is called so.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// More was spent, or is in the hands of tills.
    #[error(
        "an amount is less than was spent of it, or than tills and desks hold of it for a minute \
         at most"
    )]
    Spent,
    /// The database failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The life of a coupon.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CouponLife)]
pub struct Life {
    /// Its code, as it is printed.
    pub coupon: String,
    /// Whose it is; null for a code of a pool that nobody has used.
    pub account: Option<String>,
    /// What people call its offer.
    pub offer: String,
    /// The pool that it is a code of; null where it is a coupon of its own.
    pub pool: Option<String>,
    /// `issued`; `expired`: nobody has used it, and its last day is over; `redeemed` or `revoked`.
    pub state: &'static str,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    /// Who issued it.
    pub actor: String,
    /// The first business date on which it counts.
    #[schema(value_type = String, format = Date)]
    pub valid_from: Date,
    /// The last one.
    #[schema(value_type = String, format = Date)]
    pub valid_until: Date,
    /// The transaction that redeemed it; not told to who has nothing to do with its store.
    pub redeemed_by: Option<String>,
    /// Whether more was given for it than it is worth.
    pub over_value: bool,
    /// Whether that did not fit into the budgets of its offer.
    pub over_budget: bool,
    /// Whether it was more than its offer allows.
    pub over_limit: bool,
    /// Why it was given, as receipts name it.
    #[schema(example = "due-again")]
    pub reason: &'static str,
    /// What it was there for; `none` where people gave it.
    #[schema(example = "repeat")]
    pub slot: &'static str,
    /// The reason in one exact sentence, with the numbers behind it.
    pub why: String,
}

impl Life {
    /// As somebody sees it.
    pub fn seen_by(mut self, actor: &Actor) -> Self {
        let is_own = |swipe: &String| swipe.split('/').next().is_some_and(|it| actor.has_store(it));
        self.redeemed_by = self.redeemed_by.filter(is_own);
        self
    }

    /// As it stands on a day: what nobody has used by its last one has expired.
    pub fn on(mut self, today: Date) -> Self {
        if self.state == coupon::State::Issued.name() && self.valid_until < today {
            self.state = "expired";
        }
        self
    }
}

/// An offer as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number inside Tillside.
    pub offer_no: i32,
    /// As people wrote it.
    pub definition: Definition,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// How an offer stands on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = OfferState)]
pub enum State {
    /// Its first day lies ahead.
    Coming,
    /// It can be issued.
    Live,
    /// Its last day is past.
    Ended,
}

impl State {
    /// As it is asked for and answered.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coming => "coming",
            Self::Live => "live",
            Self::Ended => "ended",
        }
    }
}

impl Stored {
    /// How it stands on a day.
    pub fn state(&self, today: Date) -> State {
        let Definition { since, until, .. } = self.definition;
        if until.is_some_and(|until| until < today) {
            State::Ended
        } else if since.is_some_and(|since| since > today) {
            State::Coming
        } else {
            State::Live
        }
    }
}

/// Stores an offer at the command line.
///
/// # Errors
/// As [`create`].
pub async fn add(
    pool: &Pool,
    snapshot: &Snapshot,
    definition: Definition,
    now: Timestamp,
) -> Result<(), AddError> {
    create(pool, snapshot, definition, None, None, now).await.map(|_| ())
}

/// Stores an offer of a user of the back office; `settle` stands in the same transaction.
///
/// # Errors
/// When it is not sound, has a name that was used before, or the database fails.
pub async fn create(
    pool: &Pool,
    snapshot: &Snapshot,
    definition: Definition,
    by: Option<i32>,
    settle: Option<Settle<'_, Stored>>,
    now: Timestamp,
) -> Result<Stored, AddError> {
    let offer = snapshot.compile(0, definition)?;
    if offer.definition.at_the_till && snapshot.is_age_restricted(&offer) {
        return Err(OfferError::Limit(RESTRICTED).into());
    }
    let definition = offer.definition;
    let stored = sql::add(pool, &definition, by, settle, now).await?;
    if let Some(stored) = stored {
        return Ok(stored);
    }
    match sql::find(pool, &definition.offer).await? {
        None => Err(AddError::CodeTaken),
        Some(_) => Err(AddError::NameTaken(definition.offer)),
    }
}

/// Changes amounts of the budgets of an offer: those that `amounts` names, the others stay.
/// Leases that are taken from now on see them. None when there is no such offer.
///
/// # Errors
/// When something has no budget, an amount is less than was spent, or the database fails.
pub async fn change_budget(
    pool: &Pool,
    snapshot: &Snapshot,
    offer_id: &str,
    amounts: &Budget,
    by: Option<i32>,
    settle: Settle<'_, Stored>,
    now: Timestamp,
) -> Result<Option<Stored>, BudgetError> {
    let changed = |stored: &mut Stored| {
        let definition = &mut stored.definition;
        let max_uses = definition.shared_code.as_ref().and_then(|shared| shared.max_uses);
        let before =
            Budget { coupons: max_uses.or(definition.budget.coupons), ..definition.budget.clone() };
        let mut budget = before.with_amounts(amounts).map_err(BudgetError::NotLimited)?;
        if let Some(shared) = &mut definition.shared_code {
            shared.max_uses = budget.coupons.take();
        }
        definition.budget = budget;
        let offer = snapshot.compile(stored.offer_no, stored.definition.clone())?;
        let stores = snapshot.workstations().map(|(.., workstation)| Some(workstation.store_no));
        let mut keys: BTreeMap<Key, i64> = BTreeMap::new();
        for store_no in stores.chain([None]) {
            for counts in Counts::ALL {
                keys.extend(offer.budgets.of(offer.offer_no, store_no, counts));
            }
        }
        Ok(keys.into_iter().collect())
    };
    let object = format!("offer:{offer_id}");
    let trace = Trace { user_no: by, action: "offer.budget", object: &object, fields: &["budget"] };
    sql::change_budgets(pool, offer_id, changed, settle, &trace, now).await
}

/// Ends an offer with a day, or with the last one that it has when that is earlier: nothing is
/// issued after it. One that would begin later never begins. Coupons in customers' hands keep
/// the days that are printed on them. None when there is no such offer.
///
/// # Errors
/// When the database fails.
pub async fn end(
    pool: &Pool,
    offer_id: &str,
    until: Date,
    today: Date,
    by: Option<i32>,
    now: Timestamp,
) -> Result<Option<Stored>, Error> {
    let ended = |definition: &mut Definition| {
        let mut last = definition.until.map_or(until, |day| day.min(until));
        if definition.since.is_some_and(|since| since > last) {
            // A day that is past: it must not be live on the one that was asked for either.
            last = last.min(today.yesterday().unwrap_or(Date::MIN));
            definition.since = Some(last);
        }
        definition.until = Some(last);
    };
    let object = format!("offer:{offer_id}");
    let trace = Trace { user_no: by, action: "offer.end", object: &object, fields: &["until"] };
    sql::change(pool, offer_id, ended, &trace, now).await
}

/// An offer; none when there is none of this name.
///
/// # Errors
/// When the database fails or holds what cannot be.
pub async fn find(pool: &Pool, offer_id: &str) -> Result<Option<Stored>, Error> {
    sql::find(pool, offer_id).await
}

/// The life of a coupon; none when it was never issued.
///
/// # Errors
/// When the database fails or holds what cannot be.
pub async fn life(pool: &Pool, code: Code) -> Result<Option<Life>, Error> {
    sql::life(pool, code).await
}
