//! Offers that are everybody's with a card: what they can be, what they are worth, and what a
//! till takes off which line.

use proptest::prelude::*;

use super::super::basket::{Ground, Line, LineKind, Redemption, coupons_among};
use super::super::coupon::{Code, Coupon, Outcome, decide};
use super::super::offer::{Basket, Definition, Delivery, Earlier, Offer, Reward};
use super::super::product::Product;
use super::super::programme::Level;
use super::coupon::{at, find, first, line, plain, yoghurt};

/// A member price: what a coupon for one account says of itself is left out.
fn automatic(change: impl FnOnce(&mut Definition)) -> Definition {
    plain(|it| {
        (it.delivery, it.valid_days) = (Delivery::Automatic, 0);
        change(it);
    })
}

fn offer(change: impl FnOnce(&mut Definition)) -> Offer {
    Offer::compile(1, automatic(change), find).expect("sound")
}

fn basket<'a>(lines: &'a [Line], products: &'a [Product]) -> Basket<'a> {
    Basket { business_date: at(15), store_no: 1, lines, products }
}

#[test]
fn an_automatic_offer_is_everybodys_and_says_nothing_of_coupons() {
    let json = serde_json::to_value(automatic(|_| {})).expect("JSON");
    assert_eq!((&json["delivery"], json.get("valid_days")), (&"automatic".into(), None));
    assert_eq!(serde_json::from_value::<Definition>(json).expect("the same"), automatic(|_| {}));
    assert!(offer(|_| {}).is_automatic() && offer(|_| {}).is_shared());

    type Change = fn(&mut Definition);
    let price: Change = |it| it.reward = Reward::FixedPrice { price_minor: 299 };
    let sound: [Change; 7] = [
        |_| {},
        price,
        |it| it.reward = Reward::AmountOff { amount_minor: 40 },
        |it| it.reward = Reward::CheapestFree { of: 3 },
        // Whoever writes it all the same means no harm.
        |it| it.valid_days = 7,
        |it| it.scope = <_>::default(),
        |it| (it.budget.value_minor, it.budget.coupons) = (Some(5_000), Some(9)),
    ];
    for (at, change) in sound.into_iter().enumerate() {
        assert!(Offer::compile(1, automatic(change), find).is_ok(), "{at}");
    }
    let wrong: [(Change, &str); 8] = [
        (|it| it.reward = Reward::PointsBonus { points: 5 }, "/reward"),
        (|it| it.reward = Reward::PointsMultiplier { times_percent: 200 }, "/reward"),
        (
            |it| {
                it.reward = Reward::FixedPrice { price_minor: 299 };
                it.scope = <_>::default();
            },
            "/scope",
        ),
        (|it| it.at_the_till = true, "/at_the_till"),
        (|it| it.push = Some(1), "/push"),
        (|it| it.goodwill = true, "/goodwill"),
        (|it| it.valid_days = 3_661, "/valid_days"),
        (
            |it| {
                let code = "WELCOME10".to_owned();
                it.shared_code = Some(super::super::offer::SharedCode { code, max_uses: None });
            },
            "/shared_code",
        ),
    ];
    for (change, pointer) in wrong {
        let definition = automatic(change);
        let error = Offer::compile(1, definition.clone(), find).expect_err(pointer);
        assert_eq!(error.pointer(&definition), pointer, "{error}");
    }
    // Everybody else says for how many days a coupon counts.
    let without = plain(|it| it.valid_days = 0);
    let error = Offer::compile(1, without.clone(), find).expect_err("a coupon without days");
    assert_eq!(error.pointer(&without), "/valid_days");
}

/// Thousandths and what they cost; what all of it is worth, and what comes off which line.
#[test]
fn a_member_price_is_the_price_of_every_piece_and_unit() {
    let price = |price_minor| Reward::FixedPrice { price_minor };
    for (reward, most, lines, worth, off) in [
        (price(299), None, vec![(1_000, 399)], 100, vec![(0, 100)]),
        (price(299), None, vec![(3_000, 1_197), (1_000, 350)], 351, vec![(0, 300), (1, 51)]),
        // Cheaper already.
        (price(299), None, vec![(2_000, 500), (1_000, 399)], 100, vec![(1, 100)]),
        // By weight, for a unit of it; what the price is rounded to is the till's to say.
        (price(59), None, vec![(1_250, 99)], 26, vec![(0, 26)]),
        (price(299), Some(150), vec![(3_000, 1_197)], 150, vec![(0, 150)]),
        (price(0), None, vec![(0, 0), (2_000, 10)], 10, vec![(1, 10)]),
        (
            Reward::PercentOff { percent: 15 },
            None,
            vec![(1_000, 399), (1_000, 101)],
            60 + 16,
            vec![(0, 60), (1, 16)],
        ),
        // Once in a transaction, however much is bought.
        (
            Reward::AmountOff { amount_minor: 200 },
            None,
            vec![(1_000, 150), (4_000, 600)],
            200,
            vec![(0, 150), (1, 50)],
        ),
        (
            Reward::CheapestFree { of: 2 },
            None,
            vec![(1_000, 300), (1_000, 200)],
            200,
            vec![(1, 200)],
        ),
    ] {
        let lines: Vec<Line> = lines
            .into_iter()
            .map(|(thousandths, amount)| line(LineKind::Sale, thousandths, amount))
            .collect();
        let products = vec![yoghurt(7); lines.len()];
        let basket = basket(&lines, &products);
        let offer = offer(|it| (it.reward, it.discount_max_minor) = (reward, most));
        let found = (offer.worth_minor(&basket), offer.taken_off(&basket));
        assert_eq!(found, (worth, off), "{reward:?}, at most {most:?}: {lines:?}");
    }
}

/// A coupon is still for one article.
#[test]
fn a_coupon_with_a_price_is_for_one_article() {
    let (lines, products) = ([line(LineKind::Sale, 3_000, 1_197)], [yoghurt(7)]);
    let reward = Reward::FixedPrice { price_minor: 299 };
    let coupon = Offer::compile(1, plain(|it| it.reward = reward), find).expect("sound");
    assert_eq!(coupon.worth_minor(&basket(&lines, &products)), 100);
}

/// What was given for it in the transaction before, what now, and the outcome.
#[test]
fn all_that_is_given_in_a_transaction_is_held_against_one_worth() {
    let (lines, products) = ([line(LineKind::Sale, 3_000, 1_197)], [yoghurt(7)]);
    let offer = offer(|it| {
        it.reward = Reward::FixedPrice { price_minor: 299 };
        it.limits.per_swipe = Some(2);
    });
    let days = (at(1), at(31));
    let mut used = Coupon::issued(Code::of_use(0x1_02, 7, 0), 0x1_02, 7, 1, days);
    let basket = basket(&lines, &products);
    for (given_minor, in_swipe, gives, outcome) in [
        (0, 0, 300, Outcome::Redeemed),
        (0, 0, 301, Outcome::OverValue),
        (200, 1, 100, Outcome::Redeemed),
        (200, 1, 101, Outcome::OverValue),
        (400, 1, 1, Outcome::OverValue),
        (400, 1, 0, Outcome::Redeemed),
        (300, 2, 1, Outcome::OverLimit),
        (300, 2, 0, Outcome::LimitReached),
    ] {
        let earlier = Earlier { given_minor, in_swipe, ..first() };
        let by = Some(0x1_02);
        let found = decide(Some(&used), Some(&offer), by, &basket, &earlier, gives);
        assert_eq!(found, outcome, "{given_minor} and {gives}");
    }
    let found = decide(Some(&used), Some(&offer), None, &basket, &first(), 40);
    assert_eq!(found, Outcome::NotYours, "without a card");
    used.valid_until = at(14);
    let found = decide(Some(&used), Some(&offer), Some(0x1_02), &basket, &first(), 40);
    assert_eq!(found, Outcome::Expired);
}

#[test]
fn a_till_gives_it_on_its_days_in_its_stores() {
    let offer = Offer::compile(
        1,
        automatic(|it| {
            (it.since, it.until) = (Some(at(10)), Some(at(20)));
            it.stores = vec!["5".into()];
            // 9 March 2026 is a Monday.
            it.weekdays = vec![super::super::offer::Weekday::Tue];
        }),
        |level, name| if level == Level::Store { name.parse().ok() } else { find(level, name) },
    )
    .expect("sound");
    let given: Vec<i8> = (1..31).filter(|day| offer.is_given(at(*day), 5)).collect();
    assert_eq!(given, [10, 17]);
    assert!(!offer.is_given(at(10), 6));
}

#[test]
fn a_redemption_leads_to_what_it_used_and_only_coupons_say_something_of_a_customer() {
    let own = Code::new(2, 77);
    let of_use = Code::of_use(0x1_02, 5, 3);
    let redemption = |ground| Redemption { ground, discount_minor: 40 };
    let redemptions = [
        (redemption(Ground::Coupon(own.to_string())), own),
        (redemption(Ground::Coupon("WELCOME10".into())), of_use),
        (redemption(Ground::Offer("member-milk".into())), of_use),
        // A name that reads like a code is a name.
        (redemption(Ground::Offer(own.to_string().to_lowercase())), of_use),
    ];
    for (redemption, code) in &redemptions {
        assert_eq!(Code::of_redemption(redemption, 0x1_02, 5, 3), *code, "{redemption:?}");
    }
    assert_eq!(coupons_among(&redemptions.map(|(redemption, _)| redemption)), 2);
}

fn rewards() -> impl Strategy<Value = Reward> {
    prop_oneof![
        (1..101_u8).prop_map(|percent| Reward::PercentOff { percent }),
        (0..900_i64).prop_map(|amount_minor| Reward::AmountOff { amount_minor }),
        (0..900_i64).prop_map(|price_minor| Reward::FixedPrice { price_minor }),
        (2..5_u8).prop_map(|of| Reward::CheapestFree { of }),
    ]
}

proptest! {
    /// What a till takes off is never more than it is worth, nor than what is left of a line; and
    /// without another discount it is all of it.
    #[test]
    fn what_is_taken_off_is_what_it_is_worth(
        reward in rewards(),
        most in prop::option::of(0_i64..2_000),
        bought in prop::collection::vec((1_i64..4_000, 0_i64..3_000, 0_i64..9), 1..6),
        reduced: bool,
    ) {
        let lines: Vec<Line> = bought
            .iter()
            .map(|(thousandths, amount_minor, off)| {
                let discount_minor = if reduced { amount_minor * off / 8 } else { 0 };
                Line { discount_minor, ..line(LineKind::Sale, *thousandths, *amount_minor) }
            })
            .collect();
        let products = vec![yoghurt(7); lines.len()];
        let basket = basket(&lines, &products);
        let offer = offer(|it| (it.reward, it.discount_max_minor) = (reward, most));
        let (worth, off) = (offer.worth_minor(&basket), offer.taken_off(&basket));
        let total: i64 = off.iter().map(|(_, off)| off).sum();
        prop_assert!(total <= worth);
        prop_assert!(reduced || total == worth, "{} of {}", total, worth);
        for (at, off) in off {
            prop_assert!(0 < off && off <= lines[at].net_minor().max(0));
        }
    }
}
