//! What a pass must know of the coupons that tills took, and have in hand of the budgets of their
//! offers, before it decides. Decides nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::coupon_facts::{self, Coupons, Uses};
use super::fold::SalesToVoid;
use super::leases::{Purse, Want};
use super::pass::{Pass, Route};
use super::redeem::{counted_on, counting, drawn_on};
use super::{Command, Job, facts};
use crate::accounts::Hot;
use crate::catalogue::Snapshot;
use crate::domain::basket::{Ground, Redemption};
use crate::domain::budget::{Counts, Key};
use crate::domain::coupon::{Code, Coupon, State, is_nobody};
use crate::domain::offer::Offer;
use crate::error::Error;
use crate::receipt;
use crate::sabotage;

/// What a till means by a redemption.
pub(super) enum Meant<'a> {
    /// A coupon, whether it was ever issued or not.
    Coupon(Code),
    /// One use more of an offer that is everybody's.
    Use(&'a Offer),
    /// Nothing that there is.
    Nothing,
}

impl<'a> Meant<'a> {
    pub(super) fn by(redemption: &Redemption, snapshot: &'a Snapshot) -> Self {
        let offer = match &redemption.ground {
            Ground::Coupon(text) => match Code::parse(text) {
                Some(code) => return Self::Coupon(code),
                None => snapshot.offer_shared_as(text),
            },
            Ground::Offer(name) => snapshot.automatic_offer(name),
        };
        offer.map_or(Self::Nothing, Self::Use)
    }
}

impl Pass<'_> {
    /// The coupons that tills took with swipes of these routes, and those that voided sales had
    /// used or brought, with what their accounts have redeemed of offers whose limits look back.
    /// Read after their accounts, or known with them, and changed only with them: a version that
    /// moves proves that they are still as they were. Codes that nobody has prove it themselves.
    pub(super) async fn coupons(
        &self,
        jobs: &[Job],
        routes: &[Route],
        sales: &SalesToVoid,
        accounts: &HashMap<i64, Arc<Hot>>,
    ) -> Result<(Coupons, Uses), Error> {
        // With the account that brings each; 0 for what a void asks about.
        let mut brought: HashSet<(Code, i64)> = HashSet::new();
        let mut shared: HashSet<(i64, i32)> = HashSet::new();
        let limited = self.snapshot.limited_offers();
        let mut in_mind = Coupons::new();
        for route in routes {
            let Command::Record(swipe) = &jobs[route.job].command else { continue };
            let hot = accounts.get(&route.account_id);
            for redemption in &swipe.redemptions {
                match Meant::by(redemption, self.snapshot) {
                    Meant::Coupon(code) => {
                        let known = hot.and_then(|hot| hot.coupon(code));
                        match known.filter(|it| !limited.contains(&it.offer_no)) {
                            Some(it) => in_mind.insert(code, sabotage::coupon(it)).is_some(),
                            None => brought.insert((code, route.account_id)),
                        };
                    }
                    Meant::Use(offer) => {
                        shared.insert((route.account_id, offer.offer_no));
                    }
                    Meant::Nothing => {}
                }
            }
        }
        shared.retain(|(_, offer_no)| limited.contains(offer_no));
        for (job, (sale, _)) in sales {
            let of_job = routes.iter().find(|route| route.job == *job);
            let fact = of_job.and_then(|route| route.recorded.as_ref());
            let Some(fact) = fact else { continue };
            let used = |(at, redemption): (usize, &Redemption)| {
                (Code::of_redemption(redemption, fact.account_id, fact.version, at), 0)
            };
            brought.extend(sale.record()?.redemptions.iter().enumerate().map(used));
            brought.extend(receipt::coupons_on(&sale.receipt)?.into_iter().map(|code| (code, 0)));
        }
        let brought: Vec<(Code, i64)> = brought.into_iter().collect();
        let shared: Vec<(i64, i32)> = shared.into_iter().collect();
        let (found, of_shared) = tokio::try_join!(
            coupon_facts::find_with_uses(self.connection, &brought, limited),
            coupon_facts::find_uses(self.connection, &shared),
        )?;
        let (mut coupons, mut uses) = found;
        uses.extend(of_shared);
        // What a void asks about too was read as it is, with the version that issued it.
        for (code, coupon) in in_mind {
            coupons.entry(code).or_insert(coupon);
        }
        self.hand_on(&mut coupons, jobs, routes).await?;
        Ok((coupons, uses))
    }

    /// Coupons of merged accounts are their heirs'. Only those are looked after that nobody has
    /// whose swipe is here; a merge is never undone, and raises the heir's version.
    async fn hand_on(
        &self,
        coupons: &mut Coupons,
        jobs: &[Job],
        routes: &[Route],
    ) -> Result<(), Error> {
        let is_swipe = |route: &&Route| matches!(jobs[route.job].command, Command::Record(_));
        let swipes = routes.iter().filter(is_swipe);
        let here: HashSet<i64> = swipes.map(|route| route.account_id).collect();
        while !here.is_empty() {
            let is_stranger = |it: &i64| !here.contains(it) && !is_nobody(*it);
            let strangers: HashSet<i64> =
                coupons.values().map(|it| it.holder).filter(is_stranger).collect();
            if strangers.is_empty() {
                return Ok(());
            }
            let strangers: Vec<i64> = strangers.into_iter().collect();
            let heirs = facts::find_heirs(self.connection, &strangers).await?;
            if heirs.is_empty() {
                return Ok(());
            }
            for coupon in coupons.values_mut() {
                coupon.holder = heirs.get(&coupon.holder).copied().unwrap_or(coupon.holder);
            }
        }
        Ok(())
    }

    /// Has what coupons of these routes may draw on budgets, or give back to them, in hand, so far
    /// as it is there. Nothing is asked for offers without a budget.
    pub(super) async fn fetch_leases(
        &self,
        jobs: &[Job],
        routes: &[Route],
        coupons: &Coupons,
        purse: &mut Purse,
    ) {
        purse.begin(tokio::time::Instant::now());
        let mut wants: HashMap<Key, Want> = HashMap::new();
        let mut want = |budgets: Option<Vec<(Key, i64)>>, amount: i64| {
            for (key, whole) in budgets.into_iter().flatten() {
                let none = Want { key, whole, need: 0, at_least: amount, pace: None };
                let want = wants.entry(key).or_insert(none);
                want.need = want.need.saturating_add(amount);
                want.at_least = want.at_least.min(amount);
            }
        };
        // A coupon counts once, however many tills have taken it; but again after a void.
        let voids = routes.iter().any(|route| route.recorded.is_some());
        let mut largest: HashMap<Code, (i64, &Job)> = HashMap::new();
        for job in routes.iter().map(|route| &jobs[route.job]) {
            let Command::Record(swipe) = &job.command else { continue };
            for redemption in &swipe.redemptions {
                let value = redemption.discount_minor.max(0);
                match Meant::by(redemption, self.snapshot) {
                    Meant::Coupon(code) => {
                        let most = largest.entry(code).or_insert((value, job));
                        *most = if most.0 < value { (value, job) } else { *most };
                    }
                    Meant::Use(offer) => {
                        let store_no = job.workstation.store_no;
                        let (no, counts) = (offer.offer_no, Counts::Value);
                        want(Some(offer.budgets.of(no, Some(store_no), counts)), value);
                        want(Some(counting(offer, store_no)), 1);
                    }
                    Meant::Nothing => {}
                }
            }
        }
        for (code, (value, job)) in largest {
            let open = |it: &&Coupon| match it.state {
                State::Issued => true,
                State::Redeemed => voids,
                State::Revoked => false,
            };
            if let Some(coupon) = coupons.get(&code).filter(open) {
                let as_if_within = Coupon { over_budget: false, ..coupon.clone() };
                want(drawn_on(self.snapshot, &as_if_within, job), value);
            }
        }
        for route in routes {
            let Some(fact) = &route.recorded else { continue };
            let of_sale = |coupon: &&Coupon| {
                coupon.state == State::Redeemed
                    && coupon.changed_by == fact.account_id
                    && coupon.changed_version == fact.version
            };
            for coupon in coupons.values().filter(of_sale) {
                want(drawn_on(self.snapshot, coupon, &jobs[route.job]), 0);
                want(counted_on(self.snapshot, coupon, &jobs[route.job]), 0);
            }
        }
        let wants: Vec<Want> = wants.into_values().collect();
        self.shared.treasury.fetch(purse, &wants).await;
    }
}
