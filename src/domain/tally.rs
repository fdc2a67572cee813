//! What a programme counts of an account, beside its points: money that qualifies for a tier, and
//! points that were earned, where they are capped.
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
    /// Points that were earned, by day.
    by_day: Ring,
    /// Points that were earned, by the first day of the period of a cap.
    by_period: Ring,
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

/// Where points are counted that are earned on a day; all by numbers of days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedOn {
    /// The day; none where days are not capped.
    pub day: Option<i32>,
    /// The first day of the period; none where it is in none.
    pub period: Option<i32>,
}

/// What one transaction counts, or takes back where negative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Minor units that qualify for a tier, by month.
    pub qualifying: Vec<(Month, i64)>,
    /// Points, by day.
    pub by_day: Vec<(i32, i64)>,
    /// Points, by the first day of the period of a cap.
    pub by_period: Vec<(i32, i64)>,
}

impl Counted {
    /// Counts points that were earned, or taken back where negative.
    pub(super) fn points(&mut self, on: CountedOn, points: i64) {
        if points != 0 {
            self.by_day.extend(on.day.map(|day| (day, points)));
            self.by_period.extend(on.period.map(|first| (first, points)));
        }
    }

    /// All of it: in the order of [`Tally::rings`].
    pub fn lists(&self) -> [&[(i32, i64)]; RINGS] {
        [&self.qualifying, &self.by_day, &self.by_period]
    }
}

/// How many kinds of counts there are.
pub const RINGS: usize = 3;

impl Tally {
    /// Minor units that qualify for a tier, by month.
    pub fn qualifying(&self) -> &Ring {
        self.0.as_deref().map_or(&NOTHING, |counts| &counts.qualifying)
    }

    /// Points that were earned, by day, as far as days are capped.
    pub fn by_day(&self) -> &Ring {
        self.0.as_deref().map_or(&NOTHING, |counts| &counts.by_day)
    }

    /// Points that were earned, by the first day of the period of a cap.
    pub fn by_period(&self) -> &Ring {
        self.0.as_deref().map_or(&NOTHING, |counts| &counts.by_period)
    }

    /// All that is counted: money by month, points by day, points by period.
    pub fn rings(&self) -> [&Ring; RINGS] {
        [self.qualifying(), self.by_day(), self.by_period()]
    }

    /// Keeps points by day from this day on; as [`Tally::keep_qualifying`].
    pub fn keep_days(&mut self, since: i32) {
        self.counts().by_day.forget_before(since);
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
        if counted.lists().iter().all(|list| list.is_empty()) {
            return;
        }
        for (ring, list) in self.counts().rings().into_iter().zip(counted.lists()) {
            for (at, value) in list {
                ring.add(*at, sign * value);
            }
        }
    }

    /// Moves everything to another account.
    pub fn move_to(&mut self, other: &mut Self) {
        if let Some(mut counts) = self.0.take() {
            for (ring, other) in counts.rings().into_iter().zip(other.counts().rings()) {
                ring.move_to(other);
            }
        }
    }

    fn counts(&mut self) -> &mut Counts {
        self.0.get_or_insert_default()
    }

    /// Compact form for storage, the first byte of which names the encoding; none while nothing
    /// was ever counted.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let counts = self.0.as_deref().filter(|counts| **counts != Counts::default())?;
        let rings = [&counts.qualifying, &counts.by_day, &counts.by_period];
        let held = || BITS.into_iter().zip(rings).filter(|(_, ring)| **ring != NOTHING);
        let mut out = Writer::new(ENCODING);
        out.byte(held().map(|(bit, _)| bit).sum());
        held().for_each(|(_, ring)| ring.write(&mut out));
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
        if held & !BITS.into_iter().sum::<u8>() != 0 {
            return Err(DecodeError::Damaged);
        }
        let mut counts = Counts::default();
        for (bit, ring) in BITS.into_iter().zip(counts.rings()) {
            if held & bit != 0 {
                *ring = Ring::read(&mut from)?;
            }
        }
        from.end()?;
        Ok(Self(Some(Box::new(counts))))
    }
}

impl Counts {
    fn rings(&mut self) -> [&mut Ring; RINGS] {
        [&mut self.qualifying, &mut self.by_day, &mut self.by_period]
    }
}

/// A version of the service that knows the first alone cannot load a programme that counts more.
const ENCODING: u8 = 1;
/// Which of [`Tally::rings`] follow.
const BITS: [u8; RINGS] = [1, 2, 4];

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn counted(qualifying: &[(Month, i64)]) -> Counted {
        Counted { qualifying: qualifying.to_vec(), ..Counted::default() }
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
    fn points_by_day_and_by_period_are_kept_beside_money() {
        let mut tally = Tally::default();
        let mut counted = Counted::default();
        counted.points(CountedOn { day: Some(20_526), period: None }, 40);
        tally.count(&counted);
        let days_alone = tally.encode().expect("something was counted");
        assert_eq!(Tally::decode(Some(&days_alone)), Ok(tally.clone()));
        counted.points(CountedOn { day: Some(20_527), period: Some(20_454) }, -7);
        counted.qualifying.push((24_314, 1_050));
        tally.count(&counted);
        let sums = |ring: &Ring| ring.iter().collect::<Vec<_>>();
        assert_eq!(sums(tally.by_day()), [(20_526, 80), (20_527, -7)]);
        assert_eq!(sums(tally.by_period()), [(20_454, -7)]);
        let bytes = tally.encode().expect("something was counted");
        assert_eq!(Tally::decode(Some(&bytes)), Ok(tally.clone()));
        for end in 0..bytes.len() {
            assert!(Tally::decode(Some(&bytes[..end])).is_err(), "cut at {end}");
        }
        tally.keep_days(20_527);
        tally.take_back(&counted);
        assert_eq!(sums(tally.by_day()), [], "what was forgotten is not taken back");
        assert_eq!((sums(tally.by_period()), sums(tally.qualifying())), (vec![], vec![]));
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
