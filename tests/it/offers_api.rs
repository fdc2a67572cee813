//! Offers by people of the back office: made once, looked at, ended; and by managers only where
//! they are at home.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::Role;

use crate::desk::verified;
use crate::openapi::{document, findings};
use crate::support::flow::{slug, until};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

/// 40 minor units off anything, in these stores.
pub(crate) fn forty(name: &str, stores: &[&str]) -> Value {
    json!({
        "offer": name, "headline": "40 off", "delivery": "personal", "valid_days": 7,
        "reward": { "kind": "amount-off", "amount_minor": 40 }, "stores": stores,
        "funding": { "party": "chain", "share_percent": 100 },
    })
}

/// Makes an offer, and waits until the replica knows it.
pub(crate) async fn made(service: &TestService, by: &Person, offer: Value) {
    let name = offer["offer"].as_str().expect("a name").to_owned();
    let answer = by.post("/v1/offers", &format!("make-{name}"), &offer).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let catalogue = &service.replica.app.catalogue;
    until("the offer is known", async || catalogue.current().offer_named(&name).is_some()).await;
}

/// Names of the offers of a list.
fn names(list: &Value) -> Vec<&str> {
    let offers = list["offers"].as_array().expect("a list");
    offers.iter().map(|offer| offer["offer"].as_str().expect("text")).collect()
}

/// Lines of the audit trail about offers, the newest first.
async fn trail(service: &TestService) -> Vec<(Option<i32>, String, String)> {
    let sql = "SELECT user_no, action, object FROM audit WHERE action LIKE 'offer.%'
               ORDER BY audit_no DESC";
    let rows = service.sql().await.query(sql, &[]).await.expect(sql);
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_made_once_and_everybody_reads_it_as_it_was_written() {
    let service = TestService::start().await;
    let marketing = person(&service, Role::Marketing).await;
    let auditor = person(&service, Role::Auditor).await;
    let offer = forty("forty", &[]);
    let made = marketing.post("/v1/offers", "k1", &offer).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let mut answer = body(&made);
    assert!(answer["created_at"].is_string());
    answer["created_at"] = "then".into();
    insta::assert_json_snapshot!(answer, @r#"
    {
      "created_at": "then",
      "definition": {
        "delivery": "personal",
        "funding": {
          "party": "chain",
          "share_percent": 100
        },
        "headline": "40 off",
        "offer": "forty",
        "reward": {
          "amount_minor": 40,
          "kind": "amount-off"
        },
        "valid_days": 7
      },
      "offer": "forty",
      "state": "live"
    }
    "#);
    let document = document(&service.till()).await;
    let of = |name: &str, value: &Value| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        findings(&document, &schema, value, "")
    };
    assert_eq!(of("OfferDefinition", &offer), [""; 0]);
    assert_eq!(of("Offer", &body(&made)), [""; 0]);

    let again = marketing.post("/v1/offers", "k1", &offer).await;
    assert_eq!((again.status, body(&again)), (StatusCode::CREATED, body(&made)));
    assert!(again.headers.contains_key("idempotent-replayed"));
    let taken = marketing.post("/v1/offers", "k2", &offer).await;
    assert_eq!((taken.status, slug(&taken)), (StatusCode::CONFLICT, "offer-exists".to_owned()));
    assert_eq!(body(&auditor.get("/v1/offers/forty").await), body(&made));
    assert_eq!(slug(&auditor.get("/v1/offers/fifty").await), "not-found");
    let who = Some(marketing.user);
    assert_eq!(trail(&service).await, [(who, "offer.add".to_owned(), "offer:forty".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_offer_is_pointed_at_and_nothing_is_stored() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let with = |pointer: &str, value: Value| {
        let mut offer = forty("forty", &[]);
        offer["scope"] = json!({ "brands": [] });
        offer["except"] = json!({ "brands": [] });
        *offer.pointer_mut(pointer).expect("a field") = value;
        offer
    };
    for (offer, pointer) in [
        (with("/offer", json!("Forty")), "/offer"),
        (with("/headline", json!("")), "/headline"),
        (with("/reward/amount_minor", json!(-1)), "/reward"),
        (with("/reward/kind", json!("gold")), "/reward/kind"),
        (with("/funding/share_percent", json!(101)), "/funding/share_percent"),
        (with("/valid_days", json!(0)), "/valid_days"),
        (with("/valid_days", json!("7")), "/valid_days"),
        (with("/stores", json!(["0367", "9999"])), "/stores/1"),
        (with("/scope/brands", json!(["ACME"])), "/scope/brands/0"),
        (with("/except/brands", json!(["ACME"])), "/except/brands/0"),
        (json!({}), "/offer"),
    ] {
        let refused = admin.post("/v1/offers", "k", &offer).await;
        assert_eq!(slug(&refused), "validation-failed", "{offer}");
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{offer}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("ACME"), "no input is repeated");
    }
    assert_eq!(service.count("SELECT count(*) FROM offer").await, 0);
    assert_eq!(trail(&service).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_makes_and_ends_offers_of_own_stores_and_sees_what_counts_there() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let manager = person(&service, Role::Manager).await;
    for (stores, status) in [
        (&["0367"][..], StatusCode::CREATED),
        (&["0406"], StatusCode::FORBIDDEN),
        (&["0367", "0406"], StatusCode::FORBIDDEN),
        // Everywhere is not the manager's own.
        (&[], StatusCode::FORBIDDEN),
    ] {
        let key = format!("k{}", stores.join("-"));
        let answer = manager.post("/v1/offers", &key, &forty("own", stores)).await;
        assert_eq!(answer.status, status, "{stores:?}: {:?}", answer.body);
    }
    for (name, stores) in [("other", &["0406"][..]), ("both", &["0367", "0406"]), ("all", &[])] {
        let answer = admin.post("/v1/offers", name, &forty(name, stores)).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    assert_eq!(names(&body(&manager.get("/v1/offers").await)), ["all", "both", "own"]);
    assert_eq!(names(&body(&admin.get("/v1/offers").await)), ["all", "both", "other", "own"]);
    assert_eq!(slug(&manager.get("/v1/offers/other").await), "not-found");
    for (name, expected) in [
        ("own", StatusCode::OK),
        ("both", StatusCode::FORBIDDEN),
        ("all", StatusCode::FORBIDDEN),
        ("other", StatusCode::NOT_FOUND),
    ] {
        let path = format!("/v1/offers/{name}/end");
        assert_eq!(manager.post(&path, "e", &json!({})).await.status, expected, "{name}");
    }
    assert_eq!(names(&body(&admin.get("/v1/offers?state=ended").await)), ["own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_ends_with_the_earliest_day_that_was_said_and_lists_go_by_it() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let today = service.replica.app.today();
    let day = |days: i32| today.saturating_add(jiff::Span::new().days(days)).to_string();
    for name in ["first", "second", "third"] {
        let mut offer = forty(name, &[]);
        if name == "third" {
            offer["since"] = day(5).into();
        }
        made(&service, &admin, offer).await;
    }
    let list = async |state: &str| body(&admin.get(&format!("/v1/offers?state={state}")).await);
    assert_eq!(names(&list("live").await), ["second", "first"]);
    assert_eq!(names(&list("coming").await), ["third"]);

    let end = async |name: &str, until: Value| {
        let path = format!("/v1/offers/{name}/end");
        let answer = admin.post(&path, "e", &json!({ "until": until })).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        let answer = body(&answer);
        (answer["state"].clone(), answer["definition"]["until"].clone())
    };
    assert_eq!(end("first", day(3).into()).await, (json!("live"), json!(day(3))));
    // Nobody makes an offer longer by ending it.
    assert_eq!(end("first", day(9).into()).await, (json!("live"), json!(day(3))));
    assert_eq!(end("first", Value::Null).await, (json!("ended"), json!(day(-1))));
    // One that has not begun never begins, not even on the day that was said.
    assert_eq!(end("third", day(2).into()).await, (json!("ended"), json!(day(-1))));
    assert_eq!(names(&list("ended").await), ["third", "first"]);
    let catalogue = &service.replica.app.catalogue;
    until("the replica knows the end and can still read the offer", async || {
        let snapshot = catalogue.current();
        snapshot.offer_named("third").is_some_and(|it| it.definition.until.is_some())
    })
    .await;
    let ends = trail(&service).await.iter().filter(|(_, action, _)| action == "offer.end").count();
    assert_eq!(ends, 4);

    let page = body(&admin.get("/v1/offers?limit=2").await);
    let after = page["next"].as_str().expect("there is a third");
    let rest = body(&admin.get(&format!("/v1/offers?limit=2&after={after}")).await);
    assert_eq!((names(&page), names(&rest)), (vec!["third", "second"], vec!["first"]));
    for wrong in ["state=dead", "limit=0", "who=me"] {
        assert_eq!(slug(&admin.get(&format!("/v1/offers?{wrong}")).await), "validation-failed");
    }
    let wrong = admin.post("/v1/offers/first/end", "e", &json!({ "until": "soon" })).await;
    assert_eq!(slug(&wrong), "validation-failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_raised_and_lowered_to_what_was_spent_and_no_further() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let manager = person(&service, Role::Manager).await;
    post(&service.till(), &swipe(1, Some(&card(1)), 100)).await;
    let mut offer = forty("few", &[]);
    offer["budget"] = json!({ "coupons": 2 });
    made(&service, &admin, offer).await;
    let give = async |key: &str, count: u16| {
        let order = json!({ "offer": "few", "to": [card(1)], "count": count });
        body(&admin.post("/v1/coupons", key, &order).await)["outcomes"][0]["outcome"].clone()
    };
    assert_eq!(give("g1", 2).await, "issued");
    assert_eq!(give("g2", 1).await, "budget-spent");

    let path = "/v1/offers/few/budget";
    let raised = admin.post(path, "k1", &json!({ "coupons": 5 })).await;
    assert_eq!(raised.status, StatusCode::CREATED, "{:?}", raised.body);
    assert_eq!(body(&raised)["definition"]["budget"], json!({ "coupons": 5 }));
    let again = admin.post(path, "k1", &json!({ "coupons": 5 })).await;
    assert_eq!(body(&again), body(&raised));
    assert!(again.headers.contains_key("idempotent-replayed"));
    let catalogue = &service.replica.app.catalogue;
    until("the new amount is known", async || {
        let current = catalogue.current();
        current.offer_named("few").is_some_and(|it| it.definition.budget.coupons == Some(5))
    })
    .await;
    assert_eq!(give("g3", 3).await, "issued", "leases see it");
    assert_eq!(give("g4", 1).await, "budget-spent");

    for (amounts, pointer) in [
        (json!({ "coupons": 4 }), ""),
        (json!({ "coupons": -1 }), ""),
        (json!({ "value_minor": 100 }), "/value_minor"),
        (json!({ "each_store": { "coupons": 100 } }), "/each_store"),
        (json!({ "stores": { "0367": { "coupons": 1 } } }), "/stores/0367"),
        (json!({ "colour": 1 }), "/colour"),
    ] {
        let refused = admin.post(path, "k2", &amounts).await;
        assert_eq!(slug(&refused), "validation-failed", "{amounts}");
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{amounts}");
    }
    assert_eq!(slug(&manager.post(path, "k", &json!({ "coupons": 9 })).await), "forbidden");
    let nowhere = admin.post("/v1/offers/many/budget", "k3", &json!({ "coupons": 9 })).await;
    assert_eq!(slug(&nowhere), "not-found");
    let standing = body(&admin.get("/v1/offers/few/budgets").await)["budgets"][0].clone();
    assert_eq!((&standing["amount"], &standing["spent"]), (&json!(5), &json!(5)));
    let who = Some(admin.user);
    let actions: Vec<String> = trail(&service).await.into_iter().map(|line| line.1).collect();
    assert_eq!(actions, ["offer.budget", "offer.add"]);
    assert_eq!(trail(&service).await[0].0, who);
    verified(&service).await;
}
