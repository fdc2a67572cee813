//! Finds, for each slot, the likeliest offers that may be chosen, and asks of no more offers than
//! somebody wants to know of: whether one may be chosen costs more than its score.
//!
//! Must never say how many coupons a receipt carries, nor in which order.

use super::super::super::profile::Profile;
use super::super::offers::{Likely, OfferRoom, Own, PackRoom};
use super::reasons::{Evidence, Reason, is_given_up};
use super::seats::{DRAWN_AMONG, Slot};
use super::verdicts::Verdict;
use super::{InBasket, Moment, Showcase, ShowcaseRoom, days_since};

/// For each coupon that a receipt carries the search for a slot ends with so many that may be
/// chosen, be it that they are all for types that the receipt has already.
const CANDIDATES: usize = 4;

/// One choice of one account that was looked at.
pub(super) struct Search<'a> {
    showcase: &'a Showcase,
    profile: &'a Profile,
    moment: &'a Moment<'a>,
    offers: &'a OfferRoom,
    packs: &'a mut PackRoom,
    in_basket: &'a InBasket,
    queues: &'a mut Queues,
    paced: &'a mut Vec<i32>,
}

/// Working memory of a search, used again for the next one: a queue for each slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues([Queue; 6]);

/// How far the offers for a slot were looked at.
#[derive(Clone, Debug, Default)]
struct Queue {
    /// The next ones, the likeliest last.
    next: Vec<u32>,
    likely: Likely,
    /// Of those that are pushed, how many were looked at or are among the next.
    pushed: usize,
    /// How many may be chosen of those that were looked at.
    allowed: usize,
    /// Those of them that were not chosen, the likeliest first.
    free: Vec<u32>,
}

impl<'a> Search<'a> {
    pub(super) fn of(
        showcase: &'a Showcase,
        profile: &'a Profile,
        moment: &'a Moment<'a>,
        room: &'a mut ShowcaseRoom,
    ) -> Self {
        let ShowcaseRoom { offers, packs, queues, in_basket, paced } = room;
        for queue in &mut queues.0 {
            queue.next.clear();
            queue.likely.forget();
            queue.pushed = 0;
            queue.allowed = 0;
            queue.free.clear();
        }
        Self { showcase, profile, moment, offers, packs, in_basket, queues, paced }
    }

    /// The likeliest for a slot that may be chosen, those that are not apart left out: as many as
    /// there is a draw among, or one where there is none.
    pub(super) fn free(&mut self, slot: Slot, is_apart: impl Fn(&[u32]) -> bool) -> &mut Vec<u32> {
        let at = slot as usize;
        let offers = &self.showcase.offers;
        let mut free = std::mem::take(&mut self.queues.0[at].free);
        free.retain(|place| is_apart(&offers[*place as usize].types));
        let wanted = if slot == Slot::Explore { DRAWN_AMONG } else { 1 };
        let most = (self.moment.most * CANDIDATES).max(DRAWN_AMONG);
        while free.len() < wanted && self.queues.0[at].allowed < most {
            let Some(place) = self.next(slot) else { break };
            if self.is_for(slot, place) && self.may(place) {
                self.queues.0[at].allowed += 1;
                if is_apart(&offers[place as usize].types) {
                    free.push(place);
                }
            }
        }
        self.queues.0[at].free = free;
        &mut self.queues.0[at].free
    }

    /// The next one for a slot that counts on this day in this store. Whether it is for a larger
    /// pack is not known yet.
    fn next(&mut self, slot: Slot) -> Option<u32> {
        let Self { showcase, profile, moment, offers, .. } = self;
        let Showcase { live, pushed, .. } = showcase;
        let Queue { next, likely, pushed: pushed_before, .. } = &mut self.queues.0[slot as usize];
        let counts = |place: &u32| showcase.elsewhere(*place, moment.basket).is_none();
        if slot == Slot::Push {
            let score = |place: &u32| live.score_of(*place, offers);
            while next.is_empty() {
                let rest = &pushed[*pushed_before..];
                let urgency = showcase.push_of(*rest.first()?);
                let as_urgent = rest.iter().take_while(|it| showcase.push_of(**it) == urgency);
                next.extend(as_urgent);
                *pushed_before += next.len();
                next.retain(counts);
                next.sort_by(|one, other| score(one).total_cmp(&score(other)).then(other.cmp(one)));
            }
            return next.pop();
        }
        let is_given_up = |own: &Own| is_given_up(own, days_since(profile, own.last_day));
        let waits = |place: &u32| showcase.push_of(*place).is_none() && counts(place);
        let any = |target: u32| live.coupons_of(target).iter().any(waits);
        let is_win_back = |target: u32, own: &Own| is_given_up(own) && any(target);
        let is_repeat = |target: u32, own: &Own| !is_given_up(own) && any(target);
        while next.is_empty() {
            let alike = match slot {
                Slot::WinBack => live.next_owned(likely, offers, is_win_back),
                Slot::Repeat => live.next_owned(likely, offers, is_repeat),
                Slot::Explore => live.next_new(likely, offers, any),
                Slot::UpSell => live.next_perhaps_larger(likely, offers, any),
                Slot::Push | Slot::None => &[],
            };
            if alike.is_empty() {
                return None;
            }
            let coupons = alike.iter().flat_map(|(_, target)| live.coupons_of(*target));
            next.extend(coupons.copied().filter(waits));
            // Of equals the first stays first.
            next.sort_unstable_by(|one, other| other.cmp(one));
        }
        next.pop()
    }

    /// Whether an offer is for the slot for which it was found: what is for a larger pack is never
    /// among what is new.
    fn is_for(&mut self, slot: Slot, place: u32) -> bool {
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
