//! What a decision left in its working memory, read again without scoring again: the score of
//! each coupon, whether anything of it was bought, and its place among all.

use super::super::super::profile::Profile;
use super::{Live, Occasion, OfferRoom};

impl Live {
    /// Scores every coupon for an account and chooses none.
    pub fn weigh_all(&self, profile: &Profile, occasion: &Occasion, room: &mut OfferRoom) {
        self.choose(profile, occasion, 0, |_| false, room);
    }

    /// Each coupon with its score, and whether something of it was bought.
    pub fn weighed<'a>(
        &'a self,
        room: &'a OfferRoom,
    ) -> impl Iterator<Item = (u32, f32, bool)> + 'a {
        (0_u32..).zip(&self.targets.of_coupon).map(move |(coupon, target)| {
            let at = *target as usize;
            (coupon, room.scores.of_target[at], room.common.own[at].count > 0.0)
        })
    }

    /// The score of a coupon for the account that was looked at last.
    pub fn score_of(&self, coupon: u32, room: &OfferRoom) -> f32 {
        room.scores.of_target[self.target_of(coupon)]
    }

    /// Its place among all coupons by that score, from 1; equals share the better one.
    pub fn rank_of(&self, coupon: u32, room: &OfferRoom) -> usize {
        let own = self.score_of(coupon, room);
        let targets = self.targets.of_coupon.iter();
        let scores = targets.map(|target| room.scores.of_target[*target as usize]);
        1 + scores.filter(|score| *score > own).count()
    }
}
