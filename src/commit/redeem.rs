//! Coupons in the fold: those that a till took, and those that a void opens again, with what they
//! draw on the budgets of their offers. `domain::coupon` decides; here it meets leases and columns.

use super::Job;
use super::batch::CouponChange;
use super::facts::NameFact;
use super::fold::Fold;
use super::leases::Spending;
use crate::catalogue::Snapshot;
use crate::domain::account::Account;
use crate::domain::basket::{Redemption, Swipe};
use crate::domain::budget::{Counts, Key};
use crate::domain::coupon::{self, Code, Coupon};
use crate::domain::offer::Basket;
use crate::domain::product::Product;

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
        after: &Account,
        swipe: &Swipe,
        products: &[Product],
        job: &Job,
    ) -> (Vec<coupon::Outcome>, u64) {
        let store_no = self.snapshot.workstation_no(job.name.workstation_no);
        let basket = Basket {
            business_date: swipe.name.business_date,
            store_no: store_no.map_or(0, |workstation| workstation.store_no),
            lines: &swipe.lines,
            products,
        };
        let mut outcomes = Vec::with_capacity(swipe.redemptions.len());
        let mut over = 0;
        for Redemption { coupon, discount_minor } in &swipe.redemptions {
            let mut coupon = Code::parse(coupon).and_then(|code| self.coupons.get_mut(&code));
            let offer = coupon.as_ref().and_then(|coupon| self.snapshot.offer(coupon.offer_no));
            let (known, account_id) = (coupon.as_deref(), after.account_id);
            let outcome = coupon::decide(known, offer, account_id, &basket, *discount_minor);
            if let Some(coupon) = coupon.as_mut().filter(|_| outcome.uses()) {
                // An offer that is not known here has no budget that could be asked.
                let value = (*discount_minor).max(0);
                let budgets = offer
                    .map(|it| it.budgets.of(it.offer_no, Some(basket.store_no), Counts::Value));
                let purse = &mut self.workbench.purse;
                let spending = budgets.and_then(|budgets| purse.plan(&budgets, value));
                coupon.state = coupon::State::Redeemed;
                (coupon.changed_version, coupon.changed_by) = (after.version, account_id);
                (coupon.value_minor, coupon.over_budget) = (value, spending.is_none());
                over += u64::from(coupon.over_budget);
                self.batch.change_coupon(&CouponChange {
                    code: coupon.code,
                    version: after.version,
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

    /// Opens again the coupons that a voided sale had used, with the dates that they had, and
    /// gives back what they drew on budgets. False when no lease is in hand to give it back to:
    /// then the void has to wait.
    pub(super) fn reopen(&mut self, after: &Account, fact: &NameFact, job: &Job) -> bool {
        let used = self.coupons.values_mut().filter(|coupon| {
            coupon.state == coupon::State::Redeemed
                && coupon.changed_by == fact.account_id
                && coupon.changed_version == fact.version
        });
        let mut used: Vec<(&mut Coupon, Option<Spending>)> =
            used.map(|coupon| (coupon, None)).collect();
        for (coupon, spending) in &mut used {
            let budgets = drawn_on(self.snapshot, coupon, job);
            let back = budgets.and_then(|it| self.workbench.purse.plan(&it, -coupon.value_minor));
            if back.is_none() {
                return false;
            }
            *spending = back;
        }
        for (coupon, spending) in used {
            coupon.state = coupon::State::Issued;
            (coupon.changed_version, coupon.changed_by) = (after.version, after.account_id);
            self.batch.change_coupon(&CouponChange {
                code: coupon.code,
                version: after.version,
                state: coupon.state,
                redeemed_on: None,
                over_value: false,
                value_minor: None,
                over_budget: false,
                spending: spending.unwrap_or_default(),
            });
        }
        true
    }
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
