//! Runs a scenario in a world of its own, and watches what the processes use meanwhile. Ends
//! everything that it started, also when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::outcome::{CpuPerSwipe, Outcome, PhaseOutcome};
use super::scenario::{Pace, Phase, Phases};
use super::{Load, Measured, Shape, Target, drive};
use crate::error::HarnessError;
use crate::stock::{self, Past, Stock};
use crate::usage;
use crate::world::direct::{self, Direct};

/// Runs the phases; `tell` gets a line for each step.
///
/// # Errors
/// When the run itself could not be made. What it measured stands in the outcome.
pub async fn run(
    scenario: &Phases,
    binary: &Path,
    folder: PathBuf,
    mut tell: impl FnMut(String),
) -> Result<Outcome, HarnessError> {
    tell(format!("starting PostgreSQL, with {} accounts", scenario.accounts));
    let mut world = Direct::make(direct::Plan {
        folder,
        binary: binary.to_owned(),
        stores: scenario.stores,
        tills_of_a_store: scenario.terminals,
        config: scenario.service.clone(),
    })
    .await?;
    let today = world.config.time_zone().to_datetime(Timestamp::now()).date();
    let target = prepare(&mut world, scenario, today).await?;
    let mut watched = Watched { services: Vec::new(), postgres: world.postgres_id()? };
    watched.services.extend(world.replicas.iter().filter_map(|(_, server)| server.id()));
    let skus: Arc<[String]> = stock::skus().collect();
    let (mut number, mut phases) = (1, Vec::<PhaseOutcome>::new());
    for phase in &scenario.phases {
        let first_per_s = phases.first().map_or(0.0, |first| first.per_s);
        let shape = match phase.pace {
            Pace::PerS(per_s) => Shape::Open { per_s },
            Pace::OfFirst(part) => Shape::Open { per_s: first_per_s * part },
            Pace::AtATime(connections) => Shape::Closed { connections },
        };
        let how = match shape {
            Shape::Open { per_s } => format!("{per_s:.0}/s"),
            Shape::Closed { connections } => format!("{connections} at a time"),
        };
        tell(format!("{}: {how}, for {} s", phase.name, phase.warm_up_s + phase.seconds));
        let load = Load {
            shape,
            warm_up_s: phase.warm_up_s,
            seconds: phase.seconds,
            connections: scenario.connections,
            protocol: scenario.protocol,
            pick: scenario.pick,
            basket: scenario.basket,
            seed: scenario.seed,
            skus: Arc::clone(&skus),
        };
        let (measured, used) = tokio::join!(drive(&target, &load, number), watched.watch(phase));
        let measured = measured?;
        number = measured.next_sequence_number;
        phases.push(used.added_to(phase, shape, measured));
    }
    let conditions = conditions(scenario, binary);
    world.end().await?;
    let (title, findings) = (scenario.title.clone(), Vec::new());
    let mut outcome = Outcome { title, conditions, phases, findings };
    outcome.judge(&scenario.limits);
    Ok(outcome)
}

/// Accounts, replicas, and where to send.
async fn prepare(
    world: &mut Direct,
    scenario: &Phases,
    today: Date,
) -> Result<Target, HarnessError> {
    let stock = Stock {
        accounts: scenario.accounts,
        baskets: scenario.history..=scenario.history,
        past: Past::Outcome,
    };
    let database = &world.config.database;
    let loaded = stock::load(database, &world.workstations, &stock, today, |_| ()).await?;
    for _ in 0..scenario.replicas {
        world.start_replica().await?;
    }
    Ok(Target {
        addresses: world.replicas.iter().map(|(address, _)| *address).collect(),
        tills: world.workstations.clone().into(),
        cards: loaded.cards,
        today,
        wallets: Arc::default(),
    })
}

fn conditions(scenario: &Phases, binary: &Path) -> Vec<(String, String)> {
    let Phases { accounts, history, pick, basket, stores, terminals, .. } = scenario;
    let Phases { replicas, connections, protocol, seed, .. } = scenario;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name"));
    let processor = processor.map_or("?", |it| it.trim_start_matches([' ', '\t', ':']));
    [
        ("machine", format!("{cores} cores of {processor}, shared by everything below")),
        ("service", format!("{replicas} of {}, {protocol:?}", binary.display())),
        ("tills", format!("{terminals} in each of {stores} stores, at most {connections} swiping")),
        ("customers", format!("{accounts}, {history} baskets each before; next: {pick:?}")),
        ("baskets", format!("{basket:?}, seed {seed}")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The processes of a run.
struct Watched {
    services: Vec<u32>,
    /// The postmaster.
    postgres: u32,
}

/// What they used in the measured part of a phase.
struct Used {
    service_s: f64,
    postgres_s: f64,
    resident_mib: Vec<f64>,
}

impl Watched {
    /// Watches for as long as a phase lasts that begins now.
    async fn watch(&self, phase: &Phase) -> Used {
        let measuring = Instant::now() + Duration::from_secs_f64(phase.warm_up_s);
        let ends = measuring + Duration::from_secs_f64(phase.seconds);
        let mut seconds = interval_at(measuring, Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        seconds.tick().await;
        let (service_s, postgres_s) = self.cpu_s();
        let mut resident_mib = vec![self.resident_mib()];
        loop {
            tokio::select! {
                _ = seconds.tick() => resident_mib.push(self.resident_mib()),
                () = sleep_until(ends) => break,
            }
        }
        let (service_until_s, postgres_until_s) = self.cpu_s();
        Used {
            service_s: service_until_s - service_s,
            postgres_s: postgres_until_s - postgres_s,
            resident_mib,
        }
    }

    fn cpu_s(&self) -> (f64, f64) {
        let services = self.services.iter().map(|service| usage::cpu_s(*service));
        (services.sum(), usage::family_cpu_s(self.postgres))
    }

    fn resident_mib(&self) -> f64 {
        let bytes: u64 = self.services.iter().map(|it| usage::resident_bytes(*it)).sum();
        bytes as f64 / 1_048_576.0
    }
}

impl Used {
    fn added_to(self, phase: &Phase, shape: Shape, measured: Measured) -> PhaseOutcome {
        let per_swipe_us = |used_s: f64| used_s * 1e6 / measured.arrived.max(1) as f64;
        let cpu_us = CpuPerSwipe {
            service: per_swipe_us(self.service_s),
            postgres: per_swipe_us(self.postgres_s),
            generator: measured.generator_cpu_us,
        };
        let offered_per_s = match shape {
            Shape::Open { per_s } => Some(per_s),
            Shape::Closed { .. } => None,
        };
        let outcome = PhaseOutcome::new(&phase.name, phase.pace, offered_per_s, measured);
        PhaseOutcome { cpu_us, resident_mib: self.resident_mib, ..outcome }
    }
}
