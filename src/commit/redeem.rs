//! Coupons in the fold: those that a till took, those that a customer gets, and those that a void
//! opens again or takes back, with what they draw on the budgets of their offers. `domain::coupon`
//! and `domain::selection` decide; here they meet leases and columns.

use jiff::civil::Date;

use super::Job;
use super::batch::{CouponChange, CouponIssue};
use super::facts::NameFact;
use super::fold::{Fold, Workbench};
use super::leases::Spending;
use crate::accounts::Hot;
use crate::catalogue::Snapshot;
use crate::domain::account::State;
use crate::domain::basket::{Redemption, Swipe};
use crate::domain::bucket;
use crate::domain::budget::{Counts, Key};
use crate::domain::coupon::{self, Code, Coupon, Open};
use crate::domain::offer::Basket;
use crate::domain::selection::showcase::{Bound, Choice, Lot, Noted};
use crate::receipt::CouponOut;

/// What a customer gets with a basket, and what is remembered of the choice.
#[derive(Default)]
pub(super) struct Gifts {
    pub(super) given: Vec<(Code, Choice)>,
    /// How many the hold-out kept back.
    pub(super) withheld: u64,
    /// [`Noted`] as it is stored; nothing when no choice was made.
    pub(super) decision: Vec<u8>,
}

impl Fold<'_> {
    /// Whether a coupon of this swipe is changed in this batch by another account, as by the void
    /// of a sale of an account that was merged: nobody knows yet whether that will move.
    pub(super) fn must_wait(&self, swipe: &Swipe) -> bool {
        let codes = swipe.redemptions.iter().filter_map(|it| Code::parse(&it.coupon));
        codes.into_iter().any(|code| self.batch.is_changed_elsewhere(code))
    }

    /// What becomes of the coupons that a till took, in its order: each sees what the ones
    /// before it have done, in this swipe and in those before it. With them, how many did not fit
    /// into the budgets of their offers: the till has given the money, so they count all the same.
    pub(super) fn redeem(
        &mut self,
        hot: &mut Hot,
        version: i64,
        swipe: &Swipe,
        basket: &Basket<'_>,
    ) -> (Vec<coupon::Outcome>, u64) {
        let mut outcomes = Vec::with_capacity(swipe.redemptions.len());
        let mut over = 0;
        for Redemption { coupon, discount_minor } in &swipe.redemptions {
            let mut coupon = Code::parse(coupon).and_then(|code| self.coupons.get_mut(&code));
            let offer = coupon.as_ref().and_then(|coupon| self.snapshot.offer(coupon.offer_no));
            let (known, account_id) = (coupon.as_deref(), hot.account.account_id);
            let outcome = coupon::decide(known, offer, account_id, basket, *discount_minor);
            if let Some(coupon) = coupon.as_mut().filter(|_| outcome.uses()) {
                // An offer that is not known here has no budget that could be asked.
                let value = (*discount_minor).max(0);
                let budgets = offer
                    .map(|it| it.budgets.of(it.offer_no, Some(basket.store_no), Counts::Value));
                let purse = &mut self.workbench.purse;
                let spending = budgets.and_then(|budgets| purse.plan(&budgets, value));
                coupon.state = coupon::State::Redeemed;
                (coupon.changed_version, coupon.changed_by) = (version, account_id);
                hot.lose(coupon.code);
                (coupon.value_minor, coupon.over_budget) = (value, spending.is_none());
                over += u64::from(coupon.over_budget);
                self.batch.change_coupon(&CouponChange {
                    code: coupon.code,
                    version,
                    state: coupon.state,
                    redeemed_on: Some(basket.business_date),
                    over_value: outcome == coupon::Outcome::OverValue,
                    value_minor: Some(value),
                    over_budget: coupon.over_budget,
                    spending: spending.unwrap_or_default(),
                });
            }
            outcomes.push(outcome);
        }
        (outcomes, over)
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
        let showcase = self.snapshot.showcase();
        if showcase.is_empty() || hot.account.state != State::Enrolled {
            return Gifts::default();
        }
        let (date, account_id) = (basket.business_date, hot.account.account_id);
        let (most, bound) = self.most(hot, date);
        let (reference_version, epoch) = self.snapshot.moment();
        let mut noted = Noted {
            reference_version,
            epoch,
            most: u8::try_from(most).unwrap_or(u8::MAX),
            bound,
            explore_ppm: self.limits.explore_ppm(),
            held_out: self.limits.hold_out().holds(account_id),
            held: self.held(hot, date, version),
            tired: hot.tired_of(date),
            ..Noted::default()
        };
        let Workbench { profile, showcase: room, purse, .. } = &mut *self.workbench;
        let moment = noted.moment(basket, Lot::of(&swipe.name));
        let chosen = showcase.choose(profile, &moment, room);
        let bucket = bucket::of_account(account_id);
        let codes = job.random.into_iter().map(|random| Code::new(bucket, random));
        let mut gifts = Gifts::default();
        for (code, choice) in codes.zip(chosen) {
            let Choice { offer, valid_from, valid_until, why } = &choice;
            let (offer_no, valid_from, valid_until) = (offer.offer_no, *valid_from, *valid_until);
            if noted.held_out && !offer.definition.goodwill {
                noted.withheld.push(offer_no);
                continue;
            }
            let budgets = offer.budgets.of(offer_no, Some(basket.store_no), Counts::Coupons);
            // Without a lease in hand it is not given; the treasury hears that one is wanted.
            let Some(spending) = purse.plan(&budgets, 1) else {
                noted.no_room.push(offer_no);
                continue;
            };
            let (is_used, is_chosen) = (false, true);
            hot.gain(Open { code, offer_no, valid_from, valid_until, is_used, is_chosen });
            self.batch.issue_coupon(CouponIssue {
                code,
                version,
                offer_no,
                valid_from,
                valid_until,
                actor: "till".to_owned(),
                why: *why,
                spending,
            });
            gifts.given.push((code, choice));
        }
        noted.no_room.sort_unstable();
        noted.withheld.sort_unstable();
        gifts.withheld = noted.withheld.len() as u64;
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
    /// held: it is not given back at once.
    fn held(&self, hot: &Hot, date: Date, version: i64) -> Vec<i32> {
        let here = (version, hot.account.account_id);
        let used = self.coupons.values();
        let used = used.filter(|coupon| (coupon.changed_version, coupon.changed_by) == here);
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
        let mut undone: Vec<(&mut Coupon, Spending)> = Vec::new();
        for coupon in self.coupons.values_mut() {
            let was_used = coupon.state == coupon::State::Redeemed
                && coupon.changed_by == fact.account_id
                && coupon.changed_version == fact.version;
            let was_brought = coupon.state == coupon::State::Issued
                && coupon.account_id == fact.account_id
                && coupon.issued_version == fact.version;
            if was_used {
                let budgets = drawn_on(self.snapshot, coupon, job);
                let purse = &mut self.workbench.purse;
                let back = budgets.and_then(|it| purse.plan(&it, -coupon.value_minor));
                let Some(back) = back else { return false };
                undone.push((coupon, back));
            } else if was_brought {
                undone.push((coupon, Spending::default()));
            }
        }
        for (coupon, spending) in undone {
            let Coupon { code, offer_no, valid_from, valid_until, .. } = *coupon;
            if coupon.state == coupon::State::Redeemed {
                coupon.state = coupon::State::Issued;
                // That of a merged account is looked up by its code only.
                if coupon.account_id == account_id && !hot.regain(code) {
                    let (is_used, is_chosen) = (false, false);
                    hot.gain(Open { code, offer_no, valid_from, valid_until, is_used, is_chosen });
                }
            } else {
                coupon.state = coupon::State::Revoked;
                hot.forget(code);
            }
            (coupon.changed_version, coupon.changed_by) = (version, account_id);
            self.batch.change_coupon(&CouponChange {
                code,
                version,
                state: coupon.state,
                redeemed_on: None,
                over_value: false,
                value_minor: None,
                over_budget: false,
                spending,
            });
        }
        true
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
