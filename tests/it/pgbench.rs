//! The competitor of the benchmark writes what the service writes: the same rows for a swipe, of
//! the same size, whichever script it runs.

use std::sync::Arc;

use jiff::civil::date;
use tillside::config::Coupons;
use tillside_load::load::{Basket, Load, Pick, Protocol, Shape, Target, drive};
use tillside_load::pgbench::{Ledger, Pgbench, Sample, Script, Side, differences, find};
use tillside_load::stock::{self, Past, Stock};

use crate::stock::tills;
use crate::support::service::TestService;

/// Customers of each side.
const CUSTOMERS: usize = 512;

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_writes_for_a_swipe_what_the_service_writes() {
    let service = TestService::start().await;
    let (today, tills) = (date(2026, 3, 14), tills(&service));
    let stock = Stock { accounts: 2 * CUSTOMERS as u64, baskets: 0..=15, past: Past::Whole };
    let database = &service.config.database;
    let loaded = stock::load(database, &tills, &stock, today, |_| ()).await.expect("loaded");
    let client = service.sql().await;
    let id = |customer: usize| stock::account_id(customer as u64) & !255;
    let ours = Side { accounts: id(0)..id(CUSTOMERS), today };
    let theirs = Side { accounts: id(CUSTOMERS)..id(2 * CUSTOMERS), today };
    let mut before = Ledger::read(&client, &theirs).await.expect("counted");
    // A replica that knows the articles.
    let coupons = Coupons { per_swipe: 1, open_max: 1, per_week: 50, ..Coupons::default() };
    let replica = service.replica_with(|config| config.coupons = coupons).await;
    let address = replica.base_url.trim_start_matches("http://").parse().expect("an address");
    let target = Target {
        addresses: vec![address],
        tills: tills.into(),
        cards: loaded.cards[..CUSTOMERS].into(),
        today,
        wallets: Arc::default(),
    };
    let load = Load {
        shape: Shape::Closed { connections: 16 },
        warm_up_s: 0.0,
        seconds: 2.0,
        connections: 16,
        protocol: Protocol::Http1,
        pick: Pick::InTurn,
        basket: Basket::Lines(10),
        seed: 1,
        skus: stock::skus().collect::<Arc<[String]>>(),
    };
    // Customers are given coupons until they hold one each; then each redeemed is followed by
    // another, and what a swipe writes is what it goes on to write.
    let (mut sequence, mut rounds) = (1_000_000_000, 0);
    let written = loop {
        let before = Ledger::read(&client, &ours).await.expect("counted");
        let driven = drive(&target, &load, sequence).await.expect("driven");
        assert!(driven.is_clean(), "{driven:?}");
        sequence = driven.next_sequence_number;
        let written = Ledger::read(&client, &ours).await.expect("counted").since(&before);
        if written.is_settled() {
            break written;
        }
        rounds += 1;
        assert!(rounds < 30, "still given to more than redeem: {written}");
    };
    assert_eq!(written.rows[..4], [1.0; 4], "{written}");
    assert!(written.rows[4..].iter().all(|rows| *rows > 0.0), "{written}");

    let sample = Sample::read(&client, &ours).await.expect("every kind of row is there");
    let folder = tempfile::tempdir().expect("a folder");
    let url = service.config.database.url.reveal();
    let program = find(&client).await.expect("it lies beside the server");
    let mut pgbench =
        Pgbench::new(program, url, folder.path(), &sample, theirs.clone(), 100).expect("there");
    pgbench.follow(&written);
    for (script, with_latencies) in [(Script::Txn, false), (Script::Stmt, true)] {
        // A client holds no coupon before it was given one, so few clients, and not too short.
        let ran = pgbench.run(script, 2, 3, with_latencies).await.expect("it ran");
        assert_eq!(ran.latencies_us.is_empty(), !with_latencies);
        let after = Ledger::read(&client, &theirs).await.expect("counted");
        let by_them = after.since(&before);
        before = after;
        #[expect(clippy::cast_precision_loss, reason = "a few seconds' worth")]
        let transactions = ran.transactions as f64;
        assert_eq!(by_them.swipes, transactions, "{script:?}");
        assert_eq!(by_them.rows[..4], [1.0; 4], "{script:?}: {by_them}");
        let differing = differences(&written, &by_them);
        assert!(differing.is_empty(), "{script:?}: {differing:?}\n{written}\n{by_them}");
    }
}

#[tokio::test]
async fn without_the_services_own_rows_there_is_no_script() {
    let service = TestService::start().await;
    let side = Side { accounts: 0..1, today: date(2026, 3, 14) };
    let nothing = Sample::read(&service.sql().await, &side).await.expect_err("nothing is there");
    assert!(nothing.to_string().contains("drive it for longer"), "{nothing}");
}
