//! A run: a world, tills, a nemesis, and at the end the oracle.
//!
//! Two phases: while the faults fall nothing may be lost or doubled; when they are over,
//! everything that is open must be answered within 30 s.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::baskets::Shop;
use crate::error::HarnessError;
use crate::journal::Journal;
use crate::nemesis::{Blow, Deeds, Nemesis, Schedule};
use crate::oracle::{self, Fault, Verdict};
use crate::tally::Tally;
use crate::tills::{self, Floor};
use crate::world::{self, World};

/// How long everything that is open may take when the faults are over.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How soon the first till must be served after PostgreSQL is back.
const FIRST_SUCCESS_MAX: Duration = Duration::from_secs(5);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The processes and tills.
    pub world: world::Plan,
    /// The blows.
    pub schedule: Schedule,
    /// Whether the wires are faulty meanwhile.
    pub wires: bool,
    /// Customers with a card.
    pub customers: u64,
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// With it the same tills meet the same schedule again.
    pub seed: u64,
    /// From the first swipe until the faults were over.
    pub seconds: f64,
    /// What was done to the world, by kind.
    pub blows: BTreeMap<&'static str, u64>,
    /// What was done on the wires, by place and kind.
    pub wire: BTreeMap<String, u64>,
    /// What could not be run here, and why.
    pub not_run: BTreeMap<&'static str, String>,
    /// Refusals and failures that tills were answered, by kind.
    pub problems: BTreeMap<String, u64>,
    /// Attempts after which a till did not know.
    pub unknown: u64,
    /// How often one transaction was sent sixteen times at once, to all replicas.
    pub storms: u64,
    /// Commands that were killed before they ended.
    pub commands_killed: u64,
    /// The longest time from PostgreSQL's being back to the first new record, in milliseconds.
    pub first_success_ms: u128,
    /// How often that was measured.
    pub first_success_count: usize,
    /// From the end of the faults until every request was answered, in milliseconds.
    pub drain_ms: u128,
    /// What the oracle says.
    pub verdict: Verdict,
    /// What else must not be.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether the service has kept its promise, and the run has tested it.
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.findings.is_empty()
    }

    /// How often a blow fell.
    pub fn blows(&self, blow: Blow) -> u64 {
        self.blows.get(blow.name()).copied().unwrap_or(0)
    }

    /// All faults on the wires.
    pub fn wire_faults(&self) -> u64 {
        self.wire.values().sum()
    }
}

/// Makes a world, attacks it, and ends it. What is found stands in the report; `tell` gets a
/// line now and then.
///
/// # Errors
/// When the run itself could not be made, or could not be judged.
pub async fn run(plan: &Plan, tell: impl FnMut(String)) -> Result<Report, HarnessError> {
    let mut world = World::make(&plan.world).await?;
    let report = Box::pin(attack(plan, &mut world, tell)).await;
    world.end().await?;
    report
}

/// As [`run`], in a world that is there and stays there. The journal is begun anew, so a world
/// is attacked once.
///
/// # Errors
/// As [`run`].
pub async fn attack(
    plan: &Plan,
    world: &mut World,
    mut tell: impl FnMut(String),
) -> Result<Report, HarnessError> {
    let journal_path = world.journal();
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let (close, closing) = watch::channel(false);
    let journal = Journal::create(&journal_path);
    let journal = journal.map_err(HarnessError::doing("beginning the journal"))?;
    let shop = Shop::new(plan.customers, today);
    let hot_card = shop.cards[0].clone();
    let tally = Arc::new(Tally::default());
    let floor = Arc::new(Floor {
        shop,
        base_urls: world.base_urls(),
        binary: world.binary.clone(),
        configs: world.replica_configs.iter().chain([&world.config]).cloned().collect(),
        journal,
        tally: Arc::clone(&tally),
        next_id: AtomicU64::new(0),
        closing,
    });
    let started = Instant::now();
    let mut tills = tills::open(&floor, &world.workstations, plan.world.seed)?;

    let nemesis_seed = plan.world.seed.wrapping_add(1);
    let nemesis = Nemesis::new(world, nemesis_seed, Arc::clone(&tally), hot_card);
    let deeds = watched(nemesis.run(&plan.schedule, plan.wires), |seconds| {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tell(format!(
            "{seconds:>5} s  {:>8} recorded  {:>7} replayed  {:>6} not known",
            load(&tally.recorded),
            load(&tally.replayed),
            load(&tally.unknown)
        ));
    });
    let deeds = deeds.await?;
    let seconds = started.elapsed().as_secs_f64();

    close.send_replace(true);
    let draining = Instant::now();
    let mut findings = deeds.findings.clone();
    if timeout(DRAIN_MAX, ended(&mut tills, &mut findings)).await.is_err() {
        findings.push(format!("{} tills still had no answer after 30 s", tills.len()));
        tills.shutdown().await;
    }
    let drain = draining.elapsed();

    let mut wire = world.wire_faults();
    // Not a fault but a finding of the proxy: both answers to one request must be the same.
    if let Some(differing) = wire.remove("tills: duplicate_differs").filter(|count| *count > 0) {
        findings.push(format!("{differing} times two answers to one request were not the same"));
    }
    // What no walk has come to so far; then it is known what must have run out.
    findings.extend(world.expire().await?);
    let mut verdict = oracle::judge(world).await?;
    let (first_success, first_success_count) = tally.first_success();
    if first_success > FIRST_SUCCESS_MAX {
        let what = format!("the first till was served {first_success:?} after PostgreSQL was back");
        verdict.find(Fault::Stuck, what);
    }
    let commands_killed = tally.commands_killed.load(Ordering::Relaxed);
    findings.extend(untested(plan, &deeds, &wire));
    findings.extend(undone(plan, &verdict, commands_killed));
    Ok(Report {
        seed: plan.world.seed,
        seconds,
        blows: deeds.blows.iter().map(|(blow, count)| (blow.name(), *count)).collect(),
        wire,
        not_run: deeds.not_run.iter().map(|(blow, why)| (blow.name(), why.clone())).collect(),
        problems: tally.problems(),
        unknown: tally.unknown.load(Ordering::Relaxed),
        storms: tally.storms.load(Ordering::Relaxed),
        commands_killed,
        first_success_ms: first_success.as_millis(),
        first_success_count,
        drain_ms: drain.as_millis(),
        verdict,
        findings,
    })
}

/// Keeps the evidence of a run that failed, and removes a run that did not.
///
/// # Errors
/// When files cannot be removed.
pub fn tidy_up(folder: &Path, report: &Report) -> Result<(), HarnessError> {
    if report.holds() {
        std::fs::remove_dir_all(folder).map_err(HarnessError::doing("removing the folder"))?;
    }
    Ok(())
}

/// A future, with a call every ten seconds until it is ready.
async fn watched<T>(work: impl Future<Output = T>, mut tick: impl FnMut(u64)) -> T {
    let started = Instant::now();
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => tick(started.elapsed().as_secs()),
        }
    }
}

async fn ended(tills: &mut JoinSet<()>, findings: &mut Vec<String>) {
    while let Some(till) = tills.join_next().await {
        if let Err(error) = till {
            findings.push(format!("a till gave up: {error}"));
        }
    }
}

/// Kinds of faults that were to come and did not: the run has shown nothing about them.
fn untested(plan: &Plan, deeds: &Deeds, wire: &BTreeMap<String, u64>) -> Vec<String> {
    let wanted: Vec<Blow> = match &plan.schedule {
        Schedule::Counted { blows, .. } => blows.iter().map(|(blow, _)| *blow).collect(),
        Schedule::Lasting(_) => Blow::ALL.map(|(blow, _)| blow).to_vec(),
        Schedule::Peace(_) => Vec::new(),
    };
    let never = |what: &str| format!("{what}: it never happened, so nothing is known about it");
    let happened = |blow: &Blow| deeds.blows.contains_key(blow) || deeds.not_run.contains_key(blow);
    let blows = wanted.into_iter().filter(|blow| !happened(blow));
    let blows = blows.map(|blow| never(blow.name()));
    let quiet = wire.iter().filter(|(_, count)| plan.wires && **count == 0);
    blows.chain(quiet.map(|(kind, _)| never(kind))).collect()
}

/// What people and the calendar were to do under faults, and did not.
fn undone(plan: &Plan, verdict: &Verdict, commands_killed: u64) -> Vec<String> {
    if matches!(plan.schedule, Schedule::Peace(_)) {
        return Vec::new();
    }
    let done = [
        (verdict.enrolled, "a card enrolled"),
        (verdict.linked, "a card put on the account of another"),
        (verdict.adjusted, "points corrected by a command"),
        (verdict.expired, "points that ran out"),
        (commands_killed, "a command killed"),
    ];
    let never = done.iter().filter(|(count, _)| *count == 0);
    never
        .map(|(_, what)| format!("{what}: it never happened, so nothing is known about it"))
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |count: &dyn fmt::Display, what: &str| writeln!(f, "{count:>10}  {what}");
        for (blow, count) in &self.blows {
            row(count, blow)?;
        }
        for (kind, count) in &self.wire {
            row(count, &format!("on the wire to {kind}"))?;
        }
        let Verdict { requests, acked, replays, refused, unanswered, .. } = &self.verdict;
        let Verdict { enrolled, linked, merged, adjusted, expired, .. } = &self.verdict;
        row(requests, "requests")?;
        row(acked, "acknowledged")?;
        row(replays, "further answers to those, byte for byte the same")?;
        row(refused, "refused, as they must be")?;
        row(unanswered, "never answered")?;
        row(&self.unknown, "attempts after which a till did not know")?;
        row(&self.storms, "transactions sent sixteen times at once")?;
        row(enrolled, "cards enrolled")?;
        row(linked, "cards put on the account of another")?;
        row(merged, "accounts that gave their points away by that")?;
        row(adjusted, "corrections of points by a command")?;
        row(expired, "accounts whose points ran out")?;
        row(&self.commands_killed, "commands killed before they ended")?;
        row(&self.verdict.tills_of_busiest_card, "tills that used the busiest card")?;
        for (problem, count) in &self.problems {
            row(count, &format!("answered {problem}"))?;
        }
        row(&self.verdict.count(Fault::Lost), "lost")?;
        row(&self.verdict.count(Fault::Doubled), "doubled")?;
        row(
            &format!("{} ms", self.first_success_ms),
            "from PostgreSQL's being back to the first new record, at most",
        )?;
        row(&format!("{} ms", self.drain_ms), "until everything was answered")?;
        row(&format!("{:.1} s", self.seconds), "under faults")?;
        for (kind, reason) in &self.not_run {
            writeln!(f, "   not run  {kind}: {reason}")?;
        }
        for finding in self.verdict.told.iter().chain(&self.findings) {
            writeln!(f, "\n- {finding}")?;
        }
        for (fault, count) in &self.verdict.faults {
            writeln!(f, "{count:>10}  {fault}")?;
        }
        let seed = self.seed;
        if self.holds() {
            write!(f, "\nseed {seed}: nothing lost, nothing doubled")
        } else {
            write!(f, "\nseed {seed}: BROKEN")
        }
    }
}
