//! Coupons: their codes, and the precedence of outcomes.

use jiff::civil::date;
use proptest::prelude::*;

use super::super::basket::{Line, LineKind};
use super::super::coupon::{Code, Coupon, Outcome, State, decide};
use super::super::offer::{Basket, Definition, Earlier, Offer, Weekday};
use super::super::product::{Product, Taxa};
use super::super::programme::Level;
use super::super::quantity::Quantity;

const ACCOUNT: i64 = 0x1_02;
const STORE: u32 = 5;

pub(super) fn definition(json: &str) -> Definition {
    serde_json::from_str(json).expect("a definition")
}

pub(super) fn plain(change: impl FnOnce(&mut Definition)) -> Definition {
    let mut plain = definition(
        r#"{ "offer": "yoghurt-50", "headline": "50 % off yoghurt", "delivery": "personal",
             "reward": { "kind": "percent-off", "percent": 50 }, "valid_days": 14,
             "scope": { "categories": ["YOGHURT"] }, "except": { "skus": ["90"] },
             "funding": { "party": "dairy", "share_percent": 60 } }"#,
    );
    change(&mut plain);
    plain
}

/// Categories and skus are their numbers; stores too.
pub(super) fn find(level: Level, name: &str) -> Option<u32> {
    match (level, name) {
        (Level::Category, "YOGHURT") => Some(20),
        (Level::Sku | Level::Store, number) => number.parse().ok(),
        _ => None,
    }
}

pub(super) fn offer(change: impl FnOnce(&mut Definition)) -> Offer {
    Offer::compile(1, plain(change), find).expect("sound")
}

pub(super) fn yoghurt(product_no: u32) -> Product {
    Product { product_no, taxa: Taxa { category_no: 20, ..Taxa::default() }, ..Product::default() }
}

pub(super) fn line(kind: LineKind, thousandths: i64, amount_minor: i64) -> Line {
    let quantity = Quantity::from_thousandths(thousandths).expect("in range");
    Line { line: 1, kind, sku: "1".into(), quantity, amount_minor, discount_minor: 0 }
}

fn issued() -> Coupon {
    Coupon::issued(Code::new(2, 77), ACCOUNT, 1, 1, (date(2026, 3, 10), date(2026, 3, 20)))
}

pub(super) fn at(day: i8) -> jiff::civil::Date {
    date(2026, 3, day)
}

proptest! {
    #[test]
    fn a_code_reads_back_and_leads_to_its_bucket(bucket: u8, random: u64) {
        let code = Code::new(bucket, random);
        let text = code.to_string();
        prop_assert_eq!((text.len(), code.bucket()), (14, bucket));
        prop_assert_eq!(Code::parse(&text), Some(code));
        prop_assert_eq!(Code::from_number(code.number()), code);
        let as_typed = text.to_lowercase().replace('0', "o").replace('1', "l");
        let as_typed = format!("{}-{}", &as_typed[..7], &as_typed[7..]);
        prop_assert_eq!(Code::parse(&as_typed), Some(code));
    }

    #[test]
    fn no_character_mistyped_and_no_two_exchanged_make_another_code(bucket: u8, random: u64) {
        let text = Code::new(bucket, random).to_string();
        for place in 0..text.len() {
            for letter in "0123456789ABCDEFGHJKMNPQRSTVWXYZU*".bytes() {
                let mut wrong = text.clone().into_bytes();
                let is_same = wrong[place] == letter;
                wrong[place] = letter;
                let wrong = String::from_utf8(wrong).expect("ASCII");
                prop_assert!(is_same || Code::parse(&wrong).is_none(), "{} for {}", wrong, text);
            }
            for other in 0..place {
                let mut wrong = text.clone().into_bytes();
                wrong.swap(place, other);
                let wrong = String::from_utf8(wrong).expect("ASCII");
                prop_assert!(wrong == text || Code::parse(&wrong).is_none(), "{}", wrong);
            }
        }
    }

    #[test]
    fn what_is_no_code_is_not_taken_for_one(text in ".{0,20}") {
        if let Some(code) = Code::parse(&text) {
            prop_assert_eq!(Code::parse(&code.to_string()), Some(code));
        }
    }
}

#[test]
fn codes_that_were_printed_stay_what_they_are() {
    // Written down once: if one changes, coupons in customers' hands can no longer be read.
    assert_eq!(Code::new(0, 0).to_string(), "00000000000000");
    assert_eq!(Code::new(0xff, u64::MAX).to_string()[..13], *"FZZZZZZZZZZZZ");
    for text in ["", "0000000000000", "000000000000000", "G0000000000000"] {
        assert_eq!(Code::parse(text), None, "{text}");
    }
}

/// Each row spoils what the rows before it had right, so each outcome is seen to come before
/// all that follow it.
#[test]
fn outcomes_come_in_their_order_of_precedence() {
    let (products, nothing) = ([yoghurt(7), Product::default()], [Product::default(); 2]);
    let lines = [line(LineKind::Sale, 1_000, 300), line(LineKind::Sale, 1_000, 500)];
    let mut coupon = issued();
    let mut written = plain(|it| it.limits.per_day = Some(2));
    let mut basket =
        Basket { business_date: at(15), store_no: STORE, lines: &lines, products: &products };
    let (mut by, mut is_known, mut gave) = (Some(ACCOUNT), true, 150);
    let mut earlier = Earlier { on_day: 1, ..Earlier::default() };
    let mut seen = Vec::new();
    for step in 0..Outcome::ALL.len() {
        match step {
            0 => {}
            1 => gave = 151,
            2 => earlier.of_group = true,
            3 => earlier.on_day = 2,
            // Beyond a limit, and nothing was given: so nothing has to be booked.
            4 => gave = 0,
            5 => written.minimum_quantity = 2,
            6 => basket.products = &nothing,
            7 => written.stores = vec!["6".into()],
            // 15 March 2026 is a Sunday.
            8 => written.weekdays = vec![Weekday::Mon, Weekday::Sat],
            9 => basket.business_date = at(21),
            10 => {
                // Cannot be past and ahead at once: the coupon's dates move instead.
                coupon.valid_from = at(22);
                coupon.valid_until = at(20);
            }
            11 => coupon.state = State::Redeemed,
            12 => coupon.state = State::Revoked,
            13 => by = Some(ACCOUNT + 256),
            _ => is_known = false,
        }
        let known = is_known.then_some(&coupon);
        let offer = Offer::compile(1, written.clone(), find).expect("sound");
        seen.push(decide(known, Some(&offer), by, &basket, &earlier, gave));
    }
    seen.reverse();
    assert_eq!(seen, Outcome::ALL);
}

/// What is redeemed is counted; what counts is what may exclude others and give points.
#[test]
fn every_outcome_either_uses_a_coupon_up_or_leaves_it() {
    for outcome in Outcome::ALL {
        let used = ["redeemed", "over-value", "over-limit", "not-combinable"];
        assert_eq!(outcome.uses(), used.contains(&outcome.name()), "{outcome:?}");
        assert_eq!(outcome.counts(), used[..2].contains(&outcome.name()), "{outcome:?}");
        assert_eq!(outcome.is_over_limit(), used[2..].contains(&outcome.name()), "{outcome:?}");
    }
}

#[test]
fn a_code_of_a_pool_is_whose_who_brings_it_first_and_nobodys_without_a_card() {
    let (products, lines) = ([yoghurt(7)], [line(LineKind::Sale, 1_000, 300)]);
    let basket =
        Basket { business_date: at(15), store_no: STORE, lines: &lines, products: &products };
    let nobodys = Coupon { account_id: 2, holder: 2, issued_version: 0, ..issued() };
    let bound = Coupon { holder: ACCOUNT, ..nobodys.clone() };
    for (coupon, by, expected) in [
        (&nobodys, Some(ACCOUNT), Outcome::Redeemed),
        (&nobodys, Some(ACCOUNT + 256), Outcome::Redeemed),
        (&nobodys, None, Outcome::NotYours),
        (&bound, Some(ACCOUNT), Outcome::Redeemed),
        (&bound, Some(ACCOUNT + 256), Outcome::NotYours),
        (&issued(), None, Outcome::NotYours),
    ] {
        let decided = decide(Some(coupon), Some(&offer(|_| {})), by, &basket, &first(), 150);
        assert_eq!(decided, expected, "{coupon:?} by {by:?}");
    }
}

pub(super) fn first() -> Earlier {
    Earlier::default()
}

#[test]
fn a_coupon_counts_on_its_first_day_and_on_its_last() {
    let (products, lines) = ([yoghurt(7)], [line(LineKind::Sale, 1_000, 300)]);
    let offer = offer(|_| {});
    for (day, expected) in [
        (9, Outcome::NotYetValid),
        (10, Outcome::Redeemed),
        (20, Outcome::Redeemed),
        (21, Outcome::Expired),
    ] {
        let basket =
            Basket { business_date: at(day), store_no: STORE, lines: &lines, products: &products };
        assert_eq!(
            decide(Some(&issued()), Some(&offer), Some(ACCOUNT), &basket, &first(), 150),
            expected
        );
        // Of an offer that is not known here nobody can say what it is worth.
        let blind = decide(Some(&issued()), None, Some(ACCOUNT), &basket, &first(), 150);
        assert_eq!(blind.uses(), expected.uses());
        assert!(blind != Outcome::Redeemed);
    }
}
