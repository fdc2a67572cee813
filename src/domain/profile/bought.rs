//! How often and when one item was bought, in the form that takes the least room. Which of the
//! two forms that is follows from the baskets alone; must never depend on when somebody looked.

use super::super::codec::{DecodeError, Reader, Writer};

/// Most gaps that are kept of an item: as bytes they take no more room than its counts.
const GAPS_MAX: usize = 7;

/// How often and when an item was bought. Which of the two it is follows from the baskets alone,
/// so that equal histories are equal profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bought {
    /// Once, or a few times in baskets whose day is known.
    Few(Gaps),
    /// Anything else.
    Often(Counts),
}

/// How many baskets lie from each basket that held an item to the next, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    len: u8,
    baskets: [u8; GAPS_MAX],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Baskets that held the item.
    pub(super) count: u16,
    /// Day of the first of them.
    pub(super) first_day: u16,
    /// Decayed counts as of the last of them, in 1024ths.
    pub(super) slow: u16,
    pub(super) fast: u16,
}

/// How an item stands now.
pub(super) struct Now {
    /// Baskets that held it.
    pub(super) count: u16,
    /// Day of the first of them.
    pub(super) first_day: u16,
    /// Decayed counts, in baskets. What is kept is rounded with each basket; what is only asked for
    /// need not be, and takes half as long.
    pub(super) slow: f32,
    pub(super) fast: f32,
}

impl Bought {
    pub(super) fn once() -> Self {
        Self::Few(Gaps::default())
    }

    /// The same, bought again so many baskets after the last time, in the newest basket.
    pub(super) fn again(self, days: &[u16], since: u32) -> Self {
        if let (Self::Few(mut gaps), Ok(gap)) = (self, u8::try_from(since))
            && gaps.push(gap).is_some()
        {
            return Self::Few(gaps);
        }
        let Counts { count, first_day, slow, fast } = self.counts(days, since);
        Self::Often(Counts {
            count: count.saturating_add(1),
            first_day,
            slow: decayed(slow, &SLOW, since).saturating_add(ONE),
            fast: decayed(fast, &FAST, since).saturating_add(ONE),
        })
    }

    /// As counts, of an item whose last basket lies `since` baskets back.
    pub(super) fn counts(&self, days: &[u16], since: u32) -> Counts {
        match self {
            Self::Few(gaps) => gaps.counts(days, since),
            Self::Often(counts) => *counts,
        }
    }

    /// How an item stands whose last basket lies `since` baskets back.
    #[inline]
    pub(super) fn now(&self, days: &[u16], since: u32) -> Now {
        match self {
            Self::Few(gaps) => gaps.now(days, since),
            Self::Often(Counts { count, first_day, fast, .. }) => {
                let slow = self.slow_now(since);
                let fast = f32::from(*fast) / f32::from(ONE) * power(&FAST, since);
                Now { count: *count, first_day: *first_day, slow, fast }
            }
        }
    }

    /// [`Now::slow`] alone.
    #[inline]
    pub(super) fn slow_now(&self, since: u32) -> f32 {
        match self {
            Self::Few(gaps) => gaps.slow(since),
            Self::Often(counts) => f32::from(counts.slow) / f32::from(ONE) * power(&SLOW, since),
        }
    }

    /// Called while every day is still known that will be when the oldest of them has gone: an
    /// item that is not counted before its first day goes never has one.
    pub(super) fn count_before_the_oldest_day_goes(&mut self, days: &[u16], since: u32) {
        if let Self::Few(gaps) = self
            && gaps.len > 0
            && since.saturating_add(gaps.sum()) as usize + 1 >= days.len()
        {
            *self = Self::Often(gaps.counts(days, since));
        }
    }

    /// Writes how many baskets back the last one lies, and what else is known.
    pub(super) fn write(&self, out: &mut Writer, since: u32, days: &[u16]) {
        // The last bit tells whether more follows; a gap of nothing, that counts follow.
        match self {
            Self::Few(gaps) => {
                out.unsigned(u64::from(since) << 1 | u64::from(gaps.len > 0));
                let mut left = gaps.len;
                for gap in gaps.iter() {
                    left -= 1;
                    out.unsigned(u64::from(gap) << 1 | u64::from(left > 0));
                }
            }
            Self::Often(Counts { count, first_day, slow, fast }) => {
                out.unsigned(u64::from(since) << 1 | 1);
                out.unsigned(0);
                out.unsigned(u64::from(*count));
                let last_day = day_of(days, since);
                out.unsigned(u64::from(last_day.saturating_sub(*first_day)));
                out.unsigned(u64::from(*slow));
                out.unsigned(u64::from(*fast));
            }
        }
    }

    /// Reads [`Bought::write`] back.
    pub(super) fn read(from: &mut Reader<'_>, days: &[u16]) -> Result<(u32, Self), DecodeError> {
        let damaged = DecodeError::Damaged;
        let header = from.unsigned()?;
        let since = u32::try_from(header >> 1).map_err(|_| damaged)?;
        let mut gaps = Gaps::default();
        let mut more = header & 1 == 1;
        while more {
            let gap = from.unsigned()?;
            more = gap & 1 == 1;
            match u8::try_from(gap >> 1).map_err(|_| damaged)? {
                0 if gaps.len == 0 && !more => {
                    let count = from.small()?;
                    let first_day = day_of(days, since).saturating_sub(from.small()?);
                    let (slow, fast) = (from.small()?, from.small()?);
                    return Ok((since, Self::Often(Counts { count, first_day, slow, fast })));
                }
                0 => return Err(damaged),
                gap => gaps.push(gap).ok_or(damaged)?,
            }
        }
        Ok((since, Self::Few(gaps)))
    }
}

impl Gaps {
    /// Nothing when there is no room.
    fn push(&mut self, gap: u8) -> Option<()> {
        *self.baskets.get_mut(usize::from(self.len))? = gap;
        self.len += 1;
        Some(())
    }

    fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.baskets.iter().copied().take(self.len.into())
    }

    fn sum(&self) -> u32 {
        self.iter().map(u32::from).sum()
    }

    /// Σ of the powers for each basket that held the item, of which the last lies `since` back.
    #[inline]
    fn slow(&self, since: u32) -> f32 {
        let mut sum = power(&SLOW, since);
        let mut back = since;
        for gap in self.baskets[..usize::from(self.len)].iter().rev() {
            back = back.saturating_add(u32::from(*gap));
            sum += power(&SLOW, back);
        }
        sum
    }

    /// Everything of that in one go.
    #[inline]
    fn now(&self, days: &[u16], since: u32) -> Now {
        let (mut slow, mut fast) = (power(&SLOW, since), power(&FAST, since));
        let mut back = since;
        for gap in self.baskets[..usize::from(self.len)].iter().rev() {
            back = back.saturating_add(u32::from(*gap));
            slow += power(&SLOW, back);
            fast += power(&FAST, back);
        }
        Now { count: u16::from(self.len) + 1, first_day: day_of(days, back), slow, fast }
    }

    fn counts(&self, days: &[u16], since: u32) -> Counts {
        let (mut slow, mut fast) = (ONE, ONE);
        for gap in self.iter() {
            slow = decayed(slow, &SLOW, gap.into()).saturating_add(ONE);
            fast = decayed(fast, &FAST, gap.into()).saturating_add(ONE);
        }
        let first_day = day_of(days, since.saturating_add(self.sum()));
        Counts { count: u16::from(self.len) + 1, first_day, slow, fast }
    }
}

/// The day of the basket that lies so many baskets back.
pub(super) fn day_of(days: &[u16], baskets_since: u32) -> u16 {
    let back = usize::try_from(baskets_since).unwrap_or(usize::MAX).saturating_add(1);
    let known = days.len().checked_sub(back).and_then(|at| days.get(at));
    known.or(days.first()).copied().unwrap_or_default()
}

/// One basket, in the unit of the stored counts.
pub(super) const ONE: u16 = 1_024;

/// Powers of the decay, beyond which nothing of a stored count is left.
pub(super) const POWERS: usize = 400;
pub(super) const SLOW: [f32; POWERS] = powers(0.97);
pub(super) const FAST: [f32; POWERS] = powers(0.93);

const fn powers(base: f32) -> [f32; POWERS] {
    let mut table = [1.0; POWERS];
    let mut at = 1;
    while at < POWERS {
        table[at] = table[at - 1] * base;
        at += 1;
    }
    table
}

/// What is left of a basket after so many others.
#[inline]
fn power(table: &[f32; POWERS], baskets: u32) -> f32 {
    table.get(baskets as usize).copied().unwrap_or(0.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product of a u16 and a factor within 0 and 1 is a u16 again"
)]
pub(super) fn decayed(stored: u16, table: &[f32; POWERS], baskets: u32) -> u16 {
    let exact = f32::from(stored) * power(table, baskets);
    // Rounded, half away from zero: what `round` gives, which calls a function here.
    let whole = exact as u16;
    whole + u16::from(exact - f32::from(whole) >= 0.5)
}
