//! What people and the calendar do to an account: adjustments, and expiries that nobody's swipe
//! has written. Facts → decision, as for a swipe; never refuses, and never looks at a clock.

use jiff::civil::Date;

use super::account::Account;
use super::ledger::{Entry, EntryKind, LotKey};
use super::swipe::{begin, finish};

/// Most points that one adjustment gives or takes.
pub const ADJUSTMENT_POINTS_MAX: i64 = 1_000_000_000;

/// An account corrected by so many points, given or taken. What is given pays what is owed
/// first, and the rest goes into `lot`; what is taken and not there is owed.
pub fn decide_adjustment(
    account: &Account,
    points: i64,
    business_date: Date,
    lot: LotKey,
) -> (Account, Vec<Entry>) {
    let (mut next, mut entries) = begin(account, business_date);
    if points > 0 {
        next.lots.add(EntryKind::Adjust, points, lot, &mut entries);
    } else {
        next.lots.take(EntryKind::Adjust, -points, None, &mut entries);
    }
    finish(&mut next, &mut entries);
    (next, entries)
}

/// An account with its due expiries written; none when nothing is due, and nothing changes.
pub fn decide_expiry(account: &Account, business_date: Date) -> Option<(Account, Vec<Entry>)> {
    let (next, entries) = begin(account, business_date);
    (!entries.is_empty()).then_some((next, entries))
}
