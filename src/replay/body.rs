//! A recorded basket as a till would send it. Only says what the data says: nothing is made
//! up, and nothing odd is left out. The same basket always becomes the same bytes.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::domain::name::SwipeName;
use crate::journey::transactions::{RecordedBasket, RecordedLine};
use crate::journey::{CURRENCY, WORKSTATION, card_of, store_id};

/// The body of `POST /v1/swipes`.
#[derive(Debug, Serialize)]
pub(super) struct SwipeBody {
    store_id: String,
    workstation_id: &'static str,
    business_date: Date,
    sequence_number: i64,
    occurred_at: Timestamp,
    currency: &'static str,
    card: String,
    entry_method: &'static str,
    lines: Vec<LineBody>,
    total_minor: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redemptions: Vec<Taken>,
}

/// A coupon that the till took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Its code.
    pub coupon: String,
    /// What the till gave for it, in minor units.
    pub discount_minor: u32,
}

#[derive(Debug, Serialize)]
struct LineBody {
    line: usize,
    sku: String,
    quantity: String,
    amount_minor: u32,
    discount_minor: u32,
}

impl SwipeBody {
    pub(super) fn new(
        basket: &RecordedBasket,
        lines: &[RecordedLine],
        redemptions: &[Taken],
        business_date: Date,
        occurred_at: Timestamp,
    ) -> Self {
        Self {
            store_id: store_id(basket.store),
            workstation_id: WORKSTATION,
            business_date,
            sequence_number: basket.basket_id,
            occurred_at,
            currency: CURRENCY,
            card: card_of(basket.household_id),
            entry_method: "scanned",
            total_minor: lines.iter().map(RecordedLine::sales_minor).sum(),
            lines: (1..)
                .zip(lines)
                .map(|(line, recorded)| LineBody {
                    line,
                    sku: recorded.product_id.to_string(),
                    quantity: recorded.quantity.to_string(),
                    amount_minor: recorded.amount_minor,
                    discount_minor: recorded.discount_minor,
                })
                .collect(),
            redemptions: redemptions.to_vec(),
        }
    }

    pub(super) fn name(&self) -> String {
        let name = SwipeName {
            store_id: self.store_id.clone(),
            workstation_id: self.workstation_id.to_owned(),
            business_date: self.business_date,
            sequence_number: self.sequence_number,
        };
        name.to_string()
    }

    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn total_minor(&self) -> i64 {
        self.total_minor
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use crate::journey::transactions::Transactions;
    use crate::replay::{shifted_date, shifted_time};

    use super::*;

    #[test]
    fn a_basket_becomes_a_swipe_with_all_its_oddities() {
        let occurred_at = "2017-03-02T03:10:00Z".parse().expect("a timestamp");
        let line = RecordedLine::new;
        let lines = [
            // Bought and paid; a coupon item of quantity 0; fuel; a coupon above its worth.
            line(1_095_275, 2, 398, 40),
            line(5_978_656, 0, 0, 0),
            line(6_534_178, 89_638, 4_500, 0),
            line(902_192, 1, 250, 200),
        ];
        let mut all = Transactions::default();
        all.push(31_198_570_044, 1, 367, occurred_at, &lines);
        let basket = &all.baskets()[0];
        let with = |taken: &[Taken], weeks| {
            let date = shifted_date(basket, weeks).expect("in the calendar");
            let time = shifted_time(basket, weeks).expect("in the calendar");
            SwipeBody::new(basket, all.lines_of(basket), taken, date, time)
        };
        let body = |weeks| with(&[], weeks);
        assert_eq!(
            String::from_utf8(body(0).to_json()).expect("JSON is UTF-8"),
            r#"{"store_id":"0367","workstation_id":"01","business_date":"2017-03-01","sequence_number":31198570044,"occurred_at":"2017-03-02T03:10:00Z","currency":"USD","card":"2990000000019","entry_method":"scanned","lines":[{"line":1,"sku":"1095275","quantity":"2","amount_minor":398,"discount_minor":40},{"line":2,"sku":"5978656","quantity":"0","amount_minor":0,"discount_minor":0},{"line":3,"sku":"6534178","quantity":"89638","amount_minor":4500,"discount_minor":0},{"line":4,"sku":"902192","quantity":"1","amount_minor":250,"discount_minor":200}],"total_minor":4908}"#
        );
        assert_eq!(body(0).name(), "0367/01/2017-03-01/31198570044");
        // Four weeks on, in the other half of the year for clocks: the hour is the same.
        let moved = String::from_utf8(body(4).to_json()).expect("JSON is UTF-8");
        assert!(moved.contains(r#""business_date":"2017-03-29""#), "{moved}");
        assert!(moved.contains(r#""occurred_at":"2017-03-30T03:10:00Z""#), "{moved}");
        let taken = Taken { coupon: "07K2M9QXA4TRB3".into(), discount_minor: 55 };
        let redeeming = String::from_utf8(with(&[taken], 0).to_json()).expect("JSON is UTF-8");
        let end = r#""redemptions":[{"coupon":"07K2M9QXA4TRB3","discount_minor":55}]}"#;
        assert!(redeeming.ends_with(end), "{redeeming}");
    }
}
