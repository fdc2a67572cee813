//! What breaks the world: a seeded schedule of blows against the replicas and PostgreSQL, and
//! faults on the wires all the while.
//!
//! Every kind has a counter, and a run in which one of them stays at zero has shown nothing about
//! it. What this machine cannot do is listed as not run, with the reason. It must mend whatever it
//! breaks: when it returns, everything runs and every wire is whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::disk::{NotRun, inject_eio};
use crate::error::HarnessError;
use crate::proxy::Faults;
use crate::tally::Tally;
use crate::world::World;

/// How long a service that is told to end may take: longer than its drain.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(25);
/// How long PostgreSQL may recover by itself after a backend was killed.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait until an error that was asked for has been met.
const INJECTION_PATIENCE: Duration = Duration::from_secs(5);
/// Between blows, when there is little time.
const SHORT_PAUSE_MS: Range<u64> = 50..500;
/// Between blows, so that tills get something done as well.
const LONG_PAUSE_MS: Range<u64> = 50..4_000;
/// How long the wires stay as they are when nothing else happens.
const TANGLED: Duration = Duration::from_millis(500);
/// The highest chances of faults between tills and service.
const TILLS_MOST: Faults = Faults {
    cut_before_request: 0.10,
    cut_after_request: 0.15,
    black_hole: 0.01,
    slow: 0.05,
    reset: 0.08,
    duplicate: 0.15,
    delay_ms: 20,
};
/// The same between service and PostgreSQL, for each statement.
const POSTGRES_MOST: Faults = Faults {
    cut_before_request: 0.01,
    cut_after_request: 0.02,
    black_hole: 0.001,
    slow: 0.01,
    reset: 0.01,
    duplicate: 0.0,
    delay_ms: 5,
};
/// How long somebody holds a lock, or stands still.
const HOLD_MS: Range<u64> = 200..2_000;

/// One kind of blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// SIGKILL to a replica.
    ServerKill,
    /// SIGSTOP to a replica, and SIGCONT after a while.
    ServerStop,
    /// SIGTERM to a replica under load.
    ServerTerm,
    /// Immediate shutdown of PostgreSQL.
    PostgresStop,
    /// SIGKILL to the postmaster.
    PostmasterKill,
    /// SIGKILL to one backend: PostgreSQL restarts all of them.
    BackendKill,
    /// `pg_terminate_backend` for every connection of the service.
    BackendsTerminated,
    /// The busiest account, locked by a stranger.
    RowLock,
    /// All accounts, locked by a stranger.
    TableLock,
    /// A stranger's transaction that is left open.
    IdleInTransaction,
    /// No room on the disk of PostgreSQL for a while.
    FullDisk,
    /// The disk of PostgreSQL reports errors for a while.
    DiskErrors,
}

impl Blow {
    /// All of them, with how often each comes up in a long run.
    pub const ALL: [(Self, u8); 12] = [
        (Self::ServerKill, 25),
        (Self::ServerStop, 8),
        (Self::ServerTerm, 10),
        (Self::PostgresStop, 8),
        (Self::PostmasterKill, 8),
        (Self::BackendKill, 6),
        (Self::BackendsTerminated, 12),
        (Self::RowLock, 8),
        (Self::TableLock, 8),
        (Self::IdleInTransaction, 7),
        (Self::FullDisk, 3),
        (Self::DiskErrors, 3),
    ];

    /// How it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerKill => "service killed (SIGKILL)",
            Self::ServerStop => "service stopped and continued (SIGSTOP)",
            Self::ServerTerm => "service told to end under load (SIGTERM)",
            Self::PostgresStop => "PostgreSQL stopped immediately (SIGQUIT)",
            Self::PostmasterKill => "postmaster killed (SIGKILL)",
            Self::BackendKill => "one backend killed (SIGKILL)",
            Self::BackendsTerminated => "backends terminated",
            Self::RowLock => "busiest account locked by a stranger",
            Self::TableLock => "all accounts locked by a stranger",
            Self::IdleInTransaction => "transaction of a stranger left open",
            Self::FullDisk => "disk of PostgreSQL full",
            Self::DiskErrors => "disk of PostgreSQL reporting errors (EIO)",
        }
    }
}

/// Which blows fall.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// So many of each, shuffled; then faulty wires only, until there were so many faults there.
    Counted {
        /// The blows.
        blows: Vec<(Blow, usize)>,
        /// Faults on the wires, at least.
        wire_faults: u64,
    },
    /// One of each, then as they come, for this long.
    Lasting(Duration),
    /// None, for this long.
    Peace(Duration),
}

/// What the nemesis did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Blows by kind.
    pub blows: BTreeMap<Blow, u64>,
    /// What this machine cannot do, and why.
    pub not_run: BTreeMap<Blow, String>,
    /// What a blow brought to light that must not be.
    pub findings: Vec<String>,
}

/// The one who breaks things.
pub struct Nemesis<'a> {
    world: &'a mut World,
    rng: Rng,
    tally: Arc<Tally>,
    /// The card of the busiest account.
    hot_card: String,
    /// Between blows.
    pause_ms: Range<u64>,
    deeds: Deeds,
    /// Strangers who hold something for a while.
    strangers: JoinSet<()>,
}

impl<'a> Nemesis<'a> {
    /// A nemesis for a world.
    pub fn new(world: &'a mut World, seed: u64, tally: Arc<Tally>, hot_card: String) -> Self {
        let rng = Rng::with_seed(seed);
        Self {
            world,
            rng,
            tally,
            hot_card,
            pause_ms: SHORT_PAUSE_MS,
            deeds: Deeds::default(),
            strangers: JoinSet::new(),
        }
    }

    /// Lets the blows of a schedule fall, and mends everything.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn run(mut self, schedule: &Schedule, wires: bool) -> Result<Deeds, HarnessError> {
        let mut blows: Vec<Blow> = match schedule {
            Schedule::Counted { blows, .. } => {
                blows.iter().flat_map(|(blow, count)| vec![*blow; *count]).collect()
            }
            Schedule::Lasting(_) => Blow::ALL.map(|(blow, _)| blow).to_vec(),
            Schedule::Peace(_) => Vec::new(),
        };
        self.rng.shuffle(&mut blows);
        let started = Instant::now();
        for blow in blows {
            self.fall(blow, wires).await?;
        }
        match schedule {
            Schedule::Counted { wire_faults, .. } => {
                while wires && self.world.wire_faults().values().sum::<u64>() < *wire_faults {
                    self.tangle_wires();
                    sleep(TANGLED).await;
                }
            }
            Schedule::Lasting(time) => {
                self.pause_ms = LONG_PAUSE_MS;
                while started.elapsed() < *time {
                    let blow = self.draw();
                    self.fall(blow, wires).await?;
                }
            }
            Schedule::Peace(time) => sleep(*time).await,
        }
        for replica in &self.world.replicas {
            replica.front.set_faults(Faults::default());
            replica.back.set_faults(Faults::default());
        }
        self.strangers.shutdown().await;
        Ok(self.deeds)
    }

    fn draw(&mut self) -> Blow {
        let all: u8 = Blow::ALL.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.u8(0..all);
        for (blow, weight) in Blow::ALL {
            if left < weight {
                return blow;
            }
            left -= weight;
        }
        unreachable!("the number drawn is below the sum of the weights")
    }

    async fn fall(&mut self, blow: Blow, wires: bool) -> Result<(), HarnessError> {
        if wires {
            self.tangle_wires();
        }
        let pause_ms = self.rng.u64(self.pause_ms.clone());
        sleep(Duration::from_millis(pause_ms)).await;
        match self.strike(blow).await? {
            None => *self.deeds.blows.entry(blow).or_default() += 1,
            Some(NotRun(why)) => {
                self.deeds.not_run.insert(blow, why);
            }
        }
        Ok(())
    }

    /// Other faults on every wire; now and then one is whole. Tills see many, because they can
    /// bear them at the same time; each one towards PostgreSQL stops a whole committer.
    fn tangle_wires(&mut self) {
        let rng = &mut self.rng;
        for replica in &self.world.replicas {
            for (wire, most) in [(&replica.front, TILLS_MOST), (&replica.back, POSTGRES_MOST)] {
                let scale = if rng.u8(0..4) == 0 { 0.0 } else { rng.f64() };
                wire.set_faults(Faults {
                    cut_before_request: scale * most.cut_before_request,
                    cut_after_request: scale * most.cut_after_request,
                    black_hole: scale * most.black_hole,
                    slow: scale * most.slow,
                    reset: scale * most.reset,
                    duplicate: scale * most.duplicate,
                    delay_ms: if rng.u8(0..4) == 0 { rng.u64(0..=most.delay_ms) } else { 0 },
                });
            }
        }
    }

    /// One blow, and everything mended after it; or the reason why it cannot be struck here.
    async fn strike(&mut self, blow: Blow) -> Result<Option<NotRun>, HarnessError> {
        let hold = Duration::from_millis(self.rng.u64(HOLD_MS));
        let number = self.rng.usize(0..self.world.replicas.len());
        let server = &mut self.world.replicas[number].server;
        match blow {
            Blow::ServerKill => {
                server.kill().await;
                sleep(hold / 10).await;
                server.restart().await?;
            }
            Blow::ServerStop => {
                server.signal(Signal::SIGSTOP);
                sleep(hold).await;
                server.signal(Signal::SIGCONT);
            }
            Blow::ServerTerm => {
                let status = server.terminate(TERMINATE_PATIENCE).await?;
                if !status.success() {
                    let what = format!("a service that was told to end ended with {status}");
                    self.deeds.findings.push(what);
                }
                server.restart().await?;
            }
            Blow::PostgresStop => {
                self.world.postgres.crash(Signal::SIGQUIT).await?;
                self.tally.postgres_is_back();
            }
            Blow::PostmasterKill => {
                self.world.postgres.crash(Signal::SIGKILL).await?;
                self.tally.postgres_is_back();
            }
            Blow::BackendKill => self.kill_backend().await?,
            Blow::BackendsTerminated => {
                let client = self.world.postgres.connect().await?;
                run(&client, TERMINATE).await?;
            }
            Blow::RowLock => {
                let client = self.world.postgres.connect().await?;
                run(&client, &LOCK_ROW.replace("{card}", &self.hot_card)).await?;
                sleep(hold).await;
            }
            Blow::TableLock => {
                let client = self.world.postgres.connect().await?;
                run(&client, LOCK_TABLE).await?;
                sleep(hold).await;
            }
            Blow::IdleInTransaction => {
                let client = self.world.postgres.connect().await?;
                run(&client, LEAVE_OPEN).await?;
                // Dropping the client ends its session, and its transaction with it.
                self.strangers.spawn(async move {
                    sleep(hold * 3).await;
                    drop(client);
                });
            }
            Blow::FullDisk => return self.fill_disk(hold).await,
            Blow::DiskErrors => return self.inject_errors().await,
        }
        Ok(None)
    }

    /// PostgreSQL refuses what makes tables grow, and gives up when its log cannot grow.
    async fn fill_disk(&mut self, hold: Duration) -> Result<Option<NotRun>, HarnessError> {
        let Some(disk) = self.world.disk() else {
            return Ok(Some(self.world.no_disk()));
        };
        block_in_place(|| disk.fill()).map_err(HarnessError::doing("filling the disk"))?;
        sleep(hold).await;
        disk.free().map_err(HarnessError::doing("freeing the disk"))?;
        self.recovered().await?;
        Ok(None)
    }

    /// PostgreSQL gives up when it cannot flush, and recovers from what was flushed before.
    async fn inject_errors(&mut self) -> Result<Option<NotRun>, HarnessError> {
        let postmaster = self.world.postgres.process_id()?;
        let injection = match block_in_place(|| inject_eio(postmaster)) {
            Ok(injection) => injection,
            Err(why) => return Ok(Some(why)),
        };
        let until = Instant::now() + INJECTION_PATIENCE;
        while injection.injected() == 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
        let injected = injection.injected();
        block_in_place(|| drop(injection));
        self.recovered().await?;
        let why = || NotRun("nothing was written while errors were injected".to_owned());
        Ok((injected == 0).then(why))
    }

    async fn kill_backend(&mut self) -> Result<(), HarnessError> {
        let client = self.world.postgres.connect().await?;
        let row = client.query_opt(ONE_BACKEND, &[]).await;
        let row = row.map_err(HarnessError::doing("looking for a backend"))?;
        // Without one the replicas are connecting just now; any backend will do, such as ours.
        let number = match row {
            Some(row) => row.get::<_, i32>(0),
            None => {
                let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
                row.map_err(HarnessError::doing("looking for a backend"))?.get(0)
            }
        };
        kill(Pid::from_raw(number), Signal::SIGKILL)
            .map_err(HarnessError::doing("killing a backend"))?;
        // Our own connection ends when the postmaster has noticed.
        let until = Instant::now() + RECOVERY_PATIENCE;
        while !client.is_closed() && Instant::now() < until {
            sleep(Duration::from_millis(2)).await;
        }
        self.recovered().await
    }

    /// Waits until PostgreSQL answers again; starts it when it has given up altogether.
    async fn recovered(&mut self) -> Result<(), HarnessError> {
        let until = Instant::now() + RECOVERY_PATIENCE;
        while let Err(error) = self.world.postgres.connect().await {
            if self.world.postgres.has_ended().await {
                self.world.postgres.come_back().await?;
            } else if Instant::now() >= until {
                return Err(error);
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.tally.postgres_is_back();
        Ok(())
    }
}

const TERMINATE: &str = "\
-- nemesis::terminate
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tillside%'";

const ONE_BACKEND: &str = "\
-- nemesis::one_backend
SELECT pid FROM pg_stat_activity
WHERE application_name LIKE 'tillside%' ORDER BY random() LIMIT 1";

const LOCK_ROW: &str = "\
-- nemesis::lock_row
BEGIN;
SELECT 1 FROM account WHERE account_id = (SELECT account_id FROM card WHERE card = '{card}')
FOR UPDATE";

const LOCK_TABLE: &str = "\
-- nemesis::lock_table
BEGIN;
LOCK TABLE account IN ACCESS EXCLUSIVE MODE";

const LEAVE_OPEN: &str = "\
-- nemesis::leave_open
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM swipe_key";

async fn run(client: &Client, sql: &str) -> Result<(), HarnessError> {
    client.batch_execute(sql).await.map_err(HarnessError::doing("a blow by SQL"))
}
