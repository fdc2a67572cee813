//! Coupons that the till chooses: for whom, of what, once, and taken back with the sale that
//! brought them.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tillside::config::Coupons;
use tillside::domain::offer::Definition;
use tillside::import::{self, Importer};
use tillside::offer;
use tillside::till::Till;

use crate::desk::verified;
use crate::support::flow::{audit, basket, enrol, look_up, name, on, sold, until, void};
use crate::support::service::{TestService, body, card, post, today};

const LATER: &str = "2026-03-21";

/// With the catalogue of [`service_with`], nobody held out and nothing drawn by lot.
async fn service(per_swipe: usize, open_max: usize) -> TestService {
    service_with(|coupons| {
        *coupons = Coupons { per_swipe, open_max, ..certain() };
    })
    .await
}

/// Settings under which every customer gets what scores best.
pub(crate) fn certain() -> Coupons {
    Coupons { hold_out_percent: 0, explore_percent: 0, per_week: 50, ..Coupons::default() }
}

/// With a catalogue: yoghurts 1 and 2, milk 3, bread 4, a test kit 5 which is sensitive.
pub(crate) async fn service_with(change: impl FnOnce(&mut Coupons)) -> TestService {
    let csv = "sku,name,department,category,type,brand,sensitive\n\
               1,Plain yoghurt,DAIRY,YOGHURT,PLAIN,ALMA,false\n\
               2,Fruit yoghurt,DAIRY,YOGHURT,FRUIT,ALMA,false\n\
               3,Milk,DAIRY,MILK,WHOLE,ALMA,false\n\
               4,Bread,BAKERY,BREAD,RYE,KORN,false\n\
               5,Test kit,HEALTH,TESTS,KIT,MEDO,true\n";
    stocked(csv, change).await
}

/// With another catalogue.
pub(crate) async fn stocked(csv: &str, change: impl FnOnce(&mut Coupons)) -> TestService {
    let service = TestService::start_with(|config| change(&mut config.coupons)).await;
    let mut file = NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, csv.as_bytes()).expect("written");
    let read = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let now = Timestamp::now();
    let mut importer = Importer::connect(&service.config.database, now).await.expect("it is up");
    importer.catalogue(&read, today(), "test", |_| ()).await.expect("imported");
    let catalogue = &service.replica.app.catalogue;
    let articles = csv.lines().count() - 1;
    until("the catalogue is known", async || catalogue.current().skus().count() == articles).await;
    service
}

/// An offer of 50 % off some articles, which the till may choose.
pub(crate) async fn offer_of(service: &TestService, name: &str, scope: Value) {
    offer_within(service, name, scope, json!({})).await;
}

/// The same with a budget.
async fn offer_within(service: &TestService, name: &str, scope: Value, budget: Value) {
    offer_with(service, name, json!({ "scope": scope, "budget": budget })).await;
}

/// The same with whatever else a definition says.
pub(crate) async fn offer_with(service: &TestService, name: &str, more: Value) {
    let mut definition = json!({
        "offer": name, "headline": format!("Half off: {name}"), "delivery": "personal",
        "valid_days": 14, "at_the_till": true,
        "reward": { "kind": "percent-off", "percent": 50 },
        "funding": { "party": "chain", "share_percent": 100 },
    });
    for (field, value) in more.as_object().expect("fields") {
        definition[field] = value.clone();
    }
    let definition: Definition = serde_json::from_value(definition).expect("a definition");
    let catalogue = &service.replica.app.catalogue;
    offer::add(&service.pool, &catalogue.current(), definition, Timestamp::now())
        .await
        .expect("sound");
    until("the offer is known", async || catalogue.current().offer_named(name).is_some()).await;
}

pub(crate) fn of_skus(skus: &[&str]) -> Value {
    json!({ "skus": skus })
}

/// A basket of one each.
pub(crate) fn bought(sequence: i64, skus: &[&str]) -> Value {
    let lines = (1..).zip(skus).map(|(line, sku)| sold(line, sku, 200)).collect();
    basket(sequence, Some(&card(1)), lines)
}

pub(crate) async fn enrolled(service: &TestService) -> Till {
    let till = service.till();
    enrol(&till, &json!({ "card": card(1) })).await;
    till
}

/// What a receipt brings: offer and reason of each coupon.
pub(crate) fn brought(receipt: &Value) -> Vec<(String, String)> {
    let coupons = receipt["coupons"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    coupons.iter().map(|it| (text(&it["offer"]), text(&it["reason"]["code"]))).collect()
}

pub(crate) async fn bring(till: &Till, swipe: &Value) -> Vec<(String, String)> {
    let answer = post(till, swipe).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    brought(&body(&answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_gets_what_fits_and_never_what_is_in_the_bag_already() {
    let service = service(2, 12).await;
    let till = enrolled(&service).await;
    offer_of(&service, "yoghurt", of_skus(&["1"])).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    offer_of(&service, "kits", of_skus(&["5"])).await;

    // Everything that was ever bought was just bought, and nobody knows yet how often.
    assert_eq!(bring(&till, &bought(1, &["1", "4", "5"])).await, []);
    // Milk of the same brand tells something about yoghurt, and bread was bought before.
    let second = post(&till, &on(bought(2, &["3"]), LATER)).await;
    let receipt = body(&second);
    let pair = |offer: &str, reason: &str| (offer.to_owned(), reason.to_owned());
    let mut coupons = brought(&receipt);
    coupons.sort();
    assert_eq!(coupons, [pair("bread", "bought-before"), pair("yoghurt", "bought-before")]);
    let first = &receipt["coupons"][0];
    assert_eq!(first["valid_from"], LATER);
    assert_eq!(first["valid_until"], "2026-04-03", "fourteen days, the first one included");
    assert_eq!(first["reward"], json!({ "kind": "percent-off", "percent": 50 }));
    assert_eq!(first["barcode"], json!({ "symbology": "code128", "text": first["coupon"] }));
    assert_eq!(first["reason"]["text"], "You have bought this before.");

    // A retry gets the same ones; the next basket none of what is held already.
    let retried = post(&till, &on(bought(2, &["3"]), LATER)).await;
    assert_eq!((retried.status, &retried.body), (StatusCode::OK, &second.body));
    assert_eq!(bring(&till, &on(bought(3, &["3"]), LATER)).await, []);
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 2);

    // Redeemed, it is held no more, and can be given again.
    let code = receipt["coupons"].as_array().and_then(|all| {
        let bread = all.iter().find(|it| it["offer"] == "bread")?;
        bread["coupon"].as_str().map(str::to_owned)
    });
    let mut sale = on(bought(4, &["4"]), LATER);
    sale["redemptions"] = json!([{ "coupon": code, "discount_minor": 100 }]);
    let redeemed = body(&post(&till, &sale).await);
    assert_eq!(redeemed["redemptions"][0]["outcome"], "redeemed");
    assert_eq!(brought(&redeemed), [], "one is held, the other was just used");
    let again = bring(&till, &on(bought(5, &["3"]), LATER)).await;
    assert_eq!(again, [pair("bread", "bought-before")]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_shows_the_coupons_that_can_still_be_redeemed() {
    let service = service(2, 12).await;
    let till = enrolled(&service).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    let now = service.replica.app.today();
    let earlier = now.saturating_sub(jiff::Span::new().days(9));
    bring(&till, &on(bought(1, &["4"]), &earlier.to_string())).await;
    let receipt = body(&post(&till, &on(bought(2, &["3"]), &now.to_string())).await);
    assert_eq!(brought(&receipt).len(), 1);
    let shown = body(&look_up(&till, &card(1)).await);
    assert_eq!(shown["coupons"], receipt["coupons"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_given_more_than_the_settings_allow() {
    let service = service(1, 2).await;
    let till = enrolled(&service).await;
    for sku in ["1", "2", "3", "4"] {
        offer_of(&service, &format!("offer-{sku}"), of_skus(&[sku])).await;
    }
    bring(&till, &bought(1, &["1", "2", "3", "4"])).await;
    let mut given = Vec::new();
    for sequence in 2..6 {
        given.push(bring(&till, &on(bought(sequence, &["6"]), LATER)).await.len());
    }
    assert_eq!(given, [1, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tills_give_what_the_budget_has_room_for_and_no_more() {
    let service = service(2, 12).await;
    let replica = service.replica().await;
    let tills = [service.till(), replica.till("0406", "01")];
    offer_within(&service, "bread", of_skus(&["4"]), json!({ "coupons": 5 })).await;
    until("both know", async || replica.app.catalogue.current().offer_named("bread").is_some())
        .await;
    for customer in 1..=12 {
        enrol(&tills[0], &json!({ "card": card(customer) })).await;
        let mut first = bought(customer.cast_signed(), &["4"]);
        first["card"] = card(customer).into();
        bring(&tills[0], &first).await;
    }
    // A till that has no lease in hand gives nothing and asks for one: everybody comes often.
    let mut sequence = 100;
    let mut round = async || {
        for customer in 1..=12 {
            for (till, store, workstation) in [(&tills[0], "0367", "03"), (&tills[1], "0406", "01")]
            {
                sequence += 1;
                let mut milk = on(bought(sequence, &["3"]), LATER);
                milk["card"] = card(customer).into();
                (milk["store_id"], milk["workstation_id"]) = (store.into(), workstation.into());
                bring(till, &milk).await;
            }
        }
        service.count("SELECT count(*) FROM coupon").await
    };
    until("everything is given", async || round().await >= 5).await;
    assert_eq!(round().await, 5);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_receipt_brings_one_coupon_for_a_type() {
    let service = service(4, 12).await;
    let till = enrolled(&service).await;
    offer_of(&service, "plain", of_skus(&["1"])).await;
    offer_of(&service, "also-plain", json!({ "types": ["PLAIN"] })).await;
    offer_of(&service, "dairy", json!({ "departments": ["DAIRY"] })).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    bring(&till, &bought(1, &["1", "4"])).await;
    let given = bring(&till, &on(bought(2, &["6"]), LATER)).await;
    assert_eq!(given.len(), 2, "bread, and one of those that are for yoghurt: {given:?}");
    assert!(given.iter().any(|(offer, _)| offer == "bread"), "{given:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_takes_back_what_the_sale_brought_and_is_still_open() {
    let service = service(2, 12).await;
    let till = enrolled(&service).await;
    offer_of(&service, "yoghurt", of_skus(&["1"])).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    bring(&till, &bought(1, &["1", "4"])).await;
    let receipt = body(&post(&till, &on(bought(2, &["3"]), LATER)).await);
    let codes: Vec<String> = receipt["coupons"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["coupon"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(codes.len(), 2);
    let mut sale = on(bought(3, &["1", "4"]), LATER);
    sale["redemptions"] = json!([{ "coupon": codes[0], "discount_minor": 1 }]);
    let redeemed = body(&post(&till, &sale).await);
    assert_eq!(redeemed["redemptions"][0]["outcome"], "redeemed");

    let named = name(2).replace(&today().to_string(), LATER);
    assert_eq!(void(&till, &named).await.status, StatusCode::CREATED);
    let state = |code: &str| {
        let code = tillside::domain::coupon::Code::parse(code).expect("a code");
        let pool = service.pool.clone();
        async move { offer::life(&pool, code).await.expect("read").expect("issued").state }
    };
    assert_eq!(state(&codes[0]).await, "redeemed", "the sale that used it happened");
    assert_eq!(state(&codes[1]).await, "revoked");
    // What was taken back can be given again.
    let given = bring(&till, &on(bought(4, &["6"]), LATER)).await;
    assert!(!given.is_empty());
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_enrolled_or_has_left_the_store_gets_none() {
    let service = service(2, 12).await;
    let till = service.till();
    offer_of(&service, "bread", of_skus(&["4"])).await;
    bring(&till, &bought(1, &["4"])).await;
    assert_eq!(bring(&till, &on(bought(2, &["3"]), LATER)).await, [], "not enrolled yet");
    enrol(&till, &json!({ "card": card(1) })).await;
    let mut stored = on(bought(3, &["3"]), LATER);
    stored["offline"] = true.into();
    assert_eq!(bring(&till, &stored).await, [], "the customer has left");
    let mut training = on(bought(4, &["3"]), LATER);
    training["training"] = true.into();
    assert_eq!(bring(&till, &training).await, []);
    assert_eq!(bring(&till, &on(bought(5, &["3"]), LATER)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_race_one_swipe_issue_its_coupons_once() {
    let service = service(2, 12).await;
    let till = enrolled(&service).await;
    let replica = service.replica().await;
    let elsewhere = replica.till("0367", "03");
    offer_of(&service, "yoghurt", of_skus(&["1"])).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    until("both know", async || replica.app.catalogue.current().offer_named("bread").is_some())
        .await;
    bring(&till, &bought(1, &["1", "4"])).await;
    for sequence in 2..12 {
        let sale = on(bought(sequence, &["3"]), LATER);
        let (one, other) = tokio::join!(post(&till, &sale), post(&elsewhere, &sale));
        assert_eq!(one.body, other.body, "whoever was first");
        let voided = name(sequence).replace(&today().to_string(), LATER);
        assert_eq!(void(&till, &voided).await.status, StatusCode::CREATED);
    }
    assert_eq!(service.count("SELECT count(*) FROM coupon WHERE state = 2").await, 20);
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 20);
    audit(&service).await;
    verified(&service).await;
}
