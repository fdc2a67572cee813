//! Signed requests that could not be understood, kept so that people can see and mend them.
//!
//! Bounded: the newest hundred of each terminal, and the same body only once however often it
//! is sent. Never holds payment-card data: callers do not bring such requests here.

mod sql;

use jiff::Timestamp;
use serde::Serialize;

use crate::db::DbError;
use crate::db::pool::Pool;

/// Requests kept for each terminal.
pub const KEPT_MAX: i64 = 100;

/// A request to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The workstation whose key signed it.
    pub workstation_no: i32,
    /// The id that its answer carried.
    pub request_id: &'a str,
    /// The route's template.
    pub route: &'a str,
    /// The slug that it was answered with.
    pub problem: &'a str,
    /// The findings, a line each.
    pub errors: &'a str,
    /// The body as it was sent.
    pub body: &'a [u8],
}

/// A request that was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// The id that its first answer carried.
    pub request_id: String,
    /// When it first came.
    pub first_at: Timestamp,
    /// When it last came.
    pub last_at: Timestamp,
    /// How often it came.
    pub attempts: i64,
    /// The route's template.
    pub route: String,
    /// The slug that it was answered with.
    pub problem: String,
    /// The findings, a line each.
    pub errors: String,
    /// The body, bytes that are not UTF-8 replaced.
    pub body: String,
}

/// Keeps a request.
///
/// # Errors
/// When the database cannot.
pub async fn keep(pool: &Pool, refused: &Refused<'_>, now: Timestamp) -> Result<(), DbError> {
    sql::keep(pool, refused, now).await
}

/// What is kept of a terminal, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(pool: &Pool, store_id: &str, workstation_id: &str) -> Result<Vec<Kept>, DbError> {
    sql::list(pool, store_id, workstation_id).await
}
