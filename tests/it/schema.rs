//! The schema: complete, migrated once, trusted only on a durable server, partitioned by month,
//! and ready to be distributed by bucket.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::civil::date;
use tillside::config::Chain;
use tillside::db::schema::{self, Partitions, Readiness, SchemaError};
use tokio_postgres::Client;

use crate::support::database::TestDatabase;

/// Small, changed by people, held in memory: copied to every node, not distributed. A new table
/// is account-owned unless it stands here.
const REFERENCE_TABLES: &[&str] = &[
    "chain",
    "store",
    "workstation",
    "terminal_key",
    "quarantine",
    "taxon",
    "programme",
    "epoch",
    "product",
    "product_version",
    "code_pool",
    "handout",
    "handout_page",
    "replay",
    "app_user",
    "api_token",
    "audit",
    "idempotency",
    "offer",
    "offer_version",
    "budget",
    "lease",
    "selection_model",
    "model_since",
    "refinery_schema_history",
];

#[test]
fn every_migration_file_is_listed_in_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
        .collect();
    files.sort();
    let listed: Vec<&str> = schema::MIGRATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(files, listed, "db::schema::MIGRATIONS must list migrations/*.sql");
    for (position, name) in listed.iter().enumerate() {
        let number: usize = name[..4].parse().expect("NNNN_name");
        assert_eq!((number, &name[4..5]), (position + 1, "_"), "{name}: numbered without gaps");
    }
}

#[tokio::test]
async fn migrating_again_and_at_the_same_time_changes_nothing() {
    let database = TestDatabase::create_empty().await;
    let chain = Chain::default();
    let (mut one, mut two) = (database.client().await, database.client().await);
    let outcomes =
        tokio::join!(schema::migrate(&mut one, &chain), schema::migrate(&mut two, &chain));
    outcomes.0.expect("the one");
    outcomes.1.expect("the other");
    schema::migrate(&mut one, &chain).await.expect("again");
    assert_eq!(Readiness::check(&one).await.expect("asked").findings, [""; 0]);
    let row = one.query_one("SELECT currency, time_zone FROM chain", &[]).await.expect("one row");
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, String>(1)),
        (chain.currency, chain.time_zone)
    );
}

#[tokio::test]
async fn a_database_of_another_currency_is_refused() {
    let database = TestDatabase::create().await;
    let mut client = database.client().await;
    let other = Chain { currency: "EUR".into(), ..Chain::default() };
    let error = schema::migrate(&mut client, &other).await.expect_err("another chain");
    assert!(matches!(error, SchemaError::OtherChain { .. }), "{error}");
}

#[tokio::test]
async fn an_empty_or_newer_schema_is_not_ready() {
    let empty = TestDatabase::create_empty().await;
    let readiness = Readiness::check(&empty.client().await).await.expect("asked");
    let findings = readiness.findings.join("\n");
    assert!(findings.contains("tillside migrate"), "{findings}");

    let database = TestDatabase::create().await;
    let mut client = database.client().await;
    let newer =
        "INSERT INTO refinery_schema_history VALUES (9999, 'later', '2030-01-01T00:00:00Z', '1')";
    client.batch_execute(newer).await.expect("inserted");
    let findings = Readiness::check(&client).await.expect("asked").findings.join("\n");
    assert!(findings.contains("9999_later"), "{findings}");
    assert!(Readiness::of_settings(&client).await.expect("asked").is_ready(), "a running replica");
    schema::migrate(&mut client, &Chain::default()).await.expect_err("not ours to migrate");
}

#[tokio::test]
async fn a_database_that_may_forget_is_not_ready() {
    let database = TestDatabase::create().await;
    assert!(Readiness::check(&database.client().await).await.expect("asked").is_ready());
    for (setting, value) in
        [("synchronous_commit", "off"), ("default_transaction_isolation", "'repeatable read'")]
    {
        let client = database.client().await;
        let name = "SELECT current_database()::text";
        let name: String = client.query_one(name, &[]).await.expect("asked").get(0);
        let alter = |change: String| format!("ALTER DATABASE {name} {change}");
        let set = alter(format!("SET {setting} = {value}"));
        client.batch_execute(&set).await.expect("set for new sessions");
        // As the service would see it: through its pool.
        let pooled = database.pool().get().await.expect("a new session");
        let findings = Readiness::check(&pooled).await.expect("asked").findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with(setting), "{findings:?}");
        client.batch_execute(&alter(format!("RESET {setting}"))).await.expect("reset");
    }
}

async fn insert_swipe(
    client: &Client,
    version: i64,
    day: &str,
) -> Result<u64, tokio_postgres::Error> {
    let sql = format!(
        "INSERT INTO swipe VALUES (256, {version}, 1, 100, 1, 0, '2026-01-01Z', '2026-01-01Z',
                                   '{day}', 1, 1, 0, 0, '', '')"
    );
    client.execute(&sql, &[]).await
}

async fn lies_in(client: &Client, version: i64) -> String {
    let sql = "SELECT tableoid::regclass::text FROM swipe WHERE version = $1";
    client.query_one(sql, &[&version]).await.expect("exactly once").get(0)
}

#[tokio::test]
async fn partitions_are_made_once_and_take_over_from_the_default() {
    let database = TestDatabase::create().await;
    let client = database.client().await;
    for (version, day) in
        [(1, "2025-12-31"), (2, "2026-01-01"), (3, "2026-01-31"), (4, "2026-02-01")]
    {
        insert_swipe(&client, version, day).await.expect("into the default partition");
    }
    let months = (date(2026, 1, 15), date(2026, 3, 1));
    let done = schema::ensure_partitions(&client, months.0, months.1).await.expect("made");
    let created = ["swipe_2026_01", "swipe_2026_02", "swipe_2026_03"].map(String::from).into();
    assert_eq!(done, Partitions { created, moved_rows: 3 });
    for (version, table) in
        [(1, "swipe_default"), (2, "swipe_2026_01"), (3, "swipe_2026_01"), (4, "swipe_2026_02")]
    {
        assert_eq!(lies_in(&client, version).await, table);
    }
    insert_swipe(&client, 5, "2026-03-31").await.expect("the bounds are right");
    assert_eq!(lies_in(&client, 5).await, "swipe_2026_03");
    insert_swipe(&client, 5, "2026-03-31").await.expect_err("the key holds in partitions too");
    let again = schema::ensure_partitions(&client, months.0, months.1).await.expect("again");
    assert_eq!(again, Partitions::default());
}

#[tokio::test]
async fn partitions_give_way_to_swipes_under_way() {
    let database = TestDatabase::create().await;
    let (client, till) = (database.client().await, database.client().await);
    till.batch_execute("BEGIN").await.expect("begun");
    insert_swipe(&till, 1, "2026-01-01").await.expect("not committed yet");
    let month = date(2026, 1, 1);
    let error = schema::ensure_partitions(&client, month, month).await.expect_err("locked out");
    assert_eq!(error.sqlstate(), Some("55P03"));
    till.batch_execute("COMMIT").await.expect("the swipe was not hurt");
    let done = schema::ensure_partitions(&client, month, month).await.expect("now");
    assert_eq!(done.moved_rows, 1);
    let sql = "SELECT current_setting('lock_timeout')";
    let row = client.query_one(sql, &[]).await.expect("shown");
    assert_eq!(row.get::<_, String>(0), "0", "nothing is left behind in the session");
}

#[tokio::test]
async fn two_replicas_may_make_partitions_at_the_same_time() {
    let database = TestDatabase::create().await;
    let (one, two) = (database.client().await, database.client().await);
    let (first, last) = (date(2026, 1, 1), date(2026, 6, 1));
    let outcomes = tokio::join!(
        schema::ensure_partitions(&one, first, last),
        schema::ensure_partitions(&two, first, last)
    );
    let created =
        outcomes.0.expect("the one").created.len() + outcomes.1.expect("the other").created.len();
    assert_eq!(created, 6, "each month by one of them");
}

#[tokio::test]
async fn every_unique_index_of_an_account_owned_table_begins_with_its_bucket() {
    let database = TestDatabase::create().await;
    let client = database.client().await;
    let sql = "SELECT c.relname::text, i.relname::text, a.attname::text
        FROM pg_index x
        JOIN pg_class c ON c.oid = x.indrelid
        JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_attribute a ON a.attrelid = x.indexrelid AND a.attnum = 1
        WHERE x.indisunique AND c.relnamespace = 'public'::regnamespace";
    let mut findings = Vec::new();
    for row in client.query(sql, &[]).await.expect("asked") {
        let (table, index, first): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        if !REFERENCE_TABLES.contains(&table.as_str()) && first != "bucket" {
            findings.push(format!("{table}: {index} begins with {first}: put bucket first"));
        }
    }
    let sql = "SELECT c.relname::text, EXISTS (SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = 'bucket' AND a.attnotnull
              AND a.atttypid = 'smallint'::regtype)
        FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace";
    let mut tables = BTreeSet::new();
    for row in client.query(sql, &[]).await.expect("asked") {
        let (table, has_bucket): (String, bool) = (row.get(0), row.get(1));
        let reference = REFERENCE_TABLES.contains(&table.as_str());
        if reference == has_bucket {
            findings.push(format!(
                "{table}: an account-owned table needs `bucket smallint NOT NULL`; a reference \
                 table must stand in REFERENCE_TABLES of this test and has none"
            ));
        }
        tables.insert(table);
    }
    for table in REFERENCE_TABLES.iter().filter(|table| !tables.contains(**table)) {
        findings.push(format!("REFERENCE_TABLES names {table}, which does not exist"));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}
