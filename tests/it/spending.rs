//! Points that pay: what the receipt says, what is booked, what a void and a race make of it.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::till::Answer;
use tokio_postgres::Client;

use crate::support::flow::{account_of, audit, basket, enrol, name, on, outcome, points_of, void};
use crate::support::service::{TestService, body, card, post, swipe};

/// The same swipe, paid with points, each worth one minor unit.
pub(crate) fn paid(mut swipe: Value, points: i64) -> Value {
    swipe["points_spent"] = points.into();
    swipe["points_value_minor"] = points.into();
    swipe
}

fn points(answer: &Answer) -> Value {
    assert!(answer.status.is_success(), "{:?}", answer.body);
    body(answer)["points"].clone()
}

/// Kind, points and last day of what the latest version of a card's account booked.
async fn booked(client: &Client, card: &str) -> Vec<(i16, i64, String)> {
    let sql = "SELECT kind, points, lot_expires::text FROM entry AS e
               WHERE account_id = $1 AND version =
                     (SELECT max(version) FROM entry WHERE account_id = e.account_id)
               ORDER BY entry_no";
    let rows = client.query(sql, &[&account_of(client, card).await]).await.expect(sql);
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn said(answer: &Answer, text: &str) -> bool {
    body(answer)["messages"].to_string().contains(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn points_pay_across_lots_and_the_receipt_says_how_many() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    enrol(&till, &json!({ "card": card(1) })).await;
    post(&till, &on(swipe(1, Some(&card(1)), 700), "2026-01-10")).await;
    post(&till, &swipe(2, Some(&card(1)), 500)).await;

    let sale = paid(swipe(3, Some(&card(1)), 300), 9);
    let receipt = post(&till, &sale).await;
    let shown = points(&receipt);
    assert_eq!((&shown["earned"], &shown["spent"]), (&json!(3), &json!(9)), "{shown}");
    assert_eq!((&shown["balance"], &shown["spendable"]), (&json!(6), &json!(6)), "{shown}");
    assert_eq!(shown["next_expiry"], json!({ "points": 6, "on": "2028-03-31" }));
    assert_eq!(shown.get("short"), None);
    let (january, march) = ("2028-01-31".to_owned(), "2028-03-31".to_owned());
    let expected = [(2, -7, january), (2, -2, march.clone()), (1, 3, march)];
    assert_eq!(booked(&sql, &card(1)).await, expected);
    let column = "SELECT next_expiry::text FROM account WHERE next_expiry IS NOT NULL";
    let next_expiry: String = sql.query_one(column, &[]).await.expect(column).get(0);
    assert_eq!(next_expiry, "2028-03-31");

    // The same again, here, elsewhere and by name: the same bytes, and nothing is spent twice.
    let replica = service.replica().await;
    let elsewhere = replica.till("0367", "03");
    for answer in
        [post(&till, &sale).await, post(&elsewhere, &sale).await, outcome(&till, &name(3)).await]
    {
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &receipt.body));
    }
    assert_eq!(points_of(&sql, &card(1)).await, 6);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_were_not_there_are_owed_and_the_sale_is_recorded() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    post(&till, &swipe(1, Some(&card(1)), 500)).await;
    let receipt = post(&till, &paid(swipe(2, Some(&card(1)), 0), 8)).await;
    assert_eq!(receipt.status, StatusCode::CREATED);
    let shown = points(&receipt);
    assert_eq!((&shown["spent"], &shown["short"]), (&json!(8), &json!(3)), "{shown}");
    assert_eq!((&shown["balance"], &shown["spendable"]), (&json!(-3), &json!(0)), "{shown}");
    assert!(said(&receipt, "3 of the points that paid were not there"), "{:?}", receipt.body);
    // What the next purchase earns pays it first.
    let next = post(&till, &swipe(3, Some(&card(1)), 1_000)).await;
    assert_eq!(points(&next)["balance"], 7);
    let never = "9999-12-31".to_owned();
    assert_eq!(booked(&sql, &card(1)).await[0], (1, 3, never));
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_nobody_are_not_booked_and_the_receipt_says_so() {
    let service = TestService::start().await;
    let till = service.till();
    let mut training = paid(swipe(2, Some(&card(1)), 300), 9);
    training["training"] = true.into();
    void(&till, &name(3)).await;
    let after_void = paid(swipe(3, Some(&card(1)), 300), 9);
    for sale in [paid(swipe(1, None, 300), 9), training, after_void] {
        let receipt = post(&till, &sale).await;
        assert_eq!(points(&receipt)["spent"], 0, "{sale}");
        assert_eq!(points(&receipt).get("short"), None, "{sale}");
        assert!(said(&receipt, "were not booked"), "{:?}", receipt.body);
    }
    assert_eq!(service.count("SELECT count(*) FROM entry").await, 0);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_gives_points_back_to_their_lots_and_says_how_many() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    let lots = "SELECT lots FROM account WHERE account_id = $1";
    post(&till, &on(swipe(1, Some(&card(1)), 700), "2026-01-10")).await;
    post(&till, &swipe(2, Some(&card(1)), 500)).await;
    let account_id = account_of(&sql, &card(1)).await;
    let before: Vec<u8> = sql.query_one(lots, &[&account_id]).await.expect(lots).get(0);
    // Within what is there, and beyond it.
    for (number, spent) in [(3, 9), (4, 20)] {
        post(&till, &paid(swipe(number, Some(&card(1)), 200), spent)).await;
        let undone = void(&till, &name(number)).await;
        let shown = points(&undone);
        assert_eq!((&shown["spent"], &shown["reversed"]), (&json!(-spent), &json!(2)), "{shown}");
        assert_eq!((&shown["balance"], &shown["earned"]), (&json!(12), &json!(0)), "{shown}");
        let after: Vec<u8> = sql.query_one(lots, &[&account_id]).await.expect(lots).get(0);
        assert_eq!(after, before, "paid with {spent}");
        assert_eq!(void(&till, &name(number)).await.body, undone.body);
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_till_gave_for_points_is_recorded_and_counted_and_never_refused() {
    let service = TestService::start().await;
    let till = service.till();
    let differs = &service.replica.app.metrics.points_value_differs;
    for (number, value_minor, counted) in [(1, 9, 0), (2, 10, 1), (3, 0, 2)] {
        let mut sale = paid(swipe(number, Some(&card(1)), 900), 9);
        sale["points_value_minor"] = value_minor.into();
        assert_eq!(post(&till, &sale).await.status, StatusCode::CREATED);
        assert_eq!(post(&till, &sale).await.status, StatusCode::OK, "not counted again");
        assert_eq!(differs.get(), counted, "{value_minor} for 9 points");
    }
    // A tender is no part of the total.
    let mut short = paid(basket(4, Some(&card(1)), vec![]), 9);
    short["lines"] = swipe(4, None, 900)["lines"].clone();
    short["total_minor"] = 891.into();
    assert_eq!(post(&till, &short).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    audit(&service).await;
}
