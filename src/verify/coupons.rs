//! Coupons: each in its bucket, of an offer that exists, and as its account's versions left it.

use std::collections::HashSet;

use super::accounts::History;
use super::findings::Kind;
use super::sql::{CouponRow, SwipeRow};
use crate::domain::coupon::{Code, State};
use crate::domain::{bucket, record, swipe};

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
        let taken: HashSet<Code> = sale
            .and_then(|row| record::decode(&row.record).ok())
            .into_iter()
            .flat_map(|record| record.redemptions)
            .filter_map(|redemption| Code::parse(&redemption.coupon))
            .collect();
        for coupon in coupons {
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
                        taken.contains(&code)
                            && coupon.redeemed_on == sale.map(|row| row.name.business_date)
                    }
                    Some(State::Issued) => transaction(swipe::Kind::Void).is_some(),
                    Some(State::Revoked) => swipes.is_empty(),
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
}
