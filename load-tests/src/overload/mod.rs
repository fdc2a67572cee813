//! Five times as much as can be done: how much is done all the same, how soon the others are
//! told, and how soon everything is as before.
//!
//! The service is the one that people run. Its capacity is throttled from outside: batches are
//! small by configuration, and the proxy before PostgreSQL delays every statement by a fixed
//! time. So the figures tell how the service behaves when its database is the bottleneck, and
//! not how fast this machine is. Ends by itself, and loads nothing but this machine.

mod report;
mod second;
mod tills;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tillside::config::Commit;

use self::report::Phases;
pub use self::report::{Latency, Part, Report};
use self::tills::{Load, Tills};
use crate::baskets::Shop;
use crate::error::HarnessError;
use crate::proxy::Faults;
use crate::world::{self, World};

/// Two committers, each one batch in about 50 ms: 40 batches a second.
const COMMITTERS: usize = 2;
const STATEMENT_DELAY_MS: u64 = 45;
const BATCHES_PER_S: usize = 40;

/// Offered while the capacity is measured, as a part of what it should be: a little more than can
/// be done, so that every batch is full and hardly anybody is refused.
const SATURATING: f64 = 1.2;

/// Longer than any till listens.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tills, each with a key of its own.
const TILLS: usize = 100;
/// Customers with a card; all of them are known before the capacity is measured.
const CUSTOMERS_PER_CAPACITY: f64 = 2.5;

/// How many times the capacity is offered.
const OVERLOAD: f64 = 5.0;
/// The part of the capacity that is offered before and after.
const ORDINARY: f64 = 0.5;

const WARM_UP_S: usize = 5;
const CAPACITY_S: usize = 10;
const ORDINARY_S: usize = 10;
const RECOVERY_S: usize = 15;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything is kept while it runs: a new or empty folder.
    pub folder: PathBuf,
    /// The `tillside` binary; a release build, if the figures are to mean anything.
    pub binary: PathBuf,
    /// To how many swipes a second it is throttled: 2,000 in the promise. A debug build can do
    /// a tenth of it.
    pub capacity_per_s: usize,
    /// How long the overload lasts.
    pub seconds: usize,
    /// What is broken in the service on purpose; needs a build that can.
    pub sabotage: Option<&'static str>,
}

/// Runs the scenario; `tell` gets a line for each part of it.
///
/// # Errors
/// When the run itself could not be made. What it measured stands in the report.
pub async fn run(plan: &Plan, mut tell: impl FnMut(String)) -> Result<Report, HarnessError> {
    let batch_max = plan.capacity_per_s.div_ceil(BATCHES_PER_S);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let nominal_per_s = plan.capacity_per_s as f64;
    let saturating_per_s = nominal_per_s * SATURATING;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few thousand, and above zero"
    )]
    let customers = (nominal_per_s * CUSTOMERS_PER_CAPACITY) as u64;
    let world_plan = world::Plan {
        folder: plan.folder.clone(),
        disk_mib: None,
        binary: plan.binary.clone(),
        servers: 1,
        tills: TILLS,
        seed: 1,
        sabotage: plan.sabotage,
        commit: Commit { committers: COMMITTERS, batch_max, ..Commit::default() },
    };
    let world = World::make(&world_plan).await?;
    let replica = &world.replicas[0];
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let shop = Shop::new(customers, today);
    let service = replica.server.id().unwrap_or_default();
    let mut tills = Tills::new(replica.address, service, world.workstations.clone(), shop);

    tell(format!("opening accounts for {customers} customers"));
    tills.send(Load::InAllPerSecond(saturating_per_s), WARM_UP_S).await;
    replica.back.set_faults(Faults { delay_ms: STATEMENT_DELAY_MS, ..Faults::default() });
    tills.send(Load::InAllPerSecond(saturating_per_s), WARM_UP_S).await;
    tell(format!("measuring the capacity, with {saturating_per_s:.0}/s offered"));
    let capacity = tills.send(Load::InAllPerSecond(saturating_per_s), CAPACITY_S).await;
    // The last of them are answered before they are counted.
    tokio::time::sleep(PATIENCE).await;
    let per_s = Part::new(&tills.seconds()[capacity.clone()]).goodput_per_s;
    tell(format!("{per_s:.0} swipes/s; now {:.0}/s, as on any day", per_s * ORDINARY));
    let ordinary = tills.send(Load::PerSecond(per_s * ORDINARY), ORDINARY_S).await;
    tell(format!("now {:.0}/s for {} s, repetitions among them", per_s * OVERLOAD, plan.seconds));
    let overload = tills.send(Load::InAllPerSecond(per_s * OVERLOAD), plan.seconds).await;
    tell(format!("now {:.0}/s again, and what is repeated besides", per_s * ORDINARY));
    let recovery = tills.send(Load::PerSecond(per_s * ORDINARY), RECOVERY_S).await;
    tokio::time::sleep(PATIENCE).await;
    let phases = Phases { capacity, ordinary, overload, recovery };
    let report = Report::new(&phases, &tills.seconds(), nominal_per_s);
    world.end().await?;
    Ok(report)
}
