//! How an account's points stand on a day: what people and receipts are told of them. Changes
//! nothing.

use jiff::civil::Date;

use super::account::Account;

/// How an account's points stand at its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// All points after due expiries, pending ones included; negative when some are owed.
    pub balance: i64,
    /// Points that could pay now.
    pub spendable: i64,
    /// Points that cannot pay yet.
    pub pending: i64,
    /// The next points to expire, and their last day.
    pub next_expiry: Option<(i64, Date)>,
}

/// How points stand on a business date, or at the account's clock when that is later.
pub fn of(account: &Account, on: Date) -> Standing {
    let on = account.clock.max(on);
    let mut lots = account.lots.clone();
    lots.expire(on, &mut Vec::new());
    Standing {
        balance: lots.total(),
        spendable: lots.spendable(on),
        pending: lots.pending(on),
        next_expiry: lots.next_expiry(on),
    }
}
