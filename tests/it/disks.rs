//! What PostgreSQL does when its disk is full or reports errors: it refuses what it cannot write,
//! gives up where refusing would lose something, and keeps what it has acknowledged.
//!
//! Where a machine cannot make such a disk, the reason is printed, and nothing is shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;
use tillside::db::private::{PrivatePostgres, PrivateSettings};
use tillside_load::disk::{NotRun, SmallDisk, inject_eio};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::support::database::{connect, launcher};
use crate::support::flow::until;

/// A table with a first row, so that its first page is there.
const TABLE: &str = "CREATE TABLE sold (n bigint, what text);
                     ALTER TABLE sold ALTER COLUMN what SET STORAGE EXTERNAL;
                     INSERT INTO sold VALUES (0, 'first')";

/// More than a page, so that the table must grow.
const LARGE: &str = "INSERT INTO sold VALUES ($1, repeat('large', 100000))";

/// Goes into the first page. What it adds to the log, a MiB of it, needs room on the disk.
const SMALL: &str = "WITH added AS (INSERT INTO sold VALUES ($1, 'small') RETURNING 1)
                     SELECT pg_logical_emit_message(true, 'log', repeat('x', 1048576)) FROM added";

/// Room for a server, which may run as another user.
fn temporary() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    folder
}

async fn start(folder: &Path) -> PrivatePostgres {
    let settings = PrivateSettings {
        shared_buffers_mib: 16,
        max_wal_size_mib: 64,
        ..PrivateSettings::default()
    };
    PrivatePostgres::start(folder, launcher(), &settings).await.expect("there is room")
}

#[expect(clippy::print_stdout, reason = "a fault that could not be made is told, not hidden")]
fn tell(why: &NotRun) {
    println!("{why}");
}

/// Runs a statement with the numbers from `first` on until one fails: the number that did, so that
/// all below it are acknowledged, and why.
async fn until_it_fails(client: &Client, sql: &str, first: i64) -> (i64, tokio_postgres::Error) {
    for n in first..first + 200 {
        if let Err(error) = client.execute(sql, &[&n]).await {
            return (n, error);
        }
    }
    panic!("everything was written: the disk has not failed")
}

/// All that was acknowledged is there, once, and at most one besides, whose outcome is unknown.
async fn assert_kept(client: &Client, acknowledged: i64) {
    let sql = "SELECT count(DISTINCT n) FILTER (WHERE n < $1), count(*) FROM sold";
    let row = client.query_one(sql, &[&acknowledged]).await.expect("the table is there");
    let (kept, all): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!(kept, acknowledged);
    assert!(all <= acknowledged + 1, "{all} rows, {acknowledged} acknowledged");
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("postgres.log")).expect("every server has one")
}

#[tokio::test]
async fn a_full_disk_refuses_then_stops_the_server_and_loses_nothing() {
    let temporary = temporary();
    let disk = match SmallDisk::create(temporary.path(), 256) {
        Ok(disk) => disk,
        Err(why) => return tell(&why),
    };
    let folder = disk.path().join("server");
    let server = start(&folder).await;
    let client = connect(&server.url()).await;
    client.batch_execute(TABLE).await.expect("there is room");

    // A table that cannot grow is a refusal: the server lives, and room mends it at once.
    disk.fill().expect("filled");
    let (acknowledged, refusal) = until_it_fails(&client, LARGE, 1).await;
    assert_eq!(refusal.code(), Some(&SqlState::DISK_FULL), "{refusal}");
    disk.free().expect("it was full");
    client.execute(LARGE, &[&acknowledged]).await.expect("there is room again");

    // A log that cannot grow leaves a commit open, so the server gives up.
    disk.fill().expect("filled");
    let (acknowledged, refusal) = until_it_fails(&client, SMALL, acknowledged + 1).await;
    assert!(client.is_closed() || refusal.code() == Some(&SqlState::DISK_FULL), "{refusal}");
    until("the server has given up", async || log_of(&folder).contains("PANIC")).await;
    disk.free().expect("it was full");
    drop(client);
    server.stop().await;
    let server = start(&folder).await;
    let client = connect(&server.url()).await;
    assert_kept(&client, acknowledged).await;
    client.execute(SMALL, &[&acknowledged]).await.expect("there is room again");
    server.stop().await;
}

#[tokio::test]
async fn a_disk_that_reports_errors_costs_a_recovery_and_loses_nothing() {
    let temporary = temporary();
    let folder = temporary.path().join("server");
    let server = start(&folder).await;
    let client = connect(&server.url()).await;
    client.batch_execute(TABLE).await.expect("there is room");
    let pid = fs::read_to_string(folder.join("data/postmaster.pid")).expect("a server runs");
    let pid = pid.lines().next().expect("a line").parse().expect("a number");
    let injection = match inject_eio(pid) {
        Ok(injection) => injection,
        Err(why) => return tell(&why),
    };
    // What it cannot write it refuses; what it cannot flush makes it give up.
    let mut acknowledged = 1;
    while !client.is_closed() {
        let (until_now, error) = until_it_fails(&client, LARGE, acknowledged).await;
        assert!(client.is_closed() || error.code() == Some(&SqlState::IO_ERROR), "{error}");
        acknowledged = until_now;
    }
    assert!(log_of(&folder).contains("PANIC"), "{}", log_of(&folder));
    until("an error was injected", async || injection.injected() > 0).await;
    drop(injection);
    let url = server.url();
    until("it has recovered", async || tokio_postgres::connect(&url, NoTls).await.is_ok()).await;
    assert_kept(&connect(&url).await, acknowledged).await;
    server.stop().await;
}
