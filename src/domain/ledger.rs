//! The points of one account: lots, and the ledger entries that change them.
//!
//! Owns the rule *Σ entries = Σ lots = total*: every method that moves points changes the
//! lots and reports the same change as entries, or does neither. It never looks at a clock:
//! what has expired or become available is asked about a business date.

use jiff::civil::{Date, date};

use super::codec::{DecodeError, Reader, Writer};

/// The `expires_on` of points that never expire.
pub const NEVER: Date = date(9999, 12, 31);

/// The lot of points that are owed: negative, available always, expiring never.
pub const DEBT: LotKey = LotKey { expires_on: NEVER, available_from: date(1, 1, 1) };

/// What makes two points interchangeable. Ordered as points are spent: soonest expiry first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LotKey {
    /// The last business date on which the points can be spent.
    pub expires_on: Date,
    /// The first business date on which the points can be spent.
    pub available_from: Date,
}

/// Points with one key. Positive, except for the one lot under [`DEBT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot {
    /// When these points can be spent.
    pub key: LotKey,
    /// How many; never zero.
    pub points: i64,
}

/// Why an entry was written. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum EntryKind {
    /// A purchase earned points.
    Earn = 1,
    /// Points paid for something.
    Redeem = 2,
    /// A return or a void took earned points back.
    ReverseEarn = 3,
    /// A void gave spent points back.
    ReverseRedeem = 4,
    /// Points ran out of time.
    Expire = 5,
    /// A person corrected the balance.
    Adjust = 6,
    /// Points moved between accounts.
    Transfer = 7,
}

impl EntryKind {
    /// The kind that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        use EntryKind::{Adjust, Earn, Expire, Redeem, ReverseEarn, ReverseRedeem, Transfer};
        [Earn, Redeem, ReverseEarn, ReverseRedeem, Expire, Adjust, Transfer]
            .into_iter()
            .find(|kind| *kind as i16 == code)
    }
}

/// One row of the append-only ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub kind: EntryKind,
    /// Signed change; never zero.
    pub points: i64,
    /// The lot that it changes.
    pub lot: LotKey,
}

/// The lots of one account, sorted by key, none of them empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lots(Vec<Lot>);

impl Lots {
    /// All points, pending ones and debt included. May be negative.
    pub fn total(&self) -> i64 {
        self.0.iter().map(|lot| lot.points).sum()
    }

    /// Points owed, as a positive number.
    pub fn debt(&self) -> i64 {
        self.0.iter().find(|lot| lot.key == DEBT).map_or(0, |lot| -lot.points)
    }

    /// Points that could pay for something on a business date: what is available and not
    /// expired, less what is owed; never negative.
    pub fn spendable(&self, on: Date) -> i64 {
        let sum: i64 = self
            .0
            .iter()
            .filter(|lot| lot.key.available_from <= on && on <= lot.key.expires_on)
            .map(|lot| lot.points)
            .sum();
        sum.max(0)
    }

    /// Points that are there but cannot be spent yet.
    pub fn pending(&self, on: Date) -> i64 {
        self.0.iter().filter(|lot| lot.key.available_from > on).map(|lot| lot.points).sum()
    }

    /// The next points to run out, and the last day on which they can be spent.
    pub fn next_expiry(&self, on: Date) -> Option<(i64, Date)> {
        let due = self
            .0
            .iter()
            .filter(|lot| lot.points > 0 && on <= lot.key.expires_on)
            .map(|lot| lot.key.expires_on)
            .find(|expires_on| *expires_on != NEVER)?;
        let points =
            self.0.iter().filter(|lot| lot.key.expires_on == due).map(|lot| lot.points).sum();
        Some((points, due))
    }

    /// The last day of the lot that runs out first; none when none ever does.
    pub fn first_expiry(&self) -> Option<Date> {
        let last_day = self.0.first()?.key.expires_on;
        (last_day != NEVER).then_some(last_day)
    }

    /// The lots in the order in which they are spent.
    pub fn iter(&self) -> impl Iterator<Item = Lot> + '_ {
        self.0.iter().copied()
    }

    /// Writes off what can no longer be spent on a business date.
    pub fn expire(&mut self, on: Date, entries: &mut Vec<Entry>) {
        self.0.retain(|lot| {
            let due = lot.key.expires_on < on;
            if due {
                entries.push(Entry { kind: EntryKind::Expire, points: -lot.points, lot: lot.key });
            }
            !due
        });
    }

    /// Adds points. What is owed is paid first; only the rest is put into the lot.
    pub fn add(&mut self, kind: EntryKind, points: i64, key: LotKey, entries: &mut Vec<Entry>) {
        let paid = points.min(self.debt());
        self.change(kind, paid, DEBT, entries);
        self.change(kind, points - paid, key, entries);
    }

    /// Takes points away: from the preferred lot, then soonest expiry first; what is not
    /// there is owed.
    pub fn take(
        &mut self,
        kind: EntryKind,
        points: i64,
        preferred: Option<LotKey>,
        entries: &mut Vec<Entry>,
    ) {
        let mut left = points;
        let preferred = preferred.into_iter().filter_map(|key| self.find(key));
        let others = self.0.iter().copied();
        let sources: Vec<Lot> = preferred.chain(others).filter(|lot| lot.points > 0).collect();
        for source in sources {
            // The preferred lot comes round a second time; look at what it holds by then.
            let here = self.find(source.key).map_or(0, |lot| lot.points);
            let taken = left.min(here);
            self.change(kind, -taken, source.key, entries);
            left -= taken;
        }
        self.change(kind, -left, DEBT, entries);
    }

    /// Pays with points: soonest expiry first, from what is available on a business date. What
    /// is not there is owed, and returned; points that are still pending pay for nothing.
    pub fn spend(&mut self, points: i64, on: Date, entries: &mut Vec<Entry>) -> i64 {
        let spendable =
            |lot: &Lot| lot.points > 0 && lot.key.available_from <= on && on <= lot.key.expires_on;
        let sources: Vec<Lot> = self.0.iter().copied().filter(spendable).collect();
        let mut left = points;
        for source in sources {
            let spent = left.min(source.points);
            self.change(EntryKind::Redeem, -spent, source.key, entries);
            left -= spent;
        }
        self.change(EntryKind::Redeem, -left, DEBT, entries);
        left
    }

    /// Takes everything out, debt included, and returns what was there.
    pub fn empty(&mut self, kind: EntryKind, entries: &mut Vec<Entry>) -> Vec<Lot> {
        let lots = std::mem::take(&mut self.0);
        let taken = |lot: &Lot| Entry { kind, points: -lot.points, lot: lot.key };
        entries.extend(lots.iter().map(taken));
        lots
    }

    /// Moves everything to other lots, debt included: `gone` is what leaves here, `booked` what
    /// arrives there.
    pub fn move_to(&mut self, other: &mut Self, gone: &mut Vec<Entry>, booked: &mut Vec<Entry>) {
        for lot in self.empty(EntryKind::Transfer, gone) {
            if lot.points > 0 {
                other.add(EntryKind::Transfer, lot.points, lot.key, booked);
            } else {
                other.take(EntryKind::Transfer, -lot.points, None, booked);
            }
        }
    }

    fn find(&self, key: LotKey) -> Option<Lot> {
        self.0.iter().find(|lot| lot.key == key).copied()
    }

    fn change(&mut self, kind: EntryKind, points: i64, key: LotKey, entries: &mut Vec<Entry>) {
        if points == 0 {
            return;
        }
        entries.push(Entry { kind, points, lot: key });
        self.apply(points, key);
    }

    fn apply(&mut self, points: i64, key: LotKey) {
        match self.0.binary_search_by_key(&key, |lot| lot.key) {
            Ok(at) => {
                self.0[at].points += points;
                if self.0[at].points == 0 {
                    self.0.remove(at);
                }
            }
            Err(at) => self.0.insert(at, Lot { key, points }),
        }
    }

    /// The lots that a list of entries leaves behind: what an audit compares with.
    pub fn replay(entries: impl IntoIterator<Item = (i64, LotKey)>) -> Self {
        let mut lots = Self::default();
        for (points, key) in entries {
            lots.replay_entry(points, key);
        }
        lots
    }

    /// One more entry of [`Lots::replay`], where they come one by one.
    pub fn replay_entry(&mut self, points: i64, key: LotKey) {
        if points != 0 {
            self.apply(points, key);
        }
    }

    /// Compact form for storage; the first byte names the encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(ENCODING);
        writer.unsigned(self.0.len() as u64);
        for lot in &self.0 {
            writer.date(lot.key.expires_on);
            writer.date(lot.key.available_from);
            writer.signed(lot.points);
        }
        writer.finish()
    }

    /// Reads [`Lots::encode`] back.
    ///
    /// # Errors
    /// When the bytes are not a complete encoding that this version knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, ENCODING)?;
        let count = reader.length(3)?;
        let mut lots = Vec::with_capacity(count);
        for _ in 0..count {
            let expires_on = reader.date()?;
            let available_from = reader.date()?;
            let points = reader.signed()?;
            lots.push(Lot { key: LotKey { expires_on, available_from }, points });
        }
        reader.end()?;
        Ok(Self(lots))
    }
}

const ENCODING: u8 = 1;
