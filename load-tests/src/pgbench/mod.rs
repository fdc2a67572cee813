//! Our competitor: what talks to PostgreSQL with no service in between, played by `pgbench` on the
//! same server and the same tables.
//!
//! Two scripts write for each transaction the very rows that the service writes for a swipe:
//! [`Script::Txn`] with a statement for each table in one transaction, [`Script::Stmt`] with one
//! statement for all. Neither checks signatures or names, decides, or builds receipts: the values
//! are literals, taken from rows that the service has written. [`Ledger`] counts rows and bytes
//! on both sides, so that a comparison of unequal work is noticed.

mod ledger;
mod sample;
mod script;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;
use tokio_postgres::Client;

pub use self::ledger::{Ledger, Side, Written, differences};
pub use self::sample::Sample;
pub use self::script::Script;
use crate::error::HarnessError;

/// Threads of `pgbench`: as many as the cores that it shares with everything.
const THREADS: usize = 2;
/// Sequence numbers that one run may use.
const NUMBERS_OF_A_RUN: u64 = 100_000_000;

/// `pgbench` on one database, with accounts and workstations of its own.
pub struct Pgbench {
    program: PathBuf,
    url: String,
    folder: PathBuf,
    txn: PathBuf,
    stmt: PathBuf,
    side: Side,
    first_workstation: i32,
    /// In a thousand transactions, how many coupons are given and how many are redeemed.
    coupons: [u32; 2],
    runs: u64,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Transactions that were committed.
    pub transactions: u64,
    /// A second, connecting left out.
    pub per_s: f64,
    /// Of each transaction, in microseconds, when it was asked for.
    pub latencies_us: Vec<u64>,
}

/// Finds `pgbench` beside the binaries of the server that runs, so that both are of one version.
///
/// # Errors
/// When it is not there; the message says what to install.
pub async fn find(client: &Client) -> Result<PathBuf, HarnessError> {
    let sql = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
    let row = client.query_one(sql, &[]).await;
    let row = row.map_err(HarnessError::doing("asking the server where its binaries are"))?;
    in_folder(Path::new(row.get::<_, &str>(0)))
}

fn in_folder(bin_dir: &Path) -> Result<PathBuf, HarnessError> {
    let program = bin_dir.join("pgbench");
    if program.is_file() {
        return Ok(program);
    }
    let what = format!("looking for pgbench beside the server in {}", bin_dir.display());
    let remedy = "it is not there. Debian has it in the server's own package (`apt-get install \
                  --reinstall postgresql-15`), others in postgresql-contrib";
    Err(HarnessError::doing(what)(remedy))
}

impl Pgbench {
    /// Writes the scripts into `folder`. `program` is what [`find`] has found.
    ///
    /// # Errors
    /// When the scripts cannot be written.
    pub fn new(
        program: PathBuf,
        url: &str,
        folder: &Path,
        sample: &Sample,
        side: Side,
        first_workstation: i32,
    ) -> Result<Self, HarnessError> {
        let write = |script: Script, name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, script.text(sample))
                .map_err(HarnessError::doing(format!("writing {}", path.display())))?;
            Ok::<_, HarnessError>(path)
        };
        Ok(Self {
            program,
            url: url.to_owned(),
            folder: folder.to_owned(),
            txn: write(Script::Txn, "txn.pgbench")?,
            stmt: write(Script::Stmt, "stmt.pgbench")?,
            side,
            first_workstation,
            coupons: [0; 2],
            runs: 0,
        })
    }

    /// From now on coupons are given and redeemed as often as the service did lately.
    pub fn follow(&mut self, lately: &Written) {
        self.coupons = lately.coupons_of_a_thousand();
    }

    /// Runs a script for so many seconds.
    ///
    /// # Errors
    /// When `pgbench` fails, or a transaction of it does: such a run does not count.
    pub async fn run(
        &mut self,
        script: Script,
        clients: usize,
        seconds: u64,
        with_latencies: bool,
    ) -> Result<Ran, HarnessError> {
        self.runs += 1;
        let prefix = self.folder.join(format!("latencies-{}", self.runs));
        let define = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}");
        let mut command = Command::new(&self.program);
        command.args(["--no-vacuum", "--protocol=prepared"]);
        command.arg(format!("--client={clients}"));
        command.arg(format!("--jobs={}", THREADS.min(clients)));
        command.arg(format!("--time={seconds}"));
        command.arg(format!("--random-seed={}", self.runs));
        for definition in [
            define("seq", &(self.runs * NUMBERS_OF_A_RUN)),
            define("first_number", &(self.side.accounts.start >> 8)),
            define("last_number", &((self.side.accounts.end >> 8) - 1)),
            define("first_workstation", &self.first_workstation),
            define("held", &0),
            define("given", &self.coupons[0]),
            define("redeemed", &self.coupons[1]),
        ] {
            command.args(["--define", &definition]);
        }
        if with_latencies {
            command.arg("--log").arg(format!("--log-prefix={}", prefix.display()));
        }
        command.arg("--file").arg(match script {
            Script::Txn => &self.txn,
            Script::Stmt => &self.stmt,
        });
        command.arg(&self.url).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(HarnessError::doing("running pgbench"))?;
        let mut ran = Ran::read(&output).map_err(HarnessError::doing("running pgbench"))?;
        if with_latencies {
            ran.latencies_us = self.take_latencies(self.runs)?;
        }
        Ok(ran)
    }

    /// Reads the files that a run has left and removes them. The third word of a line is the
    /// time in microseconds.
    fn take_latencies(&self, run: u64) -> Result<Vec<u64>, HarnessError> {
        let doing = || HarnessError::doing("reading the latencies of pgbench");
        let prefix = format!("latencies-{run}.");
        let mut latencies_us = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(doing())? {
            let path = entry.map_err(doing())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&prefix) {
                let text = std::fs::read_to_string(&path).map_err(doing())?;
                let third = |line: &str| -> Option<u64> { line.split(' ').nth(2)?.parse().ok() };
                latencies_us.extend(text.lines().filter_map(third));
                std::fs::remove_file(&path).map_err(doing())?;
            }
        }
        Ok(latencies_us)
    }
}

impl Ran {
    fn read(output: &Output) -> Result<Self, String> {
        let text = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        let number = |of: &str| {
            let after = text.split(of).nth(1)?.trim_start();
            after.split([' ', '\n', '/']).next()?.parse::<f64>().ok()
        };
        let transactions = number("number of transactions actually processed:");
        let failed = number("number of failed transactions:").unwrap_or(0.0);
        match (transactions, number("tps =")) {
            (Some(transactions), Some(per_s))
                if output.status.success() && failed == 0.0 && transactions > 0.0 =>
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of a few seconds"
                )]
                let transactions = transactions as u64;
                Ok(Self { transactions, per_s, latencies_us: Vec::new() })
            }
            _ => Err(format!("{}: {complaints}{text}", output.status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, text: &str) -> Output {
        let status = ExitStatus::from_raw(code << 8);
        Output { status, stdout: text.into(), stderr: Vec::new() }
    }

    const SAID: &str = "transaction type: txn.pgbench\nscaling factor: 1\n\
        number of transactions actually processed: 31415\n\
        number of failed transactions: 0 (0.000%)\nlatency average = 1.2 ms\n\
        tps = 3141.592654 (without initial connection time)\n";

    #[test]
    fn a_missing_pgbench_is_named_with_its_package() {
        let empty = tempfile::tempdir().expect("a folder");
        let missing = in_folder(empty.path()).expect_err("nothing is there").to_string();
        assert!(missing.contains("pgbench") && missing.contains("apt-get install"), "{missing}");
    }

    #[test]
    fn what_pgbench_says_is_read_and_a_failure_does_not_count() {
        let ran = Ran::read(&output(0, SAID)).expect("a good run");
        assert_eq!(ran.transactions, 31_415);
        assert!((ran.per_s - 3_141.592_654).abs() < 1e-6);
        assert!(Ran::read(&output(2, SAID)).is_err());
        let one_failed = SAID.replace("failed transactions: 0", "failed transactions: 1");
        assert!(Ran::read(&output(0, &one_failed)).is_err());
        assert!(Ran::read(&output(0, "nothing")).is_err());
    }
}
