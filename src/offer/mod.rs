//! Offers as people define, read and end them, and the life of each coupon. A definition is
//! checked against the catalogue before it is stored; replicas hear of it by the reference
//! version. Must never touch an account or change a coupon: `commit` does that.

pub mod coupons;
pub mod http;
mod report;
mod sql;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalogue::Snapshot;
use crate::db::pool::Pool;
use crate::domain::coupon::Code;
use crate::domain::offer::{Definition, OfferError};
use crate::error::Error;
use crate::office::{Settle, Trace};
pub use report::{Report, Standing, budgets, report};

/// Why an offer was not stored.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The definition is not sound.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// An offer has this name, which it keeps for ever.
    #[error("there is an offer {0} already; names are never used again")]
    NameTaken(String),
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
    /// Whose it is.
    pub account: String,
    /// What people call its offer.
    pub offer: String,
    /// `issued`, `redeemed` or `revoked`.
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
    /// The transaction that redeemed it.
    pub redeemed_by: Option<String>,
    /// Whether more was given for it than it is worth.
    pub over_value: bool,
    /// Whether that did not fit into the budgets of its offer.
    pub over_budget: bool,
    /// Why it was given, as receipts name it.
    #[schema(example = "due-again")]
    pub reason: &'static str,
    /// The same in one exact sentence, with the numbers behind it.
    pub why: String,
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
    let definition = snapshot.compile(0, definition)?.definition;
    let stored = sql::add(pool, &definition, by, settle, now).await?;
    stored.ok_or(AddError::NameTaken(definition.offer))
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
