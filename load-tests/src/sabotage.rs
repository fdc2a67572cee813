//! Whether the harness would notice: the service with one protection taken out at a time.
//!
//! Needs a build with the feature `sabotage`, which an optimised build refuses. A fault counts
//! as caught when a run against it does not hold; a harness that has never failed is unproven.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tillside::config::Commit;
use tillside::sabotage::Fault;
use tokio::time::Instant;

use crate::chaos::{self, Report};
use crate::error::HarnessError;
use crate::nemesis::{Blow, Schedule};
use crate::overload;
use crate::world;

/// A fault that is not caught within this time is not caught.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What came of one fault.
#[derive(Debug)]
pub struct Row {
    /// What was broken; nothing in the first row, which must hold.
    pub fault: Option<Fault>,
    /// When a run stopped holding.
    pub caught_after: Option<Duration>,
    /// How many runs it took.
    pub runs: u64,
    /// The first finding.
    pub finding: String,
}

impl Row {
    /// Whether it is as it should be: every fault caught, and nothing found without one.
    pub fn is_right(&self) -> bool {
        self.fault.is_some() == self.caught_after.is_some()
    }
}

/// Breaks each protection in turn; first none, which must hold. `tell` gets each row.
///
/// # Errors
/// When a run could not be made or judged.
pub async fn run(
    binary: &Path,
    folder: &Path,
    seed: u64,
    only: Option<Fault>,
    mut tell: impl FnMut(&Row),
) -> Result<bool, HarnessError> {
    let faults = match only {
        Some(fault) => vec![Some(fault)],
        None => {
            let of_harness = |fault: &Fault| !Fault::IN_SUITE.contains(fault);
            let faults = Fault::ALL.into_iter().filter(of_harness).map(Some);
            std::iter::once(None).chain(faults).collect()
        }
    };
    let mut right = true;
    for fault in faults {
        let row = catch(binary, folder, seed, fault).await?;
        right &= row.is_right();
        tell(&row);
    }
    Ok(right)
}

async fn catch(
    binary: &Path,
    folder: &Path,
    seed: u64,
    fault: Option<Fault>,
) -> Result<Row, HarnessError> {
    let started = Instant::now();
    let mut row = Row { fault, caught_after: None, runs: 0, finding: String::new() };
    while row.caught_after.is_none() && started.elapsed() < PATIENCE {
        let name = fault.map_or("none", Fault::name);
        let folder = folder.join(format!("{name}-{}", row.runs));
        let seed = seed.wrapping_add(row.runs);
        row.runs += 1;
        let mut finding = None;
        if fault != Some(Fault::UnboundedQueue) {
            let plan = rough(binary, folder.join("chaos"), seed, fault);
            finding = first_finding(&chaos::run(&plan, |_| {}).await?);
        }
        if matches!(fault, None | Some(Fault::UnboundedQueue)) && finding.is_none() {
            let plan = crowded(binary, folder.join("overload"), fault);
            let report = overload::run(&plan, |_| {}).await?;
            finding = report.findings.into_iter().next();
        }
        if let Some(finding) = finding {
            row.caught_after = Some(started.elapsed());
            row.finding = finding;
        }
        if fault.is_some() || row.is_right() {
            std::fs::remove_dir_all(&folder).map_err(HarnessError::doing("removing the folder"))?;
        }
        if fault.is_none() {
            break;
        }
    }
    Ok(row)
}

/// Five times as much as can be done, with as little as a debug build can do.
fn crowded(binary: &Path, folder: PathBuf, fault: Option<Fault>) -> overload::Plan {
    let binary = binary.to_owned();
    let sabotage = fault.map(Fault::name);
    overload::Plan { folder, binary, capacity_per_s: 200, seconds: 12, sabotage }
}

/// A short and rough run: few customers, so that they meet, and everything that forgets.
fn rough(binary: &Path, folder: PathBuf, seed: u64, fault: Option<Fault>) -> chaos::Plan {
    chaos::Plan {
        world: world::Plan {
            folder,
            disk_mib: None,
            binary: binary.to_owned(),
            servers: 2,
            tills: 40,
            seed,
            sabotage: fault.map(Fault::name),
            commit: Commit::default(),
        },
        schedule: Schedule::Counted {
            blows: vec![
                (Blow::ServerKill, 4),
                (Blow::PostgresStop, 2),
                (Blow::PostmasterKill, 2),
                (Blow::BackendsTerminated, 2),
            ],
            wire_faults: 0,
        },
        wires: true,
        customers: 30,
    }
}

/// What the run brought to light. A kind of fault on the wires that never came in so short a
/// run is nothing that the service did.
fn first_finding(report: &Report) -> Option<String> {
    report.verdict.told.first().cloned()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, caught_after, runs, finding } = self;
        let name = fault.map_or("(nothing broken)", Fault::name);
        match caught_after {
            Some(after) => {
                let seconds = after.as_secs_f64();
                write!(f, "{name:<28} caught after {seconds:>5.1} s, run {runs}: {finding}")
            }
            None => write!(f, "{name:<28} nothing found in {runs} runs"),
        }
    }
}
