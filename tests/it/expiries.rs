//! Expiries that no swipe has written: whom the daily walk finds, whom it leaves out, and that it
//! holds nobody up, whatever tills do meanwhile and wherever the work is cut.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tillside::commit::Desk;
use tillside::expiry::{self, Expired};
use tillside::metrics::Metrics;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::desk::{adjust, adjustment, date, desk, made, of_card, verified};
use crate::spending::paid;
use crate::support::flow::{account_of, audit, on, until};
use crate::support::service::{TODAY, TestService, body, card, post, swipe, today};
use crate::support::tap::Tap;

/// Long before anybody who waits where nobody should would go on.
const PROMPT: Duration = Duration::from_secs(30);

async fn walk(service: &TestService, desk: &mut Desk, on: &str) -> Expired {
    let (snapshot, on) = (service.replica.app.catalogue.current(), date(on));
    let walk = expiry::walk(desk, &snapshot, on, &service.replica.app.metrics);
    walk.await.expect("the database answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn points_run_out_on_accounts_that_nobody_visits() {
    let service = TestService::start().await;
    let (till, mut desk) = (service.till(), desk(&service.config));
    for n in 1..=70 {
        let sale = on(swipe(n, Some(&card(n.unsigned_abs())), 1_000), "2024-01-10");
        assert_eq!(post(&till, &sale).await.status, StatusCode::CREATED);
    }
    // One of them has been back, and keeps what it earned then.
    post(&till, &on(swipe(100, Some(&card(70)), 300), "2025-06-10")).await;
    // The last day counts.
    assert_eq!(walk(&service, &mut desk, "2026-01-31").await, Expired::default());
    let gone = walk(&service, &mut desk, "2026-02-01").await;
    assert_eq!(gone, Expired { accounts: 70, points: 700, ..Expired::default() });
    assert_eq!(walk(&service, &mut desk, "2026-02-01").await, Expired::default());
    let metrics = &service.replica.app.metrics;
    assert_eq!((metrics.expired_accounts.get(), metrics.expired_points.get()), (70, 700));
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 3);
    let noted = "SELECT count(*) FROM account WHERE next_expiry = '2027-06-30'";
    assert_eq!(service.count(noted).await, 1);
    // The clocks have moved on: what comes late finds nothing, and runs out itself.
    let late = post(&till, &on(paid(swipe(101, Some(&card(1)), 500), 10), "2024-01-31")).await;
    assert_eq!(body(&late)["points"]["short"], 10, "{:?}", late.body);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_has_not_noted_is_looked_at_without_a_new_version() {
    let service = TestService::start().await;
    let (till, mut desk, sql) = (service.till(), desk(&service.config), service.sql().await);
    post(&till, &swipe(1, Some(&card(1)), 1_000)).await;
    let unnoted = "UPDATE account SET next_expiry = DEFAULT";
    sql.batch_execute(unnoted).await.expect(unnoted);
    assert_eq!(walk(&service, &mut desk, TODAY).await, Expired::default());
    let noted = "SELECT count(*) FROM account WHERE next_expiry IS NOT DISTINCT FROM
                     CASE state WHEN 0 THEN date '2028-03-31' END";
    let accounts = service.count("SELECT count(*) FROM account").await;
    assert_eq!(service.count(noted).await, accounts);
    assert_eq!(service.count("SELECT max(version) FROM account WHERE state = 0").await, 1);
    let stale = service.replica.app.metrics.stale_accounts.get();
    post(&till, &swipe(2, Some(&card(1)), 1_000)).await;
    assert_eq!(service.replica.app.metrics.stale_accounts.get(), stale, "no cache minds");
    verified(&service).await;
}

/// A service on which nobody who waits for a lock gives up before the test does.
async fn patient_service() -> TestService {
    TestService::start_with(|config| {
        config.commit.lock_timeout_ms = 60_000;
        config.commit.statement_timeout_ms = 60_000;
    })
    .await
}

/// Twenty cards, 1 to 20, with ten points each that have run out by the day of most tests.
async fn twenty_forgotten(service: &TestService) {
    for n in 1..=20 {
        let sale = on(swipe(n, Some(&card(n.unsigned_abs())), 1_000), "2024-01-10");
        assert_eq!(post(&service.till(), &sale).await.status, StatusCode::CREATED);
    }
}

/// A stranger's session that holds the account of a card locked.
async fn hold(service: &TestService, number: u64) -> Client {
    let rogue = service.sql().await;
    let held = account_of(&rogue, &card(number)).await;
    let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {held} FOR UPDATE");
    rogue.batch_execute(&hold).await.expect("nobody else holds it");
    rogue
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_somebody_holds_is_left_and_the_others_do_not_wait_for_it() {
    let service = patient_service().await;
    twenty_forgotten(&service).await;
    let (mut desk, rogue) = (desk(&service.config), hold(&service, 7).await);
    // Whoever stood in line for the account would hold the others of its handful meanwhile.
    let left =
        timeout(PROMPT, walk(&service, &mut desk, TODAY)).await.expect("nobody is waited for");
    assert_eq!(left, Expired { accounts: 19, points: 190, held_up: 1, damaged: 0 });
    rogue.batch_execute("COMMIT").await.expect("let go");
    let expected = Expired { accounts: 1, points: 10, ..Expired::default() };
    assert_eq!(walk(&service, &mut desk, TODAY).await, expected);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_let_go_is_written_off_in_the_same_walk() {
    let service = patient_service().await;
    twenty_forgotten(&service).await;
    let (mut desk, rogue) = (desk(&service.config), hold(&service, 7).await);
    let let_go = async {
        let expired = &service.replica.app.metrics.expired_accounts;
        until("the others are written off", async || expired.get() == 19).await;
        rogue.batch_execute("COMMIT").await.expect("let go");
    };
    let (walked, ()) = tokio::join!(walk(&service, &mut desk, TODAY), let_go);
    assert_eq!(walked, Expired { accounts: 20, points: 200, ..Expired::default() });
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_account_does_not_end_the_walk() {
    let service = TestService::start().await;
    twenty_forgotten(&service).await;
    let (mut desk, sql) = (desk(&service.config), service.sql().await);
    // What cannot be read, and what cannot be written: a row stands where an entry would.
    let (unread, unwritten) = (account_of(&sql, &card(3)).await, account_of(&sql, &card(9)).await);
    let damage = format!(
        "UPDATE account SET lots = '\\xff' WHERE account_id = {unread};
         INSERT INTO entry SELECT account_id, 2, points, lot_expires, lot_available, business_date,
                                  bucket, entry_no, kind
         FROM entry WHERE account_id = {unwritten}"
    );
    sql.batch_execute(&damage).await.expect("damaged");
    for accounts in [18, 0] {
        let points = 10 * i64::try_from(accounts).expect("small");
        let expected = Expired { accounts, points, held_up: 0, damaged: 2 };
        assert_eq!(walk(&service, &mut desk, TODAY).await, expected);
    }
    assert_eq!(service.replica.app.metrics.expiry_damaged.get(), 4);
    let left = "SELECT sum(total_points)::bigint FROM account";
    assert_eq!(service.count(left).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_many_pages_is_looked_at_to_its_end() {
    let service = TestService::start().await;
    let (mut desk, sql) = (desk(&service.config), service.sql().await);
    // Every third has not been looked at, and so has the last of all.
    let fill = "INSERT INTO account (account_id, version, total_points, sales_minor, baskets,
                                     clock, bucket, state, lots, next_expiry)
                SELECT (n << 8) | 7, 1, 0, 0, 0, '2026-03-01', 7, 0, '\\x0100',
                       CASE n % 3 WHEN 1 THEN '0001-01-01'::date END
                FROM generate_series(100001, 102500) AS n";
    sql.batch_execute(fill).await.expect("filled");
    let unseen = "SELECT count(*) FROM account WHERE bucket = 7 AND next_expiry < '2026-01-01'";
    assert_eq!(service.count(unseen).await, 833);
    assert_eq!(walk(&service, &mut desk, TODAY).await, Expired::default());
    assert_eq!(service.count(unseen).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_that_race_tills_and_each_other_are_written_once() {
    const CARDS: u64 = 12;
    let service = TestService::start().await;
    let replica = service.replica().await;
    let mut next = 0;
    let mut numbered = |card_no: u64, minor: i64, day: &str| -> Value {
        next += 1;
        on(swipe(next, Some(&card(card_no)), minor), day)
    };
    for round in 0..4 {
        // Points that have run out, on accounts that have not seen the day yet.
        for card_no in 0..CARDS {
            let sale = numbered(100 * round + card_no, 1_000, "2024-01-10");
            assert_eq!(post(&service.till(), &sale).await.status, StatusCode::CREATED);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (card_no, till) in
            (0..CARDS).zip([service.till(), replica.till("0367", "03")].into_iter().cycle())
        {
            let sale = paid(numbered(100 * round + card_no, 500, TODAY), 3);
            tasks.spawn(async move {
                let answer = post(&till, &sale).await;
                assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
                assert_eq!(body(&answer)["points"]["balance"], 2, "{:?}", answer.body);
            });
        }
        for _ in 0..2 {
            let (mut desk, app) = (desk(&service.config), service.replica.app.clone());
            tasks.spawn(async move {
                let (snapshot, metrics) = (app.catalogue.current(), Metrics::new());
                let walk = expiry::walk(&mut desk, &snapshot, today(), &metrics);
                walk.await.expect("the database answers");
            });
        }
        tasks.join_all().await;
    }
    let written_off = "SELECT -sum(points)::bigint FROM entry WHERE kind = 5";
    let cards = i64::try_from(4 * CARDS).expect("small");
    assert_eq!(service.count(written_off).await, 10 * cards);
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 2 * cards);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_that_is_killed_midway_leaves_no_lock_and_is_taken_up_again() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let mut config = service.config.clone();
    config.database.url = tap.url();
    let till = service.till();
    for n in 1..=9 {
        post(&till, &on(swipe(n, Some(&card(n.unsigned_abs())), 1_000), "2024-01-10")).await;
    }
    let snapshot = service.replica.app.catalogue.current();
    for place in ["commit::commit_batch", "COMMIT"] {
        tap.cut_after(place);
        let (mut desk, metrics) = (desk(&config), Metrics::new());
        let walk = expiry::walk(&mut desk, &snapshot, today(), &metrics).await;
        assert!(walk.is_err(), "cut after {place}");
    }
    walk(&service, &mut desk(&service.config), TODAY).await;
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 0);
    assert_eq!(service.count("SELECT count(*) FROM entry WHERE kind = 5").await, 9);
    until("nobody holds a lock", async || {
        let open = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND xact_start IS NOT NULL
                      AND pid <> pg_backend_pid()";
        service.count(open).await == 0
    })
    .await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_somebody_swallows_does_not_keep_the_desk() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let mut config = service.config.clone();
    config.database.url = tap.url();
    config.commit.statement_timeout_ms = 200;
    twenty_forgotten(&service).await;
    let mut desk = desk(&config);
    for (place, number) in ["commit::lock_accounts", "COMMIT"].into_iter().zip(1..) {
        tap.mute_after(place);
        let given = adjustment(place, of_card(1), 10);
        let made_once = timeout(PROMPT, adjust(&service, &mut desk, &given)).await;
        let (balance, before) = made(&made_once.expect("the line is given up"));
        // The ten that it was born with have run out by then.
        assert_eq!((balance, before), (10 * number, place == "COMMIT"), "silent after {place}");
    }
    let snapshot = service.replica.app.catalogue.current();
    for place in ["commit::due", "commit::lock_free_accounts", "COMMIT"] {
        tap.mute_after(place);
        let metrics = Metrics::new();
        let walk = expiry::walk(&mut desk, &snapshot, today(), &metrics);
        let ended = timeout(PROMPT, walk).await.expect("the line is given up");
        assert!(ended.is_err(), "silent after {place}");
    }
    walk(&service, &mut desk, TODAY).await;
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, 20);
    verified(&service).await;
}
