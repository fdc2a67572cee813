//! An account as a decision needs it: its version, its points and its counters.

use jiff::civil::{Date, date};

use super::ledger::Lots;
use super::tally::Tally;

/// The clock of an account that has seen nothing yet.
pub const CLOCK_START: Date = date(1, 1, 1);

/// One household or one customer; or the house account of a workstation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id; the bucket stands in the low byte.
    pub account_id: i64,
    /// Raised by one with every change.
    pub version: i64,
    /// What kind of account it is.
    pub state: State,
    /// The latest business date it has seen; never goes back.
    pub clock: Date,
    /// Its points.
    pub lots: Lots,
    /// Totals of its transactions, in minor units; voided ones taken out.
    pub sales_minor: i64,
    /// Number of its transactions; voided ones taken out.
    pub baskets: i32,
    /// What its programme counts of it.
    pub tally: Tally,
}

/// What kind of account it is. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Somebody used a card that nobody has enrolled.
    Provisional = 0,
    /// A customer's.
    Enrolled = 1,
    /// A workstation's own: takes what belongs to no customer; earns and learns nothing.
    House = 2,
    /// Its points have moved to another account.
    Merged = 3,
    /// Of a card that people have blocked: what is bought with it waits here.
    Blocked = 4,
}

impl State {
    /// The state that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Provisional, Self::Enrolled, Self::House, Self::Merged, Self::Blocked]
            .into_iter()
            .find(|state| *state as i16 == code)
    }
}

impl Account {
    /// A new account without any history.
    pub fn new(account_id: i64, state: State) -> Self {
        Self {
            account_id,
            version: 0,
            state,
            clock: CLOCK_START,
            lots: Lots::default(),
            sales_minor: 0,
            baskets: 0,
            tally: Tally::default(),
        }
    }
}
