//! Races: many tills, two replicas, one account or one name. Whatever the caches hold, the
//! database ends as if everything had come one after another.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use tillside::till::{Answer, Till};
use tokio::sync::Barrier;

use crate::spending::paid;
use crate::support::caches::{ALL, Caches, replicas};
use crate::support::flow::{audit, basket, name, points_of, returned, returned_from, slug, until};
use crate::support::gate::{Gate, answers, spawn_post};
use crate::support::service::{Replica, TestService, body, card, post, swipe};

/// Posts all swipes at the same moment, from tills of both replicas by turns.
async fn at_once(service: &TestService, replica: &Replica, swipes: Vec<Value>) -> Vec<Answer> {
    let tills = [service.till(), replica.till("0367", "03")];
    let barrier = Arc::new(Barrier::new(swipes.len()));
    let posting = |(n, swipe): (usize, Value)| {
        let (till, barrier) = (tills[n % 2].clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            post(&till, &swipe).await
        })
    };
    answers(swipes.into_iter().enumerate().map(posting).collect()).await
}

fn count(answers: &[Answer], status: StatusCode) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_swipe_sixteen_times_at_once_is_recorded_once() {
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(1)]).await;
        for round in 0..5 {
            let sale = swipe(round, Some(&card(1)), 300);
            let answers = at_once(&service, &replica, vec![sale; 16]).await;
            assert_eq!(count(&answers, StatusCode::CREATED), 1, "{caches:?}");
            assert_eq!(count(&answers, StatusCode::OK), 15, "{caches:?}");
            assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{caches:?}");
            assert_eq!(points_of(&service.sql().await, &card(1)).await, 3 * (round + 1));
        }
        audit(&service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_contents_under_one_name_one_wins_and_the_others_are_told() {
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(1)]).await;
        for round in 0..5 {
            let swipes: Vec<Value> =
                (0..16).map(|n| swipe(round, Some(&card(1)), 100 * (n / 2 % 4))).collect();
            let answers = at_once(&service, &replica, swipes.clone()).await;
            one_won(&swipes, &answers);
        }
        assert_eq!(
            service
                .count(
                    "SELECT count(*) FROM swipe_key WHERE workstation_no =
            (SELECT workstation_no FROM workstation
             WHERE store_id = '0367' AND workstation_id = '03')"
                )
                .await,
            5
        );
        audit(&service).await;
    }
}

/// Of swipes under one name exactly one content was recorded, and everybody knows which.
fn one_won(swipes: &[Value], answers: &[Answer]) {
    let winner = answers
        .iter()
        .position(|answer| answer.status == StatusCode::CREATED)
        .expect("one of them is the first");
    assert_eq!(count(answers, StatusCode::CREATED), 1);
    for (swipe, answer) in swipes.iter().zip(answers) {
        if *swipe == swipes[winner] {
            assert_eq!(answer.body, answers[winner].body);
        } else {
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{:?}", answer.body);
            assert_eq!(slug(answer), "swipe-name-reused");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_for_the_cards_of_two_accounts_is_recorded_for_one_of_them() {
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(1), card(2)]).await;
        for round in 0..5 {
            let swipes: Vec<Value> =
                (0..16).map(|n| swipe(round, Some(&card(1 + n / 2 % 2)), 300)).collect();
            let answers = at_once(&service, &replica, swipes.clone()).await;
            one_won(&swipes, &answers);
        }
        let sql = service.sql().await;
        let (one, other) = (points_of(&sql, &card(1)).await, points_of(&sql, &card(2)).await);
        assert_eq!(one + other, 15, "{caches:?}");
        audit(&service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_two_replicas_see_for_the_first_time_gets_one_account() {
    for caches in [Caches::Cold, Caches::Off] {
        let (service, replica) = replicas(caches, &[]).await;
        for round in 0..10 {
            let swipes: Vec<Value> = (0..16)
                .map(|n| swipe(round * 100 + n, Some(&card(round.unsigned_abs())), 100))
                .collect();
            let answers = at_once(&service, &replica, swipes).await;
            assert_eq!(count(&answers, StatusCode::CREATED), 16, "{caches:?}");
        }
        assert_eq!(service.count("SELECT count(*) FROM account WHERE state = 0").await, 10);
        let points = "SELECT count(*) FROM account WHERE state = 0 AND total_points = 16";
        assert_eq!(service.count(points).await, 10, "{caches:?}");
        audit(&service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_account_in_a_batch_does_not_hurt_the_others() {
    let service = TestService::start_with(|config| {
        config.commit.committers = 1;
        config.commit.lock_timeout_ms = 20_000;
        config.commit.statement_timeout_ms = 20_000;
    })
    .await;
    let replica = service.replica().await;
    let here = service.till();
    for n in 0..10 {
        post(&here, &swipe(n, Some(&card(n.unsigned_abs())), 100)).await;
    }
    // The other replica moves one of the ten on.
    post(&replica.till("0367", "03"), &swipe(100, Some(&card(4)), 100)).await;

    let metrics = &service.replica.app.metrics;
    let (stale, locked) = (metrics.stale_accounts.get(), metrics.locked_passes.get());
    let gate = Gate::close(&service, &service.replica, 1).await;
    let posted = (0..10)
        .map(|n| spawn_post(&here, swipe(200 + n, Some(&card(n.unsigned_abs())), 100)))
        .collect();
    gate.queued(10).await;
    gate.open().await;
    for (answer, n) in answers(posted).await.iter().zip(0..) {
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(body(answer)["points"]["balance"], if n == 4 { 3 } else { 2 });
    }
    assert_eq!(metrics.stale_accounts.get() - stale, 1);
    assert_eq!(metrics.locked_passes.get() - locked, 1);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_stands_several_times_in_a_batch_is_recorded_once() {
    let service = TestService::start_with(|config| {
        config.commit.committers = 1;
        config.commit.lock_timeout_ms = 20_000;
        config.commit.statement_timeout_ms = 20_000;
    })
    .await;
    let till = service.till();
    for (round, seen_before) in [(1, false), (2, true)] {
        if seen_before {
            post(&till, &swipe(round * 100, Some(&card(7)), 100)).await;
        }
        let mut swipes = vec![swipe(round, Some(&card(7)), 300); 3];
        swipes.extend(vec![swipe(round, Some(&card(7)), 400); 3]);
        swipes.extend(vec![swipe(round, Some(&card(8)), 300); 3]);
        swipes.extend(vec![swipe(round, None, 300); 3]);
        let gate = Gate::close(&service, &service.replica, round).await;
        let posted = swipes.iter().map(|swipe| spawn_post(&till, swipe.clone())).collect();
        gate.queued(12).await;
        gate.open().await;
        one_won(&swipes, &answers(posted).await);
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_locked_in_one_order_whatever_the_order_of_their_swipes() {
    let service = TestService::start_with(|config| {
        config.commit.committers = 1;
        config.commit.lock_timeout_ms = 20_000;
        config.commit.statement_timeout_ms = 20_000;
    })
    .await;
    let replica = service.replica().await;
    let till = service.till();
    for n in 0..9 {
        post(&till, &swipe(n, Some(&card(n.unsigned_abs())), 100)).await;
    }
    let in_order = "SELECT account_id FROM account WHERE state = 0 ORDER BY bucket, account_id";
    let (rogue, watcher) = (service.sql().await, service.sql().await);
    let accounts = watcher.query(in_order, &[]).await.expect(in_order);
    let accounts: Vec<i64> = accounts.iter().map(|row| row.get(0)).collect();
    // From the cache; and under locks, since the other replica has moved all of them on.
    for (first, stale) in [(100, false), (200, true)] {
        if stale {
            for n in 0..9 {
                let moved_on = swipe(first + 50 + n, Some(&card(n.unsigned_abs())), 100);
                post(&replica.till("0367", "03"), &moved_on).await;
            }
        }
        let gate = Gate::close(&service, &service.replica, first).await;
        let posted: Vec<_> = [4, 8, 1, 6, 0, 7, 3, 5, 2]
            .map(|n: i64| spawn_post(&till, swipe(first + n, Some(&card(n.unsigned_abs())), 100)))
            .into();
        gate.queued(9).await;
        let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {}", accounts[5]);
        rogue.batch_execute(&format!("{hold} FOR UPDATE")).await.expect("locked");
        gate.open().await;
        // What comes before is held by the committer, and nothing that comes after.
        let free = "SELECT account_id FROM account WHERE state = 0 FOR UPDATE SKIP LOCKED";
        until("the committer waits for the sixth", async || {
            let free = watcher.query(free, &[]).await.expect(free);
            let mut free: Vec<i64> = free.iter().map(|row| row.get(0)).collect();
            free.sort_unstable_by_key(|id| accounts.iter().position(|account| account == id));
            assert!(free.ends_with(&accounts[6..]), "locked too early: {free:?}");
            free == accounts[6..]
        })
        .await;
        rogue.batch_execute("COMMIT").await.expect("let go");
        assert_eq!(count(&answers(posted).await, StatusCode::CREATED), 9);
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_turns_out_to_be_none_is_not_what_others_return() {
    let service = TestService::start_with(|config| {
        config.commit.committers = 1;
        config.commit.lock_timeout_ms = 20_000;
        config.commit.statement_timeout_ms = 20_000;
    })
    .await;
    let till = service.till();
    for n in 1..10 {
        post(&till, &swipe(n, Some(&card(n.unsigned_abs())), 100)).await;
    }
    // In one batch: a swipe under the name of the first one that would have earned nine points,
    // and what comes back of the first one, which earned one, on every other card.
    let gate = Gate::close(&service, &service.replica, 1).await;
    let reused = spawn_post(&till, swipe(1, Some(&card(1)), 900));
    let posted = (2..10)
        .map(|n| {
            let back = vec![returned_from(1, 900, &name(1))];
            spawn_post(&till, basket(100 + n, Some(&card(n.unsigned_abs())), back))
        })
        .collect();
    gate.queued(9).await;
    gate.open().await;
    assert_eq!(slug(&reused.await.expect("answered")), "swipe-name-reused");
    for answer in answers(posted).await {
        assert_eq!(body(&answer)["points"]["reversed"], 1);
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_tills_that_spend_the_same_points_spend_them_once() {
    const SPENT: i64 = 10;
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(1)]).await;
        let there = 20 * SPENT + 5;
        post(&service.till(), &swipe(9_000, Some(&card(1)), 100 * there)).await;
        let mut balances = Vec::new();
        for round in 0..3 {
            let sales =
                (0..16).map(|n| paid(swipe(16 * round + n, Some(&card(1)), 0), SPENT)).collect();
            for answer in at_once(&service, &replica, sales).await {
                assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
                let points = &body(&answer)["points"];
                let balance = points["balance"].as_i64().expect("a number");
                // A receipt stands for itself: what was there before it paid, and no more.
                let short = (-balance).clamp(0, SPENT);
                assert_eq!(points["short"].as_i64().unwrap_or(0), short, "{caches:?}: {points}");
                assert_eq!(points["spent"], SPENT);
                balances.push(balance);
            }
        }
        // One after another: every receipt begins where another one ended.
        balances.sort_unstable_by_key(|balance| -balance);
        let in_order: Vec<i64> = (1..=48).map(|n| there - SPENT * n).collect();
        assert_eq!(balances, in_order, "{caches:?}");
        audit(&service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_cards_on_two_replicas_conserve_every_point_without_a_deadlock() {
    const TILLS: i64 = 16;
    const EACH: i64 = 40;
    const CARDS: u64 = 9;
    for caches in ALL {
        let cards: Vec<String> = (0..CARDS).map(card).collect();
        let (service, replica) = replicas(caches, &cards).await;
        let tills = [service.till(), replica.till("0367", "03")];
        let mut tasks = tokio::task::JoinSet::new();
        for (n, till) in (0..TILLS).zip(tills.iter().cycle().cloned()) {
            tasks.spawn(shop(till, n, EACH, CARDS));
        }
        let mut changes: HashMap<u64, i64> = HashMap::new();
        while let Some(task) = tasks.join_next().await {
            for (card, change) in task.expect("nobody was refused") {
                *changes.entry(card).or_default() += change;
            }
        }
        let sql = service.sql().await;
        for (n, change) in changes {
            assert_eq!(points_of(&sql, &card(n)).await, change, "{caches:?}, card {n}");
        }
        let swipes = "SELECT count(*) FROM swipe s JOIN workstation w USING (workstation_no)
                      WHERE w.store_id = '0367'";
        assert_eq!(service.count(swipes).await, TILLS * EACH);
        for metrics in [&service.replica.app.metrics, &replica.app.metrics] {
            assert_eq!(metrics.bisections.get(), 0, "{caches:?}: nothing was refused");
        }
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(service.count(deadlocks).await, 0, "{caches:?}");
        audit(&service).await;
    }
}

/// Buys, and now and then brings something back, with cards by a fixed rule that looks random.
async fn shop(till: Till, n: i64, swipes: i64, cards: u64) -> Vec<(u64, i64)> {
    let mut changes = Vec::new();
    for sequence in 0..swipes {
        let mixed = (n * 1_000 + sequence).unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let number = mixed % cards;
        let minor = 100 * i64::try_from(mixed % 5).expect("small");
        let sequence = n * 1_000 + sequence;
        let (purchase, change) = if mixed.is_multiple_of(11) {
            let lines = vec![returned(1, "1095275", minor)];
            (basket(sequence, Some(&card(number)), lines), -minor / 100)
        } else {
            (swipe(sequence, Some(&card(number)), minor), minor / 100)
        };
        let answer = post(&till, &purchase).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}: {:?}", name(sequence), answer.body);
        changes.push((number, change));
    }
    changes
}
