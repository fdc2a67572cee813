//! One swipe at a time: what is recorded, what is answered, and what a repetition gets.

use http::StatusCode;
use serde_json::json;

use crate::support::service::{TestService, body, card, post, swipe};

#[tokio::test(flavor = "multi_thread")]
async fn a_swipe_is_recorded_once_and_its_repetition_gets_the_same_bytes() {
    let service = TestService::start().await;
    let till = service.till();
    let first = post(&till, &swipe(1, Some(&card(1)), 398)).await;
    assert_eq!(first.status, StatusCode::CREATED, "{:?}", first.body);
    let receipt = body(&first);
    assert_eq!(receipt["swipe"], "0367/03/2026-03-14/1");
    assert_eq!(receipt["account"], json!(null));
    assert_eq!(receipt["points"]["earned"], 3);
    assert_eq!(receipt["points"]["balance"], 3);

    let again = post(&till, &swipe(1, Some(&card(1)), 398)).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.body, first.body);

    let other = post(&till, &swipe(1, Some(&card(1)), 399)).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body(&other)["type"].as_str().is_some_and(|it| it.ends_with("/swipe-name-reused")));

    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 1);
    assert_eq!(service.count("SELECT sum(points)::bigint FROM entry").await, 3);
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 3);

    let outcome = till.get("/v1/swipes/0367/03/2026-03-14/1").await.expect("an answer");
    assert_eq!(outcome.status, StatusCode::OK);
    assert_eq!(outcome.body, first.body);
}
