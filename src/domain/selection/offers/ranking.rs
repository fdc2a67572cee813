//! What a decision left in its working memory, read again without scoring again: which targets of a
//! kind are the likeliest, the score of each coupon, and its place among all. Puts no more of them
//! in order than are likely to be asked for.

use super::super::super::profile::Profile;
use super::{Common, Customer, Live, OfferRoom, Own, Scorer};

/// So many targets are put in order at first, and twice as many each time that more are asked for;
const IN_ORDER: usize = 12;
/// after so many times all that are left, since to put few in order costs more for each of them.
const ROUNDS: u32 = 4;

/// Targets of one kind, the likeliest first, as far as they were asked for.
#[derive(Clone, Debug)]
pub struct Likely {
    /// With their scores.
    best: Vec<(f32, u32)>,
    /// How many of them were asked for.
    given: usize,
    /// All with this score or a higher one were asked for, or are among the best.
    below: f32,
    /// How often more were looked for.
    rounds: u32,
    /// Whether there are no others.
    is_all: bool,
}

impl Default for Likely {
    fn default() -> Self {
        Self { best: Vec::new(), given: 0, below: f32::INFINITY, rounds: 0, is_all: false }
    }
}

impl Likely {
    /// Another account, or another kind, is looked at.
    pub fn forget(&mut self) {
        let mut best = std::mem::take(&mut self.best);
        best.clear();
        *self = Self { best, ..Self::default() };
    }

    /// The next best of `all` that is of the kind, and those that are as good; none when all were
    /// given.
    fn next(
        &mut self,
        all: impl Iterator<Item = u32> + Clone,
        scores: &[f32],
        is_of_kind: impl Fn(u32) -> bool,
    ) -> &[(f32, u32)] {
        while self.given == self.best.len() && !self.is_all {
            self.look_for_more(all.clone(), scores, &is_of_kind);
        }
        let rest = &self.best[self.given..];
        let alike = rest.iter().take_while(|it| it.0 == rest[0].0).count();
        self.given += alike;
        &rest[..alike]
    }

    fn look_for_more(
        &mut self,
        all: impl Iterator<Item = u32>,
        scores: &[f32],
        is_of_kind: impl Fn(u32) -> bool,
    ) {
        let Self { best, below, .. } = self;
        let most = if self.rounds < ROUNDS { IN_ORDER << self.rounds } else { usize::MAX };
        best.clear();
        let mut least = f32::NEG_INFINITY;
        for target in all {
            let score = scores[target as usize];
            // Most fall here.
            if score < least || score >= *below || !is_of_kind(target) {
                continue;
            }
            if most == usize::MAX {
                best.push((score, target));
                continue;
            }
            let at = best.partition_point(|(better, _)| *better >= score);
            if at < most {
                best.truncate(most - 1);
                best.insert(at, (score, target));
            }
            if best.len() == most {
                least = best[most - 1].0;
            }
        }
        if most == usize::MAX {
            best.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        }
        self.is_all = best.len() < most;
        if !self.is_all {
            // There may be more that are as good as the last ones.
            best.retain(|(score, _)| *score > least);
        }
        *below = best.last().map_or(*below, |(score, _)| *score);
        self.given = 0;
        self.rounds += 1;
    }
}

impl Live {
    /// The next best targets of which something was bought, and so that `is_of_kind` holds.
    pub fn next_owned<'a>(
        &self,
        likely: &'a mut Likely,
        room: &OfferRoom,
        is_of_kind: impl Fn(u32, &Own) -> bool,
    ) -> &'a [(f32, u32)] {
        let OfferRoom { common, owned, scores, .. } = room;
        let is_of_kind = |target| is_of_kind(target, &common.own[target as usize]);
        likely.next(owned.iter().copied(), &scores.of_target, is_of_kind)
    }

    /// The next best targets of which nothing was bought, but something that is kin, and so that
    /// `is_of_kind` holds.
    pub fn next_new<'a>(
        &self,
        likely: &'a mut Likely,
        room: &OfferRoom,
        is_of_kind: impl Fn(u32) -> bool,
    ) -> &'a [(f32, u32)] {
        let OfferRoom { common, scores, .. } = room;
        let is_new = |target: u32| {
            let Common { own, by_type, by_brand, by_kind, .. } = common.of(target as usize);
            own.count == 0.0 && (by_type > 0.0 || by_brand > 0.0 || by_kind > 0.0)
        };
        let all = (0..).take(scores.of_target.len());
        likely.next(all, &scores.of_target, |target| is_new(target) && is_of_kind(target))
    }

    /// The next best targets that may be for a larger pack, and so that `is_of_kind` holds.
    pub fn next_perhaps_larger<'a>(
        &self,
        likely: &'a mut Likely,
        room: &OfferRoom,
        is_of_kind: impl Fn(u32) -> bool,
    ) -> &'a [(f32, u32)] {
        let OfferRoom { perhaps_larger, scores, .. } = room;
        likely.next(perhaps_larger.iter().copied(), &scores.of_target, is_of_kind)
    }

    /// The coupons of a target, in order.
    pub fn coupons_of(&self, target: u32) -> &[u32] {
        self.targets.coupons_of.of(target)
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
            scores in vec((-3_i8..90).prop_map(f32::from), 0..400),
        ) {
            let is_of_kind = |target: u32| !target.is_multiple_of(3);
            let targets = 0..u32::try_from(scores.len()).expect("a few hundred");
            let mut sorted: Vec<(f32, u32)> = targets.clone()
                .filter(|target| is_of_kind(*target))
                .map(|target| (scores[target as usize], target))
                .collect();
            sorted.sort_by(|(one, _), (other, _)| other.total_cmp(one));
            let mut likely = Likely::default();
            for alike in sorted.chunk_by(|(one, _), (other, _)| one == other) {
                // From behind, since targets that were bought come in no order.
                let found = likely.next(targets.clone().rev(), &scores, is_of_kind);
                let mut found = found.to_vec();
                found.sort_by_key(|(_, target)| *target);
                prop_assert_eq!(&found, alike);
            }
            prop_assert!(likely.next(targets, &scores, is_of_kind).is_empty());
        }
    }
}
