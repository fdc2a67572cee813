//! The database of a world, and the ways in which it goes down.

use std::fs;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tillside::db::private::{PrivatePostgres, PrivateSettings};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use crate::error::HarnessError;

/// A private PostgreSQL that can be taken down and brought back.
pub struct Postgres {
    folder: PathBuf,
    binary: PathBuf,
    url: String,
    socket: PathBuf,
    /// None while it is down.
    running: Option<PrivatePostgres>,
}

impl Postgres {
    /// Starts it. `binary` is `tillside`, which becomes the server.
    ///
    /// # Errors
    /// Whose message says what to do.
    pub async fn start(folder: &Path, binary: &Path) -> Result<Self, HarnessError> {
        let running = launch(folder, binary).await?;
        let (url, socket) = (running.url(), running.socket());
        let (folder, binary) = (folder.to_owned(), binary.to_owned());
        Ok(Self { folder, binary, url, socket, running: Some(running) })
    }

    /// How to connect to it directly, without a proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Where its data and its log are.
    pub fn folder(&self) -> &Path {
        self.running.as_ref().map_or(&self.folder, |running| running.folder())
    }

    /// Takes it down with a signal to the postmaster, and brings it back.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn crash(&mut self, signal: Signal) -> Result<(), HarnessError> {
        if let Some(running) = self.running.take() {
            running.signal(signal);
            running.ended().await;
        }
        self.come_back().await
    }

    /// Whether it has gone down by itself.
    pub async fn has_ended(&self) -> bool {
        match &self.running {
            Some(running) => timeout(Duration::ZERO, running.ended()).await.is_ok(),
            None => true,
        }
    }

    /// The process id of its postmaster.
    ///
    /// # Errors
    /// When it is down.
    pub fn process_id(&self) -> Result<i32, HarnessError> {
        postmaster(self.folder())
    }

    /// Brings it back when it has gone down.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn come_back(&mut self) -> Result<(), HarnessError> {
        // What a full disk or a crash has ended by itself is not running, whatever we hold.
        self.running = None;
        self.running = Some(launch(&self.folder, &self.binary).await?);
        Ok(())
    }

    /// A connection of our own, which no proxy disturbs.
    ///
    /// # Errors
    /// When the server is down.
    pub async fn connect(&self) -> Result<Client, HarnessError> {
        let connected = tokio_postgres::connect(&self.url, NoTls).await;
        let connected = connected.map_err(HarnessError::doing("connecting to PostgreSQL"));
        let (client, connection) = connected?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

/// The process id of the postmaster of the private server in a folder.
pub(crate) fn postmaster<Id>(folder: &Path) -> Result<Id, HarnessError>
where
    Id: FromStr<Err = ParseIntError>,
{
    let doing = "reading the process id of PostgreSQL";
    let text = fs::read_to_string(folder.join("data/postmaster.pid"));
    let text = text.map_err(HarnessError::doing(doing))?;
    let first = text.lines().next().unwrap_or_default();
    first.trim().parse().map_err(HarnessError::doing(doing))
}

/// Makes so many files of the write-ahead log, which a server in service has long since made and
/// only uses again. To make one writes and flushes 16 MiB, and every commit waits for it: a young
/// server does that once a second under load, and it shows in the slowest answers.
pub(crate) async fn season(client: &Client, files: u32) -> Result<(), HarnessError> {
    let make = format!(
        "DO $$ BEGIN
             FOR made IN 1..{files} LOOP
                 PERFORM pg_logical_emit_message(false, 'season', '');
                 PERFORM pg_switch_wal();
             END LOOP;
         END $$;
         CHECKPOINT"
    );
    let made = client.batch_execute(&make).await;
    made.map_err(HarnessError::doing("making files of the write-ahead log"))
}

async fn launch(folder: &Path, binary: &Path) -> Result<PrivatePostgres, HarnessError> {
    let settings = PrivateSettings {
        // After a crash every process of the old server has to end first.
        wait_for_folder: Duration::from_secs(30),
        shared_buffers_mib: 64,
        max_wal_size_mib: 512,
        ..PrivateSettings::default()
    };
    let started = PrivatePostgres::start(folder, binary, &settings).await;
    started.map_err(HarnessError::doing("starting PostgreSQL"))
}
