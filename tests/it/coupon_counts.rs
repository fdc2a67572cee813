//! What metrics say of coupons: what was given and what was redeemed, for which reason, each once.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::Role;

use crate::codes::{made, of_pool};
use crate::coupons::{issued, offer as offered, outcomes, plain, took, with};
use crate::desk::verified;
use crate::support::flow::{audit, enrol, name, name_of, on, void};
use crate::support::office::person;
use crate::support::service::{Replica, TestService, body, card, post, swipe};
use crate::till_coupons::{bought, bring, certain, enrolled, of_skus, offer_with, service_with};

const LATER: &str = "2026-03-21";

/// Every series about coupons that has moved on a replica.
fn counted(replica: &Replica) -> BTreeMap<String, u64> {
    let text = replica.app.metrics.render();
    let of_coupons = text.lines().filter_map(|line| line.strip_prefix("tillside_coupons_"));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        (series.to_owned(), value.parse().expect("a count"))
    };
    of_coupons.map(sample).filter(|(_, value)| *value > 0).collect()
}

fn given(slot: &str, reason: &str) -> String {
    format!("given_total{{reason=\"{reason}\",slot=\"{slot}\"}}")
}

fn redeemed(origin: &str, slot: &str, reason: &str) -> String {
    format!("redeemed_total{{origin=\"{origin}\",reason=\"{reason}\",slot=\"{slot}\"}}")
}

fn counts<const N: usize>(series: [(String, u64); N]) -> BTreeMap<String, u64> {
    series.into()
}

/// The code of a receipt's coupon of an offer.
fn code_of(receipt: &Value, offer: &str) -> String {
    let coupons = receipt["coupons"].as_array().expect("a list");
    let coupon = coupons.iter().find(|it| it["offer"] == offer).expect("it was given");
    coupon["coupon"].as_str().expect("a code").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_counted_for_its_reason_when_it_is_given_and_when_it_is_redeemed() {
    let service = service_with(|coupons| *coupons = certain()).await;
    let (till, replica) = (enrolled(&service).await, &service.replica);
    bring(&till, &bought(1, &["3", "4"])).await;
    // Of one the limits look back, so that it is read from the database; the other is in memory.
    let limits = json!({ "per_account": 5 });
    let scope = of_skus(&["1"]);
    offer_with(&service, "yoghurt", json!({ "scope": scope, "limits": limits })).await;
    offer_with(&service, "bread", json!({ "scope": of_skus(&["4"]) })).await;
    assert_eq!(counted(replica), counts([]));

    let sale = on(bought(2, &["3"]), LATER);
    let receipt = body(&post(&till, &sale).await);
    let (bread, yoghurt) = (code_of(&receipt, "bread"), code_of(&receipt, "yoghurt"));
    let mut expected = counts([
        ("issued_total".to_owned(), 2),
        (given("repeat", "bought-before"), 1),
        (given("explore", "brand-you-like"), 1),
    ]);
    assert_eq!(counted(replica), expected);
    assert_eq!(post(&till, &sale).await.status, StatusCode::OK);
    assert_eq!(counted(replica), expected, "a replay gives nothing");

    let sale = on(with(bought(3, &["4"]), &[&bread]), LATER);
    assert_eq!(outcomes(&post(&till, &sale).await), ["redeemed"]);
    expected.insert(redeemed("till", "repeat", "bought-before"), 1);
    assert_eq!(counted(replica), expected);
    assert_eq!(post(&till, &sale).await.status, StatusCode::OK);
    assert_eq!(counted(replica), expected, "a replay redeems nothing");
    // What a till had stored is given nothing.
    let offline = |mut swipe: Value| {
        swipe["offline"] = true.into();
        on(swipe, LATER)
    };
    let again = offline(with(bought(4, &["4"]), &[&bread]));
    assert_eq!(outcomes(&post(&till, &again).await), ["already-redeemed"]);
    assert_eq!(counted(replica), expected, "nor does what does not count");

    let sale = offline(with(bought(5, &["1"]), &[&yoghurt]));
    assert_eq!(outcomes(&post(&till, &sale).await), ["redeemed"]);
    expected.insert(redeemed("till", "explore", "brand-you-like"), 1);
    assert_eq!(counted(replica), expected);

    // Whoever has never seen the customer is told why by the database.
    let voided = name(3).replace("2026-03-14", LATER);
    assert_eq!(void(&till, &voided).await.status, StatusCode::CREATED);
    assert_eq!(counted(replica), expected, "a void takes nothing back");
    let fresh = service.replica().await;
    let sale = offline(with(bought(6, &["4"]), &[&bread]));
    assert_eq!(outcomes(&post(&fresh.till("0367", "03"), &sale).await), ["redeemed"]);
    assert_eq!(counted(&fresh), counts([(redeemed("till", "repeat", "bought-before"), 1)]));
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_people_gave_is_counted_as_given_by_them_and_a_code_as_nobodys() {
    let service = TestService::start().await;
    let (till, replica) = (service.till(), &service.replica);
    for number in [1_u64, 2] {
        post(&till, &swipe(number.cast_signed(), Some(&card(number)), 100)).await;
    }
    enrol(&till, &json!({ "card": card(1) })).await;
    offered(&service, plain("forty")).await;
    let own = issued(&service, 1, "forty", 2).await;
    let inherited = issued(&service, 2, "forty", 1).await.remove(0);
    assert_eq!(counted(replica), counts([]));

    let sale = with(swipe(3, Some(&card(1)), 300), &[&own[0]]);
    assert_eq!(outcomes(&post(&till, &sale).await), ["redeemed"]);
    let people = redeemed("people", "none", "given");
    assert_eq!(counted(replica), counts([(people.clone(), 1)]));
    assert_eq!(post(&till, &sale).await.status, StatusCode::OK);
    assert_eq!(counted(replica), counts([(people.clone(), 1)]), "a replay redeems nothing");
    let link = json!({ "card": card(2), "link_to": card(1) });
    assert_eq!(enrol(&till, &link).await.status, StatusCode::CREATED);
    assert_eq!(took(&till, 4, 1, &[&inherited]).await, ["redeemed"]);
    let mut expected = counts([(people, 1), (redeemed("inherited", "none", "given"), 1)]);
    assert_eq!(counted(replica), expected);

    let mut welcome = plain("welcome");
    welcome["delivery"] = "shared-code".into();
    welcome["shared_code"] = json!({ "code": "WELCOME10" });
    offered(&service, welcome).await;
    offered(&service, of_pool("leaflet")).await;
    let admin = person(&service, Role::Admin).await;
    let leaflet = made(&admin, "leaflet", 1).await.1.remove(0);
    assert_eq!(took(&till, 5, 1, &["WELCOME10"]).await, ["redeemed"]);
    // Codes count from the day on which they were made.
    let day = replica.app.today().to_string();
    let of_leaflet = |sequence| on(with(swipe(sequence, Some(&card(1)), 300), &[&leaflet]), &day);
    assert_eq!(outcomes(&post(&till, &of_leaflet(6)).await), ["redeemed"]);
    expected.insert(redeemed("code", "none", "none"), 2);
    assert_eq!(counted(replica), expected);
    // It stays a code, whoever had it first.
    assert_eq!(void(&till, &name_of(&of_leaflet(6))).await.status, StatusCode::CREATED);
    assert_eq!(outcomes(&post(&till, &of_leaflet(7)).await), ["redeemed"]);
    expected.insert(redeemed("code", "none", "none"), 3);
    assert_eq!(counted(replica), expected);
    audit(&service).await;

    // A newer version may have reasons of its own.
    let newer = "UPDATE coupon SET reason = 4711 WHERE state = 0";
    assert_eq!(service.sql().await.execute(newer, &[]).await.expect(newer), 1);
    let fresh = service.replica().await;
    assert_eq!(took(&fresh.till("0367", "03"), 8, 1, &[&own[1]]).await, ["redeemed"]);
    assert_eq!(counted(&fresh), counts([(redeemed("till", "unknown", "unknown"), 1)]));
}
