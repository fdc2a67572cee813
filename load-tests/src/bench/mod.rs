//! `make bench`: every promised figure, measured in one run on one machine, with `pgbench` beside
//! the service on the same PostgreSQL and the same tables.
//!
//! Everything is started here and ends here. Sides alternate in rounds, so that whatever else the
//! machine does meanwhile hits both. A run in which a single answer is missing or is not a new
//! receipt does not count: a few of them are made again and named, then its rows are reported as
//! not measured, as they are when both sides did not write the same. The generator shares the
//! machine with what it measures.

mod against;
mod alone;
mod cold;
mod flush;
mod growth;
mod half;
mod hot;
mod machine;
mod memory;
mod report;
mod row;
mod saturation;
mod stand;
mod start;
mod writeback;

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Instant;

pub use self::report::Report;
use self::row::Promise::{AtLeast, AtMost, Nothing};
pub use self::row::{Promise, Row, Value};
use self::saturation::Saturated;
use self::stand::{COUPONS_OPEN, Ground, Service, Stand};
use crate::error::HarnessError;
use crate::stock::{Past, Stock};

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything is kept while it runs: a new or empty folder.
    pub folder: PathBuf,
    /// The `tillside` binary; a release build, if the figures are to mean anything.
    pub binary: PathBuf,
    /// That of another commit: only the two are compared then.
    pub base: Option<PathBuf>,
    /// Only what these rows need; all when empty.
    pub only: Vec<String>,
    /// Small and short, to see that everything works.
    pub quick: bool,
}

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Saturation,
    Alone,
    Half,
    Hot,
    Start,
    Growth,
    Memory,
    Cold,
    Against,
}

/// A row before it is measured.
struct Spec {
    key: &'static str,
    unit: &'static str,
    promise: Promise,
    group: Group,
}

const fn spec(key: &'static str, unit: &'static str, promise: Promise, group: Group) -> Spec {
    Spec { key, unit, promise, group }
}

/// The table, in its order.
const ROWS: [Spec; 31] = [
    spec("saturation_vs_pgbench_txn", "×", AtLeast { must: 2.2, aim: 4.0 }, Group::Saturation),
    spec("saturation_vs_pgbench_stmt", "×", AtLeast { must: 1.2, aim: 2.2 }, Group::Saturation),
    spec("saturation_per_s", "swipes/s", Nothing, Group::Saturation),
    spec("pgbench_txn_per_s", "swipes/s", Nothing, Group::Saturation),
    spec("pgbench_stmt_per_s", "swipes/s", Nothing, Group::Saturation),
    spec(
        "latency_one_connection_vs_pgbench_stmt",
        "×",
        AtMost { must: 2.2, aim: 1.5 },
        Group::Alone,
    ),
    spec("latency_one_connection_us", "µs", Nothing, Group::Alone),
    spec("pgbench_stmt_one_client_us", "µs", Nothing, Group::Alone),
    spec("half_load_p99_ms", "ms", AtMost { must: 10.0, aim: 5.0 }, Group::Half),
    spec("half_load_p999_ms", "ms", AtMost { must: 25.0, aim: 12.0 }, Group::Half),
    spec("half_load_per_s", "swipes/s", Nothing, Group::Half),
    spec("disk_flush_p99_ms", "ms", Nothing, Group::Half),
    spec("disk_flush_p999_ms", "ms", Nothing, Group::Half),
    spec(
        "hot_card_one_replica_per_s",
        "swipes/s",
        AtLeast { must: 2_000.0, aim: 8_000.0 },
        Group::Hot,
    ),
    spec(
        "hot_card_two_replicas_per_s",
        "swipes/s",
        AtLeast { must: 1_000.0, aim: 5_000.0 },
        Group::Hot,
    ),
    spec("hot_card_refusals", "answers", AtMost { must: 0.0, aim: 0.0 }, Group::Hot),
    spec("service_cpu_us_per_swipe", "µs", AtMost { must: 90.0, aim: 45.0 }, Group::Saturation),
    spec("postgres_cpu_us_per_swipe", "µs", Nothing, Group::Saturation),
    spec("generator_cpu_us_per_swipe", "µs", Nothing, Group::Saturation),
    spec("service_cpu_us_at_half_load", "µs", Nothing, Group::Half),
    spec("growth_p99_ratio", "×", AtMost { must: 1.5, aim: 1.15 }, Group::Growth),
    spec("growth_same_customers_p99_ratio", "×", Nothing, Group::Growth),
    spec("growth_per_s", "swipes/s", Nothing, Group::Growth),
    spec("growth_small_p99_ms", "ms", Nothing, Group::Growth),
    spec("growth_large_p99_ms", "ms", Nothing, Group::Growth),
    spec("memory_100k_hot_mb", "MB", AtMost { must: 500.0, aim: 250.0 }, Group::Memory),
    spec("wal_bytes_per_swipe", "bytes", AtMost { must: 3_000.0, aim: 1_500.0 }, Group::Half),
    spec("wal_bytes_with_images_per_swipe", "bytes", Nothing, Group::Half),
    spec("cold_account_p99_ms", "ms", AtMost { must: 15.0, aim: 5.0 }, Group::Cold),
    spec("start_ms", "ms", AtMost { must: 1_000.0, aim: 300.0 }, Group::Start),
    spec("saturation_vs_base", "×", Nothing, Group::Against),
];

/// A row as a group measured it: its key, its value, and how it came about.
type Figure = (&'static str, Value, String);

/// How large and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Accounts of each of two sides.
    side_accounts: u64,
    small_accounts: u64,
    large_accounts: u64,
    hot_accounts: u64,
    cold_accounts: u64,
    rounds: usize,
    /// Seconds of one round, and of one try of a calibration.
    round_s: u64,
    try_s: u64,
    /// Seconds of one of the parts of an open loop.
    part_s: u64,
}

const FULL: Scale = Scale {
    side_accounts: 100_000,
    small_accounts: 100_000,
    large_accounts: 1_000_000,
    hot_accounts: 100_000,
    cold_accounts: 4_000,
    rounds: 5,
    round_s: 10,
    try_s: 4,
    part_s: 22,
};
const QUICK: Scale = Scale {
    side_accounts: 10_000,
    small_accounts: 5_000,
    large_accounts: 20_000,
    hot_accounts: 3_000,
    cold_accounts: 200,
    rounds: 2,
    round_s: 3,
    try_s: 2,
    part_s: 4,
};

/// A bench under way.
struct Bench<'a> {
    scale: Scale,
    stand: Stand,
    tell: &'a mut dyn FnMut(String),
    rows: Vec<Row>,
    /// What the machine can do; measured in passing when its own rows are not asked for.
    saturated: Option<Saturated>,
    charts: report::Charts,
    /// Runs that did not count and were made again.
    discarded: Vec<String>,
}

/// Measures; `tell` gets a line for each step.
///
/// # Errors
/// When the run could not be made: something is missing on this machine, or a stock does not pass
/// the audit. Rows that could not be measured stand in the report, with the reason.
pub async fn run(plan: &Plan, tell: &mut dyn FnMut(String)) -> Result<Report, HarnessError> {
    let unknown = plan.only.iter().find(|key| ROWS.iter().all(|spec| spec.key != **key));
    if let Some(key) = unknown {
        let keys = ROWS.map(|spec| spec.key).join(", ");
        return Err(HarnessError::doing(format!("looking for a row {key}"))(keys));
    }
    let began = Instant::now();
    let scale = if plan.quick { QUICK } else { FULL };
    let is_wanted = |group: Group| match (&plan.base, group) {
        (base, Group::Against) => base.is_some(),
        (Some(_), _) => false,
        (None, _) => {
            let asked = |spec: &Spec| plan.only.iter().any(|key| key == spec.key);
            plan.only.is_empty() || ROWS.iter().any(|spec| spec.group == group && asked(spec))
        }
    };
    tell(outline(&scale, &is_wanted));
    let writeback = writeback::Writeback::set();
    let stand = Stand::start(&plan.folder, &plan.binary).await?;
    let machine = machine::Machine::look(&stand, plan.quick, writeback.said.clone()).await?;
    let (rows, charts) = (Vec::new(), report::Charts::default());
    let mut bench = Bench { scale, stand, tell, rows, saturated: None, charts, discarded: vec![] };
    if let Some(base) = &plan.base {
        let mut side = bench.side().await?;
        let outcome = against::measure(&mut bench, &mut side, base).await;
        bench.take(Group::Against, outcome);
    } else {
        Box::pin(bench.everything(&is_wanted)).await?;
    }
    let Bench { stand, rows, charts, discarded, .. } = bench;
    let seconds = began.elapsed().as_secs_f64();
    stand.postgres.stop().await;
    Ok(Report { machine, rows, discarded, seconds, charts })
}

impl Bench<'_> {
    async fn everything(&mut self, is_wanted: &dyn Fn(Group) -> bool) -> Result<(), HarnessError> {
        let of_side = [Group::Saturation, Group::Alone, Group::Half, Group::Hot];
        if of_side.into_iter().any(is_wanted) {
            let mut side = self.side().await?;
            let service = self.stand.serve(&side, None).await?;
            let customers = side.customers(0, side.cards.len() / 2);
            for _ in 0..COUPONS_OPEN {
                side.get_to_know(&service, &customers).await?;
            }
            (self.tell)(format!("{} customers known to the service", customers.len()));
            if is_wanted(Group::Saturation) || is_wanted(Group::Alone) {
                let outcome = saturation::measure(self, &mut side, &service).await;
                self.take(Group::Saturation, outcome);
            }
            if is_wanted(Group::Alone) {
                let outcome = alone::measure(self, &mut side, &service).await;
                self.take(Group::Alone, outcome);
            }
            if is_wanted(Group::Half) {
                let outcome = half::measure(self, &mut side, &service).await;
                self.take(Group::Half, outcome);
            }
            if is_wanted(Group::Hot) {
                let outcome = hot::measure(self, &mut side, &service).await;
                self.take(Group::Hot, outcome);
            }
            service.end().await?;
            self.stand.clear(side).await?;
        }
        if is_wanted(Group::Memory) {
            let outcome = memory::measure(self).await;
            self.take(Group::Memory, outcome);
        }
        if is_wanted(Group::Cold) {
            let outcome = cold::measure(self).await;
            self.take(Group::Cold, outcome);
        }
        if is_wanted(Group::Start) || is_wanted(Group::Growth) {
            let mut large = growth::large(self).await?;
            if is_wanted(Group::Start) {
                let outcome = start::measure(self, &large).await;
                self.take(Group::Start, outcome);
            }
            if is_wanted(Group::Growth) {
                let outcome = growth::measure(self, &mut large).await;
                self.take(Group::Growth, outcome);
            }
        }
        Ok(())
    }

    /// Two sides' customers in one database. Their accounts' versions are spread evenly over the
    /// sixteen between two checkpoints of a profile, so that these come as often as they do in
    /// the long run.
    async fn side(&mut self) -> Result<Ground, HarnessError> {
        let accounts = self.scale.side_accounts * 2;
        let stock = Stock { accounts, baskets: 0..=15, past: Past::Whole };
        self.stand.ground("side", &stock, &mut *self.tell).await
    }

    /// Takes in what came of a group: its figures, or why there are none.
    fn take(&mut self, group: Group, outcome: Result<Vec<Figure>, HarnessError>) {
        let discarded = self.stand.discarded.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of earlier groups stand there still: there may be a few in all.
        for line in discarded.iter().skip(self.discarded.len()) {
            (self.tell)(line.clone());
        }
        self.discarded.clone_from(&discarded);
        drop(discarded);
        let reason = outcome.as_ref().err().map(chain);
        if let Some(reason) = &reason {
            (self.tell)(format!("NOT MEASURED: {reason}"));
        }
        let figures = outcome.unwrap_or_default();
        for Spec { key, unit, promise, .. } in ROWS.iter().filter(|spec| spec.group == group) {
            let found = figures.iter().find(|(of, _, _)| of == key);
            let (outcome, note) = match (found, &reason) {
                (Some((_, value, note)), _) => (Ok(*value), note.clone()),
                (None, Some(reason)) => (Err(reason.clone()), String::new()),
                (None, None) => (Err("nothing was measured".to_owned()), String::new()),
            };
            self.rows.push(Row { key, unit, promise: *promise, outcome, note });
        }
    }

    /// Half of what can be done: from what was measured, or from a look at this service, beside
    /// which there must be no other that knows the same customers.
    async fn half_per_s(
        &mut self,
        ground: &mut Ground,
        service: &Service,
    ) -> Result<f64, HarnessError> {
        if self.saturated.is_none() {
            let customers = ground.customers(0, ground.cards.len() / 2);
            let (_, per_s) = saturation::calibrate(self, ground, service, &customers).await?;
            (self.tell)(format!("{per_s:.0}/s at saturation, for want of a measurement"));
            self.saturated = Some(Saturated { per_s, pgbench: None });
        }
        Ok(self.saturated.as_ref().map_or(0.0, |saturated| saturated.per_s / 2.0))
    }
}

/// An error with what caused it, in one line.
fn chain(error: &HarnessError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error).and_then(std::error::Error::source);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What will be done, and about how long it takes; measured on two cores.
fn outline(scale: &Scale, is_wanted: &dyn Fn(Group) -> bool) -> String {
    let is_large = is_wanted(Group::Start) || is_wanted(Group::Growth);
    let steps = [
        (is_wanted(Group::Saturation), "saturation beside pgbench: calibration, rounds", 6.0),
        (is_wanted(Group::Alone), "one connection beside one client", 1.5),
        (is_wanted(Group::Half), "half of saturation, the disk alone, the log, a ramp", 2.8),
        (is_wanted(Group::Hot), "one card on 50 tills, one replica and two", 1.0),
        (is_wanted(Group::Memory), "every account in the cache", 2.0),
        (is_wanted(Group::Cold), "accounts with 500 baskets, not in the cache", 2.0),
        (is_large, "the large database: load and audit", 8.0),
        (is_wanted(Group::Start), "starts", 0.2),
        (is_wanted(Group::Growth), "the same load on the large database and a small one", 5.0),
        (is_wanted(Group::Against), "both binaries in turn", 5.0),
    ];
    let steps: Vec<_> = steps.into_iter().filter(|(wanted, _, _)| *wanted).collect();
    let share = if scale.rounds == FULL.rounds { 1.0 } else { 0.1 };
    let minutes: f64 = steps.iter().map(|(_, _, minutes)| minutes * share).sum();
    let mut text = format!("the plan, about {minutes:.0} minutes:");
    for (_, what, minutes) in steps {
        text = format!("{text}\n  {:>4.1} min  {what}", minutes * share);
    }
    text
}
