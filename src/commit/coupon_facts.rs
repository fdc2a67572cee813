//! What a pass must know of coupons before it decides: rows of the database as values of the
//! domain. Nothing is decided here.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use tokio_postgres::Row;

use super::Connection;
use crate::db::DbError;
use crate::domain::coupon::{self, Code, Coupon, OfPool, Open, Used};
use crate::domain::selection::showcase::Reason;
use crate::error::Error;
use crate::sabotage;

/// Coupons by their codes.
pub(super) type Coupons = HashMap<Code, Coupon>;
/// What accounts have redeemed of offers.
pub(super) type Uses = HashMap<(i64, i32), Vec<Used>>;

/// The coupons that have these codes, as if nobody had been merged; those that were never issued
/// are left out. One statement, none when nothing is wanted.
pub(super) async fn find_coupons(
    connection: &Connection,
    codes: &[Code],
) -> Result<Coupons, Error> {
    let by_nobody: Vec<(Code, i64)> = codes.iter().map(|code| (*code, 0)).collect();
    Ok(find_with_uses(connection, &by_nobody, &[]).await?.0)
}

/// As [`find_coupons`]; with those of these offers comes what the account that brings one has
/// redeemed of them before.
pub(super) async fn find_with_uses(
    connection: &Connection,
    brought: &[(Code, i64)],
    offers: &[i32],
) -> Result<(Coupons, Uses), Error> {
    let (mut coupons, mut uses) = (Coupons::new(), Uses::new());
    if brought.is_empty() {
        return Ok((coupons, uses));
    }
    let buckets: Vec<i16> = brought.iter().map(|(code, _)| i16::from(code.bucket())).collect();
    let numbers: Vec<i64> = brought.iter().map(|(code, _)| code.number()).collect();
    let by: Vec<i64> = brought.iter().map(|(_, account_id)| *account_id).collect();
    let statement = &connection.statements.find_coupons;
    let client = connection.dedicated.client();
    let rows = client.query(statement, &[&buckets, &numbers, &offers, &by]).await;
    for row in rows.map_err(DbError::from)? {
        let coupon = coupon_of(&row)?;
        let used = used_of(&row);
        if !used.is_empty() {
            uses.insert((row.get("by_account"), coupon.offer_no), used);
        }
        coupons.insert(coupon.code, coupon);
    }
    Ok((coupons, uses))
}

/// What accounts have redeemed of offers that are everybody's. One statement, none when nothing is
/// wanted.
pub(super) async fn find_uses(
    connection: &Connection,
    wanted: &[(i64, i32)],
) -> Result<Uses, Error> {
    let mut uses = Uses::new();
    if wanted.is_empty() {
        return Ok(uses);
    }
    let (account_ids, offers): (Vec<i64>, Vec<i32>) = wanted.iter().copied().unzip();
    let statement = &connection.statements.find_uses;
    let rows = connection.dedicated.client().query(statement, &[&account_ids, &offers]).await;
    for row in rows.map_err(DbError::from)? {
        let used = Used { code: Code::from_number(row.get("code")), on: row.get("redeemed_on") };
        uses.entry((row.get("account_id"), row.get("offer_no"))).or_default().push(used);
    }
    Ok(uses)
}

fn coupon_of(row: &Row) -> Result<Coupon, Error> {
    let (code, state) = (Code::from_number(row.get("code")), row.get("state"));
    let state = coupon::State::from_code(state)
        .ok_or_else(|| Error::Damaged(format!("coupon in state {state}")))?;
    let (account_id, changed_by) = (row.get("account_id"), row.get("changed_by"));
    Ok(sabotage::coupon(Coupon {
        code,
        account_id,
        // A code of a pool is whose who used it first.
        holder: if coupon::is_nobody(account_id) { changed_by } else { account_id },
        offer_no: row.get("offer_no"),
        reason: Reason::from_code(row.get("reason")),
        state,
        issued_version: row.get("issued_version"),
        changed_version: row.get("changed_version"),
        changed_by,
        valid_from: row.get("valid_from"),
        valid_until: row.get("valid_until"),
        value_minor: row.get::<_, Option<i64>>("value_minor").unwrap_or(0),
        over_budget: row.get("over_budget"),
        over_limit: row.get("over_limit"),
        pool: row
            .get::<_, Option<i32>>("pool_no")
            .map(|pool_no| OfPool { pool_no, is_revoked: row.get("is_revoked") }),
    }))
}

fn used_of(row: &Row) -> Vec<Used> {
    let codes = row.get::<_, Option<Vec<i64>>>("used_codes").unwrap_or_default();
    let days = row.get::<_, Option<Vec<Date>>>("used_on").unwrap_or_default();
    let used = codes.into_iter().zip(days);
    used.map(|(code, on)| Used { code: Code::from_number(code), on }).collect()
}

/// The coupons that the account of a row can redeem, and those that it remembers.
pub(super) fn open_of(row: &Row) -> Arc<[Open]> {
    let codes = row.get::<_, Option<Vec<i64>>>("codes").unwrap_or_default();
    let offers = row.get::<_, Option<Vec<i32>>>("offers").unwrap_or_default();
    let first_days = row.get::<_, Option<Vec<Date>>>("first_days").unwrap_or_default();
    let last_days = row.get::<_, Option<Vec<Date>>>("last_days").unwrap_or_default();
    let used = row.get::<_, Option<Vec<bool>>>("used").unwrap_or_default();
    let reasons = row.get::<_, Option<Vec<i16>>>("reasons").unwrap_or_default();
    let days = first_days.into_iter().zip(last_days);
    let coupons = codes.into_iter().zip(offers).zip(days).zip(used).zip(reasons);
    coupons
        .map(|((((code, offer_no), (valid_from, valid_until)), is_used), reason)| {
            let (code, reason) = (Code::from_number(code), Reason::from_code(reason));
            Open { code, offer_no, valid_from, valid_until, is_used, reason }
        })
        .collect()
}
