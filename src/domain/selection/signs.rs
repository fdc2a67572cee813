//! The signs by which an item is told from another, and their weights.
//!
//! Owns the one place where an item becomes numbers, so that what weights were learned from
//! and what they are used on cannot differ. Must never look at a later day than the profile's.

use super::super::profile::{Affinity, Profile};
use super::Standing;
use super::logarithm::{ln, ln_1p};

/// How many signs an item has. Those of an item that was bought come first; an item that was
/// never bought has only the others.
pub const SIGNS: usize = 20;

/// The sign of an item's [`Habit`]; that of its habit after as many baskets without it follows.
const HABIT: usize = 12;

/// Where the signs of items begin that were never bought.
pub const NEVER: usize = HABIT + 2;

/// The sign that tells how an item that was never bought has sold of late.
pub const LATELY: usize = NEVER + 2;

/// The signs that refine the closed form for what was bought, by more than habits.
pub const REFINEMENTS: std::ops::Range<usize> = 1..HABIT;

/// Below this share of baskets an item's popularity tells nothing.
const RARE: f32 = 2e-5;

/// A pull that says next to nothing.
const WEAK: f32 = 0.02;

/// How much more, or less, an item is bought again than the closed form says, as logarithms: of
/// equal histories with coffee and with a cake for a birthday only one leads to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Habit {
    /// At all.
    pub at_all: f32,
    /// Beyond that, by how many baskets lie since the last one with it: see [`Habit::stretch`].
    pub since: [f32; Self::STRETCHES],
}

impl Habit {
    /// How many stretches of baskets are told apart.
    pub const STRETCHES: usize = 5;

    /// The stretch for so many baskets without the item: 0, 1, 2 to 3, 4 to 7, more.
    pub fn stretch(baskets_since: u32) -> usize {
        ((u32::BITS - baskets_since.leading_zeros()) as usize).min(Self::STRETCHES - 1)
    }
}

/// How much each sign counts. A score is the sum of signs times weights; only differences
/// between the items of one account mean anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights(pub [f32; SIGNS]);

impl Weights {
    /// Without anything learned: the order of `0.3·n + 1.5·(a + b) + 30·pop`, where n is the
    /// number of the account's baskets with the item, a and b the same decaying by 0.97 and
    /// 0.93 with each basket, and pop the share of all baskets with it.
    pub const CLOSED_FORM: Self = {
        let mut weights = [0.0; SIGNS];
        weights[0] = 1.0;
        weights[NEVER] = 3.401_197_4; // ln 30
        weights[NEVER + 1] = 1.0;
        Self(weights)
    };

    /// The score of an item with such signs.
    pub fn score(&self, signs: &[f32; SIGNS]) -> f32 {
        self.0.iter().zip(signs).map(|(weight, sign)| weight * sign).sum()
    }

    /// By how much a pull changes the score of an item that was never bought.
    pub(super) fn of_pull(&self, pull: f32) -> f32 {
        let linear = self.0[NEVER + 3] * pull;
        if pull <= 0.0 {
            return linear;
        }
        linear + self.0[NEVER + 4] * (ln(pull + WEAK) - ln(WEAK))
    }
}

/// `0.3·n + 1.5·(a + b) + 30·pop`, as [`Weights::CLOSED_FORM`] says.
pub fn closed_form(affinity: &Affinity, popularity: f32) -> f32 {
    let Affinity { count, slow, fast, .. } = *affinity;
    0.3 * f32::from(count) + 1.5 * (slow + fast) + 30.0 * popularity
}

/// What of an account bears on all its items.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Household {
    last_day: u16,
    usual_gap_days: f32,
    baskets: f32,
}

impl Household {
    pub(super) fn of(profile: &Profile) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a statistic of a few digits")]
        let usual_gap_days = profile.usual_gap_days().unwrap_or(7.0) as f32;
        #[expect(clippy::cast_precision_loss, reason = "a statistic, not an amount")]
        let baskets = profile.baskets() as f32;
        Self { last_day: profile.last_day(), usual_gap_days, baskets }
    }

    /// The signs of an item that was bought. `pull` is how strongly the others point to it.
    pub(super) fn bought(
        &self,
        affinity: &Affinity,
        standing: &Standing,
        pull: f32,
    ) -> [f32; SIGNS] {
        let Affinity { count, slow, fast, baskets_since, usual_gap_days, last_day } = *affinity;
        let count = f32::from(count);
        let days_since = f32::from(self.last_day.saturating_sub(last_day));
        // The next basket is expected after the usual gap between baskets.
        let wait = days_since + self.usual_gap_days;
        let overdue = usual_gap_days.map_or(0.0, |gap| (wait / gap.max(1.0)).min(3.0));
        let popularity = standing.popularity.max(RARE);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^24")]
        let since = baskets_since as f32;
        let mut signs = [0.0; SIGNS];
        signs[0] = ln(closed_form(affinity, standing.popularity));
        signs[1] = ln(count);
        signs[2] = ln(slow + 0.02);
        signs[3] = ln(fast + 0.02);
        signs[4] = ln_1p(since);
        signs[5] = ln_1p(days_since);
        signs[6] = overdue;
        signs[7] = if count > 1.0 { 0.0 } else { 1.0 };
        signs[8] = ln(popularity);
        signs[9] = ln(standing.recent.max(RARE) / popularity);
        signs[10] = pull;
        signs[11] = count / self.baskets.max(1.0);
        signs[HABIT] = standing.habit.at_all;
        signs[HABIT + 1] = standing.habit.since[Habit::stretch(baskets_since)];
        signs
    }

    /// The signs of an item that was never bought.
    pub(super) fn never_bought(&self, standing: &Standing, pull: f32) -> [f32; SIGNS] {
        let popularity = standing.popularity.max(RARE);
        let mut signs = [0.0; SIGNS];
        signs[NEVER] = 1.0;
        signs[NEVER + 1] = ln(popularity);
        signs[LATELY] = ln(standing.recent.max(RARE) / popularity);
        signs[NEVER + 3] = pull;
        signs[NEVER + 4] = ln(pull.max(0.0) + WEAK);
        signs[NEVER + 5] = ln_1p(self.baskets);
        signs
    }

    /// By how much this account's scores of items it never bought differ from those of an
    /// account without baskets.
    pub(super) fn explore_shift(&self, weights: &Weights) -> f32 {
        weights.0[NEVER + 5] * ln_1p(self.baskets)
    }
}
