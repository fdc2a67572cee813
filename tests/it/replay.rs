//! Replays against a whole service: every basket once, a further replay changes nothing, and
//! what was moved once stays moved by as much.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{Timestamp, ToSpan as _};
use tillside::journey::WORKSTATION;
use tillside::journey::transactions::{RecordedLine, Transactions};
use tillside::replay::keys::Terminal;
use tillside::replay::statistics::Counts;
use tillside::replay::{self, Plan, ReplayError, ShiftMemory};
use tillside::sealing::Sealer;
use tillside::terminal;

use crate::support::database::TestDatabase;
use crate::support::service::{STORES, TestService};

/// Forty baskets of five households in two stores, an hour apart, oddities among them.
fn recorded() -> Transactions {
    let first: Timestamp = "2017-01-01T11:53:26Z".parse().expect("a timestamp");
    let lines = [
        RecordedLine::new(1_095_275, 2, 398, 40),
        RecordedLine::new(5_978_656, 0, 0, 0),
        RecordedLine::new(6_534_178, 89_638, 4_500, 0),
        RecordedLine::new(902_192, 1, 250, 200),
    ];
    let mut all = Transactions::default();
    for number in 0..40u32 {
        let store = if number % 3 == 0 { 367 } else { 406 };
        let count = 1 + number as usize % lines.len();
        let at = first + i64::from(number).hours();
        all.push(31_198_000_000 + i64::from(number), 1 + number % 5, store, at, &lines[..count]);
    }
    all
}

#[tokio::test]
async fn every_basket_is_recorded_once_however_often_it_is_replayed() {
    let service = TestService::start().await;
    let sealer = Sealer::from_config(&service.config.secrets).expect("set by the harness");
    let mut terminals = HashMap::new();
    for store_id in STORES {
        let now = Timestamp::now();
        let key = terminal::rotate(&service.pool, &sealer, store_id, WORKSTATION, now, now)
            .await
            .expect("the harness made one");
        let (store_id, workstation_id) = (store_id.to_owned(), WORKSTATION.to_owned());
        let terminal = Terminal { store_id, workstation_id, keyid: key.keyid, secret: key.secret };
        terminals.insert(terminal.store_id.clone(), terminal);
    }
    // A replica that starts now knows the new keys from its first request on.
    let replica = service.replica().await;
    let baskets = Arc::new(recorded());
    let sales: i64 = baskets.baskets().iter().map(|basket| baskets.sales_minor(basket)).sum();
    let plan = Plan {
        server: replica.base_url.clone(),
        terminals,
        connections: 4,
        speed: None,
        shift_weeks: 463,
        redemptions: Arc::default(),
    };
    let mut rounds: Vec<Counts> = Vec::new();
    for _ in 0..2 {
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&seen);
        let done = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let statistics = replay::run(Arc::clone(&baskets), &plan, done).await.expect("answered");
        assert_eq!(seen.load(Ordering::Relaxed), 40);
        rounds.push(statistics.counts);
    }
    let [first, second] = rounds.as_slice() else { unreachable!("two rounds") };
    assert_eq!((first.recorded, first.known_before, first.sales_minor), (40, 0, sales));
    assert_eq!((second.recorded, second.known_before, second.sales_minor), (0, 40, sales));
    assert!(first.refused.is_empty() && second.refused.is_empty(), "{first:?} {second:?}");
    assert!(first.points_earned > 0 && first.points_earned == second.points_earned);
    let sum = "SELECT sum(total_minor)::bigint FROM swipe";
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 40);
    assert_eq!(service.count(sum).await, sales);
    let points = service.count("SELECT sum(points)::bigint FROM entry").await;
    assert_eq!(points, first.points_earned);
    // Five households: no basket made an account of its own.
    assert_eq!(service.count("SELECT count(*) FROM card").await, 5);
    let moved =
        "SELECT count(*) FROM swipe WHERE business_date BETWEEN '2025-11-16' AND '2025-11-18'";
    assert_eq!(service.count(moved).await, 40);

    let nowhere = Plan { terminals: HashMap::new(), ..plan };
    let refused = replay::run(baskets, &nowhere, Arc::new(|| {})).await;
    assert!(matches!(refused, Err(ReplayError::NoTerminal(_))));
}

#[tokio::test]
async fn the_first_shift_is_the_one_that_holds() {
    let database = TestDatabase::create().await;
    let memory = ShiftMemory::connect(&database.settings()).await.expect("connected");
    let (one, other) = ([1; 16], [2; 16]);
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(memory.recall(&one).await.expect("asked"), None);
    assert_eq!(memory.remember(&one, 463, now).await.expect("asked"), 463);
    assert_eq!(memory.remember(&one, 464, now).await.expect("asked"), 463);
    assert_eq!(memory.remember(&other, -2, now).await.expect("asked"), -2);
    assert_eq!(memory.recall(&one).await.expect("asked"), Some(463));
}
