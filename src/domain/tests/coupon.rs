//! Coupons: their codes, the precedence of outcomes, and what an offer is worth.

use jiff::civil::date;
use proptest::prelude::*;

use super::super::basket::{Line, LineKind};
use super::super::coupon::{Code, Coupon, Outcome, State, decide};
use super::super::offer::{Basket, Definition, Offer, OfferError};
use super::super::product::{Product, Taxa};
use super::super::programme::Level;
use super::super::quantity::Quantity;

const ACCOUNT: i64 = 0x1_02;
const STORE: u32 = 5;

fn definition(json: &str) -> Definition {
    serde_json::from_str(json).expect("a definition")
}

fn plain(change: impl FnOnce(&mut Definition)) -> Definition {
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
fn find(level: Level, name: &str) -> Option<u32> {
    match (level, name) {
        (Level::Category, "YOGHURT") => Some(20),
        (Level::Sku | Level::Store, number) => number.parse().ok(),
        _ => None,
    }
}

fn offer(change: impl FnOnce(&mut Definition)) -> Offer {
    Offer::compile(1, plain(change), find).expect("sound")
}

fn yoghurt(product_no: u32) -> Product {
    Product { product_no, taxa: Taxa { category_no: 20, ..Taxa::default() }, ..Product::default() }
}

fn line(kind: LineKind, thousandths: i64, amount_minor: i64) -> Line {
    let quantity = Quantity::from_thousandths(thousandths).expect("in range");
    Line { line: 1, kind, sku: "1".into(), quantity, amount_minor, discount_minor: 0 }
}

fn issued() -> Coupon {
    Coupon {
        issued_version: 1,
        code: Code::new(2, 77),
        account_id: 0,
        holder: ACCOUNT,
        offer_no: 1,
        state: State::Issued,
        changed_version: 0,
        changed_by: ACCOUNT,
        valid_from: date(2026, 3, 10),
        valid_until: date(2026, 3, 20),
        value_minor: 0,
        over_budget: false,
    }
}

fn at(day: i8) -> jiff::civil::Date {
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
    let mut offer = offer(|_| {});
    let mut basket =
        Basket { business_date: at(15), store_no: STORE, lines: &lines, products: &products };
    let (mut account_id, mut is_known, mut discount_minor) = (ACCOUNT, true, 150);
    let mut seen = Vec::new();
    for step in 0..Outcome::ALL.len() {
        match step {
            0 => {}
            1 => discount_minor = 151,
            2 => offer = self::offer(|it| it.minimum_quantity = 2),
            3 => basket.products = &nothing,
            4 => {
                offer = self::offer(|it| {
                    it.minimum_quantity = 2;
                    it.stores = vec!["6".into()];
                });
            }
            5 => basket.business_date = at(21),
            6 => {
                // Cannot be past and ahead at once: the coupon's dates move instead.
                coupon.valid_from = at(22);
                coupon.valid_until = at(20);
            }
            7 => coupon.state = State::Redeemed,
            8 => coupon.state = State::Revoked,
            9 => account_id = ACCOUNT + 256,
            _ => is_known = false,
        }
        let known = is_known.then_some(&coupon);
        seen.push(decide(known, Some(&offer), account_id, &basket, discount_minor));
    }
    seen.reverse();
    assert_eq!(seen, Outcome::ALL);
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
        assert_eq!(decide(Some(&issued()), Some(&offer), ACCOUNT, &basket, 150), expected);
        // Of an offer that is not known here nobody can say what it is worth.
        let blind = decide(Some(&issued()), None, ACCOUNT, &basket, 150);
        assert_eq!(blind.uses(), expected.uses());
        assert!(blind != Outcome::Redeemed);
    }
}

#[test]
fn an_offer_is_for_what_it_names_and_for_nothing_sensitive_or_returned() {
    let sensitive = Product { sensitive: true, ..yoghurt(7) };
    for (product, kind, counts) in [
        (yoghurt(7), LineKind::Sale, true),
        (yoghurt(7), LineKind::Return { sold_on: None }, false),
        (yoghurt(90), LineKind::Sale, false),
        (sensitive, LineKind::Sale, false),
        (Product::default(), LineKind::Sale, false),
    ] {
        let (products, lines) = ([product], [line(kind, 1_000, 300)]);
        let basket =
            Basket { business_date: at(15), store_no: 1, lines: &lines, products: &products };
        assert_eq!(offer(|_| {}).is_for(&basket), counts, "{product:?}");
    }
}

#[test]
fn a_reward_is_worth_what_it_says_and_no_more_than_is_bought() {
    use super::super::offer::Reward::{AmountOff, FixedPrice, PercentOff};
    let products = [yoghurt(7), yoghurt(8), Product::default()];
    let lines = [
        line(LineKind::Sale, 2_000, 399),
        line(LineKind::Sale, 420, 120),
        line(LineKind::Sale, 1_000, 5_000),
    ];
    let basket = Basket { business_date: at(15), store_no: 1, lines: &lines, products: &products };
    for (reward, cap, worth) in [
        (PercentOff { percent: 50 }, None, 260),
        (PercentOff { percent: 100 }, None, 519),
        (PercentOff { percent: 50 }, Some(100), 100),
        (AmountOff { amount_minor: 200 }, None, 200),
        (AmountOff { amount_minor: 2_000 }, None, 519),
        (FixedPrice { price_minor: 150 }, None, 50),
        (FixedPrice { price_minor: 999 }, None, 0),
    ] {
        let offer = offer(|it| {
            it.reward = reward;
            it.discount_max_minor = cap;
        });
        assert_eq!(offer.worth_minor(&basket), worth, "{reward:?}, at most {cap:?}");
    }
}

#[test]
fn a_coupon_lives_as_long_as_its_offer_lets_it() {
    let bounded = offer(|it| (it.since, it.until) = (Some(at(5)), Some(at(20))));
    assert_eq!(bounded.validity(at(4)), None);
    assert_eq!(bounded.validity(at(5)), Some((at(5), at(18))));
    assert_eq!(bounded.validity(at(15)), Some((at(15), at(20))));
    assert_eq!(bounded.validity(at(21)), None);
    assert_eq!(offer(|_| {}).validity(at(1)), Some((at(1), at(14))));
}

#[test]
fn definitions_outside_their_limits_are_refused_with_what_to_do() {
    use super::super::offer::Reward::PercentOff;
    let refused = |change: fn(&mut Definition)| {
        Offer::compile(1, plain(change), find).expect_err("not sound").to_string()
    };
    assert!(refused(|it| it.offer = "Yoghurt".into()).contains("a to z"));
    assert!(refused(|it| it.headline.clear()).contains("headline"));
    assert!(refused(|it| it.reward = PercentOff { percent: 101 }).contains("percent"));
    assert!(refused(|it| it.minimum_quantity = -1).contains("minimum_quantity"));
    assert!(refused(|it| it.valid_days = 0).contains("valid_days"));
    assert!(refused(|it| it.funding.share_percent = 101).contains("share"));
    assert!(refused(|it| (it.since, it.until) = (Some(at(2)), Some(at(1)))).contains("until"));
    let unknown = Offer::compile(1, plain(|it| it.scope.brands = vec!["ACME".into()]), find);
    assert_eq!(unknown, Err(OfferError::NoSuchName(Level::Brand, "ACME".into())));
    for field in ["\"delivery\": \"automatic\"", "\"delivery\": \"personal\", \"colour\": 1"] {
        let text = serde_json::to_string(&plain(|_| {})).expect("JSON");
        let text = text.replace("\"delivery\":\"personal\"", field);
        assert!(serde_json::from_str::<Definition>(&text).is_err(), "{field}");
    }
}
