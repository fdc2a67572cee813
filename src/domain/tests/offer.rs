//! Offers: what they are for, what limits them, and what they are worth.

use proptest::prelude::*;

use super::super::basket::{Line, LineKind};
use super::super::boost::{self, Boost, Gives};
use super::super::offer::{
    Basket, Definition, Delivery, Earlier, Limits, Offer, OfferError, Reward, SharedCode, Stacking,
    Weekday,
};
use super::super::product::{Product, Taxa};
use super::super::programme::Level;
use super::coupon::{at, find, first, line, offer, plain, yoghurt};

/// Limits, what was before, and whether one more is within them.
#[test]
fn each_limit_counts_what_it_says() {
    let limits = |per_account, per_day, per_swipe| Limits { per_account, per_day, per_swipe };
    let before = |by_account, on_day, in_swipe| Earlier { by_account, on_day, in_swipe, ..first() };
    for (limits, before, is_within) in [
        (limits(None, None, None), before(900, 900, 900), true),
        (limits(Some(2), None, None), before(1, 1, 1), true),
        (limits(Some(2), None, None), before(2, 0, 0), false),
        (limits(None, Some(1), None), before(7, 0, 0), true),
        (limits(None, Some(1), None), before(7, 1, 0), false),
        (limits(None, None, Some(3)), before(7, 7, 2), true),
        (limits(None, None, Some(3)), before(7, 7, 3), false),
        (limits(Some(9), Some(1), Some(1)), before(3, 1, 0), false),
        (limits(None, None, None), Earlier { is_used_up: true, ..first() }, false),
    ] {
        let offer = offer(|it| it.limits = limits);
        assert_eq!(offer.is_within_limits(&before), is_within, "{limits:?} after {before:?}");
    }
}

#[test]
fn offers_exclude_each_other_within_a_group_and_nowhere_else() {
    let offer = |offer_no, group: Option<&str>| {
        let stacking = group.map(|group| Stacking { group: group.into(), priority: 0 });
        Offer::compile(offer_no, plain(|it| it.stacking = stacking), find).expect("sound")
    };
    for (one, other, excludes) in [
        (offer(1, Some("spring")), offer(2, Some("spring")), true),
        (offer(1, Some("spring")), offer(2, Some("autumn")), false),
        (offer(1, Some("spring")), offer(2, None), false),
        (offer(1, None), offer(2, None), false),
        // How often one counts beside itself is said by its limits.
        (offer(1, Some("spring")), offer(1, Some("spring")), false),
    ] {
        assert_eq!((one.excludes(&other), other.excludes(&one)), (excludes, excludes));
    }
}

#[test]
fn a_week_has_the_days_that_are_named() {
    let weekend = offer(|it| it.weekdays = vec![Weekday::Sat, Weekday::Sun]);
    // 9 March 2026 is a Monday.
    let counts: Vec<bool> = (9..16).map(|day| weekend.counts_on(at(day))).collect();
    assert_eq!(counts, [false, false, false, false, false, true, true]);
    assert!((9..16).all(|day| offer(|_| {}).counts_on(at(day))));
}

#[test]
fn an_offer_is_for_what_it_names_and_nothing_sensitive_returned_or_never_discounted() {
    let sensitive = Product { sensitive: true, ..yoghurt(7) };
    let never = Product { no_discount: true, ..yoghurt(7) };
    for (product, kind, counts) in [
        (never, LineKind::Sale, false),
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

/// What may not be sold to everybody counts for offers that name it, and for no others; the till
/// gives no coupon of such an offer.
#[test]
fn age_restricted_articles_count_where_they_are_named() {
    let taxa = Taxa { department_no: 3, category_no: 30, type_no: 300, brand_no: 9 };
    let spirit = Product { product_no: 70, taxa, age_restricted: true, ..Product::default() };
    let find = |level: Level, name: &str| match (level, name) {
        (Level::Department | Level::Category | Level::Type | Level::Brand | Level::Sku, number) => {
            number.parse().ok()
        }
        (Level::Store, _) => None,
    };
    let of = |scope: serde_json::Value| {
        let scope = serde_json::from_value(scope).expect("a scope");
        Offer::compile(1, plain(|it| (it.scope, it.except) = (scope, <_>::default())), find)
            .expect("sound")
    };
    for (scope, is_named) in [
        (serde_json::json!({}), false),
        (serde_json::json!({ "brands": ["9"] }), false),
        (serde_json::json!({ "departments": ["3"] }), true),
        (serde_json::json!({ "categories": ["30"] }), true),
        (serde_json::json!({ "types": ["300"] }), true),
        (serde_json::json!({ "skus": ["70"] }), true),
        (serde_json::json!({ "brands": ["9"], "skus": ["71"] }), false),
    ] {
        let target = of(scope.clone()).target().clone();
        assert_eq!(target.holds(&spirit), is_named, "{scope}");
        assert_eq!(target.is_restricted(&spirit), is_named, "{scope}");
        let for_everybody = Product { age_restricted: false, ..spirit };
        assert!(!target.is_restricted(&for_everybody), "{scope}");
    }
    let brand = of(serde_json::json!({ "brands": ["9"] }));
    assert!(brand.target().holds(&Product { age_restricted: false, ..spirit }));
}

/// Thousandths and what they cost, of how many one is free, and what that is worth.
#[test]
fn of_so_many_pieces_the_cheapest_is_free() {
    for (lines, of, worth) in [
        (vec![(1_000, 300)], 2, 0),
        (vec![(2_000, 600)], 2, 300),
        (vec![(1_000, 300), (1_000, 200)], 2, 200),
        (vec![(1_000, 300), (1_000, 200), (1_000, 100)], 3, 100),
        // The dearest three, of which the cheapest is one of 300; then 200, 100, 100.
        (vec![(2_000, 200), (3_000, 900), (1_000, 200)], 3, 300 + 100),
        (vec![(5_000, 500)], 2, 200),
        // Rounded up to what one cannot be dearer than.
        (vec![(3_000, 1_000)], 3, 334),
        // By weight: one piece, whatever it weighs.
        (vec![(420, 120), (1_350, 500)], 2, 120),
        (vec![(0, 0), (2_000, 600)], 2, 300),
    ] {
        let pieces: Vec<Line> = lines
            .iter()
            .map(|(thousandths, amount)| line(LineKind::Sale, *thousandths, *amount))
            .collect();
        let products = vec![yoghurt(7); pieces.len()];
        let basket =
            Basket { business_date: at(15), store_no: 1, lines: &pieces, products: &products };
        let offer = offer(|it| it.reward = Reward::CheapestFree { of });
        assert_eq!(offer.worth_minor(&basket), worth, "1 of {of}: {lines:?}");
    }
}

#[test]
fn points_are_worth_no_money_and_go_to_the_lines_that_they_are_for() {
    let products = [yoghurt(7), Product::default(), yoghurt(8)];
    let lines = [300, 500, 100].map(|amount| line(LineKind::Sale, 1_000, amount));
    let basket = Basket { business_date: at(15), store_no: 1, lines: &lines, products: &products };
    for (reward, gives) in [
        (Reward::PointsBonus { points: 50 }, Gives::Points(50)),
        (Reward::PointsMultiplier { times_percent: 300 }, Gives::Times(300)),
    ] {
        let offer = offer(|it| it.reward = reward);
        assert_eq!(offer.worth_minor(&basket), 0);
        let boost = Boost { redemption: 2, offer_no: 1, gives, lines: vec![0, 2] };
        assert_eq!(offer.boost(&basket, 2), Some(boost));
    }
    assert_eq!(offer(|_| {}).boost(&basket, 2), None, "it gives money");
}

fn boosts() -> impl Strategy<Value = Vec<Boost>> {
    let gives = prop_oneof![
        (1..100_000_u32).prop_map(Gives::Points),
        (101..900_u16).prop_map(Gives::Times)
    ];
    let lines = prop::sample::subsequence((0..6_usize).collect::<Vec<_>>(), 1..6);
    prop::collection::vec((gives, lines), 0..4).prop_map(|given| {
        let boost = |(redemption, (gives, lines))| Boost { redemption, offer_no: 1, gives, lines };
        given.into_iter().enumerate().map(boost).collect()
    })
}

proptest! {
    #[test]
    fn what_coupons_give_is_what_their_lines_get(
        boosts in boosts(),
        net in prop::collection::vec(0_i64..5_000, 6),
        by_rules in prop::collection::vec(0_i64..400, 6),
    ) {
        let mut points = by_rules.clone();
        let mut told = vec![0; boosts.len()];
        let boosted = boost::apply(&boosts, |at| net[at], &mut points, |number, at, share| {
            assert!(boosts[number].lines.contains(&at) && share > 0);
            told[number] += share;
        });
        let given: i64 = boosted.iter().map(|it| it.points).sum();
        prop_assert_eq!(points.iter().sum::<i64>(), by_rules.iter().sum::<i64>() + given);
        for ((boost, boosted), told) in boosts.iter().zip(&boosted).zip(told) {
            prop_assert_eq!(boosted.points, told);
            let earned: i64 = boost.lines.iter().map(|at| by_rules[*at]).sum();
            // Whatever else gives points: several multipliers do not multiply each other.
            prop_assert_eq!(boosted.points, match boost.gives {
                Gives::Points(points) => i64::from(points),
                Gives::Times(percent) => earned * (i64::from(percent) - 100) / 100,
            });
        }
        prop_assert!(points.iter().zip(&by_rules).all(|(after, before)| after >= before));
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

/// How an offer comes to customers, and what else is said of that: with where it is wrong.
#[test]
fn deliveries_are_held_against_what_they_can_be() {
    let shared = |code: &str, max_uses| Some(SharedCode { code: code.into(), max_uses });
    let with = |delivery, shared_code: Option<SharedCode>| {
        plain(|it| (it.delivery, it.shared_code) = (delivery, shared_code))
    };
    let (personal, pool, code) = (Delivery::Personal, Delivery::CodePool, Delivery::SharedCode);
    let welcome = shared("WELCOME10", Some(5));
    for (definition, wrong) in [
        (with(personal, None), None),
        (with(pool, None), None),
        (with(code, welcome.clone()), None),
        (with(code, None), Some("/shared_code")),
        (with(personal, welcome.clone()), Some("/shared_code")),
        (with(code, shared("welcome10", None)), Some("/shared_code/code")),
        (with(code, shared("WEL", None)), Some("/shared_code/code")),
        (with(code, shared("00000000000000", None)), Some("/shared_code/code")),
        (with(code, shared("WELCOME10", Some(0))), Some("/shared_code/max_uses")),
    ] {
        let compiled = Offer::compile(1, definition.clone(), find);
        let pointer = compiled.err().map(|error| error.pointer(&definition));
        assert_eq!(pointer.as_deref(), wrong, "{definition:?}");
    }
    let refused = |change: &dyn Fn(&mut Definition)| {
        let definition = plain(|it| change(it));
        let error = Offer::compile(1, definition.clone(), find).expect_err("not sound");
        error.pointer(&definition)
    };
    assert_eq!(refused(&|it| (it.delivery, it.at_the_till) = (pool, true)), "/at_the_till");
    let budget = |it: &mut Definition| it.budget.coupons = Some(9);
    assert_eq!(
        refused(&|it| {
            budget(it);
            (it.delivery, it.shared_code) = (code, welcome.clone());
        }),
        "/budget/coupons"
    );
    assert_eq!(
        refused(&|it| {
            budget(it);
            it.delivery = pool;
        }),
        "/budget"
    );
}

#[test]
fn amounts_change_where_there_are_some() {
    use super::super::budget::Budget;
    let budget = |json: &str| serde_json::from_str::<Budget>(json).expect("a budget");
    let before = budget(
        r#"{ "value_minor": 100, "each_store": { "coupons": 5 },
             "stores": { "6": { "coupons": 7 } } }"#,
    );
    for (new, after) in [
        ("{}", Ok("{ \"value_minor\": 100 }")),
        (r#"{ "value_minor": 300 }"#, Ok(r#"{ "value_minor": 300 }"#)),
        (r#"{ "coupons": 3 }"#, Err("/coupons")),
        (r#"{ "each_store": { "value_minor": 3 } }"#, Err("/each_store")),
        (r#"{ "stores": { "6": { "value_minor": 3 } } }"#, Err("/stores/6")),
    ] {
        let changed = before.with_amounts(&budget(new));
        match after {
            Ok(after) => {
                let value = changed.expect("they are limited").value_minor;
                assert_eq!(value, budget(after).value_minor);
            }
            Err(pointer) => assert_eq!(changed.expect_err("not limited"), pointer),
        }
    }
    let more = before.with_amounts(&budget(
        r#"{ "each_store": { "coupons": 6 }, "stores": { "8": { "coupons": 9 } } }"#,
    ));
    let more = more.expect("they are limited");
    assert_eq!(more.each_store.coupons, Some(6));
    // How fast they are spent stays as it was unless it is named.
    let paced = more.with_amounts(&budget(r#"{ "pacing": "none" }"#)).expect("they are limited");
    assert_eq!(budget(r#"{ "pacing": "none" }"#).pacing, paced.pacing);
    assert_eq!(paced.with_amounts(&budget("{}")).expect("they are limited"), paced);
    let of = |store: &str| more.stores[store].coupons;
    assert_eq!((of("6"), of("8")), (Some(7), Some(9)));
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
    assert!(refused(|it| it.limits.per_day = Some(0)).contains("limits.per_day"));
    assert!(refused(|it| it.limits.per_account = Some(1_001)).contains("limits.per_account"));
    let group = |it: &mut Definition, group: &str| {
        it.stacking = Some(Stacking { group: group.into(), priority: 0 });
    };
    let unnamed = Offer::compile(1, plain(|it| group(it, "")), find).expect_err("not sound");
    assert_eq!(unnamed.pointer(&plain(|_| {})), "/stacking/group");
    for (reward, pointer) in [
        (Reward::CheapestFree { of: 1 }, "/reward/of"),
        (Reward::PointsBonus { points: 0 }, "/reward/points"),
        (Reward::PointsMultiplier { times_percent: 100 }, "/reward/times_percent"),
    ] {
        let error = Offer::compile(1, plain(|it| it.reward = reward), find).expect_err("not sound");
        assert_eq!(error.pointer(&plain(|_| {})), pointer);
    }
    assert!(refused(|it| (it.since, it.until) = (Some(at(2)), Some(at(1)))).contains("until"));
    let unknown = Offer::compile(1, plain(|it| it.scope.brands = vec!["ACME".into()]), find);
    assert_eq!(unknown, Err(OfferError::NoSuchName(Level::Brand, "ACME".into())));
    for field in ["\"delivery\": \"by-post\"", "\"delivery\": \"personal\", \"colour\": 1"] {
        let text = serde_json::to_string(&plain(|_| {})).expect("JSON");
        let text = text.replace("\"delivery\":\"personal\"", field);
        assert!(serde_json::from_str::<Definition>(&text).is_err(), "{field}");
    }
}

#[test]
fn a_budget_is_spread_evenly_over_the_days_and_each_of_them_has_something() {
    use super::super::budget::{Pace, Pacing};
    let pace = |on: i8| Pace::of(at(1), at(10), at(on));
    for (whole, by_day) in [
        (100, [(1, 10), (2, 20), (9, 90), (10, 100)]),
        (7, [(1, 1), (2, 2), (9, 7), (10, 7)]),
        (1, [(1, 1), (2, 1), (9, 1), (10, 1)]),
        (0, [(1, 0), (2, 0), (9, 0), (10, 0)]),
    ] {
        for (day, part) in by_day {
            assert_eq!(pace(day).part_of(whole), part, "of {whole} on day {day}");
        }
    }
    // Days that are none of its own; and one that is the only one.
    assert_eq!(Pace::of(at(5), at(6), at(1)).part_of(10), 5);
    assert_eq!(Pace::of(at(5), at(6), at(20)).part_of(10), 10);
    assert_eq!(Pace::of(at(5), at(5), at(5)).part_of(i64::MAX), i64::MAX);

    let offer = |change: fn(&mut Definition)| {
        let definition = plain(|it| {
            (it.at_the_till, it.since, it.until) = (true, Some(at(1)), Some(at(10)));
            it.budget.coupons = Some(100);
            change(it);
        });
        Offer::compile(1, definition, find)
    };
    let part = |change: fn(&mut Definition), stored_on: Option<i8>| {
        let mut offer = offer(change).expect("sound");
        offer.stored_on = stored_on.map(at);
        offer.pace_on(at(5)).map(|pace| pace.part_of(100))
    };
    assert_eq!(part(|_| {}, None), Some(50));
    assert_eq!(part(|it| it.budget.pacing = Some(Pacing::Even), None), Some(50));
    assert_eq!(part(|it| it.budget.pacing = Some(Pacing::None), None), None);
    assert_eq!(part(|it| it.until = None, None), None, "there is no end to spread it to");
    assert_eq!(part(|it| it.at_the_till = false, None), None, "people know what they do");
    // Without a first day of its own it begins when it is stored.
    assert_eq!(part(|it| it.since = None, Some(5)), Some(17));
    assert_eq!(part(|it| it.since = None, None), None);

    let refused = |change: fn(&mut Definition)| {
        let error = offer(change).expect_err("it cannot be paced");
        error.pointer(&plain(|_| {}))
    };
    assert_eq!(
        refused(|it| (it.budget.pacing, it.until) = (Some(Pacing::Even), None)),
        "/budget/pacing"
    );
    assert_eq!(
        refused(|it| (it.budget.pacing, it.at_the_till) = (Some(Pacing::Even), false)),
        "/budget/pacing"
    );
    assert_eq!(
        refused(|it| (it.budget.pacing, it.budget.coupons) = (Some(Pacing::Even), None)),
        "/budget/pacing"
    );
}
