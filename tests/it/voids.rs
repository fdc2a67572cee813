//! Voids: a transaction undone as a whole, before its sale or after it, once.

use http::StatusCode;
use serde_json::json;
use tillside::domain::ledger::Lots;
use tillside::till::Answer;
use tokio_postgres::Client;

use crate::support::flow::{
    account_of, audit, basket, enrol, look_up, name, on, outcome, points_of, returned,
    returned_from, slug, sold, void,
};
use crate::support::service::{TestService, body, card, post, swipe};

async fn lots_of(client: &Client, card: &str) -> Lots {
    let account_id = account_of(client, card).await;
    let sql = "SELECT lots FROM account WHERE account_id = $1";
    let row = client.query_one(sql, &[&account_id]).await.expect("a card's account is there");
    Lots::decode(row.get(0)).expect("lots are readable")
}

fn is_voided(answer: &Answer) -> bool {
    answer.headers.get("tillside-voided").is_some_and(|value| value == "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_restores_what_was_before_and_the_sale_keeps_its_receipt() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    enrol(&till, &json!({ "card": card(1) })).await;
    post(&till, &on(swipe(1, Some(&card(1)), 700), "2026-01-10")).await;
    let before = lots_of(&sql, &card(1)).await;

    let sale = swipe(2, Some(&card(1)), 500);
    let receipt = post(&till, &sale).await;
    assert_eq!(points_of(&sql, &card(1)).await, 12);
    let undone = void(&till, &name(2)).await;
    assert_eq!(undone.status, StatusCode::CREATED, "{:?}", undone.body);
    assert!(is_voided(&undone));
    assert_eq!(body(&undone)["points"]["reversed"], 5);
    assert_eq!(body(&undone)["points"]["balance"], 7);
    assert_eq!(lots_of(&sql, &card(1)).await, before);

    // Another time, from another replica, by the workstation next to it: the same bytes.
    let replica = service.replica().await;
    for till in [&till, &replica.till("0367", "03"), &replica.till("0367", "01")] {
        let again = void(till, &name(2)).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &undone.body));
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert!(is_voided(&again));
    }
    for answer in [post(&till, &sale).await, outcome(&till, &name(2)).await] {
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &receipt.body));
        assert!(is_voided(&answer));
    }
    // Other content under the name of a voided sale is refused as ever.
    let other = post(&till, &swipe(2, Some(&card(1)), 501)).await;
    assert_eq!(slug(&other), "swipe-name-reused");
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_before_its_sale_leaves_a_mark_and_the_sale_earns_nothing() {
    let service = TestService::start().await;
    let till = service.till();
    let early = void(&till, &name(1)).await;
    assert_eq!(early.status, StatusCode::CREATED);
    let nothing = outcome(&till, &name(1)).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    assert!(is_voided(&nothing));
    assert_eq!(void(&till, &name(1)).await.body, early.body);

    let sale = swipe(1, Some(&card(1)), 500);
    let receipt = post(&till, &sale).await;
    assert_eq!(receipt.status, StatusCode::CREATED, "{:?}", receipt.body);
    assert!(is_voided(&receipt));
    assert_eq!(body(&receipt)["points"]["earned"], 0);
    for answer in [post(&till, &sale).await, outcome(&till, &name(1)).await] {
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &receipt.body));
        assert!(is_voided(&answer));
    }
    let again = void(&till, &name(1)).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, early.body));
    let other = post(&till, &swipe(1, Some(&card(1)), 501)).await;
    assert_eq!(slug(&other), "swipe-name-reused");
    assert_eq!(service.count("SELECT count(*) FROM entry").await, 0);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_gives_back_what_a_return_in_the_transaction_took() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    let card = card(1);
    post(&till, &swipe(1, Some(&card), 900)).await;
    let before = lots_of(&sql, &card).await;
    let lines = vec![returned_from(1, 900, &name(1)), sold(2, "902192", 300)];
    let exchange = post(&till, &basket(2, Some(&card), lines)).await;
    assert_eq!(body(&exchange)["points"]["balance"], 3);
    let undone = void(&till, &name(2)).await;
    assert_eq!(body(&undone)["points"]["earned"], 9);
    assert_eq!(body(&undone)["points"]["reversed"], 3);
    assert_eq!(lots_of(&sql, &card).await, before);

    // A debt that a return left, and that was paid since, comes back as points.
    post(&till, &basket(3, Some(&card), vec![returned(1, "1095275", 1_500)])).await;
    assert_eq!(points_of(&sql, &card).await, -6);
    post(&till, &swipe(4, Some(&card), 1_000)).await;
    assert_eq!(points_of(&sql, &card).await, 4);
    let undone = void(&till, &name(3)).await;
    assert_eq!(body(&undone)["points"]["earned"], 15);
    assert_eq!(points_of(&sql, &card).await, 19);
    assert!(lots_of(&sql, &card).await.iter().all(|lot| lot.points > 0));
    // A return of what was voided takes nothing.
    void(&till, &name(4)).await;
    let back = basket(5, Some(&card), vec![returned_from(1, 1_000, &name(4))]);
    assert_eq!(body(&post(&till, &back).await)["points"]["reversed"], 0);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_nobody_has_enrolled_can_be_voided_too() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 500)).await;
    let undone = void(&till, &name(1)).await;
    assert_eq!(undone.status, StatusCode::CREATED);
    assert_eq!(body(&undone)["account"], json!(null));
    assert_eq!(body(&undone)["points"]["balance"], 0);
    assert_eq!(body(&look_up(&till, &card(1)).await)["points"]["balance"], 0);
    // Neither does a basket of nobody resist, nor one of training.
    post(&till, &swipe(2, None, 500)).await;
    let mut training = swipe(3, Some(&card(1)), 500);
    training["training"] = true.into();
    post(&till, &training).await;
    for sequence in [2, 3] {
        let undone = void(&till, &name(sequence)).await;
        assert_eq!(undone.status, StatusCode::CREATED);
        assert_eq!(body(&undone)["points"]["balance"], json!(null));
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_own_store_voids_and_a_void_has_no_body() {
    let service = TestService::start().await;
    let till = service.till();
    let sale = swipe(1, Some(&card(1)), 500);
    post(&till, &sale).await;
    let stranger = void(&service.replica.till("0406", "03"), &name(1)).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    assert_eq!(slug(&stranger), "terminal-mismatch");
    let path = format!("/v1/swipes/{}/void", name(1));
    let told_why = till.post(&path, r#"{"reason":"x"}"#).await.expect("an answer");
    assert_eq!(slug(&told_why), "validation-failed");
    assert!(!is_voided(&post(&till, &sale).await));
    let empty = till.post(&path, " {} ").await.expect("an answer");
    assert_eq!(empty.status, StatusCode::CREATED);
    let nowhere = void(&till, "0367/99/2026-03-14/1").await;
    assert_eq!(slug(&nowhere), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_void_and_its_sale_race_nothing_is_earned() {
    let service = TestService::start().await;
    let replica = service.replica().await;
    let (left, right) = (service.till(), replica.till("0367", "03"));
    for sequence in 0..40 {
        let sale = swipe(sequence, Some(&card(1)), 500);
        let name = name(sequence);
        let (sold, undone) = match sequence % 4 {
            0 => tokio::join!(post(&left, &sale), void(&right, &name)),
            1 => tokio::join!(post(&left, &sale), void(&left, &name)),
            2 => {
                let (undone, sold) = tokio::join!(void(&left, &name), post(&right, &sale));
                (sold, undone)
            }
            _ => {
                let (undone, sold) = tokio::join!(void(&right, &name), post(&right, &sale));
                (sold, undone)
            }
        };
        assert_eq!(sold.status, StatusCode::CREATED, "{:?}", sold.body);
        assert_eq!(undone.status, StatusCode::CREATED, "{:?}", undone.body);
        // Whoever came first, the two agree on it.
        let (earned, reversed) =
            (body(&sold)["points"]["earned"].clone(), body(&undone)["points"]["reversed"].clone());
        assert_eq!(earned, reversed, "{:?} {:?}", sold.body, undone.body);
        assert_eq!(is_voided(&sold), earned == 0);
        let again = post(&right, &sale).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &sold.body));
        assert!(is_voided(&again));
        let again = void(&left, &name).await;
        assert_eq!((again.status, again.body), (StatusCode::OK, undone.body));
    }
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 0);
    audit(&service).await;
}
