//! Coupons in the fold: those that a till took, those that a customer gets, and those that a void
//! opens again or takes back, with what they draw on the budgets of their offers. `domain::coupon`
//! and `domain::selection` decide; here they meet leases and columns.

use std::cmp::Reverse;

use jiff::civil::Date;

use super::Job;
use super::batch::{CouponChange, CouponIssue, CouponUse};
use super::facts::NameFact;
use super::fold::{Fold, Workbench};
use super::leases::Spending;
use super::presented::Meant;
use crate::accounts::Hot;
use crate::catalogue::Snapshot;
use crate::domain::account::State;
use crate::domain::basket::{Redemption, Swipe};
use crate::domain::boost::Boost;
use crate::domain::bucket;
use crate::domain::budget::{Counts, Key};
use crate::domain::coupon::{self, Code, Coupon, Open, USE_DAY, Used, is_nobody};
use crate::domain::offer::{Basket, Definition, Earlier, Offer};
use crate::domain::profile::Profile;
use crate::domain::selection::showcase::{Bound, Choice, Lot, Moment, Noted, Reason, Why};
use crate::metrics::{Chosen, Origin, Redeemed};
use crate::receipt::CouponOut;
use crate::sabotage::{self, Fault};

/// What became of the redemptions of a swipe.
#[derive(Default)]
pub(super) struct Taken {
    /// In the till's order.
    pub(super) outcomes: Vec<coupon::Outcome>,
    pub(super) over: Over,
    /// Why and how those that are used up had come to their customers.
    pub(super) redeemed: Vec<Redeemed>,
    /// The points that they give.
    pub(super) boosts: Vec<Boost>,
}

/// How many coupons were redeemed although they are too many.
#[derive(Clone, Copy, Default)]
pub(super) struct Over {
    /// They did not fit into the budgets of their offers.
    pub(super) budget: u64,
    /// They were more than their offers allow.
    pub(super) limit: u64,
}

/// What a customer gets with a basket, and what is remembered of the choice.
#[derive(Default)]
pub(super) struct Gifts {
    pub(super) given: Vec<(Code, Choice)>,
    pub(super) counted: Chosen,
    /// [`Noted`] as it is stored; nothing when no choice was made.
    pub(super) decision: Vec<u8>,
}

impl Fold<'_> {
    /// Whether a coupon of this swipe is changed in this batch by another account, as by the void
    /// of a sale of an account that was merged: nobody knows yet whether that will move.
    pub(super) fn must_wait(&self, swipe: &Swipe) -> bool {
        let codes = swipe.redemptions.iter().filter_map(|it| Code::parse(it.coupon()?));
        codes.into_iter().any(|code| self.batch.is_changed_elsewhere(code))
    }

    /// What becomes of the coupons that a till took, those of the highest priority first, and else
    /// in its order: each sees what the ones before it have done, in this swipe and in those
    /// before it. What did not fit into the budgets or limits of its offer counts all the same:
    /// the till has given the money.
    pub(super) fn redeem(
        &mut self,
        hot: &mut Hot,
        version: i64,
        swipe: &Swipe,
        basket: &Basket<'_>,
    ) -> Taken {
        let outcomes = vec![coupon::Outcome::Unknown; swipe.redemptions.len()];
        let mut taken = Taken { outcomes, ..Taken::default() };
        let (snapshot, by, state) = (self.snapshot, hot.account.account_id, hot.account.state);
        // Offers of those that count, with what the till gave.
        let mut before: Vec<(&Offer, i64)> = Vec::new();
        for at in self.by_priority(&swipe.redemptions) {
            let redemption = &swipe.redemptions[at];
            let presented =
                self.presented(redemption, Code::of_use(by, version, at), (by, version), basket);
            let offer = presented.as_ref().and_then(|coupon| snapshot.offer(coupon.offer_no));
            let earlier = offer.map(|offer| self.earlier(offer, by, basket, &before));
            let (earlier, gave) = (earlier.unwrap_or_default(), redemption.discount_minor);
            // Whoever has found a card is no customer, but what waits on it may be theirs.
            let is_customer = match state {
                State::House => false,
                State::Blocked => !offer.is_some_and(Offer::is_automatic),
                _ => true,
            };
            let customer = is_customer.then_some(by);
            let known = presented.as_ref();
            let outcome = coupon::decide(known, offer, customer, basket, &earlier, gave);
            taken.outcomes[at] = outcome;
            let Some(coupon) = presented.filter(|_| outcome.uses()) else { continue };
            let is_automatic = offer.is_some_and(Offer::is_automatic);
            if is_automatic && sabotage::is(Fault::AutomaticUseNotCounted) {
                continue;
            }
            taken.redeemed.push(redeemed_of(&coupon, by, version));
            hot.lose(coupon.code);
            if let Some(offer) = offer.filter(|_| outcome.counts()) {
                before.push((offer, gave));
                taken.boosts.extend(offer.boost(basket, at));
            }
            let taking = Taking { by, version, outcome, value: gave.max(0) };
            let is_over_budget = self.book(coupon, offer, &taking, basket);
            taken.over.budget += u64::from(is_over_budget);
            taken.over.limit += u64::from(outcome.is_over_limit());
        }
        // In the till's order again, whatever the priorities are.
        taken.boosts.sort_by_key(|boost| boost.redemption);
        taken
    }

    /// The coupon that a till means: one that was issued, or one use more of what is everybody's.
    fn presented(
        &self,
        redemption: &Redemption,
        of_use: Code,
        (by, version): (i64, i64),
        basket: &Basket<'_>,
    ) -> Option<Coupon> {
        let offer = match Meant::by(redemption, self.snapshot) {
            Meant::Coupon(code) => return self.coupons.get(&code).cloned(),
            Meant::Use(offer) => offer,
            Meant::Nothing => return None,
        };
        let Definition { since, until, .. } = offer.definition;
        let date = basket.business_date;
        let validity = (since.unwrap_or(date), until.unwrap_or(date));
        Some(Coupon::issued(of_use, by, version, offer.offer_no, validity))
    }

    /// What counted before a coupon of an offer: by the account, as far as the offer asks, and in
    /// this very swipe.
    fn earlier(
        &self,
        offer: &Offer,
        by: i64,
        basket: &Basket<'_>,
        before: &[(&Offer, i64)],
    ) -> Earlier {
        let same = || before.iter().filter(|(it, _)| it.offer_no == offer.offer_no);
        let given: i64 = same().map(|(_, gave)| gave).sum();
        let used = self.uses.get(&(by, offer.offer_no)).map_or(&[][..], Vec::as_slice);
        let is_of_day = |used: &&Used| used.on == basket.business_date;
        let counting = counting(offer, basket.store_no);
        Earlier {
            by_account: used.len(),
            on_day: used.iter().filter(is_of_day).count(),
            in_swipe: same().count(),
            of_group: before.iter().any(|(other, _)| offer.excludes(other)),
            is_used_up: !self.workbench.purse.covers(&counting, 1),
            given_minor: if offer.is_automatic() { given } else { 0 },
        }
    }

    /// Writes down that a coupon was redeemed. Whether it did not fit into the budgets of its
    /// offer.
    fn book(
        &mut self,
        mut coupon: Coupon,
        offer: Option<&Offer>,
        taking: &Taking,
        basket: &Basket<'_>,
    ) -> bool {
        let Taking { by, version, outcome, value } = *taking;
        let purse = &mut self.workbench.purse;
        // An offer that is not known here has no budget that could be asked.
        let of_value =
            |it: &Offer| it.budgets.of(it.offer_no, Some(basket.store_no), Counts::Value);
        let spending = offer.and_then(|offer| purse.plan(&of_value(offer), value, None));
        let over_budget = spending.is_none();
        let (spending, on) = (spending.unwrap_or_default(), basket.business_date);
        let over_value = outcome == coupon::Outcome::OverValue;
        let over_limit = outcome.is_over_limit();
        let Coupon { code, offer_no, .. } = coupon;
        if coupon.is_made_by(by, version) {
            let counted =
                offer.filter(|_| !over_limit).map(|offer| counting(offer, basket.store_no));
            let counted = counted.and_then(|budgets| purse.plan(&budgets, 1, None));
            let is_automatic = offer.is_some_and(Offer::is_automatic);
            let actor = if is_automatic { "automatic" } else { "shared-code" };
            self.batch.issue_coupon(CouponIssue {
                code,
                version,
                offer_no,
                valid_from: USE_DAY,
                valid_until: USE_DAY,
                actor: actor.to_owned(),
                why: Why::GIVEN,
                spending: counted.unwrap_or_default(),
                used: Some(CouponUse {
                    on,
                    value_minor: value,
                    over_value,
                    over_budget,
                    over_limit,
                    spending,
                }),
            });
        } else {
            self.batch.change_coupon(&CouponChange {
                code,
                version,
                state: coupon::State::Redeemed,
                redeemed_on: Some(on),
                over_value,
                value_minor: Some(value),
                over_budget,
                over_limit,
                was: coupon.is_unbound().then_some(coupon.changed_version),
                pool_no: coupon.pool.map(|pool| pool.pool_no),
                spending,
            });
        }
        if outcome.counts() {
            self.uses.entry((by, offer_no)).or_default().push(Used { code, on });
        }
        coupon.state = coupon::State::Redeemed;
        (coupon.changed_version, coupon.changed_by) = (version, by);
        (coupon.value_minor, coupon.over_budget) = (value, over_budget);
        coupon.over_limit = over_limit;
        if coupon.is_unbound() {
            coupon.holder = by;
        }
        self.coupons.insert(code, coupon);
        over_budget
    }

    /// Places of redemptions, in the order in which they are decided.
    fn by_priority(&self, redemptions: &[Redemption]) -> Vec<usize> {
        let priority = |at: &usize| {
            let offer = match Meant::by(&redemptions[*at], self.snapshot) {
                Meant::Coupon(code) => {
                    let issued = self.coupons.get(&code);
                    issued.and_then(|coupon| self.snapshot.offer(coupon.offer_no))
                }
                Meant::Use(offer) => Some(offer),
                Meant::Nothing => None,
            };
            Reverse(offer.map_or(0, Offer::priority))
        };
        let mut places: Vec<usize> = (0..redemptions.len()).collect();
        if places.len() > 1 {
            places.sort_by_cached_key(priority);
        }
        places
    }

    /// Coupons that an enrolled customer gets with a basket, each for an offer whose budgets have
    /// room for it. Who is held out is given none but goodwill; what it would have been is noted.
    pub(super) fn give(
        &mut self,
        hot: &mut Hot,
        version: i64,
        basket: &Basket<'_>,
        swipe: &Swipe,
        job: &Job,
    ) -> Gifts {
        let showcase = self.snapshot.showcase_on(basket.business_date);
        let Some(showcase) = showcase.filter(|_| hot.account.state == State::Enrolled) else {
            return Gifts::default();
        };
        let (date, account_id) = (basket.business_date, hot.account.account_id);
        let (most, bound) = self.most(hot, date);
        let (reference_version, epoch) = self.snapshot.moment();
        let (ignored, used) = (hot.ignored_on(date), hot.used_on(date));
        let tired = showcase.with_tired_types(hot.tired_of(date), ignored, used);
        let mut noted = Noted {
            reference_version,
            epoch,
            most: u8::try_from(most).unwrap_or(u8::MAX),
            bound,
            explore_ppm: self.limits.explore_ppm(),
            held_out: self.limits.hold_out().holds(account_id),
            unprofiled: !hot.profiling.is_allowed(self.limits.profiling),
            knows_packs: true,
            refitted: true,
            held: self.held(hot, date, version),
            tired,
            ..Noted::default()
        };
        let Workbench { profile, showcase: room, purse, .. } = &mut *self.workbench;
        // What is known of budgets and of the pace of offers; of that only what mattered is noted.
        let held_back = purse.held_back(basket.store_no, date);
        let moment =
            Moment { paced: &held_back.offers, ..noted.moment(basket, Lot::of(&swipe.name)) };
        let nothing = Profile::default();
        let profile = if noted.unprofiled { &nothing } else { &*profile };
        let chosen = showcase.choose(profile, &moment, room);
        let mut gifts = Gifts::default();
        noted.paced = room.paced().to_vec();
        let is_spent = |offer_no: &&i32| held_back.spent.binary_search(offer_no).is_ok();
        noted.no_room.extend(noted.paced.iter().filter(is_spent));
        gifts.counted.paced = (noted.paced.len() - noted.no_room.len()) as u64;
        let bucket = bucket::of_account(account_id);
        let codes = job.random.into_iter().map(|random| Code::new(bucket, random));
        for (code, choice) in codes.zip(chosen) {
            let Choice { offer, valid_from, valid_until, why } = &choice;
            let (offer_no, valid_from, valid_until) = (offer.offer_no, *valid_from, *valid_until);
            if noted.held_out && !offer.definition.goodwill {
                noted.withheld.push(offer_no);
                continue;
            }
            let budgets = offer.budgets.of(offer_no, Some(basket.store_no), Counts::Coupons);
            // Without a lease in hand it is not given; the treasury hears that one is wanted.
            let Some(spending) = purse.plan(&budgets, 1, offer.pace_on(date)) else {
                noted.no_room.push(offer_no);
                continue;
            };
            let (is_used, reason) = (false, Some(why.reason));
            hot.gain(Open { code, offer_no, valid_from, valid_until, is_used, reason });
            self.batch.issue_coupon(CouponIssue {
                code,
                version,
                offer_no,
                valid_from,
                valid_until,
                actor: "till".to_owned(),
                why: *why,
                spending,
                used: None,
            });
            gifts.counted.given.push(why.reason);
            gifts.given.push((code, choice));
        }
        noted.no_room.sort_unstable();
        noted.withheld.sort_unstable();
        gifts.counted.withheld = noted.withheld.len() as u64;
        gifts.counted.no_room = noted.no_room.len() as u64;
        gifts.decision = noted.encode();
        gifts
    }

    /// Most coupons that a customer gets now, and which rule says so.
    fn most(&self, hot: &Hot, date: Date) -> (usize, Bound) {
        let limits = self.limits;
        let open = limits.open_max.saturating_sub(hot.open_on(date).count());
        let week = limits.per_week.saturating_sub(hot.chosen_in_week(date));
        let rules = [(limits.per_swipe, Bound::Receipt), (open, Bound::Open), (week, Bound::Week)];
        rules.into_iter().min_by_key(|(most, _)| *most).unwrap_or_default()
    }

    /// Offers of which a customer holds a coupon. What was used with this very basket counts as
    /// held: it is not given back at once. What is everybody's is nothing to hold.
    fn held(&self, hot: &Hot, date: Date, version: i64) -> Vec<i32> {
        let here = (version, hot.account.account_id);
        let used = self.coupons.values();
        let used = used.filter(|it| (it.changed_version, it.changed_by) == here && !it.is_use());
        let used = used.map(|coupon| coupon.offer_no);
        let mut held: Vec<i32> =
            hot.open_on(date).map(|coupon| coupon.offer_no).chain(used).collect();
        held.sort_unstable();
        held.dedup();
        held
    }

    /// Opens again the coupons that a voided sale had used, with the dates that they had, gives
    /// back what they drew on budgets, and takes back the coupons that the sale brought and that
    /// are still open. False when no lease is in hand to give something back to: then the void
    /// has to wait.
    pub(super) fn undo_coupons(
        &mut self,
        hot: &mut Hot,
        version: i64,
        fact: &NameFact,
        job: &Job,
    ) -> bool {
        let account_id = hot.account.account_id;
        let mut undone: Vec<(&mut Coupon, [Spending; 2])> = Vec::new();
        for coupon in self.coupons.values_mut() {
            let was_used = coupon.state == coupon::State::Redeemed
                && coupon.changed_by == fact.account_id
                && coupon.changed_version == fact.version;
            let was_brought = coupon.state == coupon::State::Issued
                && coupon.is_made_by(fact.account_id, fact.version);
            let purse = &mut self.workbench.purse;
            if was_used {
                let drawn = drawn_on(self.snapshot, coupon, job);
                let value = drawn.and_then(|it| purse.plan(&it, -coupon.value_minor, None));
                let counted = counted_on(self.snapshot, coupon, job);
                let count = counted.and_then(|it| purse.plan(&it, -1, None));
                let (Some(value), Some(count)) = (value, count) else { return false };
                undone.push((coupon, [value, count]));
            } else if was_brought {
                undone.push((coupon, [Spending::default(); 2]));
            }
        }
        for (coupon, [spending, count]) in undone {
            let used = self.uses.get_mut(&(coupon.changed_by, coupon.offer_no));
            used.into_iter().for_each(|used| used.retain(|it| it.code != coupon.code));
            let Coupon { code, offer_no, valid_from, valid_until, reason, .. } = *coupon;
            // A use of what is everybody's is gone, and a code whose pool was taken back; what was
            // issued to somebody is there again.
            let is_gone = coupon.is_use() || coupon.pool.is_some_and(|pool| pool.is_revoked);
            if coupon.state == coupon::State::Redeemed && !is_gone {
                coupon.state = coupon::State::Issued;
                // That of a merged account, or of a pool, is looked up by its code only.
                if coupon.account_id == account_id && !hot.regain(code) {
                    let is_used = false;
                    hot.gain(Open { code, offer_no, valid_from, valid_until, is_used, reason });
                }
            } else {
                coupon.state = coupon::State::Revoked;
                hot.forget(code);
            }
            (coupon.changed_version, coupon.changed_by) = (version, account_id);
            self.batch.draw(count);
            self.batch.change_coupon(&CouponChange {
                code,
                version,
                state: coupon.state,
                redeemed_on: None,
                over_value: false,
                value_minor: None,
                over_budget: false,
                over_limit: false,
                was: None,
                pool_no: None,
                spending,
            });
        }
        true
    }
}

/// How a coupon is redeemed.
struct Taking {
    by: i64,
    version: i64,
    outcome: coupon::Outcome,
    /// What the till gave, in minor units.
    value: i64,
}

/// Why and how a coupon had come to the account that uses it with this version.
fn redeemed_of(coupon: &Coupon, by: i64, version: i64) -> Redeemed {
    let origin = if is_nobody(coupon.account_id) || coupon.is_made_by(by, version) {
        Origin::Code
    } else if coupon.account_id != by {
        Origin::Inherited
    } else if coupon.reason == Some(Reason::Given) {
        Origin::People
    } else {
        Origin::Till
    };
    Redeemed { origin, reason: coupon.reason }
}

/// The budgets that count the uses of what is everybody's in a store; none for other offers.
pub(super) fn counting(offer: &Offer, store_no: u32) -> Vec<(Key, i64)> {
    match offer.is_shared() {
        true => offer.budgets.of(offer.offer_no, Some(store_no), Counts::Coupons),
        false => Vec::new(),
    }
}

/// Coupons as the receipt shows them.
pub(super) fn shown(given: &[(Code, Choice)]) -> Vec<CouponOut<'_>> {
    given
        .iter()
        .map(|(code, Choice { offer, valid_from, valid_until, why })| {
            CouponOut::new(*code, &offer.definition, (*valid_from, *valid_until), why.reason)
        })
        .collect()
}

/// The budgets that a redeemed coupon was drawn on, where this job's sale was, with their whole
/// amounts. None when its offer is not known here.
pub(super) fn drawn_on(snapshot: &Snapshot, coupon: &Coupon, job: &Job) -> Option<Vec<(Key, i64)>> {
    if coupon.over_budget {
        return Some(Vec::new());
    }
    let store_no = snapshot.workstation_no(job.name.workstation_no).map(|it| it.store_no);
    let offer = snapshot.offer(coupon.offer_no)?;
    Some(offer.budgets.of(coupon.offer_no, store_no, Counts::Value))
}

/// The budgets that count a redeemed coupon as one use of what is everybody's, where this job's
/// sale was. None when its offer is not known here.
pub(super) fn counted_on(
    snapshot: &Snapshot,
    coupon: &Coupon,
    job: &Job,
) -> Option<Vec<(Key, i64)>> {
    if coupon.over_limit || !coupon.is_use() {
        return Some(Vec::new());
    }
    let workstation = snapshot.workstation_no(job.name.workstation_no)?;
    Some(counting(snapshot.offer(coupon.offer_no)?, workstation.store_no))
}
