//! Faults in the middle of things: what the database refuses, backends that are ended, tills
//! that hang up, more than can be done, and time that runs out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use tillside::config::Config;
use tillside::domain::ledger::{EntryKind, LotKey, Lots, NEVER};
use tillside::till::{Answer, Till};

use crate::support::flow::{
    account_of, at, audit, name, on, outcome, outcomes, points_of, post_batch, post_within, slug,
    until,
};
use crate::support::gate::{Gate, answers, spawn_post};
use crate::support::service::{TestService, body, card, post, swipe, today};

/// One committer that waits for locks for longer than any test holds them.
fn patient(config: &mut Config) {
    config.commit.committers = 1;
    config.commit.lock_timeout_ms = 20_000;
    config.commit.statement_timeout_ms = 20_000;
}

/// Posts a swipe for each of ten cards so that they meet in one batch.
async fn ten_at_once(
    service: &TestService,
    first: i64,
    change: impl Fn(i64, &mut Value),
) -> Vec<Answer> {
    let till = service.till();
    let gate = Gate::close(service, &service.replica, first).await;
    let posted = (0..10)
        .map(|n| {
            let mut sale = swipe(first + n, Some(&card(n.unsigned_abs())), 100);
            change(n, &mut sale);
            spawn_post(&till, sale)
        })
        .collect();
    gate.queued(10).await;
    gate.open().await;
    answers(posted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_only_what_the_database_refuses_gets_the_error() {
    let service = TestService::start_with(patient).await;
    let sql = service.sql().await;
    for answer in ten_at_once(&service, 0, |_, _| {}).await {
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    let culprit = account_of(&sql, &card(6)).await;
    let refusal = format!(
        "ALTER TABLE account ADD CONSTRAINT no_more CHECK (account_id <> {culprit} OR version < 2)"
    );
    sql.batch_execute(&refusal).await.expect("added");
    for (answer, n) in ten_at_once(&service, 100, |_, _| {}).await.iter().zip(0..) {
        if n == 6 {
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(slug(answer), "internal");
        } else {
            assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
            assert_eq!(body(answer)["points"]["balance"], 2);
        }
    }
    assert!(service.replica.app.metrics.bisections.get() > 0);
    sql.batch_execute("ALTER TABLE account DROP CONSTRAINT no_more").await.expect("dropped");
    let at_last = post(&service.till(), &swipe(106, Some(&card(6)), 100)).await;
    assert_eq!(at_last.status, StatusCode::CREATED);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_partition_harms_only_the_swipes_that_need_it() {
    let service = TestService::start_with(patient).await;
    let sql = service.sql().await;
    let without_default = "ALTER TABLE swipe DETACH PARTITION swipe_default;
        CREATE TABLE swipe_test PARTITION OF swipe
            FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')";
    sql.batch_execute(without_default).await.expect("changed");
    let long_ago = |n: i64, sale: &mut Value| {
        if n % 5 == 2 {
            *sale = on(sale.clone(), "2019-03-14");
        }
    };
    for (answer, n) in ten_at_once(&service, 0, long_ago).await.iter().zip(0..) {
        let expected = if n % 5 == 2 { 500 } else { 201 };
        assert_eq!(answer.status, expected, "{:?}", answer.body);
    }
    let attach = "ALTER TABLE swipe ATTACH PARTITION swipe_default DEFAULT";
    sql.batch_execute(attach).await.expect("attached");
    for n in [2, 7] {
        let late = on(swipe(n, Some(&card(n.unsigned_abs())), 100), "2019-03-14");
        assert_eq!(post(&service.till(), &late).await.status, StatusCode::CREATED);
    }
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 11);
    audit(&service).await;
}

/// Sends until it is done, as a till does that got no answer or a 503.
async fn insist(till: &Till, swipe: &Value) -> Answer {
    loop {
        let body = swipe.to_string();
        match till.post("/v1/swipes", body).await {
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.headers.contains_key("retry-after"));
            }
            Ok(answer) => return answer,
            Err(error) => panic!("the service always answers: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_are_ended_lose_nothing_that_was_acknowledged_and_double_nothing() {
    const TILLS: i64 = 8;
    const EACH: i64 = 30;
    let service = TestService::start().await;
    let replica = service.replica().await;
    let tills = [service.till(), replica.till("0367", "03")];
    let mut tasks = tokio::task::JoinSet::new();
    for (n, till) in (0..TILLS).zip(tills.iter().cycle().cloned()) {
        tasks.spawn(async move {
            let mut done = Vec::new();
            for sequence in 0..EACH {
                let number = (n + sequence).unsigned_abs() % 5;
                let sale = swipe(1_000 * n + sequence, Some(&card(number)), 100);
                let answer = insist(&till, &sale).await;
                assert!(answer.status.is_success(), "{:?}", answer.body);
                done.push((sale, answer));
            }
            done
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let nemesis = {
        let (over, sql) = (Arc::clone(&over), service.sql().await);
        tokio::spawn(async move {
            let (mut ended, mut before) = (0_i64, -1_i64);
            while !over.load(Ordering::Relaxed) {
                let recorded: i64 = count(&sql, "SELECT count(*) FROM swipe").await;
                // Only after some work was done: else nothing would ever get through.
                if recorded < before + 5 {
                    tokio::task::yield_now().await;
                    continue;
                }
                before = recorded;
                ended += count(
                    &sql,
                    "SELECT count(pg_terminate_backend(pid))
                    FROM pg_stat_activity WHERE datname = current_database()
                     AND application_name = 'tillside committer'",
                )
                .await;
            }
            ended
        })
    };
    let mut done = Vec::new();
    while let Some(of_till) = tasks.join_next().await {
        done.extend(of_till.expect("every swipe gets through"));
    }
    over.store(true, Ordering::Relaxed);
    assert!(nemesis.await.expect("it ran") > 10, "hardly any backend was ended");
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, TILLS * EACH);
    for (sale, answer) in done {
        let again = insist(&tills[0], &sale).await;
        assert_eq!((again.status, again.body), (StatusCode::OK, answer.body));
    }
    assert_eq!(service.count("SELECT sum(points)::bigint FROM entry").await, TILLS * EACH);
    audit(&service).await;
}

async fn count(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect(sql).get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_ended_in_the_middle_of_a_statement_is_replaced() {
    let service = TestService::start_with(patient).await;
    let sql = service.sql().await;
    let till = service.till();
    let gate = Gate::close(&service, &service.replica, 1).await;
    let queued = spawn_post(&till, swipe(1, Some(&card(1)), 100));
    gate.queued(1).await;
    let made = service.replica.app.metrics.connections_made.get();
    count(
        &sql,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    until("the committer has connected again", async || {
        service.replica.app.metrics.connections_made.get() > made
    })
    .await;
    assert_eq!(gate.open().await.status, StatusCode::CREATED);
    assert_eq!(queued.await.expect("answered").status, StatusCode::CREATED);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_that_hangs_up_cancels_nothing() {
    let service = TestService::start_with(patient).await;
    let till = service.till();
    let sale = swipe(1, Some(&card(1)), 100);
    let gate = Gate::close(&service, &service.replica, 1).await;
    let hung_up = spawn_post(&till, sale.clone());
    gate.queued(1).await;
    hung_up.abort();
    assert!(hung_up.await.expect_err("it was aborted").is_cancelled());
    gate.open().await;
    until("it is recorded all the same", async || {
        outcome(&till, &name(1)).await.status == StatusCode::OK
    })
    .await;
    let again = post(&till, &sale).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(points_of(&service.sql().await, &card(1)).await, 1);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_is_told_so_at_once_and_nothing_is_done() {
    let service = TestService::start_with(|config| {
        patient(config);
        config.commit.queue_max = 4;
    })
    .await;
    let till = service.till();
    let gate = Gate::close(&service, &service.replica, 1).await;
    let posted: Vec<_> = (0..3).map(|n| spawn_post(&till, swipe(n, Some(&card(1)), 100))).collect();
    gate.queued(3).await;
    // The gate is closed all the while: whoever is answered was not made to wait.
    for n in 3..8 {
        let refused = post(&till, &swipe(n, Some(&card(1)), 100)).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(slug(&refused), "overloaded");
        assert!(refused.headers.contains_key("retry-after"));
    }
    let items: Vec<Value> = (8..10).map(|n| json!({ "swipe": swipe(n, None, 100) })).collect();
    for outcome in outcomes(&post_batch(&till, &items).await) {
        assert_eq!(outcome["status"], 503);
    }
    gate.open().await;
    for answer in answers(posted).await {
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    for n in 3..10 {
        assert_eq!(outcome(&till, &name(n)).await.status, StatusCode::NOT_FOUND);
    }
    // A till that hangs up leaves its command in the queue, and that still counts.
    let gate = Gate::close(&service, &service.replica, 3).await;
    let gone: Vec<_> = (20..23).map(|n| spawn_post(&till, swipe(n, Some(&card(1)), 100))).collect();
    gate.queued(3).await;
    for posted in gone {
        posted.abort();
        assert!(posted.await.expect_err("it was aborted").is_cancelled());
    }
    let refused = post(&till, &swipe(23, Some(&card(1)), 100)).await;
    assert_eq!(slug(&refused), "overloaded");
    gate.open().await;
    // No permit was lost on the way.
    let gate = Gate::close(&service, &service.replica, 2).await;
    let posted: Vec<_> = (3..6).map(|n| spawn_post(&till, swipe(n, Some(&card(1)), 100))).collect();
    gate.queued(3).await;
    gate.open().await;
    assert!(answers(posted).await.iter().all(|answer| answer.status == StatusCode::CREATED));
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_time_runs_out_asking_again_tells_what_happened() {
    let service = TestService::start_with(patient).await;
    let till = service.till();
    let sale = swipe(1, Some(&card(1)), 100);
    post(&till, &sale).await;

    // Still in the queue: it is not begun any more.
    let late = swipe(2, Some(&card(1)), 100);
    let gate = Gate::close(&service, &service.replica, 1).await;
    let answer = post_within(&till, "/v1/swipes", late.to_string(), 30).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    gate.open().await;
    let retried = post(&till, &late).await;
    assert_eq!(retried.status, StatusCode::CREATED, "nothing had been done");

    // Within a statement: the work goes on without whoever asked.
    let rogue = service.sql().await;
    let lock = "BEGIN; SELECT 1 FROM account WHERE state = 0 FOR UPDATE";
    rogue.batch_execute(lock).await.expect("locked");
    let later = swipe(3, Some(&card(1)), 100);
    let answer = post_within(&till, "/v1/swipes", later.to_string(), 30).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(slug(&answer), "outcome-unknown");
    rogue.batch_execute("COMMIT").await.expect("let go");
    let retried = post(&till, &later).await;
    assert_eq!(retried.status, StatusCode::OK, "{:?}", retried.body);
    assert_eq!(retried.headers["idempotent-replayed"], "true");
    assert_eq!(points_of(&service.sql().await, &card(1)).await, 3);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_on_one_account_takes_nobody_along() {
    let service = TestService::start_with(patient).await;
    let sql = service.sql().await;
    ten_at_once(&service, 0, |_, _| {}).await;
    // No history leads here; adding to it overflows, which nothing expects.
    let mut lots = Lots::default();
    let lot = LotKey { expires_on: NEVER, available_from: today() };
    lots.add(EntryKind::Adjust, i64::MAX, lot, &mut Vec::new());
    let spoil = "UPDATE account SET lots = $1, version = version + 1 WHERE account_id = $2";
    let account_id = account_of(&sql, &card(6)).await;
    sql.execute(spoil, &[&lots.encode(), &account_id]).await.expect("spoilt");
    for (answer, n) in ten_at_once(&service, 100, |_, _| {}).await.iter().zip(0..) {
        if n == 6 {
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(slug(answer), "internal");
        } else {
            assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        }
    }
    assert_eq!(outcome(&service.till(), &name(106)).await.status, StatusCode::NOT_FOUND);
    let elsewhere = at(swipe(1, None, 100), "0367", "01");
    let answer = post(&service.replica.till("0367", "01"), &elsewhere).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}
