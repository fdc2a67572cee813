//! One swipe at a time: recorded once, and found again under its name.

use http::StatusCode;
use serde_json::json;

use crate::support::flow::{at, audit, name, name_of, on, outcome, slug};
use crate::support::service::{TestService, body, card, post, swipe};

#[tokio::test(flavor = "multi_thread")]
async fn a_swipe_is_recorded_once_and_its_repetition_gets_the_same_bytes() {
    let service = TestService::start().await;
    let till = service.till();
    let first = post(&till, &swipe(1, Some(&card(1)), 398)).await;
    assert_eq!(first.status, StatusCode::CREATED, "{:?}", first.body);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let receipt = body(&first);
    assert_eq!(receipt["swipe"], "0367/03/2026-03-14/1");
    assert_eq!(receipt["account"], json!(null));
    assert_eq!(receipt["points"]["earned"], 3);
    assert_eq!(receipt["points"]["balance"], 3);

    let again = post(&till, &swipe(1, Some(&card(1)), 398)).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.body, first.body);

    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 1);
    assert_eq!(service.count("SELECT sum(points)::bigint FROM entry").await, 3);
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 3);

    let found = outcome(&till, &name(1)).await;
    assert_eq!(found.status, StatusCode::OK);
    assert_eq!(found.body, first.body);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spelling_and_transport_are_not_content() {
    let service = TestService::start().await;
    let till = service.till();
    let mut sale = swipe(1, Some(&card(1)), 398);
    sale["lines"][0]["quantity"] = "2".into();
    let first = post(&till, &sale).await;
    assert_eq!(first.status, StatusCode::CREATED);

    let mut spelt = sale.clone();
    spelt["offline"] = true.into();
    spelt["training"] = false.into();
    spelt["occurred_at"] = "2026-03-14T15:53:26.000Z".into();
    spelt["adjustments"] = json!([]);
    spelt["redemptions"] = json!([]);
    spelt["points_spent"] = 0.into();
    spelt["lines"][0]["quantity"] = "2.000".into();
    spelt["lines"][0]["kind"] = "sale".into();
    spelt["lines"][0]["discount_minor"] = 0.into();
    let again = post(&till, &spelt).await;
    assert_eq!(again.status, StatusCode::OK, "{:?}", again.body);
    assert_eq!(again.body, first.body);
    // Also on a replica that has never seen any of it.
    let replica = service.replica().await;
    let elsewhere = post(&replica.till("0367", "03"), &spelt).await;
    assert_eq!((elsewhere.status, elsewhere.body), (StatusCode::OK, first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_one_content_for_ever() {
    let service = TestService::start().await;
    let till = service.till();
    let sale = swipe(1, Some(&card(1)), 398);
    let first = post(&till, &sale).await;
    let with = |field: &str, value: serde_json::Value| {
        let mut other = sale.clone();
        other[field] = value;
        other
    };
    let mut quantity = sale.clone();
    quantity["lines"][0]["quantity"] = "2".into();
    let mut sku = sale.clone();
    sku["lines"][0]["sku"] = "902192".into();
    let tax = json!([{ "kind": "tax", "amount_minor": 0 }]);
    let coupon = json!([{ "coupon": "7K2M9QXA4TRB3W", "discount_minor": 0 }]);
    for other in [
        swipe(1, Some(&card(1)), 399),
        swipe(1, Some(&card(2)), 398),
        swipe(1, None, 398),
        with("training", true.into()),
        with("occurred_at", "2026-03-14T11:53:27-04:00".into()),
        with("operator_id", "17".into()),
        with("entry_method", "keyed".into()),
        with("adjustments", tax),
        with("redemptions", coupon),
        quantity,
        sku,
    ] {
        let refused = post(&till, &other).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{other}");
        assert_eq!(slug(&refused), "swipe-name-reused");
    }
    assert_eq!(post(&till, &sale).await.body, first.body);
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 1);
    // Another date, workstation or store is another name.
    let further = [
        (service.till(), on(sale.clone(), "2026-03-15")),
        (service.replica.till("0367", "01"), at(sale.clone(), "0367", "01")),
        (service.replica.till("0406", "03"), at(sale.clone(), "0406", "03")),
    ];
    for (till, swipe) in further {
        assert_eq!(post(&till, &swipe).await.status, StatusCode::CREATED, "{}", name_of(&swipe));
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_transaction_is_told_to_its_own_store() {
    let service = TestService::start().await;
    let receipt = post(&service.till(), &swipe(1, Some(&card(1)), 398)).await;
    let neighbour = outcome(&service.replica.till("0367", "01"), &name(1)).await;
    assert_eq!((neighbour.status, neighbour.body), (StatusCode::OK, receipt.body));
    let stranger = outcome(&service.replica.till("0406", "01"), &name(1)).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    assert_eq!(slug(&stranger), "terminal-mismatch");
    let stranger = outcome(&service.replica.till("0406", "01"), &name(2)).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN, "whether it exists or not");
    for unknown in [name(2), "0367/99/2026-03-14/1".into(), "0367/03/2026-03-14/01".into()] {
        let nothing = outcome(&service.till(), &unknown).await;
        assert_eq!(nothing.status, StatusCode::NOT_FOUND, "{unknown}");
        assert_eq!(slug(&nothing), "not-found");
        assert!(!nothing.headers.contains_key("tillside-voided"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_posts_for_itself_only() {
    let service = TestService::start().await;
    for (store_id, workstation_id) in [("0367", "01"), ("0406", "03"), ("9999", "03")] {
        let foreign = at(swipe(1, Some(&card(1)), 398), store_id, workstation_id);
        let refused = post(&service.till(), &foreign).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{store_id}/{workstation_id}");
        assert_eq!(slug(&refused), "terminal-mismatch");
    }
    assert_eq!(service.count("SELECT count(*) FROM swipe_key").await, 0);
    assert_eq!(service.count("SELECT count(*) FROM card").await, 0);
}
