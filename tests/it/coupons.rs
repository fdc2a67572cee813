//! Coupons: issued and taken back by people, redeemed at tills exactly once, and opened again
//! when the sale is voided; whatever the caches hold, and whoever else comes at that moment.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::commit::{Order, Ordered, Whose};
use tillside::domain::coupon::Code;
use tillside::domain::offer::Definition;
use tillside::offer::{self, AddError};
use tillside::till::{Answer, Till};
use tokio::sync::Barrier;

use crate::desk::{desk, of_card, verified};
use crate::support::caches::{ALL, replicas};
use crate::support::flow::{account_of, at, audit, name, on, until, void};
use crate::support::gate::answers;
use crate::support::service::{TestService, body, card, post, swipe, today};

/// An offer of 40 minor units off anything.
pub(crate) fn plain(name: &str) -> Value {
    json!({
        "offer": name, "headline": "40 off", "delivery": "personal", "valid_days": 7,
        "reward": { "kind": "amount-off", "amount_minor": 40 },
        "funding": { "party": "chain", "share_percent": 100 },
    })
}

fn definition(offer: Value) -> Definition {
    serde_json::from_value(offer).expect("a definition")
}

/// Stores an offer and waits until the service knows it.
pub(crate) async fn offer(service: &TestService, offer: Value) {
    let definition = definition(offer);
    let catalogue = &service.replica.app.catalogue;
    let name = definition.offer.clone();
    let snapshot = catalogue.current();
    offer::add(&service.pool, &snapshot, definition, Timestamp::now()).await.expect("sound");
    until("the offer is known", async || catalogue.current().offer_named(&name).is_some()).await;
}

pub(crate) fn issue(whose: Whose, offer: &str, count: u16) -> Order {
    Order::Issue { whose, offer: offer.to_owned(), count, actor: "test".to_owned(), on: today() }
}

async fn order(service: &TestService, order: &Order) -> Ordered {
    let snapshot = service.replica.app.catalogue.current();
    let mut desk = desk(&service.config);
    desk.order(&snapshot, order, Timestamp::now()).await.expect("the database answers")
}

/// Coupons of an offer for the account of a card.
pub(crate) async fn issued(
    service: &TestService,
    number: u64,
    offer: &str,
    count: u16,
) -> Vec<String> {
    match order(service, &issue(of_card(number), offer, count)).await {
        Ordered::Issued { codes, .. } => codes.iter().map(Code::to_string).collect(),
        other => panic!("not issued: {other:?}"),
    }
}

/// A swipe with these coupons, each of which the till gave 40 for.
pub(crate) fn with(mut swipe: Value, coupons: &[&str]) -> Value {
    let redemptions = coupons.iter().map(|it| json!({ "coupon": it, "discount_minor": 40 }));
    swipe["redemptions"] = redemptions.collect();
    swipe
}

/// The outcomes on a receipt.
pub(crate) fn outcomes(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let redemptions = body(answer)["redemptions"].as_array().cloned().expect("a list");
    redemptions.iter().map(|it| it["outcome"].as_str().expect("text").to_owned()).collect()
}

pub(crate) async fn took(till: &Till, sequence: i64, number: u64, coupons: &[&str]) -> Vec<String> {
    outcomes(&post(till, &with(swipe(sequence, Some(&card(number)), 300), coupons)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_redeemed_once_and_a_retry_gets_the_same_bytes() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    offer(&service, plain("forty")).await;
    let coupons = issued(&service, 1, "forty", 2).await;
    let [one, other] = [&*coupons[0], &*coupons[1]];

    // As customers and tills write it; twice in one transaction it counts once.
    let typed = format!("{}-{}", &one[..7], &one[7..]).to_lowercase();
    let sale = with(swipe(2, Some(&card(1)), 300), &[one, &typed, "00000000000001"]);
    let first = post(&till, &sale).await;
    assert_eq!(outcomes(&first), ["redeemed", "already-redeemed", "unknown"]);
    let retried = post(&till, &sale).await;
    assert_eq!((retried.status, &retried.body), (StatusCode::OK, &first.body));

    assert_eq!(took(&till, 3, 1, &[one, other]).await, ["already-redeemed", "redeemed"]);
    // Somebody else's, and nobody's.
    assert_eq!(took(&till, 4, 2, &[one]).await, ["not-yours"]);
    let nobodys = post(&till, &with(swipe(5, None, 300), &[other])).await;
    assert_eq!(outcomes(&nobodys), ["not-yours"]);

    let code = Code::parse(one).expect("a code");
    let life = offer::life(&service.pool, code).await.expect("read").expect("issued");
    assert_eq!((life.state, life.over_value, &*life.offer), ("redeemed", false, "forty"));
    assert_eq!(life.redeemed_by, Some(name(2)));
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_coupon_from_counting_is_on_the_receipt_and_it_stays_open() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let mut elsewhere = plain("elsewhere");
    elsewhere["stores"] = json!(["0406"]);
    let mut large = plain("large");
    large["minimum_basket_minor"] = 1_000.into();
    for each in [elsewhere, large, plain("forty")] {
        offer(&service, each).await;
    }
    let elsewhere = issued(&service, 1, "elsewhere", 1).await.remove(0);
    let large = issued(&service, 1, "large", 1).await.remove(0);
    let late = issued(&service, 1, "forty", 1).await.remove(0);
    let dear = issued(&service, 1, "forty", 1).await.remove(0);
    let back = issued(&service, 1, "forty", 1).await.remove(0);

    assert_eq!(took(&till, 2, 1, &[&elsewhere, &large]).await, ["wrong-store", "below-minimum"]);
    let early = on(with(swipe(3, Some(&card(1)), 300), &[&late]), "2026-03-13");
    assert_eq!(outcomes(&post(&till, &early).await), ["not-yet-valid"]);
    let past = on(with(swipe(3, Some(&card(1)), 300), &[&late]), "2026-03-21");
    assert_eq!(outcomes(&post(&till, &past).await), ["expired"]);
    let returned = {
        let mut sale = with(swipe(4, Some(&card(1)), 300), &[&late]);
        sale["lines"][0]["kind"] = "return".into();
        sale["total_minor"] = (-300).into();
        sale
    };
    assert_eq!(outcomes(&post(&till, &returned).await), ["not-in-basket"]);

    // Given more than it is worth: it happened, so it counts, and is marked.
    let mut over = with(swipe(5, Some(&card(1)), 300), &[&dear]);
    over["redemptions"][0]["discount_minor"] = 41.into();
    assert_eq!(outcomes(&post(&till, &over).await), ["over-value"]);
    let life = offer::life(&service.pool, Code::parse(&dear).expect("a code")).await;
    let life = life.expect("read").expect("issued");
    assert_eq!((life.state, life.over_value), ("redeemed", true));

    // Taken back, once and for all; what a till has taken is not taken back.
    let revoke = |text: &str| Order::Revoke(Code::parse(text).expect("a code"));
    assert_eq!(order(&service, &revoke(&back)).await, Ordered::Revoked);
    assert_eq!(order(&service, &revoke(&back)).await, Ordered::Revoked);
    assert_eq!(order(&service, &revoke(&dear)).await, Ordered::Redeemed);
    let never = Order::Revoke(Code::new(3, 1));
    assert_eq!(order(&service, &never).await, Ordered::NoSuchCoupon);
    assert_eq!(took(&till, 6, 1, &[&back]).await, ["revoked"]);

    // None of the others was used up.
    let other_till = service.replica.till("0406", "03");
    let sale =
        at(with(swipe(7, Some(&card(1)), 1_000), &[&elsewhere, &large, &late]), "0406", "03");
    assert_eq!(outcomes(&post(&other_till, &sale).await), ["redeemed"; 3]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_opens_again_what_its_sale_had_used() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    offer(&service, plain("forty")).await;
    let coupons = issued(&service, 1, "forty", 2).await;
    let [one, other] = [&*coupons[0], &*coupons[1]];
    assert_eq!(took(&till, 2, 1, &[one]).await, ["redeemed"]);
    assert_eq!(took(&till, 3, 1, &[one, other]).await, ["already-redeemed", "redeemed"]);
    // This one took the coupon that another sale had used: its void opens only its own.
    assert_eq!(void(&till, &name(3)).await.status, StatusCode::CREATED);
    assert_eq!(took(&till, 4, 1, &[one, other]).await, ["already-redeemed", "redeemed"]);
    assert_eq!(void(&till, &name(2)).await.status, StatusCode::CREATED);
    assert_eq!(void(&till, &name(2)).await.status, StatusCode::OK);
    verified(&service).await;
    assert_eq!(took(&till, 5, 1, &[one]).await, ["redeemed"]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_and_orders_that_cannot_be_carried_out_change_nothing() {
    let service = TestService::start().await;
    post(&service.till(), &swipe(1, Some(&card(1)), 100)).await;
    offer(&service, plain("forty")).await;
    let mut later = plain("later");
    later["since"] = "2026-03-15".into();
    offer(&service, later).await;
    let house = service
        .count("SELECT house_account FROM workstation ORDER BY workstation_no LIMIT 1")
        .await;
    for (whose, offer, outcome) in [
        (of_card(9), "forty", Ordered::NoSuchAccount),
        (Whose::Account(4 << 40), "forty", Ordered::NoSuchAccount),
        (Whose::Account(house), "forty", Ordered::NoCustomer),
        (of_card(1), "fifty", Ordered::NoSuchOffer),
        (of_card(1), "later", Ordered::OfferNotLive),
    ] {
        assert_eq!(order(&service, &issue(whose, offer, 1)).await, outcome);
    }
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 0);

    let snapshot = service.replica.app.catalogue.current();
    let add = async |offer| {
        let now = Timestamp::now();
        offer::add(&service.pool, &snapshot, definition(offer), now).await
    };
    assert!(matches!(add(plain("forty")).await, Err(AddError::NameTaken(_))));
    let mut nowhere = plain("nowhere");
    nowhere["scope"] = json!({ "brands": ["ACME"] });
    assert!(matches!(add(nowhere).await, Err(AddError::Offer(_))));
    assert_eq!(service.count("SELECT count(*) FROM offer").await, 2);

    // Ended, nothing more is issued; what is in customers' hands counts on.
    let coupon = issued(&service, 1, "forty", 1).await.remove(0);
    let yesterday = today().yesterday().expect("in the calendar");
    let end = async |name: &str| {
        let now = Timestamp::now();
        offer::end(&service.pool, name, yesterday, today(), None, now).await.expect("stored")
    };
    assert!(end("forty").await.is_some());
    assert!(end("fifty").await.is_none());
    let catalogue = &service.replica.app.catalogue;
    until("the end is known", async || {
        let snapshot = catalogue.current();
        snapshot.offer_named("forty").is_some_and(|it| it.definition.until == Some(yesterday))
    })
    .await;
    let ended = order(&service, &issue(of_card(1), "forty", 1)).await;
    assert_eq!(ended, Ordered::OfferNotLive);
    assert_eq!(took(&service.till(), 2, 1, &[&coupon]).await, ["redeemed"]);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_tills_with_one_coupon_exactly_one_redeems_it() {
    const TILLS: usize = 64;
    const ROUNDS: u16 = 34;
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(1)]).await;
        post(&service.till(), &swipe(0, Some(&card(1)), 100)).await;
        offer(&service, plain("forty")).await;
        let there = &replica.app.catalogue;
        until("both know the offer", async || there.current().offer_named("forty").is_some()).await;
        let tills = [service.till(), replica.till("0367", "03")];
        let coupons = issued(&service, 1, "forty", ROUNDS).await;
        for (coupon, round) in coupons.iter().zip(1_i64..) {
            let barrier = Arc::new(Barrier::new(TILLS));
            let posting = |(n, sequence): (usize, i64)| {
                let (till, barrier) = (tills[n % 2].clone(), Arc::clone(&barrier));
                let sale = with(swipe(sequence, Some(&card(1)), 300), &[coupon]);
                tokio::spawn(async move {
                    barrier.wait().await;
                    post(&till, &sale).await
                })
            };
            let racing = (0..TILLS).zip(round * 100..).map(posting).collect();
            let mut seen: Vec<String> = answers(racing).await.iter().flat_map(outcomes).collect();
            seen.sort_unstable();
            assert_eq!(seen.len(), TILLS);
            assert_eq!(seen.iter().filter(|it| *it == "redeemed").count(), 1, "{caches:?}");
            assert_eq!(seen[..TILLS - 1], vec!["already-redeemed"; TILLS - 1], "{caches:?}");
        }
        let account_id = account_of(&service.sql().await, &card(1)).await;
        let redeemed =
            format!("SELECT count(*) FROM coupon WHERE state = 1 AND account_id = {account_id}");
        assert_eq!(service.count(&redeemed).await, i64::from(ROUNDS));
        verified(&service).await;
    }
}
