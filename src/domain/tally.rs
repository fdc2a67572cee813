//! What a programme counts of an account, beside its points: money that qualifies for a tier.
//!
//! Owns the rule *a count is a sum over the account's transactions*, those of accounts that were
//! merged into it included: each month holds what the transactions of that month counted, less
//! what returns and voids took back of it, for all months from a first one on. So the order in
//! which transactions arrive changes nothing, a void leaves what there was before its sale, and
//! an audit adds up the same numbers again. What a count means is said by `domain::programme`.

use jiff::civil::Date;

use super::codec::{DecodeError, Reader, Writer};

/// Months since the year 0: what a count by months goes by.
pub type Month = i32;

/// The month of a day.
pub fn month_of(date: Date) -> Month {
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

/// Counts of one account. A word, until there is something to be counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Option<Box<Counts>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Minor units that qualify for a tier, by month.
    qualifying: Ring,
}

/// Sums by a number that grows with time. Those before the first that is kept are forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// The first that is kept; what comes for an earlier one is passed over.
    since: i32,
    /// Sorted; never zero.
    sums: Vec<(i32, i64)>,
}

/// Most sums that a ring holds, whatever a programme asks for.
pub const SUMS_MAX: usize = 64;

static NOTHING: Ring = Ring { since: i32::MIN, sums: Vec::new() };

impl Default for Ring {
    fn default() -> Self {
        NOTHING.clone()
    }
}

impl Ring {
    /// The first that is kept; none when all are.
    pub fn since(&self) -> Option<i32> {
        (self.since != i32::MIN).then_some(self.since)
    }

    /// What was counted from one to another, both included.
    pub fn sum(&self, from: i32, to: i32) -> i64 {
        let within = |(at, _): &&(i32, i64)| (from..=to).contains(at);
        self.sums.iter().filter(within).map(|(_, sum)| sum).sum()
    }

    /// What is kept, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.sums.iter().copied()
    }

    /// Counts something. Passed over when it belongs to what was forgotten.
    fn add(&mut self, at: i32, value: i64) {
        if value == 0 || at < self.since {
            return;
        }
        match self.sums.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(found) => {
                self.sums[found].1 += value;
                if self.sums[found].1 == 0 {
                    self.sums.remove(found);
                }
            }
            Err(place) => self.sums.insert(place, (at, value)),
        }
        if self.sums.len() > SUMS_MAX {
            self.forget_before(self.sums[1].0);
        }
    }

    /// Forgets what lies before. What was forgotten does not come back.
    fn forget_before(&mut self, since: i32) {
        self.since = self.since.max(since);
        self.sums.retain(|(at, _)| *at >= self.since);
    }

    /// Moves everything to another ring, which keeps no more than both have kept.
    fn move_to(&mut self, other: &mut Self) {
        let Self { since, sums } = std::mem::take(self);
        other.forget_before(since);
        for (at, value) in sums {
            other.add(at, value);
        }
    }

    fn write(&self, out: &mut Writer) {
        out.signed(self.since.into());
        out.unsigned(self.sums.len() as u64);
        let mut before = i64::from(self.since);
        for (at, value) in &self.sums {
            out.unsigned((i64::from(*at) - before).cast_unsigned());
            out.signed(*value);
            before = i64::from(*at) + 1;
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = |value: i64| i32::try_from(value).map_err(|_| DecodeError::Damaged);
        let since = number(from.signed()?)?;
        let count = from.length(2)?;
        let mut sums = Vec::with_capacity(count);
        let mut before = i64::from(since);
        for _ in 0..count {
            let gap: u32 = from.small()?;
            let at = number(before + i64::from(gap))?;
            let value = from.signed()?;
            if value == 0 {
                return Err(DecodeError::Damaged);
            }
            sums.push((at, value));
            before = i64::from(at) + 1;
        }
        Ok(Self { since, sums })
    }
}

/// What one transaction counts, or takes back where negative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Minor units that qualify for a tier, by month.
    pub qualifying: Vec<(Month, i64)>,
}

impl Tally {
    /// Minor units that qualify for a tier, by month.
    pub fn qualifying(&self) -> &Ring {
        self.0.as_deref().map_or(&NOTHING, |counts| &counts.qualifying)
    }

    /// Keeps qualifying money from this month on. Asked for by the newest day of an account
    /// only, so that rules that were in force before do not forget what later ones need.
    pub fn keep_qualifying(&mut self, since: Month) {
        self.counts().qualifying.forget_before(since);
    }

    /// Counts a transaction.
    pub fn count(&mut self, counted: &Counted) {
        self.add(counted, 1);
    }

    /// Takes back what a transaction has counted.
    pub fn take_back(&mut self, counted: &Counted) {
        self.add(counted, -1);
    }

    fn add(&mut self, counted: &Counted, sign: i64) {
        for (month, minor) in &counted.qualifying {
            self.counts().qualifying.add(*month, sign * minor);
        }
    }

    /// Moves everything to another account.
    pub fn move_to(&mut self, other: &mut Self) {
        if let Some(mut counts) = self.0.take() {
            counts.qualifying.move_to(&mut other.counts().qualifying);
        }
    }

    fn counts(&mut self) -> &mut Counts {
        self.0.get_or_insert_default()
    }

    /// Compact form for storage, the first byte of which names the encoding; none while nothing
    /// was ever counted.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let counts = self.0.as_deref().filter(|counts| **counts != Counts::default())?;
        let mut out = Writer::new(ENCODING);
        out.byte(QUALIFYING);
        counts.qualifying.write(&mut out);
        Some(out.finish())
    }

    /// Reads [`Tally::encode`] back.
    ///
    /// # Errors
    /// When the bytes are not a complete encoding that this version knows.
    pub fn decode(bytes: Option<&[u8]>) -> Result<Self, DecodeError> {
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let mut from = Reader::new(bytes, ENCODING)?;
        let held = from.byte()?;
        if held & !QUALIFYING != 0 {
            return Err(DecodeError::Damaged);
        }
        let mut counts = Counts::default();
        if held & QUALIFYING != 0 {
            counts.qualifying = Ring::read(&mut from)?;
        }
        from.end()?;
        Ok(Self(Some(Box::new(counts))))
    }
}

const ENCODING: u8 = 1;
const QUALIFYING: u8 = 1;

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn counted(qualifying: &[(Month, i64)]) -> Counted {
        Counted { qualifying: qualifying.to_vec() }
    }

    #[test]
    fn a_tally_reads_back_as_it_was_written_and_damage_is_noticed() {
        assert_eq!(Tally::default().encode(), None);
        let mut tally = Tally::default();
        let march = month_of(date(2026, 3, 14));
        tally.keep_qualifying(march - 13);
        tally.count(&counted(&[(march, 35_000), (march - 2, -7), (march - 20, 5)]));
        assert_eq!(
            tally.qualifying().iter().collect::<Vec<_>>(),
            [(march - 2, -7), (march, 35_000)]
        );
        let bytes = tally.encode().expect("something was counted");
        assert!(bytes.len() <= 12, "{}", bytes.len());
        assert_eq!(Tally::decode(Some(&bytes)), Ok(tally.clone()));
        for end in 0..bytes.len() {
            assert!(Tally::decode(Some(&bytes[..end])).is_err(), "cut at {end}");
        }
        // Where counting began is remembered when nothing is left.
        tally.take_back(&counted(&[(march, 35_000), (march - 2, -7)]));
        let bytes = tally.encode().expect("it has begun");
        assert_eq!(Tally::decode(Some(&bytes)), Ok(tally));
    }

    #[test]
    fn what_was_forgotten_is_not_counted_again_and_a_ring_is_bounded() {
        let mut tally = Tally::default();
        for month in 0..1_000 {
            tally.count(&counted(&[(month, 1)]));
        }
        assert_eq!(tally.qualifying().iter().count(), SUMS_MAX);
        assert_eq!(tally.qualifying().since(), Some(1_000 - 64));
        tally.count(&counted(&[(900, 1)]));
        assert_eq!(tally.qualifying().sum(0, 2_000), 64);
        tally.keep_qualifying(990);
        tally.keep_qualifying(980);
        assert_eq!(tally.qualifying().sum(0, 2_000), 10);
    }

    #[test]
    fn an_heir_keeps_no_more_than_both_have_kept() {
        let (mut left, mut heir) = (Tally::default(), Tally::default());
        left.keep_qualifying(10);
        left.count(&counted(&[(10, 5), (12, 7)]));
        heir.keep_qualifying(8);
        heir.count(&counted(&[(9, 100), (12, 1)]));
        left.move_to(&mut heir);
        assert_eq!(left, Tally::default());
        assert_eq!(heir.qualifying().iter().collect::<Vec<_>>(), [(10, 5), (12, 8)]);
        // A void on the account that was left takes back what it had handed on.
        left.take_back(&counted(&[(12, 7), (3, 1)]));
        left.move_to(&mut heir);
        assert_eq!(heir.qualifying().iter().collect::<Vec<_>>(), [(10, 5), (12, 1)]);
    }
}
