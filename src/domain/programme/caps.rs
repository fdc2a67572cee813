//! Caps: the most that points may come to for a transaction, for an account on a day, and for an
//! account within a period; and what may be said of caps of single rules, which come before them
//! (see [`super::earning::own_caps`]).
//!
//! * The three are applied last, to the sum over the transaction, and the lowest counts.
//! * What an account has earned on a business date, and within the period, is counted by
//!   `domain::tally`: what its transactions of that day earned, less what returns and voids of
//!   them took back. So what comes back gives room, to the transactions that come after it.
//! * Counted is what was earned while a programme with such a cap was in force. A period is known
//!   by its first day: a further programme with the same one goes on counting.
//! * Days are remembered for [`DAYS_KEPT`] days. A transaction that comes later is capped on its
//!   day by itself alone.

use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Programme;
use super::rules::{EarnRule, Rules};
use crate::domain::codec::days;
use crate::domain::tally::{CountedOn, Tally};

/// For so many days an account remembers what it earned, those that lie furthest back included.
pub const DAYS_KEPT: i64 = 31;

/// Most multipliers of a programme with a cap of their own: each may count or stand back, and
/// all ways are tried.
const OWN_CAPS_MAX: usize = 8;
pub(super) const TOO_MANY: &str = "at most 8 multipliers may have a cap of their own";

/// The most points that an account earns within a period, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccountCap {
    /// How many, 1 or more.
    pub points: u32,
    /// The first business date of the period, by which it is known.
    pub from: Date,
    /// The last one; absent: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// The caps of a programme, ready to be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Caps {
    per_swipe: Option<i64>,
    per_day: Option<i64>,
    per_account: Option<AccountCap>,
}

/// What an account has earned before a transaction, of what its caps count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EarnedBefore {
    /// On the transaction's business date; not negative.
    pub on_day: i64,
    /// Within the period of the cap; not negative.
    pub in_period: i64,
}

/// A cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Of the transaction.
    Swipe,
    /// Of the account's day.
    Day,
    /// Of the account's period.
    Account,
}

impl Cap {
    /// As rules name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swipe => "cap_per_swipe",
            Self::Day => "cap_per_day",
            Self::Account => "cap_per_account",
        }
    }
}

/// What a cap took off a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which.
    pub cap: Cap,
    /// What the rules would have given.
    pub due: i64,
}

/// What is wrong with caps, by the text of the rules.
pub(super) fn require(rules: &Rules, mut require: impl FnMut(bool, &str, &str)) {
    let nothing = "nothing would ever earn points: 1 or more, or leave the line out";
    require(rules.cap_per_swipe != Some(0), "/cap_per_swipe", nothing);
    require(rules.cap_per_day != Some(0), "/cap_per_day", nothing);
    let Some(AccountCap { points, from, until }) = rules.cap_per_account else { return };
    require(points != 0, "/cap_per_account/points", nothing);
    let ordered = until.is_none_or(|until| from <= until);
    let problem = "until lies before from: no day would be in it";
    require(ordered, "/cap_per_account/until", problem);
}

/// What is wrong with the cap of a rule, by its place in the rule.
pub(super) fn require_own(rule: &EarnRule, mut require: impl FnMut(bool, &str, &str)) {
    let nothing = "the rule would never give a point: 1 or more, or leave the line out";
    require(rule.cap_per_swipe != Some(0), "/cap_per_swipe", nothing);
    let is_once = rule.cap_per_swipe.is_some() && rule.fixed_points.is_some();
    let problem = "fixed_points are given once for a transaction: say fewer of them instead";
    require(!is_once, "/cap_per_swipe", problem);
}

/// Whether few enough multipliers have a cap of their own.
pub(super) fn are_few(rules: &[EarnRule]) -> bool {
    let capped = |rule: &&EarnRule| rule.multiplier.is_some() && rule.cap_per_swipe.is_some();
    rules.iter().filter(capped).count() <= OWN_CAPS_MAX
}

impl Caps {
    pub(super) fn of(rules: &Rules) -> Self {
        Self {
            per_swipe: rules.cap_per_swipe.map(i64::from),
            per_day: rules.cap_per_day.map(i64::from),
            per_account: rules.cap_per_account,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The most that a transaction may earn on a day, and by which cap; of equal ones the first.
    pub(super) fn lowest(&self, on: Date, before: EarnedBefore) -> Option<(i64, Cap)> {
        let left = |points: i64, earned: i64| (points - earned).max(0);
        [
            self.per_swipe.map(|points| (points, Cap::Swipe)),
            self.per_day.map(|points| (left(points, before.on_day), Cap::Day)),
            self.period_of(on)
                .map(|period| (left(period.points.into(), before.in_period), Cap::Account)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(points, _)| *points)
    }

    fn period_of(&self, on: Date) -> Option<AccountCap> {
        let holds = |cap: &AccountCap| cap.from <= on && cap.until.is_none_or(|until| on <= until);
        self.per_account.filter(holds)
    }
}

impl Programme {
    /// Where what a transaction of a day earns is counted.
    pub fn counted_on(&self, business_date: Date) -> CountedOn {
        CountedOn {
            day: self.caps.per_day.map(|_| days(business_date)),
            period: self.caps.period_of(business_date).map(|period| days(period.from)),
        }
    }

    /// What an account has earned before a transaction of a day.
    pub fn earned_before(&self, tally: &Tally, business_date: Date) -> EarnedBefore {
        let CountedOn { day, period } = self.counted_on(business_date);
        EarnedBefore {
            on_day: day.map_or(0, |day| tally.by_day().sum(day, day).max(0)),
            in_period: period.map_or(0, |from| tally.by_period().sum(from, from).max(0)),
        }
    }

    /// The first day of which an account remembers what it earned, on a day; none without a cap
    /// for days.
    pub(in crate::domain) fn days_since(&self, on: Date) -> Option<i32> {
        self.caps.per_day?;
        Some(days(on.saturating_sub(Span::new().days(DAYS_KEPT - 1))))
    }
}
