//! Coupons by people of the back office: a list is issued once, wherever it is cut off and whoever
//! goes on with it; each account is told about; what was issued can be looked at and taken back.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::Role;

use crate::desk::verified;
use crate::offers_api::{forty, made};
use crate::openapi::{document, findings};
use crate::support::flow::{account_of, audit, basket, enrol, name_of, on, slug, sold, until};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

const COUPONS: &str = "SELECT count(*) FROM coupon";

/// A service with an offer for everybody, and cards 1 to 5 in use.
async fn service() -> (TestService, Person) {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    for number in 1..=5 {
        let sale = swipe(number, Some(&card(number.unsigned_abs())), 100);
        post(&service.till(), &sale).await;
    }
    made(&service, &admin, forty("forty", &[])).await;
    (service, admin)
}

fn list(to: &[&str]) -> Value {
    json!({ "offer": "forty", "to": to })
}

fn outcomes(answer: &Value) -> Vec<&str> {
    let all = answer["outcomes"].as_array().unwrap_or_else(|| panic!("{answer}"));
    all.iter().map(|outcome| outcome["outcome"].as_str().expect("text")).collect()
}

/// Every code of an answer.
fn codes(answer: &Value) -> Vec<String> {
    let all = answer["outcomes"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    let of = |outcome: &Value| outcome["coupons"].as_array().cloned().expect("a list");
    all.flat_map(of).map(|code| code.as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_issued_item_by_item_and_each_is_told_about() {
    let (service, admin) = service().await;
    let sql = service.sql().await;
    let account = account_of(&sql, &card(2)).await;
    let account = tillside::receipt::account_text(account);
    let house = "SELECT house_account FROM workstation WHERE workstation_id = '03' LIMIT 1";
    let house: i64 = sql.query_one(house, &[]).await.expect(house).get(0);
    let house = tillside::receipt::account_text(house);
    let to = [&*card(1), &*account, &*card(2), &*card(99), "acc_0000000000000", &*house, "123"];
    let order = json!({ "offer": "forty", "to": to, "count": 2 });
    let answer = admin.post("/v1/coupons", "k1", &order).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let issued = body(&answer);
    assert_eq!(
        outcomes(&issued),
        ["issued", "issued", "duplicate", "unknown", "unknown", "no-customer", "invalid"]
    );
    assert_eq!((&issued["issued"], service.count(COUPONS).await), (&json!(4), 4));
    assert_eq!(issued["outcomes"][1]["account"], json!(account));
    assert_eq!(issued["outcomes"][2]["account"], json!(account));
    let document = document(&service.till()).await;
    for (schema, value) in [("CouponOrder", &order), ("CouponsIssued", &issued)] {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        assert_eq!(findings(&document, &schema, value, ""), [""; 0]);
    }

    // A line of the audit trail for each coupon, by whoever did it.
    let trail = body(&admin.get("/v1/audit?limit=4").await);
    let lines = trail["audit"].as_array().expect("a list");
    let mut traced: Vec<String> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["action"], "coupon.issue");
            assert_eq!(line["user"], admin.user);
            line["object"].as_str().expect("text").replace("coupon:", "")
        })
        .collect();
    let mut given = codes(&issued);
    traced.sort();
    given.sort();
    assert_eq!(traced, given);

    let again = admin.post("/v1/coupons", "k1", &order).await;
    assert_eq!((again.status, body(&again)), (StatusCode::CREATED, issued));
    assert_eq!(service.count(COUPONS).await, 4);
    let other = admin.post("/v1/coupons", "k1", &list(&[&card(1)])).await;
    assert_eq!(slug(&other), "idempotency-key-reused");
    // Another key is another order.
    admin.post("/v1/coupons", "k2", &list(&[&card(1)])).await;
    assert_eq!(service.count(COUPONS).await, 5);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_issued_is_pointed_at_and_nothing_is() {
    let (service, admin) = service().await;
    let over = admin.post("/v1/offers/forty/end", "", &json!({})).await;
    assert_eq!(over.status, StatusCode::OK);
    made(&service, &admin, forty("fifty", &[])).await;
    let card = card(1);
    let many = vec![&*card; 1_001];
    for (order, pointer) in [
        (list(&[&card]), "/offer"),
        (json!({ "offer": "sixty", "to": [card] }), "/offer"),
        (json!({ "offer": "fifty", "to": [] }), "/to"),
        (json!({ "offer": "fifty", "to": many }), "/to"),
        (json!({ "offer": "fifty", "to": [7] }), "/to/0"),
        (json!({ "offer": "fifty", "to": [card], "count": 0 }), "/count"),
        (json!({ "offer": "fifty", "to": [card], "count": 101 }), "/count"),
        (json!({ "offer": "fifty" }), "/to"),
    ] {
        let refused = admin.post("/v1/coupons", "k", &order).await;
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{order}");
    }
    let stolen = json!({ "offer": "fifty", "to": ["4111111111111111"] });
    let refused = admin.post("/v1/coupons", "k", &stolen).await;
    assert_eq!(slug(&refused), "payment-card-data-refused");
    assert_eq!(service.count(COUPONS).await, 0);
    // What was refused can be mended under the same key.
    let mended = json!({ "offer": "fifty", "to": [card] });
    assert_eq!(admin.post("/v1/coupons", "k", &mended).await.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_cut_off_is_gone_on_with_and_nobody_gets_coupons_twice() {
    let (service, admin) = service().await;
    let other = service.replica().await;
    let sql = service.sql().await;
    let cards: Vec<String> = (1..=5).map(card).collect();
    let order = list(&cards.iter().map(String::as_str).collect::<Vec<_>>());
    // Somebody holds the third account: the list stands still in its middle.
    let held = account_of(&sql, &card(3)).await;
    let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {held} FOR UPDATE");
    sql.batch_execute(&hold).await.expect("nobody else has it");
    let begin = |someone: Person| {
        let order = order.clone();
        tokio::spawn(async move { someone.post("/v1/coupons", "k1", &order).await })
    };
    let first = begin(admin.clone());
    until("two accounts have theirs", async || service.count(COUPONS).await == 2).await;
    let in_use = admin.post("/v1/coupons", "k1", &order).await;
    assert_eq!(slug(&in_use), "idempotency-key-in-use");

    // Whoever did it is given up; meanwhile the first account is merged into another one.
    let aged = "UPDATE idempotency SET began_at = began_at - interval '61 seconds'";
    service.sql().await.batch_execute(aged).await.expect("changed");
    let member = json!({ "given_name": "Ada" });
    let till = service.till();
    enrol(&till, &json!({ "card": card(9), "member": member })).await;
    let linked = enrol(&till, &json!({ "card": card(1), "link_to": card(9) })).await;
    assert_eq!(linked.status, StatusCode::CREATED, "{:?}", linked.body);
    let second = begin(admin.at(&other.base_url));
    until("the second attempt waits as well", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        service.count(waiting).await == 2
    })
    .await;
    sql.batch_execute("ROLLBACK").await.expect("it was open");
    let (first, second) = (first.await.expect("no panic"), second.await.expect("no panic"));
    assert_eq!(first.status, StatusCode::CREATED, "{:?}", first.body);
    assert_eq!(body(&first), body(&second));
    assert_eq!(outcomes(&body(&first)), ["issued"; 5]);
    assert_eq!(service.count(COUPONS).await, 5);
    let traced = "SELECT count(*) FROM audit WHERE action = 'coupon.issue'";
    assert_eq!(service.count(traced).await, 5);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_attempt_that_failed_the_same_key_goes_on_with_the_same_codes() {
    let (service, admin) = service().await;
    let sql = service.sql().await;
    let order = list(&[&card(1), &card(2)]);
    // As a crash after the first account leaves it: the plan, and one coupon by it.
    let answer = body(&admin.post("/v1/coupons", "k1", &order).await);
    let plan = "SELECT count(*) FROM idempotency WHERE plan IS NOT NULL";
    assert_eq!(service.count(plan).await, 0, "a plan goes when its answer is there");
    let other = list(&[&card(3), &card(4)]);
    let held = account_of(&sql, &card(4)).await;
    let lots = format!("SELECT lots FROM account WHERE account_id = {held}");
    let lots: Vec<u8> = sql.query_one(&lots, &[]).await.expect("it is there").get(0);
    let change = format!("UPDATE account SET lots = $1 WHERE account_id = {held}");
    sql.execute(&change, &[&&b"\xff"[..]]).await.expect("damaged on purpose");
    let failed = admin.post("/v1/coupons", "k2", &other).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(service.count(COUPONS).await, 3, "the first of the two has its coupon");
    sql.execute(&change, &[&lots]).await.expect("mended");
    let done = admin.post("/v1/coupons", "k2", &other).await;
    assert_eq!(done.status, StatusCode::CREATED, "{:?}", done.body);
    assert_eq!(service.count(COUPONS).await, 4);
    assert_eq!(codes(&answer).len(), 2);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_issues_and_takes_back_coupons_of_offers_of_own_stores() {
    let (service, admin) = service().await;
    let manager = person(&service, Role::Manager).await;
    for (name, stores) in [("own", &["0367"][..]), ("both", &["0367", "0406"]), ("far", &["0406"])]
    {
        made(&service, &admin, forty(name, stores)).await;
    }
    for (name, expected) in [("own", 201), ("both", 403), ("forty", 403), ("far", 422)] {
        let order = json!({ "offer": name, "to": [card(1)] });
        let answer = manager.post("/v1/coupons", name, &order).await;
        assert_eq!(answer.status, expected, "{name}: {:?}", answer.body);
    }
    let own = json!({ "offer": "own", "to": [card(2)] });
    let own = codes(&body(&manager.post("/v1/coupons", "k2", &own).await)).remove(0);
    let all = codes(&body(&admin.post("/v1/coupons", "k3", &list(&[&card(2)])).await)).remove(0);
    let revoke = |code: &str| format!("/v1/coupons/{code}/revoke");
    let refused = manager.post(&revoke(&all), "r", &json!({})).await;
    assert_eq!((refused.status, slug(&refused)), (StatusCode::FORBIDDEN, "forbidden".to_owned()));
    assert_eq!(manager.post(&revoke(&own), "r", &json!({})).await.status, StatusCode::OK);
    // Everybody may look at a coupon that a customer brings.
    assert_eq!(body(&manager.get(&format!("/v1/coupons/{all}")).await)["state"], "issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_coupon_is_told_and_only_what_no_till_has_taken_is_taken_back() {
    let (service, admin) = service().await;
    let order = json!({ "offer": "forty", "to": [card(1)], "count": 2 });
    let given = codes(&body(&admin.post("/v1/coupons", "k", &order).await));
    let look = async |code: &str| body(&admin.get(&format!("/v1/coupons/{code}")).await);
    let today = service.replica.app.today().to_string();
    let mut sale = on(basket(50, Some(&card(1)), vec![sold(1, "milk", 300)]), &today);
    sale["redemptions"] = json!([{ "coupon": given[0], "discount_minor": 40 }]);
    let receipt = body(&post(&service.till(), &sale).await);
    assert_eq!(receipt["redemptions"][0]["outcome"], "redeemed", "{receipt}");

    let mut life = look(&given[0]).await;
    assert_eq!(life["redeemed_by"], name_of(&sale));
    for (field, value) in [("coupon", &given[0]), ("valid_from", &today)] {
        assert_eq!(life[field], json!(value));
    }
    for changing in ["coupon", "account", "issued_at", "valid_from", "valid_until", "redeemed_by"] {
        life[changing] = "…".into();
    }
    insta::assert_json_snapshot!(life, @r#"
    {
      "account": "…",
      "actor": "user:1",
      "coupon": "…",
      "issued_at": "…",
      "offer": "forty",
      "over_budget": false,
      "over_limit": false,
      "over_value": false,
      "pool": null,
      "reason": "given",
      "redeemed_by": "…",
      "slot": "none",
      "state": "redeemed",
      "valid_from": "…",
      "valid_until": "…",
      "why": "People gave it."
    }
    "#);
    let revoke = async |code: &str| {
        let path = format!("/v1/coupons/{code}/revoke");
        admin.post(&path, "r", &json!({})).await
    };
    let late = revoke(&given[0]).await;
    assert_eq!((late.status, slug(&late)), (StatusCode::CONFLICT, "coupon-redeemed".to_owned()));
    for _ in 0..2 {
        assert_eq!(body(&revoke(&given[1]).await)["state"], "revoked");
    }
    let traced = "SELECT count(*) FROM audit WHERE action = 'coupon.revoke'";
    assert_eq!(service.count(traced).await, 1, "what changes nothing leaves no line");
    for nothing in ["00000000000000", "x", "acc_000000000A1KV"] {
        assert_eq!(look(nothing).await["status"], 404);
        assert_eq!(revoke(nothing).await.status, StatusCode::NOT_FOUND);
    }
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_gets_as_many_coupons_as_the_budget_has_and_the_rest_is_told_so() {
    let (service, admin) = service().await;
    let auditor = person(&service, Role::Auditor).await;
    let mut few = forty("few", &[]);
    few["budget"] = json!({ "coupons": 2 });
    made(&service, &admin, few).await;
    let cards: Vec<String> = (1..=3).map(card).collect();
    let order = json!({ "offer": "few", "to": cards });
    let first = body(&admin.post("/v1/coupons", "k", &order).await);
    assert_eq!(outcomes(&first), ["issued", "issued", "budget-spent"]);
    // A repetition is not an order of its own: nothing more is spent.
    assert_eq!(body(&admin.post("/v1/coupons", "k", &order).await), first);
    let budgets = body(&auditor.get("/v1/offers/few/budgets").await);
    assert_eq!(
        budgets["budgets"],
        json!([{ "store": null, "counts": "coupons", "amount": 2, "spent": 2, "leased": 0 }])
    );
    assert_eq!(body(&auditor.get("/v1/offers/forty/budgets").await), json!({ "budgets": [] }));
    assert_eq!(slug(&auditor.get("/v1/offers/none/budgets").await), "not-found");
    verified(&service).await;
}
