//! Receipts: readable, and saying what was booked.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::accounts::History;
use super::coupons::receipt::{Brought, Taken};
use super::coupons::sql::CouponRow;
use super::findings::Kind;
use super::sql::{EntryRow, SwipeRow};
use crate::domain::account::State;
use crate::domain::ledger::{DEBT, EntryKind};
use crate::domain::swipe;
use crate::receipt::account_text;

/// What a stored receipt says that can be proved. More may stand in it.
#[derive(Deserialize)]
struct Stored {
    swipe: String,
    account: Option<String>,
    recorded_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
    points: StoredPoints,
    #[serde(default)]
    coupons: Vec<Brought>,
    #[serde(default)]
    redemptions: Vec<Taken>,
}

#[derive(Deserialize)]
struct StoredPoints {
    earned: i64,
    reversed: i64,
    spent: i64,
    #[serde(default)]
    short: i64,
    balance: Option<i64>,
}

/// The receipt of one transaction. The points of its entries are applied already.
pub(super) fn check(
    history: &mut History<'_>,
    version: i64,
    kind: swipe::Kind,
    row: &SwipeRow,
    entries: &[EntryRow],
    coupons: &[CouponRow],
) {
    let answer = match history.ledger.receipts.decompress(&row.receipt) {
        Ok(answer) => answer,
        Err(error) => return history.require(false, Kind::ReceiptDamaged, version, error),
    };
    let stored: Stored = match serde_json::from_slice(&answer) {
        Ok(stored) => stored,
        // The message of the parser could quote the receipt.
        Err(_) => return history.require(false, Kind::ReceiptDamaged, version, "not a receipt"),
    };
    let mut differs = |holds: bool, what: &str| {
        history.require(holds, Kind::ReceiptDiffers, version, what);
    };
    differs(stored.points.earned == row.earned_points, "points.earned");
    differs(stored.points.reversed == row.reversed_points, "points.reversed");
    differs(stored.points.spent == row.spent_points, "points.spent");
    let owed = entries.iter().filter(|entry| entry.kind == EntryKind::Redeem as i16);
    let owed = owed.filter(|entry| entry.lot() == DEBT).map(|entry| i128::from(entry.points));
    differs(i128::from(stored.points.short) == -owed.sum::<i128>(), "points.short");
    let said_at = match kind {
        swipe::Kind::Void | swipe::Kind::Tombstone => stored.voided_at,
        _ => stored.recorded_at,
    };
    // The database keeps microseconds, the receipt what the clock said.
    let near =
        |at: Timestamp| at.duration_since(row.recorded_at).abs() <= SignedDuration::from_micros(1);
    differs(said_at.is_some_and(near), "the time of recording");

    if kind == swipe::Kind::Sale {
        let said = (&*stored.coupons, &*stored.redemptions);
        history.coupons_on_receipt(version, said, coupons);
    }

    let name = history.ledger.reference.swipe_name(&row.name).map(|name| name.to_string());
    let (total, is_house) = (history.points.total(), history.state == Some(State::House));
    let is_merged = history.state == Some(State::Merged);
    let own = account_text(history.account_id);
    let mut differs = |holds: bool, what: &str| {
        history.require(holds, Kind::ReceiptDiffers, version, what);
    };
    differs(name.is_none_or(|name| name == stored.swipe), "the name");
    if kind == swipe::Kind::Void && is_merged && stored.account.as_ref() != Some(&own) {
        // It speaks of the account that this one was merged into, where the points are.
        return;
    }
    differs(stored.account.is_none_or(|account| account == own && !is_house), "the account");
    let balance = stored.points.balance.map(i128::from);
    differs(balance == (!is_house).then_some(total), "points.balance");
}
