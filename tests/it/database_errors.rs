//! Errors of a real server fall into the classes that callers act on.

use std::time::{Duration, Instant};

use tillside::config::{Database, Secret};
use tillside::db::DbError;
use tillside::db::pool::{Dedicated, Session, connect_dedicated, connect_pool};

use crate::support::database::TestDatabase;

const SESSION: Session<'static> = Session {
    application_name: "tillside committer",
    statement_timeout: Duration::from_millis(2_000),
    lock_timeout: Duration::from_millis(100),
    settings: &[("enable_hashjoin", "off")],
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

async fn dedicated(database: &TestDatabase) -> Dedicated {
    let url = Secret::new(database.url());
    connect_dedicated(&url, CONNECT_TIMEOUT, &SESSION).await.expect("connected")
}

async fn refused(connection: &Dedicated, sql: &str) -> DbError {
    connection.client().batch_execute(sql).await.expect_err("must fail").into()
}

#[tokio::test]
async fn a_slow_statement_and_a_held_lock_are_timeouts() {
    let database = TestDatabase::create().await;
    let connection = dedicated(&database).await;
    let error = refused(&connection, "SET statement_timeout = 20; SELECT pg_sleep(5)").await;
    assert!(matches!(error, DbError::Timeout(_)), "{error}");
    assert_eq!(error.sqlstate(), Some("57014"));

    let holder = database.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE account").await.expect("locked");
    let error = refused(&connection, "RESET statement_timeout; SELECT * FROM account").await;
    assert!(matches!(error, DbError::Timeout(_)), "{error}");
    assert_eq!(error.sqlstate(), Some("55P03"));
    assert!(!error.is_lost() && !connection.is_lost(), "the connection is still good");
}

#[tokio::test]
async fn a_constraint_refuses_without_telling_the_values() {
    let database = TestDatabase::create().await;
    let connection = dedicated(&database).await;
    let create = "CREATE TABLE person (phone text PRIMARY KEY)";
    connection.client().batch_execute(create).await.expect("created");
    let insert = "INSERT INTO person VALUES ('0042')";
    connection.client().batch_execute(insert).await.expect("the first");
    let error = refused(&connection, insert).await;
    assert!(matches!(&error, DbError::Refused { sqlstate, .. } if sqlstate.code() == "23505"));
    for shown in [format!("{error}"), format!("{error:?}")] {
        assert!(shown.contains("23505") && !shown.contains("0042"), "{shown}");
    }
    let detail = error.driver_error().and_then(|error| error.as_db_error());
    let detail = detail.and_then(|answer| answer.detail()).unwrap_or_default();
    assert!(detail.contains("0042"), "kept for those who ask: {detail}");
}

#[tokio::test]
async fn a_killed_backend_is_a_lost_connection() {
    let database = TestDatabase::create().await;
    let connection = dedicated(&database).await;
    let row = connection.client().query_one("SELECT pg_backend_pid()", &[]).await.expect("asked");
    let pid: i32 = row.get(0);
    let killer = database.client().await;
    let waiting = connection.client().query("SELECT pg_sleep(60)", &[]);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        killer.query("SELECT pg_terminate_backend($1)", &[&pid]).await.expect("killed");
    };
    let (outcome, ()) = tokio::join!(waiting, killing);
    let error = DbError::from(outcome.expect_err("it was killed"));
    assert!(error.is_lost(), "{error}");
    tokio::time::timeout(Duration::from_secs(1), connection.lost()).await.expect("it tells");
    assert!(connection.is_lost());
    // What is asked afterwards has no SQLSTATE, and is lost all the same.
    let error = refused(&connection, "SELECT 1").await;
    assert!(error.is_lost() && error.sqlstate().is_none(), "{error}");
}

#[tokio::test]
async fn a_database_that_only_reads_is_unavailable_storage() {
    let database = TestDatabase::create().await;
    let connection = dedicated(&database).await;
    let read_only = "SET default_transaction_read_only = on";
    connection.client().batch_execute(read_only).await.expect("set");
    let error = refused(&connection, "DELETE FROM store").await;
    assert!(matches!(error, DbError::StorageUnavailable(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_lost_at_once() {
    for url in ["host=/nonexistent user=tillside", "postgresql://tillside@127.0.0.1:1/tillside"] {
        let start = Instant::now();
        let outcome = connect_dedicated(&Secret::new(url), CONNECT_TIMEOUT, &SESSION).await;
        assert!(outcome.expect_err("nobody answers").is_lost(), "{url}");
        let settings = Database { url: Secret::new(url), ..Database::default() };
        let pool = connect_pool(&settings).expect("it connects when needed");
        assert!(DbError::from(pool.get().await.expect_err("nobody answers")).is_lost(), "{url}");
        assert!(start.elapsed() < Duration::from_secs(1), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_lost_within_the_timeout() {
    // Accepts connections (the kernel does) and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = silent.local_addr().expect("bound");
    let url = Secret::new(format!("postgresql://tillside@{address}/tillside"));
    let start = Instant::now();
    let outcome = connect_dedicated(&url, Duration::from_millis(100), &SESSION).await;
    assert!(outcome.expect_err("silence").is_lost());
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn an_unknown_database_is_refused_and_a_bad_url_is_misunderstood() {
    let database = TestDatabase::create().await;
    let other = Secret::new(database.url().replace("dbname='t_", "dbname='no_"));
    let error = connect_dedicated(&other, CONNECT_TIMEOUT, &SESSION).await.expect_err("unknown");
    assert!(matches!(&error, DbError::Refused { sqlstate, .. } if sqlstate.code() == "3D000"));
    let bad = Secret::new("what is this");
    let error = connect_dedicated(&bad, CONNECT_TIMEOUT, &SESSION).await.expect_err("no URL");
    assert!(matches!(error, DbError::Misunderstood(_)), "{error}");
}

#[tokio::test]
async fn a_value_of_another_type_is_our_mistake() {
    let database = TestDatabase::create().await;
    let connection = dedicated(&database).await;
    let outcome = connection.client().query("SELECT $1::integer", &[&"text"]).await;
    let error = DbError::from(outcome.expect_err("not an integer"));
    assert!(matches!(error, DbError::Misunderstood(_)), "{error}");
}

#[tokio::test]
async fn the_pool_bounds_waiting_and_sets_its_sessions_up() {
    let database = TestDatabase::create().await;
    let settings = Database { connections_max: 1, wait_timeout_ms: 50, ..database.settings() };
    let pool = connect_pool(&settings).expect("the URL is one");
    let client = pool.get().await.expect("the only one");
    for (setting, value) in [
        ("application_name", "tillside"),
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("search_path", "\"$user\", public"),
    ] {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.expect("shown");
        assert_eq!(row.get::<_, String>(0), value, "{setting}");
    }
    let error = DbError::from(pool.get().await.expect_err("none is free"));
    assert!(matches!(error, DbError::Timeout(_)), "{error}");
}

#[tokio::test]
async fn a_pooled_connection_that_broke_is_replaced() {
    let database = TestDatabase::create().await;
    let settings = Database { connections_max: 1, ..database.settings() };
    let pool = connect_pool(&settings).expect("the URL is one");
    let client = pool.get().await.expect("connected");
    let sql = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = DbError::from(client.query(sql, &[]).await.expect_err("its own end"));
    assert!(error.is_lost(), "{error}");
    // The answer comes before the end of the connection, and Fast recycling looks only at that.
    while !client.is_closed() {
        tokio::task::yield_now().await;
    }
    drop(client);
    let client = pool.get().await.expect("another");
    client.query("SELECT 1", &[]).await.expect("a good one");
}

#[tokio::test]
async fn a_dedicated_session_has_the_settings_it_asked_for() {
    let database = TestDatabase::create().await;
    let mut connection = dedicated(&database).await;
    for (setting, value) in
        [("enable_hashjoin", "off"), ("lock_timeout", "100ms"), ("statement_timeout", "2s")]
    {
        let show = format!("SHOW {setting}");
        let row = connection.client().query_one(&show, &[]).await.expect("shown");
        assert_eq!(row.get::<_, String>(0), value, "{setting}");
    }
    let transaction = connection.client_mut().transaction().await.expect("begun");
    transaction.rollback().await.expect("ended");
}
