//! The committers' statements as PostgreSQL executes them: the same plan whatever the tables and
//! the statistics are like, a cost that grows as the batch does; and in `meetings` nothing half
//! done when two sessions meet.

mod lone;
mod meetings;

use std::collections::BTreeMap;

use jiff::civil::date;
use tillside::commit::probe::{
    COMMIT_LONE, DUE, LOAD_ACCOUNTS, OTHERS, Parts, Sample, SampleBatch,
};
use tokio_postgres::{Client, Statement};

use crate::support::database::TestDatabase;
use crate::support::explain::{Explaining, Plan};
use crate::support::flow::until;

/// Accounts that batches are about: numbers 1 to 256.
const SAMPLED: i64 = 256;
/// What the tables hold besides, when they are large.
const LARGE: i64 = 120_000;
const WORKSTATION_NO: i32 = 7;
const NAME_BUCKET: u8 = 77;

fn account_id(number: i64) -> i64 {
    (number << 8) | (number & 255)
}

fn bucket(account_id: i64) -> i16 {
    i16::try_from(account_id & 255).expect("one byte")
}

fn card(number: i64) -> String {
    format!("299{number:010}")
}

/// A database with so many accounts: a card each, and 20 swipes with two entries.
async fn sampled(accounts: i64) -> (TestDatabase, Client) {
    let database = TestDatabase::create().await;
    let client = database.client().await;
    let sql = format!(
        "ALTER TABLE account SET (autovacuum_enabled = off);
         ALTER TABLE swipe_key SET (autovacuum_enabled = off);
         ALTER TABLE entry SET (autovacuum_enabled = off);
         ALTER TABLE coupon SET (autovacuum_enabled = off);
         INSERT INTO account (account_id, version, total_points, sales_minor, baskets, clock,
                              bucket, state, lots)
         SELECT (n << 8) | (n & 255), 20, 0, 0, 0, '2026-03-01', n & 255, 0, '\\x0100'
         FROM generate_series(1, {accounts}) AS n;
         INSERT INTO card (account_id, linked_at, bucket, card)
         SELECT (n << 8) | (n & 255), now(), n % 256, '299' || lpad(n::text, 10, '0')
         FROM generate_series(1, {accounts}) AS n;
         INSERT INTO swipe SELECT (n << 8) | (n & 255), v, 0, 300, 3, 1, now(), now(), '2026-03-01',
                                  {WORKSTATION_NO}, 1, n & 255, 0, decode(repeat('07', 200), 'hex'),
                                  decode(repeat('09', 400), 'hex')
         FROM generate_series(1, {accounts}) AS n, generate_series(1, 20) AS v;
         INSERT INTO entry SELECT (n << 8) | (n & 255), v, 3, '2026-03-01', '2028-03-31',
                                  '2026-03-01', n & 255, e, 1
         FROM generate_series(1, {accounts}) AS n, generate_series(1, 20) AS v,
              generate_series(0, 1) AS e;
         INSERT INTO coupon (code, account_id, issued_version, issued_at, offer_no, valid_from,
                             valid_until, bucket, actor)
         SELECT ((n & 255)::bigint << 56) | (n * 100 + i), (n << 8) | (n & 255), 1, now(), 1,
                '2026-03-01', '2026-03-31', n & 255, 'test'
         FROM generate_series(1, {accounts}) AS n, generate_series(0, 59) AS i;
         INSERT INTO profile SELECT (n << 8) | (n & 255), 16, n & 255, 1, '\\x00'
         FROM generate_series(1, {accounts}) AS n;
         ALTER TABLE lease SET (autovacuum_enabled = off);
         INSERT INTO lease (amount, expires_at, budget_no)
         SELECT 1000000, now(), 1 FROM generate_series(1, 3)"
    );
    client.batch_execute(&sql).await.expect("filled");
    (database, client)
}

/// Makes the tables large. The names are those of the workstation that batches claim more of.
async fn enlarge(client: &Client) {
    let sql = format!(
        "INSERT INTO account (account_id, version, total_points, sales_minor, baskets, clock,
                              bucket, state, lots)
         SELECT (n << 8) | (n & 255), 1, 0, 0, 0, '2026-03-01', n & 255, 0, '\\x0100'
         FROM generate_series(1000, {LARGE}) AS n;
         INSERT INTO swipe_key
         SELECT n, (n << 8) | (n & 255), 1, 0, '2026-03-01', {WORKSTATION_NO}, {NAME_BUCKET},
                decode(repeat('01', 17), 'hex')
         FROM generate_series(100000, 100000 + {LARGE}) AS n;
         INSERT INTO card (account_id, linked_at, bucket, card)
         SELECT (n << 8) | (n & 255), now(), n % 256, '299' || lpad(n::text, 10, '0')
         FROM generate_series(1000, {LARGE}) AS n;
         INSERT INTO coupon (code, account_id, issued_version, issued_at, offer_no, valid_from,
                             valid_until, bucket, actor)
         SELECT ((n & 255)::bigint << 56) | (n * 1000), (n << 8) | (n & 255), 1, now(), 1,
                '2026-03-01', '2026-03-31', n & 255, 'test'
         FROM generate_series(1000, {LARGE}) AS n;
         INSERT INTO entry SELECT (n << 8) | (n & 255), 1, 3, '2026-03-01', '2028-03-31',
                                  '2026-03-01', n & 255, 0, 1
         FROM generate_series(1000, {LARGE}) AS n;
         INSERT INTO lease (amount, expires_at, budget_no)
         SELECT 1, now(), n FROM generate_series(1, 10000) AS n"
    );
    client.batch_execute(&sql).await.expect("filled");
}

/// One batch with these parts: so many accounts, so many swipes on each.
fn batch_of(accounts: i64, swipes: i64, parts: Parts) -> SampleBatch {
    let mut samples: Vec<Sample> = (1..=accounts)
        .map(|number| Sample {
            account_id: account_id(number),
            expected: 20,
            workstation_no: WORKSTATION_NO,
            name_bucket: NAME_BUCKET,
            business_date: date(2026, 3, 1),
            sequence_numbers: number * 100..number * 100 + swipes,
            entries: 2,
        })
        .collect();
    samples.sort_by_key(|sample| (bucket(sample.account_id), sample.account_id));
    SampleBatch::new(&samples, parts)
}

/// One swipe, of the second account.
fn one_swipe(sequence_number: i64, entries: usize) -> Sample {
    Sample {
        account_id: account_id(2),
        expected: 20,
        workstation_no: WORKSTATION_NO,
        name_bucket: NAME_BUCKET,
        business_date: date(2026, 3, 14),
        sequence_numbers: sequence_number..sequence_number + 1,
        entries,
    }
}

/// One plain swipe, which the service writes by itself.
fn plain(sequence_number: i64) -> SampleBatch {
    SampleBatch::new(&[one_swipe(sequence_number, 1)], Parts::ALL[0])
}

/// Returns when one session of this database waits for another's lock.
async fn until_one_waits(watcher: &Client) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("one waits for another", async || {
        watcher.query_one(waiting, &[]).await.expect(waiting).get::<_, i64>(0) == 1
    })
    .await;
}

/// The form of the statement that a batch needs, as the service prepares it.
async fn prepared(client: &Client, parts: Parts) -> Statement {
    let whole = client.prepare(&Parts::WHOLE.statement()).await.expect("a good statement");
    let types = &whole.params()[..parts.parameters(whole.params().len())];
    client.prepare_typed(&parts.statement(), types).await.expect("a good statement")
}

/// The plan of a batch, which is rolled back afterwards.
async fn committing(session: &Explaining, accounts: i64, swipes: i64, parts: Parts) -> Plan {
    let batch = batch_of(accounts, swipes, parts);
    let statement = prepared(&session.client, batch.parts()).await;
    session.client.batch_execute("BEGIN").await.expect("begun");
    let plan = session
        .plan_of(async |client| {
            let rows = client.query(&statement, &batch.parameters()).await.expect("executed");
            assert_eq!(rows.len(), usize::try_from(accounts).expect("small"));
        })
        .await;
    session.client.batch_execute("ROLLBACK").await.expect("undone");
    plan
}

/// The plan of loading accounts with one card each.
async fn loading(session: &Explaining, accounts: i64) -> Plan {
    let ids: Vec<i64> = (1..=accounts).map(account_id).collect();
    let buckets: Vec<i16> = ids.iter().map(|id| bucket(*id)).collect();
    let cards: Vec<String> = (1..=accounts).map(card).collect();
    let card_buckets: Vec<i16> =
        (1..=accounts).map(|number| i16::try_from(number % 256).expect("one byte")).collect();
    let at: Vec<i32> = (1..).take(ids.len()).collect();
    let statement = session.client.prepare(LOAD_ACCOUNTS).await.expect("a good statement");
    session
        .plan_of(async |client| {
            let rows = client
                .query(&statement, &[&buckets, &ids, &false, &at, &at, &card_buckets, &cards])
                .await
                .expect("executed");
            assert_eq!(rows.len(), ids.len());
            assert!(rows.iter().all(|row| row.get::<_, Vec<String>>("cards").len() == 1));
        })
        .await
}

/// The tables and their statistics as they are at different ages of an installation; `check`
/// looks at each, once with plans for the parameters and once with plans for any.
async fn at_every_age(
    database: &TestDatabase,
    client: &Client,
    mut check: impl AsyncFnMut(&Explaining, &str),
) {
    let session = Explaining::connect(database.url()).await;
    let mut at = async |age: &str| {
        for each_time in [true, false] {
            session.plan_for_parameters(each_time).await;
            check(&session, &format!("{age}, custom: {each_time}")).await;
        }
    };
    at("small, never analysed").await;
    client.batch_execute("VACUUM ANALYZE").await.expect("analysed");
    at("small, analysed").await;
    enlarge(client).await;
    at("large, analysed when small").await;
    client.batch_execute("VACUUM ANALYZE").await.expect("analysed");
    at("large, analysed").await;
    for (age, sql) in [
        ("believed huge", "UPDATE pg_class SET reltuples = 1e9, relpages = 1e4"),
        ("believed empty", "UPDATE pg_class SET reltuples = 0, relpages = 0"),
        ("believed tiny", "UPDATE pg_class SET reltuples = 1, relpages = 1"),
    ] {
        let sql = format!(
            "{sql} WHERE relname ~ '^(account|card|swipe|swipe_default|swipe_key|entry|profile|coupon|lease)'"
        );
        client.batch_execute(&sql).await.expect("a superuser may");
        at(age).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_has_one_plan_whatever_the_tables_are_like() {
    let (database, client) = sampled(SAMPLED).await;
    let mut shapes = Parts::ALL.map(|_| BTreeMap::<String, Vec<String>>::new());
    at_every_age(&database, &client, async |session, when| {
        let sizes = [(1, 1), (64, 1), (256, 1), (1, 60)].map(|size| (size, Parts::WHOLE));
        let forms = Parts::ALL.into_iter().flat_map(|parts| [((1, 1), parts), ((64, 1), parts)]);
        for ((accounts, swipes), parts) in sizes.into_iter().chain(forms) {
            let plan = committing(session, accounts, swipes, parts).await;
            plan.assert_by_keys(when);
            assert_eq!(plan.searches("account_pkey"), accounts, "{when}\n{}", plan.shape());
            let when = format!("{when}, {accounts} × {swipes}");
            shapes[parts.number()].entry(plan.shape()).or_default().push(when);
        }
    })
    .await;
    for (parts, shapes) in Parts::ALL.iter().zip(&shapes) {
        assert_eq!(shapes.len(), 1, "{parts:?}: {shapes:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swipe_that_is_alone_has_one_plan_whatever_the_tables_are_like() {
    let (database, client) = sampled(SAMPLED).await;
    let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    at_every_age(&database, &client, async |session, when| {
        let batch = plain(200);
        let parameters = batch.lone().expect("it is alone");
        let statement = session.client.prepare(COMMIT_LONE).await.expect("a good statement");
        session.client.batch_execute("BEGIN").await.expect("begun");
        let plan = session
            .plan_of(async |client| {
                let rows = client.query(&statement, &parameters).await.expect("executed");
                assert_eq!(rows.len(), 1);
            })
            .await;
        session.client.batch_execute("ROLLBACK").await.expect("undone");
        plan.assert_by_keys(when);
        assert_eq!(plan.searches("account_pkey"), 1, "{when}\n{}", plan.shape());
        assert_eq!(plan.searches("swipe_key_pkey"), 1, "{when}\n{}", plan.shape());
        shapes.entry(plan.shape()).or_default().push(when.to_owned());
    })
    .await;
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_has_one_plan_whatever_the_tables_are_like() {
    let (database, client) = sampled(SAMPLED).await;
    let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    at_every_age(&database, &client, async |session, when| {
        for accounts in [1, 64, 256] {
            let plan = loading(session, accounts).await;
            plan.assert_by_keys(when);
            assert_eq!(plan.searches("card_pkey"), accounts, "{when}\n{}", plan.shape());
            shapes.entry(plan.shape()).or_default().push(format!("{when}, {accounts}"));
        }
    })
    .await;
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
}

/// Cost per piece of a large batch, in units of that of a small one.
fn growth(small: (i64, i64), large: (i64, i64)) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of small counts")]
    let per_piece = |(cost, pieces): (i64, i64)| cost as f64 / pieces as f64;
    per_piece(large) / per_piece(small)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_commit_grows_as_the_batch_does() {
    let (database, client) = sampled(SAMPLED).await;
    enlarge(&client).await;
    client.batch_execute("VACUUM ANALYZE").await.expect("analysed");
    let session = Explaining::connect(database.url()).await;
    for each_time in [true, false] {
        session.plan_for_parameters(each_time).await;
        // Many accounts with a swipe each, and one account with many swipes.
        let shapes = [|n: i64| (n, 1), |n: i64| (1, n), |n: i64| (n / 8, 8)];
        for (shape, parts) in shapes.iter().flat_map(|shape| Parts::ALL.map(|it| (shape, it))) {
            // Twice: what a first execution reads from the catalogue is not the statement's cost.
            committing(&session, 1, 1, parts).await;
            let mut costs = Vec::new();
            for swipes in [16, 64, 256] {
                let (accounts, each) = shape(swipes);
                let each = each.min(60);
                let plan = committing(&session, accounts, each, parts).await;
                costs.push((accounts * each, plan.pages(), plan.rows()));
            }
            let (swipes, pages, rows) = costs[0];
            for (more, more_pages, more_rows) in &costs[1..] {
                let pages = growth((pages, swipes), (*more_pages, *more));
                let rows = growth((rows, swipes), (*more_rows, *more));
                assert!(pages < 1.5 && rows < 1.5, "{parts:?}: {costs:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_loading_grows_as_the_batch_does() {
    let (database, client) = sampled(SAMPLED).await;
    enlarge(&client).await;
    client.batch_execute("VACUUM ANALYZE").await.expect("analysed");
    let session = Explaining::connect(database.url()).await;
    for each_time in [true, false] {
        session.plan_for_parameters(each_time).await;
        loading(&session, 1).await;
        let mut costs = Vec::new();
        for accounts in [16, 64, 256] {
            let plan = loading(&session, accounts).await;
            costs.push((accounts, plan.pages(), plan.rows()));
        }
        let (accounts, pages, rows) = costs[0];
        for (more, more_pages, more_rows) in &costs[1..] {
            let pages = growth((pages, accounts), (*more_pages, *more));
            let rows = growth((rows, accounts), (*more_rows, *more));
            assert!(pages < 1.5 && rows < 1.5, "{costs:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_installation_has_the_plan_of_an_old_one() {
    let (young, _client) = sampled(1).await;
    let (old, client) = sampled(SAMPLED).await;
    enlarge(&client).await;
    client.batch_execute("VACUUM ANALYZE").await.expect("analysed");
    let (young, old) =
        (Explaining::connect(young.url()).await, Explaining::connect(old.url()).await);
    for each_time in [true, false] {
        young.plan_for_parameters(each_time).await;
        old.plan_for_parameters(each_time).await;
        for parts in Parts::ALL {
            let plans =
                (committing(&young, 1, 1, parts).await, committing(&old, 1, 1, parts).await);
            assert_eq!(plans.0.shape(), plans.1.shape(), "{parts:?}");
        }
        let plans = (loading(&young, 1).await, loading(&old, 1).await);
        assert_eq!(plans.0.shape(), plans.1.shape());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_the_committers_reads_more_than_it_asks_for() {
    let (database, client) = sampled(SAMPLED).await;
    at_every_age(&database, &client, async |session, when| {
        for (name, sql) in OTHERS {
            // Values do not matter to a plan that is made for any.
            let explain = format!(
                "SET plan_cache_mode = force_generic_plan; PREPARE explained AS {sql};
                 EXPLAIN (FORMAT JSON) EXECUTE explained"
            );
            let statement = session.client.prepare(sql).await.expect("a good statement");
            let nothing = vec!["NULL"; statement.params().len()].join(", ");
            let text: String = session
                .client
                .simple_query(&format!("{explain} ({nothing}); DEALLOCATE explained"))
                .await
                .expect("explained")
                .iter()
                .filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                })
                .collect();
            let plan = Plan::parse(&text);
            plan.assert_by_keys(&format!("{name}, {when}"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_walk_reads_a_page_along_the_key_and_no_more() {
    const PAGE: i64 = 100;
    let (database, client) = sampled(SAMPLED).await;
    let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    at_every_age(&database, &client, async |session, when| {
        let statement = session.client.prepare(DUE).await.expect("a good statement");
        let on = date(2024, 1, 1);
        // Nothing is due in one, everything is in the other: there the answer ends what is read.
        for (day, after) in [(date(1, 1, 1), 0), (on, 0), (on, account_id(300))] {
            let plan = session
                .plan_of(async |client| {
                    let row = client.query_one(&statement, &[&7_i16, &after, &day, &PAGE]).await;
                    let due: Vec<i64> = row.expect("executed").get("due");
                    assert!(due.len() <= usize::try_from(PAGE).expect("small"));
                })
                .await;
            plan.assert_by_keys(when);
            let shape = plan.shape();
            assert!(!shape.contains("Sort"), "{when}\n{shape}");
            assert!(plan.rows() <= 3 * PAGE + 1, "{when}: {} rows in\n{shape}", plan.rows());
            shapes.entry(shape).or_default().push(when.to_owned());
        }
    })
    .await;
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_purchases_of_a_house_account_are_never_read() {
    let (database, client) = sampled(1).await;
    let session = Explaining::connect(database.url()).await;
    client.batch_execute("DELETE FROM profile").await.expect("deleted");
    let customer = loading(&session, 1).await;
    client.batch_execute("UPDATE account SET state = 2").await.expect("changed");
    let house = loading(&session, 1).await;
    assert_eq!(customer.searches("swipe_default_pkey"), 1);
    assert_eq!(house.searches("swipe_default_pkey"), 0);
}
