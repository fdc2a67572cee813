//! The account of the model: lots as plain rows, and what may happen to them.
//!
//! Written from the rules of points alone. It must never call `tillside::domain`: what both
//! got wrong in the same way would not be noticed.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::tiers::Months;

/// For so many days an account remembers what it earned on them, and never more than this many.
const DAYS_KEPT: i64 = 31;
const DAYS_MAX: usize = 64;

/// Why points moved. The names are those of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Earn,
    Redeem,
    ReverseEarn,
    ReverseRedeem,
    Expire,
    Adjust,
    Transfer,
}

/// What points of one lot have in common; in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) expires_on: Date,
    pub(crate) available_from: Date,
}

/// Points that can be told apart by their key only; never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lot {
    pub(crate) key: Key,
    pub(crate) points: i64,
}

/// One movement. Without a lot it moved what is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) points: i64,
    pub(crate) lot: Option<Key>,
}

/// An account, and every movement that it has seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Account {
    pub(crate) enrolled: bool,
    /// The account that has its points now.
    pub(crate) merged_into: Option<usize>,
    pub(crate) version: i64,
    /// The latest business date that it has seen.
    pub(crate) clock: Date,
    /// In the order of their keys.
    pub(crate) lots: Vec<Lot>,
    pub(crate) owed: i64,
    pub(crate) entries: Vec<Entry>,
    /// What was earned on a day, less what came back of it; never nothing.
    days: Vec<(Date, i64)>,
    /// Earlier days are forgotten.
    days_since: Date,
    /// What it has spent, as far as that counts towards tiers.
    pub(crate) months: Months,
    /// The tier that its last receipt showed.
    pub(crate) shown_tier: usize,
}

/// How an account stands on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) balance: i64,
    pub(crate) spendable: i64,
    pub(crate) pending: i64,
    pub(crate) next_expiry: Option<(i64, Date)>,
}

impl Account {
    pub(crate) fn new() -> Self {
        Self {
            enrolled: false,
            merged_into: None,
            version: 0,
            clock: Date::MIN,
            lots: Vec::new(),
            owed: 0,
            entries: Vec::new(),
            days: Vec::new(),
            days_since: Date::MIN,
            months: Months::new(),
            shown_tier: 0,
        }
    }

    /// Every event begins so: a new version, time goes on, and what has run out is written off.
    pub(crate) fn begin(&mut self, business_date: Date) {
        self.version += 1;
        self.clock = self.clock.max(business_date);
        self.write_off();
    }

    /// What was earned on a day, as far as it is remembered.
    pub(crate) fn earned_on(&self, day: Date) -> i64 {
        self.days.iter().find(|(of, _)| *of == day).map_or(0, |(_, points)| *points)
    }

    /// Counts points for a day; below zero what came back.
    pub(crate) fn count(&mut self, day: Date, points: i64) {
        if points == 0 || day < self.days_since {
            return;
        }
        match self.days.iter_mut().find(|(of, _)| *of == day) {
            Some((_, sum)) => *sum += points,
            None => self.days.push((day, points)),
        }
        self.days.retain(|(_, sum)| *sum != 0);
        self.days.sort();
        if self.days.len() > DAYS_MAX {
            self.forget_before(self.days[1].0);
        }
    }

    /// A sale of the newest day forgets what lies far back.
    pub(crate) fn forget_days(&mut self, sold_on: Date) {
        if sold_on == self.clock {
            self.forget_before(self.clock - (DAYS_KEPT - 1).days());
        }
    }

    fn forget_before(&mut self, day: Date) {
        self.days_since = self.days_since.max(day);
        self.days.retain(|(of, _)| *of >= self.days_since);
    }

    /// Writes off what has run out by the account's clock, soonest first.
    pub(crate) fn write_off(&mut self) {
        while self.lots.first().is_some_and(|lot| lot.key.expires_on < self.clock) {
            let lot = self.lots.remove(0);
            self.book(Kind::Expire, -lot.points, Some(lot.key));
        }
    }

    /// Points come in: what is owed is paid first, the rest goes into a lot.
    pub(crate) fn put(&mut self, kind: Kind, points: i64, key: Key) {
        let paid = points.min(self.owed);
        self.owed -= paid;
        self.book(kind, paid, None);
        let rest = points - paid;
        match self.lots.iter_mut().find(|lot| lot.key == key) {
            Some(lot) => lot.points += rest,
            None if rest > 0 => self.lots.push(Lot { key, points: rest }),
            None => {}
        }
        self.lots.sort_by_key(|lot| lot.key);
        self.book(kind, rest, Some(key));
    }

    /// Points go: from a preferred lot, then from what runs out soonest; the rest is owed.
    pub(crate) fn take(&mut self, kind: Kind, points: i64, preferred: Option<Key>) {
        let mut keys: Vec<Key> = self.lots.iter().map(|lot| lot.key).collect();
        keys.sort_by_key(|key| (Some(*key) != preferred, *key));
        self.take_from(kind, points, &keys);
    }

    /// Points pay: those that can be spent today, what runs out soonest first; the rest is owed.
    /// Tells how many were not there.
    pub(crate) fn redeem(&mut self, points: i64) -> i64 {
        let today = self.clock;
        let usable = self.lots.iter().filter(|lot| lot.key.available_from <= today);
        let keys: Vec<Key> = usable.map(|lot| lot.key).collect();
        self.take_from(Kind::Redeem, points, &keys)
    }

    fn take_from(&mut self, kind: Kind, points: i64, keys: &[Key]) -> i64 {
        let mut missing = points;
        for key in keys {
            let lot = self.lots.iter_mut().find(|lot| lot.key == *key).expect("a key of a lot");
            let taken = missing.min(lot.points);
            lot.points -= taken;
            missing -= taken;
            self.book(kind, -taken, Some(*key));
        }
        self.lots.retain(|lot| lot.points > 0);
        self.owed += missing;
        self.book(kind, -missing, None);
        missing
    }

    /// Gives everything to another account: each lot, and what is owed.
    pub(crate) fn give_to(&mut self, heir: &mut Self) {
        for lot in std::mem::take(&mut self.lots) {
            self.book(Kind::Transfer, -lot.points, Some(lot.key));
            heir.put(Kind::Transfer, lot.points, lot.key);
        }
        let owed = std::mem::take(&mut self.owed);
        self.book(Kind::Transfer, owed, None);
        heir.take(Kind::Transfer, owed, None);
        heir.forget_before(std::mem::replace(&mut self.days_since, Date::MIN));
        for (day, points) in std::mem::take(&mut self.days) {
            heir.count(day, points);
        }
        self.months.give_to(&mut heir.months);
    }

    pub(crate) fn total(&self) -> i64 {
        self.lots.iter().map(|lot| lot.points).sum::<i64>() - self.owed
    }

    /// How it stands on a day, by its clock at the earliest.
    pub(crate) fn standing(&self, day: Date) -> Standing {
        let mut then = self.clone();
        then.clock = then.clock.max(day);
        then.write_off();
        let (usable, pending): (Vec<Lot>, Vec<Lot>) =
            then.lots.iter().partition(|lot| lot.key.available_from <= then.clock);
        let sum = |lots: &[Lot]| lots.iter().map(|lot| lot.points).sum::<i64>();
        let soonest = then.lots.first().map(|lot| lot.key.expires_on);
        let next_expiry = soonest.filter(|on| *on != Date::MAX).map(|on| {
            let ending = then.lots.iter().filter(|lot| lot.key.expires_on == on);
            (ending.map(|lot| lot.points).sum(), on)
        });
        Standing {
            balance: then.total(),
            spendable: (sum(&usable) - then.owed).max(0),
            pending: sum(&pending),
            next_expiry,
        }
    }

    fn book(&mut self, kind: Kind, points: i64, lot: Option<Key>) {
        if points != 0 {
            self.entries.push(Entry { kind, points, lot });
        }
    }
}
