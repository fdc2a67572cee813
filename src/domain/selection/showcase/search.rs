//! Finds, of each kind of offer, the likeliest that may be chosen, and asks of no more offers than
//! somebody wants to know of: whether one may be chosen costs more than its score.
//!
//! Must never say how many of a kind a receipt takes, nor in which order.

use super::super::super::profile::Profile;
use super::super::offers::{Likely, OfferRoom, Own, PackRoom};
use super::reasons::{Evidence, Reason, is_given_up};
use super::seats::{DRAWN_AMONG, Slot};
use super::verdicts::Verdict;
use super::{InBasket, Moment, Showcase, ShowcaseRoom, days_since};

/// So many of each kind may be chosen for each coupon that a receipt carries: the likeliest may be
/// for the same type.
const CANDIDATES: usize = 4;

/// One choice of one account that was looked at.
pub(super) struct Search<'a> {
    showcase: &'a Showcase,
    profile: &'a Profile,
    moment: &'a Moment<'a>,
    offers: &'a OfferRoom,
    packs: &'a mut PackRoom,
    in_basket: &'a InBasket,
    kinds: &'a mut Kinds,
    paced: &'a mut Vec<i32>,
}

/// Working memory of a search, used again for the next one: a kind for each slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds([Kind; 6]);

/// How far the offers of a kind were looked at.
#[derive(Clone, Debug, Default)]
struct Kind {
    /// The next ones, the likeliest last.
    next: Vec<u32>,
    likely: Likely,
    is_begun: bool,
    /// How many may be chosen of those that were looked at.
    allowed: usize,
    /// Those of them that are still free, the likeliest first.
    free: Vec<u32>,
}

impl<'a> Search<'a> {
    pub(super) fn of(
        showcase: &'a Showcase,
        profile: &'a Profile,
        moment: &'a Moment<'a>,
        room: &'a mut ShowcaseRoom,
    ) -> Self {
        let ShowcaseRoom { offers, packs, kinds, in_basket, paced } = room;
        for kind in &mut kinds.0 {
            kind.next.clear();
            kind.likely.forget();
            kind.is_begun = false;
            kind.allowed = 0;
            kind.free.clear();
        }
        Self { showcase, profile, moment, offers, packs, in_basket, kinds, paced }
    }

    /// The likeliest of a kind that may be chosen, those that are not apart left out: as many as
    /// there is a draw among, or one where there is none.
    pub(super) fn free(&mut self, slot: Slot, is_apart: impl Fn(&[u32]) -> bool) -> &mut Vec<u32> {
        let offers = &self.showcase.offers;
        let mut free = std::mem::take(&mut self.kinds.0[slot as usize].free);
        free.retain(|place| is_apart(&offers[*place as usize].types));
        let wanted = if slot == Slot::Explore { DRAWN_AMONG } else { 1 };
        let most = (self.moment.most * CANDIDATES).max(DRAWN_AMONG);
        while free.len() < wanted && self.kinds.0[slot as usize].allowed < most {
            let Some(place) = self.next(slot) else { break };
            if self.is_of(slot, place) && self.may(place) {
                self.kinds.0[slot as usize].allowed += 1;
                if is_apart(&offers[place as usize].types) {
                    free.push(place);
                }
            }
        }
        let kind = &mut self.kinds.0[slot as usize];
        kind.free = free;
        &mut kind.free
    }

    /// The next one of a kind; of that for larger packs some are not.
    fn next(&mut self, slot: Slot) -> Option<u32> {
        let Self { showcase, offers, .. } = self;
        let Showcase { live, pushes, pushed, .. } = showcase;
        let Kind { next, likely, is_begun, .. } = &mut self.kinds.0[slot as usize];
        if slot == Slot::Push {
            if !std::mem::replace(is_begun, true) {
                let score = |place: &u32| live.score_of(*place, offers);
                next.extend(pushed);
                // The most urgent last, and of those the likeliest.
                next.sort_by(|one, other| {
                    let urgency = |place: &u32| pushes[*place as usize];
                    let by_urgency = urgency(other).cmp(&urgency(one));
                    by_urgency.then(score(one).total_cmp(&score(other))).then(other.cmp(one))
                });
            }
            return next.pop();
        }
        let profile = self.profile;
        let is_given_up = |own: &Own| is_given_up(own, days_since(profile, own.last_day));
        loop {
            if let Some(place) = next.pop() {
                if pushes[place as usize].is_none() {
                    return Some(place);
                }
                continue;
            }
            let group = match slot {
                Slot::WinBack => live.next_owned(likely, offers, is_given_up),
                Slot::Repeat => live.next_owned(likely, offers, |own| !is_given_up(own)),
                Slot::Explore => live.next_new(likely, offers),
                Slot::UpSell => live.next_perhaps_larger(likely, offers),
                Slot::Push | Slot::None => None,
            };
            next.extend(live.coupons_of(group?).iter().rev());
        }
    }

    /// Whether an offer is of the kind among which it was found.
    fn is_of(&mut self, slot: Slot, place: u32) -> bool {
        let Self { showcase, profile, moment, offers, packs, .. } = self;
        let mut is_larger = || showcase.larger(place, profile, moment, offers, packs).is_some();
        match slot {
            Slot::Explore => !is_larger(),
            Slot::UpSell => is_larger(),
            _ => true,
        }
    }

    fn may(&mut self, place: u32) -> bool {
        let Self { showcase, profile, moment, in_basket, paced, .. } = self;
        let bar = showcase.bar(place, profile, moment, in_basket);
        if bar == Some(Verdict::Paced) {
            paced.push(showcase.offers[place as usize].offer_no);
        }
        bar.is_none()
    }

    /// The reason for an offer, if there is one, and the numbers behind it.
    pub(super) fn weigh(&mut self, place: u32) -> (Option<Reason>, Evidence) {
        self.showcase.weigh(place, self.profile, self.moment, self.offers, self.packs)
    }
}
