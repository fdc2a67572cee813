//! The back office: who its people are, what each may do, and the trace that their changes leave.
//!
//! Used by every route of people. [`access`] is the one table of what a route needs, `http` the
//! one place where it is held against the person who asks; [`once`] answers repetitions. A
//! token's secret is seen once, when it is made; the database has its hash. Must never write a
//! member's values into the audit trail, nor change anything without a line in it.

pub mod access;
pub mod http;
pub mod once;
pub mod page;
pub mod sql;
mod token;
pub mod user;
pub mod wire;

pub use sql::{Settle, audit_in, settle_in};
pub use token::{NewToken, TokenScope, TokenStatus};
pub use user::{NewUser, OfficeError, UserStatus};

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::DbError;
use crate::db::pool::Pool;

/// Most days of a report.
const REPORT_DAYS_MAX: i32 = 366;
/// Days of a report when nobody says how many.
const REPORT_DAYS: i32 = 28;

/// The first and the last business date of a report: four weeks up to today, where nobody says
/// otherwise.
///
/// # Errors
/// In words, when that is no range of at most 366 days of our era: PostgreSQL knows no others.
pub fn report_days(
    from: Option<Date>,
    until: Option<Date>,
    today: Date,
) -> Result<(Date, Date), &'static str> {
    let until = until.unwrap_or(today);
    let from = from.unwrap_or_else(|| until.saturating_sub(Span::new().days(REPORT_DAYS - 1)));
    let is_range = from.year() > 0 && (0..REPORT_DAYS_MAX).contains(&(until - from).get_days());
    is_range.then_some((from, until)).ok_or(
        "until must not be before from, and at most 365 days after it; both from the year 1 on",
    )
}

/// What a person is to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May do everything.
    Admin,
    /// Runs named stores.
    Manager,
    /// Makes offers and pulls exports.
    Marketing,
    /// Reads, and changes nothing.
    Auditor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Manager, Self::Marketing, Self::Auditor];

    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Marketing => "marketing",
            Self::Auditor => "auditor",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A person who is proven to ask.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user.
    pub user_no: i32,
    /// What the user is.
    pub role: Role,
    /// The stores that the user's view is narrowed to; none: the whole chain.
    pub stores: Option<Vec<String>>,
    /// What the token may be used for.
    pub scope: TokenScope,
}

impl Actor {
    /// As adjustments name the user.
    pub fn name(&self) -> String {
        format!("user:{}", self.user_no)
    }

    /// Whether what counts in these stores concerns the user; in all of them when there are none.
    pub fn sees(&self, store_ids: &[String]) -> bool {
        store_ids.is_empty() || store_ids.iter().any(|store_id| self.has_store(store_id))
    }

    /// Whether the user may change what counts in these stores, and in all when there are none:
    /// a manager only what counts nowhere but in the manager's own.
    pub fn runs(&self, store_ids: &[String]) -> bool {
        let is_narrow = !store_ids.is_empty() || self.stores.is_none();
        is_narrow && store_ids.iter().all(|store_id| self.has_store(store_id))
    }

    /// Whether the user may see and do what belongs to a store.
    pub fn has_store(&self, store_id: &str) -> bool {
        self.stores.as_ref().is_none_or(|stores| stores.iter().any(|own| own == store_id))
    }
}

/// One line of the audit trail.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// Who; none at the command line.
    pub user_no: Option<i32>,
    /// What was done, such as `user.add`.
    pub action: &'a str,
    /// What to, such as `acc_000000000A1KV`: references only.
    pub object: &'a str,
    /// Names of the fields that changed, never their values.
    pub fields: &'a [&'a str],
}

/// Writes a line of the audit trail that stands for itself: reading that must leave a trace.
///
/// # Errors
/// When the database cannot; then what was to be traced must not happen.
pub async fn audit(pool: &Pool, trace: &Trace<'_>, now: Timestamp) -> Result<(), DbError> {
    let client = pool.get().await?;
    audit_in(&**client, trace, now).await
}

/// Who asks with a token; none when it does not count (any more).
///
/// # Errors
/// When the database cannot be read.
pub async fn who(pool: &Pool, token: &str, now: Timestamp) -> Result<Option<Actor>, DbError> {
    let Some(hash) = token::hash_of(token) else { return Ok(None) };
    sql::actor_of(pool, hash, now).await
}
