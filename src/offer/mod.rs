//! Offers as people define, read and end them, and the life of each coupon. A definition is
//! checked against the catalogue before it is stored; replicas hear of it by the reference
//! version. Must never touch an account or change a coupon: `commit` does that.

mod sql;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::coupon::Code;
use crate::domain::offer::{Definition, OfferError};
use crate::error::Error;

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
    Database(#[from] DbError),
}

/// The life of a coupon.
#[derive(Clone, Debug, serde::Serialize)]
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
    pub issued_at: Timestamp,
    /// Who issued it.
    pub actor: String,
    /// The first business date on which it counts.
    pub valid_from: Date,
    /// The last one.
    pub valid_until: Date,
    /// The transaction that redeemed it.
    pub redeemed_by: Option<String>,
    /// Whether more was given for it than it is worth.
    pub over_value: bool,
}

/// Stores an offer.
///
/// # Errors
/// When it is not sound, has a name that was used before, or the database fails.
pub async fn add(
    pool: &Pool,
    snapshot: &Snapshot,
    definition: Definition,
    now: Timestamp,
) -> Result<(), AddError> {
    let definition = snapshot.compile(0, definition)?.definition;
    match sql::add(pool, &definition, now).await? {
        true => Ok(()),
        false => Err(AddError::NameTaken(definition.offer)),
    }
}

/// Ends an offer with a day: nothing is issued after it. Coupons in customers' hands keep the
/// days that are printed on them. Returns whether there is such an offer.
///
/// # Errors
/// When the database fails.
pub async fn end(pool: &Pool, offer_id: &str, until: Date) -> Result<bool, DbError> {
    sql::end(pool, offer_id, until).await
}

/// The life of a coupon; none when it was never issued.
///
/// # Errors
/// When the database fails or holds what cannot be.
pub async fn life(pool: &Pool, code: Code) -> Result<Option<Life>, Error> {
    sql::life(pool, code).await
}
