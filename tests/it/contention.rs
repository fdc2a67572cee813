//! One card at fifty tills over two replicas, whatever their caches hold: every receipt is that
//! of one serial order, nobody is refused, and everybody gets a turn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tillside::receipt::decompress;
use tillside::till::{Answer, Till};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::caches::{Caches, Spoiler, replicas};
use crate::support::flow::{
    account_of, at, audit, enrol, look_up, name_of, points_of, until, void,
};
use crate::support::service::{Replica, TestService, WORKSTATIONS, card, post, swipe};

const TILLS: i64 = 50;

/// How many purchases, of twenty that each till makes, the slowest may be behind the fastest.
/// Most are 3 to 6 behind at the worst; one whose replica always lost would be twenty.
const BEHIND_MAX: i64 = 12;

/// What a till was told about a transaction, or about its void.
struct Told {
    name: String,
    is_void: bool,
    receipt: Bytes,
}

impl Told {
    fn new(name: String, is_void: bool, answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::CREATED, "{name}: {:?}", answer.body);
        Self { name, is_void, receipt: answer.body.clone() }
    }
}

/// As races have them, and kept wrong all the while.
const CACHES: [Caches; 4] = [Caches::Cold, Caches::Off, Caches::Stale, Caches::Wrong];

async fn contended(caches: Caches, cards: &[String]) -> (TestService, Replica, Option<Spoiler>) {
    let (service, replica) = replicas(caches, cards).await;
    let spoiler = match caches {
        Caches::Wrong => Some(Spoiler::begin(&service, &replica, cards).await),
        Caches::Cold | Caches::Off | Caches::Stale => None,
    };
    (service, replica, spoiler)
}

/// The n-th till: by turns at one replica and at the other, and at both workstations.
fn till(service: &TestService, replica: &Replica, n: i64) -> (Till, &'static str) {
    let workstation = WORKSTATIONS[usize::from(n % 4 < 2)];
    let replica = if n % 2 == 0 { &service.replica } else { replica };
    (replica.till("0367", workstation), workstation)
}

/// The k-th purchase at the n-th till.
fn purchase(n: i64, k: i64, card: &str, workstation: &str) -> Value {
    at(swipe(1_000 * (n + 1) + k, Some(card), 100 * ((n + k) % 7)), "0367", workstation)
}

async fn all_of(mut tasks: JoinSet<Vec<Told>>) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(of_till) = tasks.join_next().await {
        told.extend(of_till.expect("nobody was refused"));
    }
    told
}

/// Every receipt says what its account had at its version, no version was used twice, and what is
/// stored is what was told.
async fn every_receipt_is_exact(service: &TestService, told: &[Told]) {
    let sql = service.sql().await;
    let balances = "SELECT account_id, version, (sum(sum(points)) OVER
                               (PARTITION BY account_id ORDER BY version))::bigint
                    FROM entry GROUP BY account_id, version";
    let mut by_version: HashMap<i64, BTreeMap<i64, i64>> = HashMap::new();
    for row in sql.query(balances, &[]).await.expect(balances) {
        by_version.entry(row.get(0)).or_default().insert(row.get(1), row.get(2));
    }
    let swipes = "SELECT format('%s/%s/%s/%s', w.store_id, w.workstation_id, s.business_date,
                                s.sequence_number),
                         s.kind > 2, s.kind IN (0, 3), s.account_id, s.version,
                         s.earned_points, s.reversed_points, s.receipt
                  FROM swipe s JOIN workstation w USING (workstation_no)";
    let mut rows = HashMap::new();
    for row in sql.query(swipes, &[]).await.expect(swipes) {
        rows.insert((row.get::<_, String>(0), row.get::<_, bool>(1)), row);
    }
    for Told { name, is_void, receipt } in told {
        let row = &rows[&(name.clone(), *is_void)];
        let (booked, account_id, version): (bool, i64, i64) = (row.get(2), row.get(3), row.get(4));
        let balance = by_version
            .get(&account_id)
            .and_then(|versions| versions.range(..=version).next_back())
            .map_or(0, |(_, balance)| *balance);
        let balance = if booked { json!(balance) } else { Value::Null };
        let stored = decompress(row.get(7)).expect("it is readable");
        assert_eq!(stored, *receipt, "{name}: what is stored is what was told");
        let receipt: Value = serde_json::from_slice(receipt).expect("receipts are JSON");
        let points = &receipt["points"];
        assert_eq!(points["balance"], balance, "{name}: {receipt}");
        assert_eq!(points["earned"], row.get::<_, i64>(5), "{name}: {receipt}");
        assert_eq!(points["reversed"], row.get::<_, i64>(6), "{name}: {receipt}");
    }
    audit(service).await;
}

/// How many purchases the slowest till was behind the fastest at the worst moment.
async fn worst_behind(service: &TestService, card: &str) -> i64 {
    let sql = service.sql().await;
    let account_id = account_of(&sql, card).await;
    let order = "SELECT sequence_number / 1000 FROM swipe
                 WHERE account_id = $1 AND sequence_number >= 1000 ORDER BY version";
    let mut done: HashMap<i64, i64> = (1..=TILLS).map(|till| (till, 0)).collect();
    let mut worst = 0;
    for row in sql.query(order, &[&account_id]).await.expect(order) {
        *done.get_mut(&row.get(0)).expect("one of the tills") += 1;
        let (most, least) = (done.values().max(), done.values().min());
        worst = worst.max(most.expect("there are tills") - least.expect("there are tills"));
    }
    worst
}

#[tokio::test(flavor = "multi_thread")]
async fn every_receipt_of_one_card_at_fifty_tills_is_exact_and_every_till_gets_its_turn() {
    const EACH: i64 = 20;
    for caches in CACHES {
        let cards = [card(1), card(2)];
        let (service, replica, spoiler) = contended(caches, &cards).await;
        let connected = Arc::new(Barrier::new(usize::try_from(TILLS).expect("small")));
        let mut tasks = JoinSet::new();
        for n in 0..TILLS {
            let (till, workstation) = till(&service, &replica, n);
            let connected = Arc::clone(&connected);
            tasks.spawn(async move {
                // Only from then on they are equals.
                look_up(&till, &card(1)).await;
                connected.wait().await;
                let mut told = Vec::new();
                for k in 0..EACH {
                    let sale = purchase(n, k, &card(1), workstation);
                    told.push(Told::new(name_of(&sale), false, &post(&till, &sale).await));
                }
                told
            });
        }
        let told = all_of(tasks).await;
        drop(spoiler);
        every_receipt_is_exact(&service, &told).await;
        let earned: i64 = (0..TILLS).flat_map(|n| (0..EACH).map(move |k| (n + k) % 7)).sum();
        assert_eq!(points_of(&service.sql().await, &card(1)).await, earned, "{caches:?}");
        let behind = worst_behind(&service, &card(1)).await;
        assert!(behind <= BEHIND_MAX, "{caches:?}: a till was {behind} purchases behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_that_are_linked_while_fifty_tills_use_them_lose_nothing_and_every_receipt_is_exact()
{
    const EACH: i64 = 8;
    const CARDS: u64 = 5;
    for caches in CACHES {
        let cards: Vec<String> = (0..CARDS).map(card).collect();
        let (service, replica, spoiler) = contended(caches, &cards).await;
        let mut tasks = JoinSet::new();
        for n in 0..TILLS {
            let (till, workstation) = till(&service, &replica, n);
            let card = card(n.unsigned_abs() % CARDS);
            tasks.spawn(async move {
                let mut told = Vec::new();
                for k in 0..EACH {
                    let sale = purchase(n, k, &card, workstation);
                    told.push(Told::new(name_of(&sale), false, &post(&till, &sale).await));
                }
                told
            });
        }
        // Each time that some more purchases were made the next card goes to the first one.
        let desks = [service.till(), replica.till("0406", "01")];
        for (linked, desk) in (1..CARDS).zip(desks.iter().cycle()) {
            let some = i64::try_from(linked).expect("few") * TILLS;
            let made = "SELECT count(*) FROM swipe";
            until("some purchases were made", async || service.count(made).await >= some).await;
            let link = json!({ "card": card(linked), "link_to": card(0) });
            let answer = enrol(desk, &link).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        }
        let told = all_of(tasks).await;
        drop(spoiler);
        every_receipt_is_exact(&service, &told).await;
        let earned: i64 = (0..TILLS).flat_map(|n| (0..EACH).map(move |k| (n + k) % 7)).sum();
        assert_eq!(points_of(&service.sql().await, &card(0)).await, earned, "{caches:?}");
        let elsewhere = "SELECT count(*) FROM account WHERE state <> 1 AND total_points <> 0";
        assert_eq!(service.count(elsewhere).await, 0, "{caches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn voids_that_race_the_sales_of_fifty_tills_undo_each_of_them_once() {
    const EACH: i64 = 6;
    for caches in CACHES {
        let cards = [card(1), card(2)];
        let (service, replica, spoiler) = contended(caches, &cards).await;
        let mut tasks = JoinSet::new();
        for n in 0..TILLS {
            let (till_here, workstation) = till(&service, &replica, n);
            let (till_there, _) = till(&service, &replica, n + 1);
            tasks.spawn(async move {
                let mut told = Vec::new();
                for k in 0..EACH {
                    let sale = purchase(n, k, &card(1), workstation);
                    let name = name_of(&sale);
                    let (sold, undone) = match k % 3 {
                        // Whoever comes first.
                        0 => {
                            let both =
                                tokio::join!(post(&till_here, &sale), void(&till_there, &name));
                            (both.0, Some(both.1))
                        }
                        1 => {
                            let sold = post(&till_here, &sale).await;
                            (sold, Some(void(&till_there, &name).await))
                        }
                        _ => (post(&till_here, &sale).await, None),
                    };
                    told.push(Told::new(name.clone(), false, &sold));
                    told.extend(undone.map(|undone| Told::new(name, true, &undone)));
                }
                told
            });
        }
        let told = all_of(tasks).await;
        drop(spoiler);
        every_receipt_is_exact(&service, &told).await;
        let kept = |n: i64| (0..EACH).filter(|k| k % 3 == 2).map(move |k| (n + k) % 7);
        let earned: i64 = (0..TILLS).flat_map(kept).sum();
        assert_eq!(points_of(&service.sql().await, &card(1)).await, earned, "{caches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_waits_for_a_held_account_for_as_long_as_its_till_does() {
    let service = TestService::start_with(|config| config.commit.lock_timeout_ms = 20).await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 500)).await;
    let rogue = service.sql().await;
    rogue.batch_execute("BEGIN; SELECT 1 FROM account FOR UPDATE").await.expect("locked");
    let enrolment = {
        let till = till.clone();
        tokio::spawn(async move { enrol(&till, &json!({ "card": card(1) })).await })
    };
    // Transactions that have waited for it, by when they began.
    let watcher = service.sql().await;
    let mut waited = BTreeSet::new();
    until("the enrolment has given up waiting and tried again", async || {
        let sql = "SELECT xact_start::text FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let rows = watcher.query(sql, &[]).await.expect(sql);
        waited.extend(rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)));
        waited.len() > 1
    })
    .await;
    rogue.batch_execute("COMMIT").await.expect("let go");
    let enrolled = enrolment.await.expect("it is answered");
    assert_eq!(enrolled.status, StatusCode::CREATED, "{:?}", enrolled.body);
    audit(&service).await;
}
