//! What a decision left in its working memory, read again without scoring again: the score of
//! each coupon, whether anything of it was bought, and its place among all.

use super::super::super::profile::Profile;
use super::{Customer, Live, OfferRoom, Own, Scorer};

impl Live {
    /// Scores every coupon for an account and chooses none.
    pub fn weigh_all(&self, profile: &Profile, room: &mut OfferRoom) {
        self.look_at(profile, room);
        let OfferRoom { common, owned, scores, .. } = room;
        let scorer = Scorer::new(&self.weights, Customer::of(profile));
        scorer.scores(&self.shares, common, owned, scores);
    }

    /// Each coupon with its score.
    pub fn weighed<'a>(&'a self, room: &'a OfferRoom) -> impl Iterator<Item = (u32, f32)> + 'a {
        let coupons = (0_u32..).zip(&self.targets.of_coupon);
        coupons.map(|(coupon, target)| (coupon, room.scores.of_target[*target as usize]))
    }

    /// What the account that was looked at last bought of a coupon's articles.
    pub fn own<'a>(&self, coupon: u32, room: &'a OfferRoom) -> &'a Own {
        &room.common.own[self.target_of(coupon)]
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
