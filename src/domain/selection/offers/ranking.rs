//! What a decision left in its working memory, read again without scoring again: which coupons of a
//! kind are the likeliest, the score of each, and its place among all. Must never look for more of
//! them than somebody asks for.

use super::super::super::profile::Profile;
use super::{Common, Customer, Live, OfferRoom, Own, Scorer};

/// So many targets are put in order at first; each time that more are asked for, twice as many.
const IN_ORDER: usize = 12;

/// Targets of one kind, the likeliest first, as far as they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Likely {
    /// With their scores.
    best: Vec<(f32, u32)>,
    /// How many of them were asked for.
    given: usize,
    /// How often more were looked for.
    rounds: u32,
    /// Whether there are no others.
    is_all: bool,
}

impl Likely {
    /// Another account, or another kind, is looked at.
    pub fn forget(&mut self) {
        self.best.clear();
        self.given = 0;
        self.rounds = 0;
        self.is_all = false;
    }

    /// The next best of `all` that is of the kind. Of equals the one with the lower number goes
    /// first.
    fn next(
        &mut self,
        all: impl Iterator<Item = u32>,
        scores: &[f32],
        is_of_kind: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        if self.given == self.best.len() && !self.is_all {
            let goes_before = |one: &(f32, u32), other: &(f32, u32)| {
                one.0 > other.0 || one.0 == other.0 && one.1 < other.1
            };
            let most = IN_ORDER << self.rounds;
            self.rounds += 1;
            let before = self.best.last().copied();
            self.best.clear();
            self.given = 0;
            let mut least = f32::NEG_INFINITY;
            for target in all {
                let score = scores[target as usize];
                // Most fall here.
                if score < least {
                    continue;
                }
                let it = (score, target);
                if before.is_some_and(|before| !goes_before(&before, &it)) || !is_of_kind(target) {
                    continue;
                }
                let at = self.best.partition_point(|other| goes_before(other, &it));
                if at == most {
                    continue;
                }
                self.best.truncate(most - 1);
                self.best.insert(at, it);
                if self.best.len() == most {
                    least = self.best[most - 1].0;
                }
            }
            self.is_all = self.best.len() < most;
        }
        let (_, target) = self.best.get(self.given)?;
        self.given += 1;
        Some(*target)
    }
}

impl Live {
    /// The next best group of coupons for something that was bought, and so that `is_of_kind`
    /// holds.
    pub fn next_owned(
        &self,
        likely: &mut Likely,
        room: &OfferRoom,
        is_of_kind: impl Fn(&Own) -> bool,
    ) -> Option<u32> {
        let OfferRoom { common, owned, scores, .. } = room;
        let is_of_kind = |target| is_of_kind(&common.own[target as usize]);
        likely.next(owned.iter().copied(), &scores.of_target, is_of_kind)
    }

    /// The next best group of coupons for what was never bought, but is kin to what was.
    pub fn next_new(&self, likely: &mut Likely, room: &OfferRoom) -> Option<u32> {
        let OfferRoom { common, scores, .. } = room;
        let is_new = |target: u32| {
            let Common { own, by_type, by_brand, by_kind, .. } = common.of(target as usize);
            own.count == 0.0 && (by_type > 0.0 || by_brand > 0.0 || by_kind > 0.0)
        };
        likely.next((0..).take(scores.of_target.len()), &scores.of_target, is_new)
    }

    /// The next best group of coupons that may be for a larger pack.
    pub fn next_perhaps_larger(&self, likely: &mut Likely, room: &OfferRoom) -> Option<u32> {
        let OfferRoom { perhaps_larger, scores, .. } = room;
        likely.next(perhaps_larger.iter().copied(), &scores.of_target, |_| true)
    }

    /// The coupons of a group, in order.
    pub fn coupons_of(&self, group: u32) -> &[u32] {
        self.targets.coupons_of.of(group)
    }

    /// Scores every coupon for an account and chooses none.
    pub fn weigh_all(&self, profile: &Profile, room: &mut OfferRoom) {
        self.look_at(profile, room);
        let OfferRoom { common, owned, scores, .. } = room;
        let scorer = Scorer::new(&self.weights, Customer::of(profile));
        scorer.scores(&self.shares, common, owned, scores);
        self.find_perhaps_larger(room);
    }

    /// Each coupon with its score.
    pub fn weighed<'a>(&'a self, room: &'a OfferRoom) -> impl Iterator<Item = (u32, f32)> + 'a {
        let coupons = (0_u32..).zip(&self.targets.of_coupon);
        coupons.map(|(coupon, target)| (coupon, room.scores.of_target[*target as usize]))
    }

    /// The score of a coupon for the account that was looked at last.
    pub fn score_of(&self, coupon: u32, room: &OfferRoom) -> f32 {
        room.scores.of_target[self.target_of(coupon)]
    }

    /// Its place among all coupons by that score, from 1; equals share the better one.
    pub fn rank_of(&self, coupon: u32, room: &OfferRoom) -> usize {
        let own = self.score_of(coupon, room);
        let targets = room.scores.of_target.iter().zip(&self.targets.coupons);
        // Without a branch, so that the compiler takes several at a time.
        let before = targets.fold(0_u32, |sum, (score, coupons)| {
            sum.wrapping_add(if *score > own { *coupons } else { 0 })
        });
        1 + before as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Likely;

    proptest! {
        #[test]
        fn one_after_the_other_all_of_a_kind_come_in_order(
            scores in vec((-3_i8..40).prop_map(f32::from), 0..200),
        ) {
            let is_of_kind = |target: u32| !target.is_multiple_of(3);
            let targets = 0..u32::try_from(scores.len()).expect("a few hundred");
            let mut sorted: Vec<u32> = targets.clone().filter(|it| is_of_kind(*it)).collect();
            let score = |target: &u32| scores[*target as usize];
            sorted.sort_by(|one, other| score(other).total_cmp(&score(one)));
            let mut likely = Likely::default();
            // From behind, since targets that were bought come in no order.
            let next = || likely.next(targets.clone().rev(), &scores, is_of_kind);
            let found: Vec<u32> = std::iter::from_fn(next).collect();
            prop_assert_eq!(found, sorted);
        }
    }
}
