//! What customers have said about profiling: who refuses is given nothing for the sake of what was
//! bought, on any replica, and no file tells what it was.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::decision;
use tillside::domain::consent::ProfilingPolicy;
use tillside::office::Role;
use tillside::till::Till;

use crate::desk::verified;
use crate::support::flow::{enrol, on, until};
use crate::support::office::person;
use crate::support::service::{TestService, body, card, post, today};
use crate::till_coupons::{bought, bring, certain, of_skus, offer_of, offer_with, service_with};

/// Customers and what they say: nothing, that they want it, that they do not, and both.
const SAID: [(u64, &[&str]); 4] = [
    (1, &[]),
    (2, &["post", "profiling"]),
    (3, &["no-profiling"]),
    (4, &["profiling", "no-profiling"]),
];

/// Bread, which everybody has bought, and milk, which is pushed; the four are enrolled.
async fn service(policy: ProfilingPolicy) -> TestService {
    let service = service_with(|coupons| {
        *coupons = certain();
        coupons.profiling = policy;
    })
    .await;
    let till = service.till();
    for (customer, consents) in SAID {
        let member = json!({ "given_name": "A", "consents": consents });
        let answer = enrol(&till, &json!({ "card": card(customer), "member": member })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        // Before there is an offer.
        assert_eq!(bring(&till, &basket_of(customer, 1, &["4"], 0)).await, []);
    }
    offer_of(&service, "bread", of_skus(&["4"])).await;
    offer_with(&service, "milk", json!({ "scope": of_skus(&["3"]), "push": 1 })).await;
    service
}

fn basket_of(customer: u64, nth: i64, skus: &[&str], days: i64) -> Value {
    let mut swipe = bought(customer.cast_signed() * 10 + nth, skus);
    swipe["card"] = card(customer).into();
    let day = today().saturating_add(jiff::Span::new().days(days));
    on(swipe, &day.to_string())
}

/// What each of the four is given; and as it is explained, that is what a choice gives again.
async fn given(service: &TestService, till: &Till, sku: &str) -> BTreeMap<u64, Vec<String>> {
    let mut all = BTreeMap::new();
    for (customer, _) in SAID {
        let answer = post(till, &basket_of(customer, 2, &[sku], 7)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let receipt = body(&answer);
        let app = &service.replica.app;
        let name = receipt["swipe"].as_str().expect("text").parse().expect("a name");
        let explained = decision::explain(&app.pool, &app.catalogue.current(), &name, None).await;
        let explained = explained.expect("it is up").expect("it is recorded");
        assert!(explained.agrees, "{explained:#?}");
        let coupons = receipt["coupons"].as_array().expect("a list").iter();
        let mut offers: Vec<String> =
            coupons.map(|it| it["offer"].as_str().expect("text").to_owned()).collect();
        assert_eq!(explained.unprofiled, !offers.contains(&"bread".to_owned()), "{customer}");
        offers.sort();
        all.insert(customer, offers);
    }
    all
}

fn expected(profiled: &[u64]) -> BTreeMap<u64, Vec<String>> {
    let of = |customer: u64| match profiled.contains(&customer) {
        true => vec!["bread".to_owned(), "milk".to_owned()],
        false => vec!["milk".to_owned()],
    };
    SAID.iter().map(|(customer, _)| (*customer, of(*customer))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_profiling_is_given_only_what_is_pushed() {
    let service = service(ProfilingPolicy::OptOut).await;
    // Enrolled here: the account is held in memory as it was enrolled.
    assert_eq!(given(&service, &service.till(), "1").await, expected(&[1, 2]));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_bag_keeps_a_push_only_from_who_may_be_profiled() {
    let service = service(ProfilingPolicy::OptOut).await;
    let given = given(&service, &service.till(), "3").await;
    for (customer, offers) in given {
        let expected = if customer <= 2 { "bread" } else { "milk" };
        assert_eq!(offers, [expected], "{customer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_consent_is_asked_for_silence_is_a_refusal_also_on_a_replica_that_loads_it() {
    let service = service(ProfilingPolicy::OptIn).await;
    let replica = service.replica().await;
    let known = async || replica.app.catalogue.current().offer_named("milk").is_some();
    until("it knows the offers", known).await;
    assert_eq!(given(&service, &replica.till("0367", "03"), "1").await, expected(&[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_does_not_tell_what_is_bought_by_who_refuses_profiling() {
    for (policy, told) in [(ProfilingPolicy::OptOut, 2), (ProfilingPolicy::OptIn, 1)] {
        let service = service(policy).await;
        // Files tell of the latest quarter of a year.
        let lately = service.replica.app.today().to_string();
        for (customer, _) in SAID {
            let swipe = on(basket_of(customer, 3, &["4"], 0), &lately);
            assert_eq!(post(&service.till(), &swipe).await.status, StatusCode::CREATED);
        }
        let marketing = person(&service, Role::Marketing).await;
        let file = marketing.get("/v1/exports/accounts?format=ndjson").await;
        let text = String::from_utf8(file.body.to_vec()).expect("UTF-8");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), SAID.len());
        let of = |line: &&Value| line["top_categories"] == json!(["BREAD"]);
        assert_eq!(lines.iter().filter(of).count(), told, "{policy:?}: {text}");
        let none = |line: &&Value| line["top_categories"] == json!([]);
        assert_eq!(lines.iter().filter(none).count(), SAID.len() - told, "{policy:?}");
    }
}
