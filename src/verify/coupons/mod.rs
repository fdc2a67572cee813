//! Coupons: each in its bucket, of an offer that exists, and as its account's versions left it. And
//! the budgets of their offers: what was spent of each is what its coupons drew on it, no more than
//! it may, and what it has leased is what its open leases hold.

pub(super) mod receipt;
pub(super) mod sql;

use std::collections::{BTreeMap, HashMap};

use self::sql::{BudgetRow, CouponRow, PoolRow, UsedRow};
use super::accounts::History;
use super::findings::{Findings, Kind};
use super::reference::Reference;
use super::sql::SwipeRow;
use crate::domain::basket::Redemption;
use crate::domain::budget::{Counts, Key};
use crate::domain::coupon::{Code, State};
use crate::domain::offer::{Earlier, Offer};
use crate::domain::{bucket, record, swipe};

/// What coupons drew on budgets.
pub(super) type Drawn = BTreeMap<Key, i64>;

impl History<'_> {
    /// The coupons that one version issued or changed, beside its transactions. What was
    /// redeemed by a transaction that has been voided since says so no more, so a receipt of
    /// that time cannot be asked.
    pub(super) fn coupons(&mut self, version: i64, swipes: &[SwipeRow], coupons: &[CouponRow]) {
        if !coupons.is_empty() {
            self.explains(version);
        }
        let transaction = |kind| swipes.iter().find(|row| row.kind == kind as i16);
        let sale = transaction(swipe::Kind::Sale);
        let taken: HashMap<Code, Redemption> = sale
            .and_then(|row| record::decode(&row.record).ok())
            .into_iter()
            .flat_map(|record| record.redemptions)
            .enumerate()
            .map(|(at, it)| (Code::of_redemption(&it, self.account_id, version, at), it))
            .collect();
        // What needs no coupon is named by the till.
        let is_taken = |code: &Code, offer_no: i32, reference: &Reference| {
            let named = taken.get(code).map(Redemption::offer);
            named.is_some_and(|name| {
                let offer = name.map(|name| reference.snapshot.automatic_offer(name));
                offer.is_none_or(|offer| offer.is_some_and(|it| it.offer_no == offer_no))
            })
        };
        self.limits(version, coupons);
        for coupon in coupons {
            self.draw(coupon, swipes);
            let code = Code::from_number(coupon.code);
            let state = State::from_code(coupon.state);
            if coupon.is_issue {
                self.ledger.counts.coupons += 1;
                let own = code.bucket() == bucket::of_account(self.account_id);
                self.require(
                    own && coupon.has_offer && !self.is_house(),
                    Kind::CouponAstray,
                    version,
                    format_args!("coupon {}", coupon.code),
                );
                self.require(
                    coupon.in_order,
                    Kind::CouponDiffers,
                    version,
                    format_args!("coupon {} changed without a version", coupon.code),
                );
                continue;
            }
            let holds = coupon.in_order
                && match state {
                    Some(State::Redeemed) => {
                        is_taken(&code, coupon.offer_no, &self.ledger.reference)
                            && coupon.redeemed_on == sale.map(|row| row.name.business_date)
                    }
                    Some(State::Issued) => transaction(swipe::Kind::Void).is_some(),
                    // By people, or with the sale that brought it.
                    Some(State::Revoked) => {
                        swipes.is_empty() || transaction(swipe::Kind::Void).is_some()
                    }
                    None => false,
                };
            self.require(
                holds,
                Kind::CouponDiffers,
                version,
                format_args!("coupon {} is in state {}", coupon.code, coupon.state),
            );
        }
    }

    /// What one transaction redeemed is within what the offers allow of it, or marked.
    fn limits(&mut self, version: i64, coupons: &[CouponRow]) {
        let snapshot = &self.ledger.reference.snapshot;
        let is_within = |coupon: &&CouponRow| {
            let is_redeemed = State::from_code(coupon.state) == Some(State::Redeemed);
            !coupon.is_issue && is_redeemed && !coupon.over_limit && !coupon.over_value
        };
        let within = coupons.iter().filter(is_within);
        let within: Vec<&Offer> =
            within.filter_map(|coupon| snapshot.offer(coupon.offer_no)).collect();
        let beyond = within.iter().enumerate().find(|(at, offer)| {
            let before = &within[..*at];
            let same = before.iter().filter(|other| other.offer_no == offer.offer_no);
            let of_group = before.iter().any(|other| offer.excludes(other));
            let earlier = Earlier { in_swipe: same.count(), of_group, ..Earlier::default() };
            of_group || !offer.is_within_limits(&earlier)
        });
        let beyond = beyond.map(|(_, offer)| offer.definition.offer.clone());
        let detail = format_args!("offer {}", beyond.as_deref().unwrap_or_default());
        self.require(beyond.is_none(), Kind::LimitExceeded, version, detail);
    }

    /// What one coupon drew on budgets: by its issue, and by how it stands. Where: in the store of
    /// the transaction; people are in none.
    fn draw(&mut self, coupon: &CouponRow, swipes: &[SwipeRow]) {
        let is_redeemed = State::from_code(coupon.state) == Some(State::Redeemed);
        let is_revoked = State::from_code(coupon.state) == Some(State::Revoked);
        let (counts, amount) = match coupon.is_issue {
            true => (Counts::Coupons, 1),
            false if is_redeemed && !coupon.over_budget => {
                (Counts::Value, coupon.value_minor.unwrap_or(0))
            }
            false => return,
        };
        let ledger = &mut *self.ledger;
        let sale = swipes.iter().find(|row| row.kind == swipe::Kind::Sale as i16);
        let workstation = sale.and_then(|it| ledger.reference.workstation(it.name.workstation_no));
        let store_no = workstation.map(|it| it.store_no);
        let offer = ledger.reference.snapshot.offer(coupon.offer_no);
        // The void of a sale gives a use of what is everybody's back; what is too much is none.
        let is_none = coupon.is_issue && (is_revoked || coupon.over_limit);
        if let Some(offer) = offer.filter(|it| !(it.is_shared() && is_none)) {
            for (key, _) in offer.budgets.of(offer.offer_no, store_no, counts) {
                *ledger.drawn.entry(key).or_default() += amount;
            }
        }
    }
}

/// Accounts that have redeemed more than their offers allow.
pub(super) fn limits(beyond: &[UsedRow], findings: &mut Findings) {
    for UsedRow { offer_no, account_id, on_day, in_all } in beyond {
        findings.add(
            Kind::LimitExceeded,
            format_args!("account {account_id}"),
            format_args!("{in_all} of offer {offer_no}, {on_day} of them on one day"),
        );
    }
}

/// Codes of pools that nobody has made.
pub(super) fn pools(astray: &[PoolRow], findings: &mut Findings) {
    for PoolRow { offer_no, stored, made } in astray {
        findings.add(
            Kind::CouponAstray,
            format_args!("codes of offer {offer_no}"),
            format_args!("{stored} are stored, and {made} were made"),
        );
    }
}

/// Compares the budgets with what was drawn on them, when all accounts have been seen.
pub(super) fn budgets(mut drawn: Drawn, budgets: &[BudgetRow], findings: &mut Findings) {
    for budget in budgets {
        let BudgetRow { key, amount, spent, leased, in_leases } = *budget;
        let place = format!("budget {key:?}");
        let by_coupons = key.and_then(|key| drawn.remove(&key)).unwrap_or(0);
        findings.require(
            spent <= amount,
            Kind::BudgetOverspent,
            &place,
            format_args!("{spent} of {amount} were spent"),
        );
        findings.require(
            spent == by_coupons,
            Kind::BudgetDiffers,
            &place,
            format_args!("{spent} were spent, and coupons drew {by_coupons}"),
        );
        findings.require(
            leased == in_leases,
            Kind::BudgetDiffers,
            &place,
            format_args!("{leased} were leased, and open leases hold {in_leases}"),
        );
    }
    for (key, amount) in drawn.into_iter().filter(|(_, amount)| *amount != 0) {
        findings.add(
            Kind::BudgetDiffers,
            format_args!("budget {key:?}"),
            format_args!("coupons drew {amount}, and there is no such budget"),
        );
    }
}
