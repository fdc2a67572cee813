//! Accounts that a stranger keeps locked, in a console that somebody forgot for instance: who
//! waits for them, who does not, and for how long.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::till::Till;
use tokio_postgres::Client;

use crate::support::flow::{account_of, audit, name, outcomes, points_of, post_within, until};
use crate::support::gate::spawn_post;
use crate::support::service::{TestService, card, post, swipe};

/// A stranger's session that holds the account of a card locked, until it rolls back.
async fn holds(service: &TestService, number: u64) -> Client {
    let account_id = account_of(&service.sql().await, &card(number)).await;
    let rogue = service.sql().await;
    let lock = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {account_id} FOR UPDATE");
    rogue.batch_execute(&lock).await.expect("locked");
    rogue
}

/// Posts a batch that has so many milliseconds; answers its outcomes.
async fn within(till: Till, items: Vec<Value>, ms: u64) -> Vec<Value> {
    let body = json!({ "items": items }).to_string();
    outcomes(&post_within(&till, "/v1/swipes/batch", body, ms).await)
}

/// Swipes of the cards 0 to 9 that wait together.
fn ten_items(first: i64) -> Vec<Value> {
    let swipe = |n: i64| swipe(first + n, Some(&card(n.unsigned_abs())), 100);
    (0..10).map(|n| json!({ "swipe": swipe(n) })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_somebody_holds_locked_holds_up_nobody_else() {
    let service = TestService::start_with(|config| config.commit.committers = 1).await;
    let till = service.till();
    for n in 0..10 {
        post(&till, &swipe(n, Some(&card(n.unsigned_abs())), 100)).await;
    }
    let rogue = holds(&service, 0).await;
    // The first time it must be found out, from then on it is known.
    for first in [100, 200] {
        for (outcome, n) in within(till.clone(), ten_items(first), 2_000).await.iter().zip(0..) {
            assert_eq!(outcome["status"], if n == 0 { 503 } else { 201 }, "{outcome}");
        }
    }
    assert!(service.replica.app.metrics.held_up.get() > 0);
    let bisections = service.replica.app.metrics.bisections.get();
    assert_eq!(bisections, 0, "which account it is was asked, not found by halving");

    // Whoever has the time waits for it.
    let waiting = spawn_post(&till, swipe(300, Some(&card(0)), 100));
    until("the swipe waits for the account", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        service.count(sql).await == 1
    })
    .await;
    for outcome in within(till.clone(), ten_items(400).split_off(1), 2_000).await {
        assert_eq!(outcome["status"], 201, "{outcome}");
    }
    rogue.batch_execute("ROLLBACK").await.expect("let go");
    assert_eq!(waiting.await.expect("answered").status, StatusCode::CREATED);
    for first in [100, 200] {
        for (outcome, n) in within(till.clone(), ten_items(first), 5_000).await.iter().zip(0..) {
            assert_eq!(outcome["status"] == 201, n == 0 && outcome["replayed"].is_null());
            assert!(outcome["status"].as_u64().is_some_and(|status| status < 300), "{outcome}");
        }
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_one_held_account_does_not_hold_up_another() {
    let service = TestService::start_with(|config| config.commit.committers = 1).await;
    let till = service.till();
    for n in 0..2 {
        post(&till, &swipe(n, Some(&card(n.unsigned_abs())), 100)).await;
    }
    let held_up = || service.replica.app.metrics.held_up.get();
    let (rogue, brief) = (holds(&service, 0).await, holds(&service, 1).await);
    // These have time, and wait for both; the others are in a hurry.
    let items =
        (0..2).map(|n| json!({ "swipe": swipe(10 + n, Some(&card(n.unsigned_abs())), 100) }));
    let patient = tokio::spawn(within(till.clone(), items.collect(), 5_000));
    until("both accounts are held up", async || held_up() >= 2).await;
    brief.batch_execute("ROLLBACK").await.expect("let go");
    for n in 20..30 {
        let hurried = post(&till, &swipe(n, Some(&card(1)), 100)).await;
        assert_eq!(hurried.status, StatusCode::CREATED, "{:?}", hurried.body);
    }
    assert!(!patient.is_finished(), "the other account is still held");
    rogue.batch_execute("ROLLBACK").await.expect("let go");
    for outcome in patient.await.expect("answered") {
        assert_eq!(outcome["status"], 201, "{outcome}");
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_of_a_held_account_waits_and_its_neighbours_do_not() {
    let service = TestService::start_with(|config| config.commit.committers = 1).await;
    let till = service.till();
    for n in 0..10 {
        post(&till, &swipe(n, Some(&card(n.unsigned_abs())), 100)).await;
    }
    let rogue = holds(&service, 0).await;
    let mut items = ten_items(100).split_off(1);
    items.insert(4, json!({ "void": name(0) }));
    let answered = tokio::spawn(within(till.clone(), items, 5_000));
    let neighbours = "SELECT count(*) FROM swipe WHERE sequence_number BETWEEN 101 AND 109";
    until("the neighbours are recorded", async || service.count(neighbours).await == 9).await;
    let held_up = || service.replica.app.metrics.held_up.get();
    until("the void is held up", async || held_up() == 1).await;
    for outcome in within(till.clone(), ten_items(200).split_off(1), 2_000).await {
        assert_eq!(outcome["status"], 201, "{outcome}");
    }
    assert!(!answered.is_finished(), "the void waits");
    assert_eq!(service.replica.app.metrics.bisections.get(), 0);
    rogue.batch_execute("ROLLBACK").await.expect("let go");
    for outcome in answered.await.expect("answered") {
        assert!(outcome["status"].as_u64().is_some_and(|status| status < 300), "{outcome}");
    }
    assert_eq!(points_of(&service.sql().await, &card(0)).await, 0);
    audit(&service).await;
}
