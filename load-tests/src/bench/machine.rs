//! What a run was made on: figures without it mean nothing.

use std::fs;
use std::process::Command;

use serde::Serialize;

use super::stand::Stand;
use crate::error::HarnessError;

/// The machine, the server, and what was built.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that everything shares, the generator included.
    pub cores: usize,
    /// Their name.
    pub cpu: String,
    /// Of the kernel.
    pub kernel: String,
    /// How it writes back what it holds in memory.
    pub writeback: String,
    /// Of the server.
    pub postgres: String,
    /// Its settings that are not the built-in ones.
    pub settings: Vec<String>,
    /// What was built, as Git names it; with `-dirty` it was changed since.
    pub commit: String,
    /// When nothing was running yet: processes that wanted to run, over the last minute.
    pub load_before: f64,
    /// Whether the run was a small one, whose figures mean nothing.
    pub is_quick: bool,
}

/// Settings that say where things are, not how they work.
const SETTINGS: &str = "
SELECT name || ' = ' || current_setting(name) FROM pg_settings
WHERE source NOT IN ('default', 'override', 'client', 'session')
  AND category !~ 'File Locations|Reporting|Locale|Connection Settings|Authentication'
UNION
SELECT name || ' = ' || current_setting(name) FROM pg_settings
WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'wal_compression')
ORDER BY 1";

impl Machine {
    pub(super) async fn look(
        stand: &Stand,
        is_quick: bool,
        writeback: String,
    ) -> Result<Self, HarnessError> {
        let doing = || HarnessError::doing("looking at the server's settings");
        let url = stand.postgres.url_for("postgres");
        let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.map_err(doing())?;
        tokio::spawn(connection);
        let rows = client.query(SETTINGS, &[]).await.map_err(doing())?;
        let version = client.query_one("SHOW server_version", &[]).await.map_err(doing())?;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let loads = read("/proc/loadavg");
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.unwrap_or("unknown").trim_start_matches([' ', '\t', ':']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            writeback,
            postgres: version.get(0),
            settings: rows.iter().map(|row| row.get(0)).collect(),
            commit: commit(),
            load_before: loads.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0),
            is_quick,
        })
    }
}

fn commit() -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let described = described.ok().filter(|output| output.status.success());
    let text = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown: not run in a checkout".to_owned())
}
