//! Cards that were lost: from the moment on at which people block them, nothing of the customer's
//! is spent, redeemed or seen with them, whatever replicas remember; what they earn waits.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::Role;
use tillside::till::Till;

use crate::desk::verified;
use crate::offers_api::{forty, made};
use crate::spending::paid;
use crate::support::flow::{audit, enrol, on, slug};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

/// A customer with card 1, who has 700 points.
async fn customer() -> (TestService, Person, String) {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 70_000)).await;
    enrol(&till, &json!({ "card": card(1), "member": { "given_name": "Ada" } })).await;
    let manager = person(&service, Role::Manager).await;
    let account = body(&manager.get(&format!("/v1/accounts?card={}", card(1))).await);
    let account = account["account"].as_str().expect("an id").to_owned();
    (service, manager, account)
}

fn path(account: &str, number: u64, what: &str) -> String {
    format!("/v1/accounts/{account}/cards/{}/{what}", card(number))
}

async fn took(till: &Till, sale: &Value) -> Value {
    let answer = post(till, sale).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    body(&answer)
}

async fn balance(someone: &Person, account: &str) -> Value {
    body(&someone.get(&format!("/v1/accounts/{account}")).await)["points"]["balance"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_blocked_card_nothing_of_the_customers_is_spent_redeemed_or_seen() {
    let (service, manager, account) = customer().await;
    let other = service.replica().await;
    let (till, elsewhere) = (service.till(), other.till("0406", "01"));
    // Both replicas remember the account and its card.
    took(&till, &swipe(2, Some(&card(1)), 100)).await;
    let mut there = swipe(3, Some(&card(1)), 100);
    (there["store_id"], there["workstation_id"]) = ("0406".into(), "01".into());
    took(&elsewhere, &there).await;
    let admin = person(&service, Role::Admin).await;
    made(&service, &admin, forty("forty", &[])).await;
    let order = json!({ "offer": "forty", "to": [card(1)] });
    let coupon = body(&admin.post("/v1/coupons", "c", &order).await);
    let coupon = coupon["outcomes"][0]["coupons"][0].clone();

    let blocked = manager.post(&path(&account, 1, "block"), "", &json!({})).await;
    assert_eq!(blocked.status, StatusCode::OK, "{:?}", blocked.body);
    assert_eq!(body(&blocked)["cards"], json!([]));
    assert_eq!(body(&blocked)["points"]["balance"], 702);

    let today = service.replica.app.today().to_string();
    for (till, place, number) in [(&till, ("0367", "03"), 10), (&elsewhere, ("0406", "01"), 11)] {
        let mut sale = paid(on(swipe(number, Some(&card(1)), 500), &today), 300);
        (sale["store_id"], sale["workstation_id"]) = (place.0.into(), place.1.into());
        sale["redemptions"] = json!([{ "coupon": coupon, "discount_minor": 40 }]);
        let receipt = took(till, &sale).await;
        assert_eq!(receipt["account"], Value::Null);
        assert_eq!(receipt["redemptions"][0]["outcome"], "not-yours");
        assert_eq!(receipt["points"]["earned"], 5, "it waits");
        assert_ne!(receipt["points"]["short"], 0, "what paid was not there");
        let message = receipt["messages"][0].as_str().expect("a message");
        assert!(message.starts_with("This card is blocked."), "{message}");
    }
    assert_eq!(balance(&manager, &account).await, 702);
    let enrolled = enrol(&till, &json!({ "card": card(1), "member": {} })).await;
    assert_eq!((enrolled.status, slug(&enrolled)), (StatusCode::CONFLICT, "card-blocked".into()));
    let linked = enrol(&till, &json!({ "card": card(8), "link_to": card(1) })).await;
    assert_eq!(slug(&linked), "card-blocked");
    let issued = body(&admin.post("/v1/coupons", "c2", &order).await);
    assert_eq!(issued["outcomes"][0]["outcome"], "blocked");

    // Blocked again, nothing changes and nothing is traced.
    assert_eq!(
        manager.post(&path(&account, 1, "block"), "", &json!({})).await.status,
        StatusCode::OK
    );
    let trail = body(&admin.get("/v1/audit?limit=50").await);
    let lines = trail["audit"].as_array().expect("a list").iter();
    let lines: Vec<&Value> = lines.filter(|line| line["action"] == "card.block").collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["user"], manager.user);
    assert!(!trail.to_string().contains(&card(1)), "no card number stands in the trail");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_is_found_again_brings_what_has_waited() {
    let (service, manager, account) = customer().await;
    let till = service.till();
    let unblock = async || manager.post(&path(&account, 1, "unblock"), "", &json!({})).await;
    assert_eq!(unblock().await.status, StatusCode::OK, "it was not blocked");
    manager.post(&path(&account, 1, "block"), "", &json!({})).await;
    took(&till, &swipe(2, Some(&card(1)), 1_000)).await;
    assert_eq!(balance(&manager, &account).await, 700);
    for _ in 0..2 {
        let back = body(&unblock().await);
        assert_eq!(
            (&back["points"]["balance"], &back["cards"][0]["card"]),
            (&json!(710), &json!(card(1)))
        );
    }
    let receipt = took(&till, &swipe(3, Some(&card(1)), 100)).await;
    assert_eq!(
        (&receipt["account"], &receipt["points"]["balance"]),
        (&json!(account), &json!(711))
    );
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_card_takes_the_place_of_a_lost_one_with_what_has_gathered_on_it() {
    let (service, manager, account) = customer().await;
    let till = service.till();
    // Used before anybody knew whose it is.
    took(&till, &swipe(2, Some(&card(2)), 1_000)).await;
    enrol(&till, &json!({ "card": card(5), "member": {} })).await;
    let replace = async |from: u64, to: String| {
        manager.post(&path(&account, from, "replace"), "", &json!({ "card": to })).await
    };
    for _ in 0..2 {
        let replaced = replace(1, card(2)).await;
        assert_eq!(replaced.status, StatusCode::OK, "{:?}", replaced.body);
        let replaced = body(&replaced);
        assert_eq!(replaced["points"]["balance"], 710);
        assert_eq!(replaced["cards"].as_array().map(Vec::len), Some(1));
        assert_eq!(replaced["cards"][0]["card"], card(2));
    }
    let old = took(&till, &swipe(3, Some(&card(1)), 100)).await;
    assert_eq!(old["account"], Value::Null);
    let new = took(&till, &swipe(4, Some(&card(2)), 100)).await;
    assert_eq!((&new["account"], &new["points"]["balance"]), (&json!(account), &json!(711)));
    // One that nobody has seen yet, in place of one that was blocked before.
    assert_eq!(replace(1, card(3)).await.status, StatusCode::OK);
    assert_eq!(
        body(&manager.get(&format!("/v1/accounts/{account}")).await)["cards"][1]["card"],
        card(3)
    );

    for (from, to, expected) in [
        (2, card(5), "card-of-another-account"),
        (2, card(1), "card-blocked"),
        (2, card(2), "card-blocked"),
        (2, "123".to_owned(), "card-invalid"),
        (5, card(6), "not-found"),
        (9, card(6), "not-found"),
    ] {
        let refused = replace(from, to.clone()).await;
        assert_eq!(slug(&refused), expected, "{from} {to}");
    }
    // Whose an account is that nobody has enrolled cannot be proven.
    let loose = took(&till, &swipe(5, Some(&card(7)), 100)).await;
    assert_eq!(loose["account"], Value::Null);
    let loose = body(&manager.get(&format!("/v1/accounts?card={}", card(7))).await);
    let loose = loose["account"].as_str().expect("an id");
    let refused = manager.post(&path(loose, 7, "block"), "", &json!({})).await;
    assert_eq!(slug(&refused), "account-not-enrolled");
    let replaced = "SELECT count(*) FROM audit WHERE action = 'card.replace'";
    assert_eq!(service.count(replaced).await, 2);
    audit(&service).await;
    verified(&service).await;
}
