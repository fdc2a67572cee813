//! What a pass must know of coupons before it decides: rows of the database as values of the
//! domain. Nothing is decided here.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use tokio_postgres::Row;

use super::Connection;
use crate::db::DbError;
use crate::domain::coupon::{self, Code, Coupon, Open};
use crate::error::Error;
use crate::sabotage;

/// Coupons by their codes.
pub(super) type Coupons = HashMap<Code, Coupon>;

/// The coupons that have these codes, as if nobody had been merged; those that were never issued
/// are left out. One statement, none when nothing is wanted.
pub(super) async fn find_coupons(
    connection: &Connection,
    codes: &[Code],
) -> Result<Coupons, Error> {
    if codes.is_empty() {
        return Ok(Coupons::new());
    }
    let buckets: Vec<i16> = codes.iter().map(|code| i16::from(code.bucket())).collect();
    let numbers: Vec<i64> = codes.iter().map(|code| code.number()).collect();
    let statement = &connection.statements.find_coupons;
    let client = connection.dedicated.client();
    let rows = client.query(statement, &[&buckets, &numbers]).await.map_err(DbError::from)?;
    rows.iter()
        .map(|row| {
            let (code, state) = (Code::from_number(row.get("code")), row.get("state"));
            let state = coupon::State::from_code(state)
                .ok_or_else(|| Error::Damaged(format!("coupon in state {state}")))?;
            let coupon = Coupon {
                code,
                account_id: row.get("account_id"),
                holder: row.get("account_id"),
                offer_no: row.get("offer_no"),
                state,
                issued_version: row.get("issued_version"),
                changed_version: row.get("changed_version"),
                changed_by: row.get("changed_by"),
                valid_from: row.get("valid_from"),
                valid_until: row.get("valid_until"),
                value_minor: row.get::<_, Option<i64>>("value_minor").unwrap_or(0),
                over_budget: row.get("over_budget"),
            };
            Ok((code, sabotage::coupon(coupon)))
        })
        .collect()
}

/// The coupons that the account of a row can redeem, and those that it remembers.
pub(super) fn open_of(row: &Row) -> Arc<[Open]> {
    let codes = row.get::<_, Option<Vec<i64>>>("codes").unwrap_or_default();
    let offers = row.get::<_, Option<Vec<i32>>>("offers").unwrap_or_default();
    let first_days = row.get::<_, Option<Vec<Date>>>("first_days").unwrap_or_default();
    let last_days = row.get::<_, Option<Vec<Date>>>("last_days").unwrap_or_default();
    let used = row.get::<_, Option<Vec<bool>>>("used").unwrap_or_default();
    let chosen = row.get::<_, Option<Vec<bool>>>("chosen").unwrap_or_default();
    let days = first_days.into_iter().zip(last_days);
    let coupons = codes.into_iter().zip(offers).zip(days).zip(used).zip(chosen);
    coupons
        .map(|((((code, offer_no), (valid_from, valid_until)), is_used), is_chosen)| {
            let code = Code::from_number(code);
            Open { code, offer_no, valid_from, valid_until, is_used, is_chosen }
        })
        .collect()
}
