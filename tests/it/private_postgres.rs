//! The private PostgreSQL: first start, restart, crash of its parent, and what it refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;
use tillside::db::private::{PrivateError, PrivatePostgres, PrivateSettings};

use crate::support::database::{connect, launcher};

/// Set in the process that [`it_dies_with_a_parent_that_was_killed`] starts of this very binary.
const VICTIM: &str = "TILLSIDE_TEST_VICTIM_FOLDER";

fn settings() -> PrivateSettings {
    PrivateSettings {
        wait_for_folder: Duration::ZERO,
        shared_buffers_mib: 16,
        ..PrivateSettings::default()
    }
}

async fn start(folder: &Path) -> Result<PrivatePostgres, PrivateError> {
    PrivatePostgres::start(folder, launcher(), &settings()).await
}

fn temporary() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    // Temporary folders are closed to others; the server may run as another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    folder
}

fn postmaster(folder: &Path) -> Pid {
    let text = fs::read_to_string(folder.join("data/postmaster.pid")).expect("a server runs");
    Pid::from_raw(text.lines().next().expect("a line").parse().expect("a number"))
}

fn runs(pid: Pid) -> bool {
    // A zombie has ended; whether somebody has reaped it yet is not ours to say.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn wait_until(what: &str, patience_s: u64, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < patience_s, "not within {patience_s} s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn it_keeps_its_data_and_its_durability_over_restarts() {
    let temporary = temporary();
    // Neither the folder nor its parent exists, and a quote must survive the connection string.
    let folder = temporary.path().join("it's/demo");
    let server = start(&folder).await.expect("first start");
    for closed in [folder.clone(), folder.join("data")] {
        assert_eq!(fs::metadata(&closed).expect("there").mode() & 0o777, 0o700, "{closed:?}");
    }
    let client = connect(&server.url()).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 42 AS n").await.expect("created");
    // Nobody may switch it off behind our back, not even with all rights and a restart.
    client.batch_execute("ALTER SYSTEM SET fsync = off").await.expect("accepted, no effect");
    let pid = postmaster(&folder);
    let stopping = Instant::now();
    server.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    assert!(!runs(pid), "stop waits for the end");
    assert!(client.is_closed() || client.query("SELECT 1", &[]).await.is_err());

    let server = start(&folder).await.expect("second start");
    let client = connect(&server.url()).await;
    let row = client.query_one("SELECT n FROM kept", &[]).await.expect("the data is there");
    assert_eq!(row.get::<_, i32>(0), 42);
    for setting in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.expect("shown");
        assert_eq!(row.get::<_, String>(0), "on", "{setting}");
    }
    let row = client.query_one("SHOW listen_addresses", &[]).await.expect("shown");
    assert_eq!(row.get::<_, String>(0), "", "no network");
    server.stop().await;
}

#[tokio::test]
async fn a_folder_in_use_is_not_taken_over() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    let first = start(&folder).await.expect("first start");
    let error = start(&folder).await.expect_err("in use");
    assert!(matches!(error, PrivateError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&postmaster(&folder).to_string()), "{error}");
    connect(&first.url()).await.query("SELECT 1", &[]).await.expect("the first is unharmed");
    // One who waits gets it as soon as the first has ended, however it was dropped.
    let patient = PrivateSettings { wait_for_folder: Duration::from_secs(6), ..settings() };
    drop(first);
    let second = PrivatePostgres::start(&folder, launcher(), &patient).await.expect("its turn");
    second.stop().await;
}

#[tokio::test]
async fn what_a_power_cut_leaves_behind_does_not_matter() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    let server = start(&folder).await.expect("first start");
    let client = connect(&server.url()).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 42 AS n").await.expect("created");
    kill(postmaster(&folder), Signal::SIGKILL).expect("killed");
    drop(server);
    let patient = PrivateSettings { wait_for_folder: Duration::from_secs(6), ..settings() };
    // The worst number that a stale file can hold: one that lives.
    let stale = folder.join("data/postmaster.pid");
    let text = fs::read_to_string(&stale).expect("left behind by the kill");
    let (_, rest) = text.split_once('\n').expect("lines");
    fs::write(&stale, format!("1\n{rest}")).expect("written");
    fs::create_dir(folder.join("data.new")).expect("a first start that was cut short");
    let server = PrivatePostgres::start(&folder, launcher(), &patient).await.expect("recovers");
    let client = connect(&server.url()).await;
    client.query_one("SELECT n FROM kept", &[]).await.expect("what was committed is there");
    server.stop().await;
}

#[tokio::test]
async fn it_survives_the_thread_and_the_runtime_that_started_it() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    let inner = folder.clone();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(start(&inner)).expect("started")
    });
    let server = server.join().expect("no panic");
    tokio::time::sleep(Duration::from_millis(100)).await;
    connect(&server.url()).await.query("SELECT 1", &[]).await.expect("still there");
    server.stop().await;
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn victim() {
    #[expect(clippy::disallowed_methods, reason = "how the test tells its child what to be")]
    let Ok(folder) = std::env::var(VICTIM) else { return };
    let _server = start(Path::new(&folder)).await.expect("started");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn it_dies_with_a_parent_that_was_killed() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    let mut parent = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "private_postgres::victim"])
        .env(VICTIM, &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawned");
    wait_until("the socket", 60, || folder.join(".s.PGSQL.5432").exists());
    let pid = postmaster(&folder);
    parent.kill().expect("killed");
    parent.wait().expect("reaped");
    wait_until("the end of the server", 5, || !runs(pid));
    // The lock is free as soon as the last process is gone, so a new start needs no cleaning.
    let server = start(&folder).await.expect("nothing is left");
    server.stop().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_short_one() {
    let temporary = temporary();
    let folder = temporary.path().join("x".repeat(60)).join("y".repeat(60));
    let server = start(&folder).await.expect("started");
    connect(&server.url()).await.query("SELECT 1", &[]).await.expect("reached");
    let socket = fs::read_to_string(folder.join("data/postmaster.pid")).expect("a server runs");
    let socket = PathBuf::from(socket.lines().nth(4).expect("the folder of the socket"));
    assert!(socket.starts_with(std::env::temp_dir()), "{socket:?}");
    assert_eq!(fs::metadata(&socket).expect("there").mode() & 0o777, 0o700);
    server.stop().await;
    fs::remove_dir(&socket).expect("it holds nothing else");
}

#[tokio::test]
async fn missing_binaries_are_said_with_the_remedy() {
    let temporary = temporary();
    let nowhere = temporary.path().join("bin");
    let settings = PrivateSettings { bin_dir: Some(nowhere.clone()), ..settings() };
    let folder = temporary.path().join("demo");
    let error = PrivatePostgres::start(&folder, launcher(), &settings).await.expect_err("none");
    let text = error.to_string();
    assert!(text.contains("apt-get install postgresql"), "{text}");
    assert!(text.contains(&nowhere.display().to_string()), "{text}");
}

#[tokio::test]
async fn data_of_another_version_names_the_package_that_reads_it() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    start(&folder).await.expect("first start").stop().await;
    fs::write(folder.join("data/PG_VERSION"), "9\n").expect("written");
    let text = start(&folder).await.expect_err("no such binaries").to_string();
    assert!(text.contains("apt-get install postgresql-9"), "{text}");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    start(&folder).await.expect("first start").stop().await;
    fs::write(folder.join("data/postgresql.auto.conf"), "no_such_setting = 1\n").expect("written");
    let error = start(&folder).await.expect_err("refused");
    assert!(matches!(error, PrivateError::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn started_as_root_it_runs_as_postgres_wherever_root_works() {
    if !geteuid().is_root() {
        return;
    }
    // As /root is: closed to everybody else.
    let closed = TempDir::new().expect("a temporary folder");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    let folder = closed.path().join("demo");
    let server = start(&folder).await.expect("somewhere else");
    let elsewhere = server.folder().to_owned();
    assert!(elsewhere.starts_with("/var/lib/tillside"), "{elsewhere:?}");
    assert!(folder.is_symlink(), "the link leads there");
    let pid = postmaster(&folder);
    assert_ne!(fs::metadata(format!("/proc/{pid}")).expect("runs").uid(), 0, "not as root");
    server.stop().await;
    start(&folder).await.expect("again, through the link").stop().await;

    fs::remove_dir_all(&elsewhere).expect("removed");
    start(&folder).await.expect("a link that leads nowhere is made anew").stop().await;
    fs::remove_dir_all(&elsewhere).expect("removed");

    // Data that is already there is not moved: that is for people to do.
    fs::remove_file(&folder).expect("the link");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("something"), "").expect("written");
    let error = start(&folder).await.expect_err("unreachable");
    assert!(matches!(error, PrivateError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&closed.path().display().to_string()), "{error}");
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_left_alone() {
    let temporary = temporary();
    let (theirs, link) = (temporary.path().join("theirs"), temporary.path().join("link"));
    fs::create_dir(&theirs).expect("created");
    fs::write(theirs.join("photo.jpg"), "").expect("written");
    symlink(&theirs, &link).expect("linked");
    let error = start(&link).await.expect_err("it holds other things");
    if geteuid().is_root() {
        assert!(matches!(error, PrivateError::NotOurs { .. }), "{error}");
    } else {
        assert!(matches!(error, PrivateError::NotEmpty { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(&theirs).expect("listed").count(), 1, "nothing was added");
}
