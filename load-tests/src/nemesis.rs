//! What breaks the world: a seeded schedule of blows against the replicas and PostgreSQL, and
//! faults on the wires all the while.
//!
//! Every kind has a counter, and a run in which one of them stays at zero has shown nothing about
//! it. What this machine cannot do is listed as not run, with the reason. It must mend whatever it
//! breaks: when it returns, everything runs and every wire is whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::error::HarnessError;
use crate::proxy::Faults;
use crate::tally::Tally;
use crate::world::World;

/// How long a service that is told to end may take: longer than its drain.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(25);
/// How long PostgreSQL may recover by itself after a backend was killed.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(60);
/// Between blows.
const PAUSE_MS: std::ops::Range<u64> = 50..500;
/// How long somebody holds a lock, or stands still.
const HOLD_MS: std::ops::Range<u64> = 200..2_000;

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
}

impl Blow {
    /// All of them, with how often each comes up in a long run.
    pub const ALL: [(Self, u8); 10] = [
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
        }
    }

    /// Whether PostgreSQL goes down in it.
    pub fn downs_postgres(self) -> bool {
        matches!(self, Self::PostgresStop | Self::PostmasterKill | Self::BackendKill)
    }
}

/// Which blows fall.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// So many of each, shuffled.
    Counted(Vec<(Blow, usize)>),
    /// As they come, for this long.
    Lasting(Duration),
    /// None, for this long.
    Peace(Duration),
}

/// What the nemesis did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Blows by kind.
    pub blows: BTreeMap<Blow, u64>,
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
    deeds: Deeds,
    /// Strangers who hold something for a while.
    strangers: JoinSet<()>,
}

impl<'a> Nemesis<'a> {
    /// A nemesis for a world.
    pub fn new(world: &'a mut World, seed: u64, tally: Arc<Tally>, hot_card: String) -> Self {
        let rng = Rng::with_seed(seed);
        Self { world, rng, tally, hot_card, deeds: Deeds::default(), strangers: JoinSet::new() }
    }

    /// Lets the blows of a schedule fall, and mends everything.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn run(mut self, schedule: &Schedule, wires: bool) -> Result<Deeds, HarnessError> {
        match schedule {
            Schedule::Counted(counts) => {
                let each = |(blow, count): &(Blow, usize)| vec![*blow; *count];
                let mut blows: Vec<Blow> = counts.iter().flat_map(each).collect();
                self.rng.shuffle(&mut blows);
                for blow in blows {
                    self.fall(blow, wires).await?;
                }
            }
            Schedule::Lasting(time) => {
                let end = Instant::now() + *time;
                while Instant::now() < end {
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
        sleep(Duration::from_millis(self.rng.u64(PAUSE_MS))).await;
        self.strike(blow).await?;
        *self.deeds.blows.entry(blow).or_default() += 1;
        Ok(())
    }

    /// Other faults on every wire; now and then one is whole.
    fn tangle_wires(&mut self) {
        for replica in &self.world.replicas {
            for wire in [&replica.front, &replica.back] {
                let rng = &mut self.rng;
                let quiet = rng.u8(0..4) == 0;
                let scale = if quiet { 0.0 } else { 1.0 };
                wire.set_faults(Faults {
                    cut_before_request: scale * rng.f64() * 0.04,
                    cut_after_request: scale * rng.f64() * 0.04,
                    black_hole: scale * rng.f64() * 0.004,
                    slow: scale * rng.f64() * 0.01,
                    reset: scale * rng.f64() * 0.02,
                    duplicate: scale * rng.f64() * 0.04,
                    delay_ms: if rng.u8(0..3) == 0 { rng.u64(0..20) } else { 0 },
                });
            }
        }
    }

    async fn strike(&mut self, blow: Blow) -> Result<(), HarnessError> {
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
        }
        Ok(())
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
        let noticed = Instant::now() + RECOVERY_PATIENCE;
        while !client.is_closed() && Instant::now() < noticed {
            sleep(Duration::from_millis(2)).await;
        }
        loop {
            match self.world.postgres.connect().await {
                Ok(_) => break,
                Err(error) if Instant::now() >= noticed => return Err(error),
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
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
