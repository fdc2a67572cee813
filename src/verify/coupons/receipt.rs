//! What a stored receipt says of coupons: those that it brought were issued with it, to its
//! account, for the offer and the dates that it shows, and nothing else was; those that the till
//! took were redeemed with it where it says so, with the marks and the value that it says, and no
//! others were.
//!
//! What cannot be proved: outcomes of a sale that was voided since, whose coupons have moved on,
//! and why a coupon that does not count does not.

use jiff::civil::Date;
use serde::Deserialize;

use super::sql::CouponRow;
use crate::domain::coupon::{Code, Outcome, State};
use crate::verify::accounts::History;
use crate::verify::findings::Kind;

/// A coupon that a receipt brought.
#[derive(Deserialize)]
pub(in crate::verify) struct Brought {
    coupon: String,
    offer: String,
    valid_from: Date,
    valid_until: Date,
}

/// A coupon that a till took, as the receipt has it; none where it names an offer instead.
#[derive(Deserialize)]
pub(in crate::verify) struct Taken {
    coupon: Option<String>,
    outcome: String,
    discount_minor: i64,
}

impl History<'_> {
    /// Holds what the receipt of a sale says of coupons against those that its version issued or
    /// changed.
    pub(in crate::verify) fn coupons_on_receipt(
        &mut self,
        version: i64,
        said: (&[Brought], &[Taken]),
        rows: &[CouponRow],
    ) {
        let (brought, taken) = said;
        let account_id = self.account_id;
        let codes = (0..).zip(taken).map(|(at, taken)| {
            let issued = taken.coupon.as_deref().and_then(Code::parse);
            (issued.unwrap_or_else(|| Code::of_use(account_id, version, at)), issued.is_none())
        });
        let codes: Vec<(Code, bool)> = codes.collect();
        let code_of = |row: &CouponRow| Code::from_number(row.code);

        // One use of a shared code or a member price is a row too, but nothing that anybody takes
        // home.
        let is_gift = |row: &&CouponRow| row.is_issue && !codes.contains(&(code_of(row), true));
        let snapshot = &self.ledger.reference.snapshot;
        let offer_of =
            |row: &CouponRow| snapshot.offer(row.offer_no).map(|it| &*it.definition.offer);
        let mut issued: Vec<_> = rows
            .iter()
            .filter(is_gift)
            .map(|row| (Some(code_of(row)), offer_of(row), row.valid_from, row.valid_until))
            .collect();
        let mut shown: Vec<_> = brought
            .iter()
            .map(|it| (Code::parse(&it.coupon), Some(&*it.offer), it.valid_from, it.valid_until))
            .collect();
        issued.sort_unstable();
        shown.sort_unstable();
        let is_same = issued == shown;
        let detail = format!("it brought {} coupons, {} were issued", shown.len(), issued.len());
        self.require(is_same, Kind::ReceiptDiffers, version, detail);

        if self.is_voided {
            return;
        }
        let is_redeemed = |row: &&CouponRow| {
            !row.is_issue && State::from_code(row.state) == Some(State::Redeemed)
        };
        let mut redeemed: Vec<_> = rows
            .iter()
            .filter(is_redeemed)
            .map(|row| (code_of(row), row.over_value, row.over_limit, row.value_minor))
            .collect();
        let outcome_of =
            |taken: &Taken| Outcome::ALL.into_iter().find(|it| it.name() == taken.outcome);
        let mut counted: Vec<_> = taken
            .iter()
            .zip(&codes)
            .filter_map(|(taken, (code, _))| {
                let outcome = outcome_of(taken).filter(|outcome| outcome.uses())?;
                let over_value = outcome == Outcome::OverValue;
                let value_minor = Some(taken.discount_minor.max(0));
                Some((*code, over_value, outcome.is_over_limit(), value_minor))
            })
            .collect();
        redeemed.sort_unstable();
        counted.sort_unstable();
        let is_known = taken.iter().all(|taken| outcome_of(taken).is_some());
        let detail = format!("it says {} redeemed, {} were", counted.len(), redeemed.len());
        self.require(is_known && redeemed == counted, Kind::ReceiptDiffers, version, detail);
    }
}
