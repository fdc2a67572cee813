//! A private PostgreSQL: the embedded default of `tillside demo`, and of the tests.
//!
//! Owns one folder with the data, the unix socket, the log and a lock. It must never switch
//! durability off, listen on the network, or outlive the process that started it.
//!
//! Three decisions carry it:
//!
//! * **The lock of the folder is the standard input of the server.** It is taken before anything
//!   is touched, and inherited by every process of the server, so it is free exactly when the
//!   last of them has ended. Whoever holds it may therefore clear away a stale `postmaster.pid`
//!   (whose number may by now belong to another program). A server that is left over from a run
//!   that crashed is about to stop: starting waits for it. A folder that stays in use belongs to
//!   another Tillside, and that is what the error says; it is never taken over.
//! * **The server asks the kernel to be told when its parent dies** (see [`child`]). The kernel
//!   means the *thread* that spawned it, so a thread of its own spawns it and then waits for it:
//!   that thread lives exactly as long as the server, whatever the runtime does with its threads.
//! * **Durability is on the command line of the server**, where no file and no `ALTER SYSTEM`
//!   can change it.

mod binaries;
pub mod child;
mod keeper;
mod place;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::NoTls;

use binaries::Binaries;
use keeper::Keeper;
use place::Place;

/// The role that owns everything in a private server, and the database of the service.
const NAME: &str = "tillside";

/// Recovery after a crash is the only thing that makes a start long.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A fast shutdown writes a checkpoint; an immediate one leaves the work to the next start.
/// Together they stay below five seconds.
const FAST_STOP: Duration = Duration::from_millis(3_000);
const IMMEDIATE_STOP: Duration = Duration::from_millis(1_200);
const KILLED_STOP: Duration = Duration::from_millis(300);

/// Beyond this the log of earlier runs is set aside as `postgres.log.1`.
const LOG_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// What may differ between private servers. Durability may not.
#[derive(Clone, Debug)]
pub struct PrivateSettings {
    /// The folder of `postgres` and `initdb`; `None` searches for them.
    pub bin_dir: Option<PathBuf>,
    /// How long to wait for a folder that another process uses, before saying so.
    pub wait_for_folder: Duration,
    /// Memory for pages, in MiB.
    pub shared_buffers_mib: u32,
    /// Write-ahead log between checkpoints, in MiB.
    pub max_wal_size_mib: u32,
    /// Most connections.
    pub connections_max: u32,
}

impl Default for PrivateSettings {
    fn default() -> Self {
        Self {
            bin_dir: None,
            // A server whose parent crashed needs up to five seconds to end.
            wait_for_folder: Duration::from_secs(6),
            shared_buffers_mib: 256,
            max_wal_size_mib: 2_048,
            connections_max: 100,
        }
    }
}

/// Why a private server did not start, in words for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// No server binaries of a usable version.
    #[error(
        "no PostgreSQL server of version {needed} was found {searched}. Install it with \
         `apt-get install {package}`, or name the folder of `postgres` and `initdb`"
    )]
    NoBinaries {
        /// Such as `15 or newer`.
        needed: String,
        /// Where.
        searched: String,
        /// The Debian package that has it.
        package: String,
    },
    /// The data was made by a version that is not the one that was named.
    #[error(
        "the data in {data} was made by PostgreSQL {made_by}, but {bin_dir} has version {found}: \
         name binaries of version {made_by}, or remove the folder to begin anew"
    )]
    OtherVersion {
        /// The data folder.
        data: PathBuf,
        /// Major version that made it.
        made_by: u32,
        /// Where the binaries are.
        bin_dir: PathBuf,
        /// Their major version.
        found: u32,
    },
    /// Started as root, and the user that must run the server does not exist.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user `postgres` to run it as. Install \
         the server with `apt-get install postgresql`, or start as another user than root"
    )]
    NoServerUser,
    /// The user that must run the server cannot get to the folder.
    #[error(
        "user `postgres`, who has to run the server, cannot enter {blocking}, so {folder} cannot \
         hold its data. Choose a folder elsewhere (such as /var/lib/tillside), or start as \
         another user than root"
    )]
    Unreachable {
        /// The folder that was asked for.
        folder: PathBuf,
        /// The parent that stands in the way.
        blocking: PathBuf,
    },
    /// The folder belongs to somebody else.
    #[error(
        "{folder} belongs to another user than the one who has to run the server ({needed}). \
         Choose another folder, or start as the user who made it"
    )]
    NotOurs {
        /// The folder that was asked for.
        folder: PathBuf,
        /// Who should own it.
        needed: String,
    },
    /// The folder holds what is not ours.
    #[error("{folder} holds other things than a private PostgreSQL: choose a new or empty folder")]
    NotEmpty {
        /// The folder that was asked for.
        folder: PathBuf,
    },
    /// Another process works there.
    #[error(
        "{folder} is in use by another Tillside ({server}). Stop that one, or choose another \
         folder"
    )]
    InUse {
        /// The folder that was asked for.
        folder: PathBuf,
        /// What is known about its server.
        server: String,
    },
    /// `initdb` failed.
    #[error("the data folder {data} could not be made ({status}). {log} ends with:\n{tail}")]
    InitFailed {
        /// The data folder.
        data: PathBuf,
        /// How it ended.
        status: String,
        /// Where its messages are.
        log: PathBuf,
        /// The last of them.
        tail: String,
    },
    /// The server ended, or did not become ready in time.
    #[error("the private PostgreSQL in {folder} {what}. {log} ends with:\n{tail}")]
    NotReady {
        /// The folder.
        folder: PathBuf,
        /// What happened.
        what: String,
        /// Where its messages are.
        log: PathBuf,
        /// The last of them.
        tail: String,
    },
    /// It runs, but refused what was asked of it first.
    #[error("the private PostgreSQL in {folder} runs but cannot be used")]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: super::DbError,
    },
    /// A file or a process could not be handled.
    #[error("{doing} {path} failed")]
    Io {
        /// Such as `creating`.
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PrivateError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// A running server. Stop it with [`PrivatePostgres::stop`]; dropping it is the last resort.
#[derive(Debug)]
pub struct PrivatePostgres {
    place: Place,
    keeper: Keeper,
}

impl PrivatePostgres {
    /// Starts the server of the folder `dir`, which is made when it does not exist, and returns
    /// once it answers. `launcher` is the `tillside` binary ([`std::env::current_exe`] in the
    /// service itself); it serves as the server's parent for a moment, see [`child`].
    ///
    /// Started as root, the server runs as user `postgres`. If that user cannot get to `dir`
    /// (below `/root`, say) the data is kept under `/var/lib/tillside`, and `dir` becomes a
    /// symbolic link to it.
    ///
    /// # Errors
    /// [`PrivateError`], whose message says what to do.
    pub async fn start(
        dir: &Path,
        launcher: &Path,
        settings: &PrivateSettings,
    ) -> Result<Self, PrivateError> {
        let place = Place::prepare(dir)?;
        let lock = lock_folder(&place, settings.wait_for_folder).await?;
        let launcher =
            launcher.canonicalize().map_err(PrivateError::io("finding the command", launcher))?;
        let binaries = Binaries::find(settings.bin_dir.as_deref(), &place)?;
        let log = open_log(&place)?;
        if !place.has_data() {
            initialise(&place, &binaries, &launcher, &lock, &log).await?;
        }
        place.clear_stale()?;
        let log_start = log.metadata().map(|log| log.len()).unwrap_or(0);
        let mut command = child::command(&launcher, &place.identity, &binaries.postgres());
        command.args(server_arguments(&place, settings));
        command.stdin(clone(&lock, &place)?).stdout(clone(&log, &place)?);
        command.stderr(clone(&log, &place)?);
        let keeper =
            Keeper::spawn(command).await.map_err(PrivateError::io("running", &launcher))?;
        let server = Self { place, keeper };
        server.become_ready(log_start).await?;
        Ok(server)
    }

    /// How to connect to the database of the service: a connection string for `database.url`.
    /// Access is by the permissions of the folder, so there is no password.
    pub fn url(&self) -> String {
        self.url_for(NAME)
    }

    /// As [`PrivatePostgres::url`], for another database of this server.
    pub fn url_for(&self, database: &str) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        let host = self.place.socket_dir.display().to_string();
        format!("host='{}' user={NAME} dbname='{}'", quoted(&host), quoted(database))
    }

    /// Where the data and the log really are, all symbolic links followed.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// The unix socket of the server, for a proxy that stands in front of it.
    pub fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    /// Sends a signal to the postmaster and leaves the rest to it: SIGQUIT is an immediate
    /// shutdown, SIGKILL a crash. For tests of what survives; [`PrivatePostgres::stop`] is for
    /// everybody else.
    pub fn signal(&self, signal: Signal) {
        self.keeper.signal(signal);
    }

    /// Waits until the postmaster has ended. Its other processes may still be ending; starting
    /// again in the same folder waits for them.
    pub async fn ended(&self) {
        self.keeper.ended().await;
    }

    /// Stops it within five seconds: at first in order, then without a checkpoint (the next
    /// start recovers from the log), at last by force. What was committed stays committed.
    pub async fn stop(self) {
        for (signal, patience) in [
            (Signal::SIGINT, FAST_STOP),
            (Signal::SIGQUIT, IMMEDIATE_STOP),
            (Signal::SIGKILL, KILLED_STOP),
        ] {
            self.keeper.signal(signal);
            if timeout(patience, self.keeper.ended()).await.is_ok() {
                return;
            }
            tracing::warn!(folder = %self.place.folder.display(), %signal,
                "the private PostgreSQL did not stop in time");
        }
    }

    /// Ready means that a startup packet was answered and the database of the service exists.
    async fn become_ready(&self, log_start: u64) -> Result<(), PrivateError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let admin_url = self.url_for("postgres");
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(status) = self.keeper.status() {
                return Err(self.not_ready(format!("ended while starting ({status})"), log_start));
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready("did not answer in time".to_owned(), log_start));
            }
            match timeout(START_TIMEOUT, tokio_postgres::connect(&admin_url, NoTls)).await {
                Ok(Ok((client, connection))) => {
                    let driver = tokio::spawn(connection);
                    let made = ensure_database(&client).await;
                    drop(client);
                    // Waiting for the session to end: a database that somebody is connected to
                    // cannot serve as a template.
                    let _ = driver.await;
                    return made.map_err(|source| self.unusable(source));
                }
                // Not there yet, or "the database system is starting up".
                Ok(Err(error)) => {
                    let error = super::DbError::connecting(error);
                    if !error.is_lost() {
                        return Err(self.unusable(error));
                    }
                }
                Err(_elapsed) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn unusable(&self, source: super::DbError) -> PrivateError {
        PrivateError::Unusable { folder: self.place.folder.clone(), source }
    }

    fn not_ready(&self, what: String, log_start: u64) -> PrivateError {
        let log = self.place.log();
        let tail = tail(&log, log_start);
        PrivateError::NotReady { folder: self.place.folder.clone(), what, log, tail }
    }
}

impl Drop for PrivatePostgres {
    /// Immediate shutdown without waiting: it needs no checkpoint and no patience, ends within
    /// five seconds by itself, and loses nothing that was committed.
    fn drop(&mut self) {
        self.keeper.signal(Signal::SIGQUIT);
    }
}

async fn ensure_database(client: &tokio_postgres::Client) -> Result<(), super::DbError> {
    let exists = "SELECT 1 FROM pg_database WHERE datname = $1";
    if client.query_opt(exists, &[&NAME]).await?.is_none() {
        client.batch_execute(&format!("CREATE DATABASE {NAME}")).await?;
    }
    Ok(())
}

async fn lock_folder(place: &Place, patience: Duration) -> Result<File, PrivateError> {
    let path = place.lock();
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(PrivateError::io("opening", &path))?;
    let deadline = Instant::now() + patience;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => {
                return Err(PrivateError::Io { doing: "locking", path, source });
            }
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(place.in_use());
            }
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(10)).await,
        }
    }
    // Only a server that somebody started by hand can run now.
    if place.foreign_server() { Err(place.in_use()) } else { Ok(lock) }
}

/// Makes the data folder beside its final place, so that a half-made one is never used.
async fn initialise(
    place: &Place,
    binaries: &Binaries,
    launcher: &Path,
    lock: &File,
    log: &File,
) -> Result<(), PrivateError> {
    let fresh = place.folder.join("data.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(PrivateError::io("removing", &fresh))?;
    }
    let log_start = log.metadata().map(|log| log.len()).unwrap_or(0);
    let mut command = child::command(launcher, &place.identity, &binaries.initdb());
    command.arg("-D").arg(&fresh).args(["--data-checksums", "--username", NAME]);
    command.args(["--encoding", "UTF8", "--locale", "C", "--no-instructions"]);
    command.args(["--auth-local", "trust", "--auth-host", "reject"]);
    command.stdin(clone(lock, place)?).stdout(clone(log, place)?).stderr(clone(log, place)?);
    let keeper = Keeper::spawn(command).await.map_err(PrivateError::io("running", launcher))?;
    let status = timeout(START_TIMEOUT, keeper.ended()).await;
    if !status.as_ref().is_ok_and(|status| status.success()) {
        keeper.signal(Signal::SIGKILL);
        let status = status.map_or_else(|_| "it took too long".to_owned(), |s| s.to_string());
        let tail = tail(&place.log(), log_start);
        return Err(PrivateError::InitFailed { data: fresh, status, log: place.log(), tail });
    }
    let data = place.data();
    fs::rename(&fresh, &data).map_err(PrivateError::io("naming", &data))?;
    let written = File::open(&place.folder).and_then(|folder| folder.sync_all());
    written.map_err(PrivateError::io("writing", &place.folder))
}

fn server_arguments(place: &Place, settings: &PrivateSettings) -> Vec<std::ffi::OsString> {
    let mut arguments =
        vec!["-D".into(), place.data().into(), "-k".into(), place.socket_dir.clone().into()];
    for setting in [
        // Acked means durable. The first three are never a matter of speed.
        "fsync=on".to_owned(),
        "synchronous_commit=on".to_owned(),
        "full_page_writes=on".to_owned(),
        "listen_addresses=".to_owned(),
        "port=5432".to_owned(),
        "unix_socket_permissions=0700".to_owned(),
        format!("max_connections={}", settings.connections_max),
        format!("shared_buffers={}MB", settings.shared_buffers_mib),
        // Fewer checkpoints write fewer full pages; a restart recovers at some 100 MB/s.
        format!("max_wal_size={}MB", settings.max_wal_size_mib),
        "checkpoint_timeout=15min".to_owned(),
        "cluster_name=tillside".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
    ] {
        arguments.push("-c".into());
        arguments.push(setting.into());
    }
    arguments
}

fn open_log(place: &Place) -> Result<File, PrivateError> {
    let path = place.log();
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX_BYTES) {
        let earlier = path.with_extension("log.1");
        fs::rename(&path, &earlier).map_err(PrivateError::io("naming", &earlier))?;
    }
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    opened.map_err(PrivateError::io("opening", &path))
}

fn clone(file: &File, place: &Place) -> Result<Stdio, PrivateError> {
    file.try_clone().map(Stdio::from).map_err(PrivateError::io("opening files in", &place.folder))
}

/// The last lines of a log since `start`, for a message.
fn tail(path: &Path, start: u64) -> String {
    const LINES: usize = 12;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut log| {
        log.seek(SeekFrom::Start(start))?;
        log.take(LOG_MAX_BYTES).read_to_end(&mut bytes)
    });
    if read.is_err() || bytes.is_empty() {
        return "  (nothing)".to_owned();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = String::new();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        writeln!(shown, "  {line}").expect("writing to a String cannot fail");
    }
    shown.truncate(shown.trim_end().len());
    shown
}
