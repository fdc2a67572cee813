//! A database per test, on a private PostgreSQL per test process.
//!
//! There is nothing to start beforehand and nothing to stop afterwards. A process claims a free
//! folder under `target/tmp/postgres` (the folder's own lock says which are free), starts the
//! server in it, and the server ends with the process, however that ends. The data folders are
//! kept: a warm start and a copy of the migrated template are all that a test process pays.
//! So it works the same under `cargo nextest` (a process per test) and `cargo test` (one process).
//!
//! The servers are as durable as real ones: the readiness check runs against them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tillside::config::{Chain, Database, Secret};
use tillside::db::pool::{Pool, connect_pool};
use tillside::db::private::{PrivateError, PrivatePostgres, PrivateSettings};
use tillside::db::schema;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

/// More test processes than this at a time wait for each other.
const FOLDERS: u32 = 64;

static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A migrated, empty database of its own, removed when dropped.
pub(crate) struct TestDatabase {
    name: String,
    url: String,
}

impl TestDatabase {
    /// A fresh database with the schema and the default `[chain]`.
    pub(crate) async fn create() -> Self {
        Self::create_from(&template()).await
    }

    /// A fresh database without anything in it.
    pub(crate) async fn create_empty() -> Self {
        Self::create_from("template0").await
    }

    /// For `database.url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `[database]` with this database and otherwise the defaults.
    pub(crate) fn settings(&self) -> Database {
        Database { url: Secret::new(&*self.url), ..Database::default() }
    }

    /// A pool as the service has it.
    pub(crate) fn pool(&self) -> Pool {
        connect_pool(&self.settings()).expect("the URL is one")
    }

    /// A connection of the test's own, with nothing set.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    async fn create_from(template: &str) -> Self {
        let server = SERVER.get_or_init(start).await;
        let name = format!("t_{}_{}", id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server.url_for("postgres")).await;
        run(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { url: server.url_for(&name), name }
    }
}

impl Drop for TestDatabase {
    /// On a thread of its own, because a drop cannot wait in the test's runtime.
    fn drop(&mut self) {
        let Some(server) = SERVER.get() else { return };
        let (admin_url, name) = (server.url_for("postgres"), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let admin = connect(&admin_url).await;
                // DROP … WITH (FORCE) would sleep for 100 ms to see the sessions end.
                let sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = $1";
                while admin.execute(sessions, &[&name]).await.expect("asked") > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                run(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
            });
        });
        // A test that has failed already must not fail twice.
        let _ = dropping.join();
    }
}

/// The binary that the tests start servers with.
pub(crate) fn launcher() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tillside"))
}

/// Connects and leaves the driver to the test's runtime.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn start() -> PrivatePostgres {
    let settings = PrivateSettings {
        wait_for_folder: Duration::ZERO,
        shared_buffers_mib: 32,
        max_wal_size_mib: 256,
        ..PrivateSettings::default()
    };
    let folders = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("postgres");
    for number in (0..FOLDERS).cycle().take(64 * 100) {
        let folder = folders.join(number.to_string());
        match PrivatePostgres::start(&folder, launcher(), &settings).await {
            Ok(server) => {
                prepare(&server).await;
                return server;
            }
            Err(PrivateError::InUse { .. }) => {}
            Err(error) => panic!("{error}: {error:?}"),
        }
        if number + 1 == FOLDERS {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    panic!("all {FOLDERS} folders of {} are in use", folders.display());
}

/// Removes what killed tests left, and makes the template when the migrations are new.
async fn prepare(server: &PrivatePostgres) {
    let admin = connect(&server.url_for("postgres")).await;
    let sql = "SELECT datname::text FROM pg_database WHERE datname ~ '^(t|template|making)_'";
    let found = admin.query(sql, &[]).await.expect("the list of databases");
    let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    let template = template();
    for name in found.iter().filter(|name| **name != template) {
        run(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
    if found.contains(&template) {
        return;
    }
    let making = template.replace("template", "making");
    run(&admin, &format!("CREATE DATABASE {making} TEMPLATE template0")).await;
    let url = server.url_for(&making);
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connected");
    let driver = tokio::spawn(connection);
    schema::migrate(&mut client, &Chain::default()).await.expect("the migrations are sound");
    drop(client);
    driver.await.expect("not cancelled").expect("closed in order");
    // Only a template that is complete gets its name.
    run(&admin, &format!("ALTER DATABASE {making} RENAME TO {template}")).await;
}

fn template() -> String {
    let mut hasher = DefaultHasher::new();
    schema::MIGRATIONS.hash(&mut hasher);
    format!("template_{:016x}", hasher.finish())
}
