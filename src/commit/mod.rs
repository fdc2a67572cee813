//! Admission, batches and the committers: the only place that writes account-owned rows.
//!
//! A command is admitted before any work on it, or refused at once when too much waits. Each
//! committer is a task that owns a connection and a share of the accounts by hash, so that
//! swipes of one account meet in one place and are chained. While one batch is in PostgreSQL
//! the next one fills: the batch size follows the load by itself, without a timer.
//!
//! A caller that goes away cancels nothing: committers own their work, and the answer can be
//! asked for by name. Nothing here is refused for business reasons.

mod batch;
mod cards;
mod facts;
mod fold;
mod pass;
#[doc(hidden)]
pub mod probe;
mod sql;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::civil::Date;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::catalogue::{Catalogue, Workstation};
use crate::config::{self, Secret};
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::basket::Swipe;
use crate::domain::bucket;
use crate::domain::name::SwipeName;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::receipt::Compressor;
pub use cards::{Enrolled, Enrolment, MemberDetails};
use pass::Footing;
use sql::Statements;

/// What a refused caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Between attempts to reach a database that is away.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);

/// What a terminal wants written.
#[derive(Clone, Debug)]
pub enum Command {
    /// Record a transaction.
    Record(Box<Swipe>),
    /// Undo a transaction as a whole.
    Void(SwipeName),
}

impl Command {
    /// What puts commands into the order in which they happened.
    pub fn order(&self) -> (jiff::Timestamp, i64) {
        match self {
            Self::Record(swipe) => (swipe.occurred_at, swipe.name.sequence_number),
            Self::Void(name) => (jiff::Timestamp::MAX, name.sequence_number),
        }
    }

    /// The card of a transaction that is for a customer.
    fn customer_card(&self) -> Option<&str> {
        match self {
            Self::Record(swipe) => swipe.customer_card(),
            Self::Void(_) => None,
        }
    }
}

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is durable.
    Recorded {
        /// The answer as it was given the first time.
        answer: Bytes,
        /// Whether this very command had been recorded before.
        replayed: bool,
        /// Whether the transaction is voided.
        voided: bool,
    },
    /// The name is taken by a transaction with other content. Nothing was done.
    NameReused,
}

/// Identifies a transaction in the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameKey {
    pub(crate) bucket: u8,
    pub(crate) workstation_no: i32,
    pub(crate) business_date: Date,
    pub(crate) sequence_number: i64,
}

impl NameKey {
    pub(crate) fn new(workstation: &Workstation, name: &SwipeName) -> Self {
        Self {
            bucket: workstation.bucket,
            workstation_no: workstation.workstation_no,
            business_date: name.business_date,
            sequence_number: name.sequence_number,
        }
    }
}

/// A command on its way.
struct Job {
    command: Command,
    /// The workstation of the transaction's name.
    workstation: Arc<Workstation>,
    name: NameKey,
    admitted_at: Instant,
    deadline: Instant,
    /// Whether a statement with it may have reached the database.
    sent: bool,
    /// Taken when the caller has been answered.
    reply: Option<oneshot::Sender<Result<Outcome, Error>>>,
}

impl Job {
    fn answer(&mut self, outcome: Result<Outcome, Error>) {
        if let Some(reply) = self.reply.take() {
            // A till that hung up asks again by name.
            let _ = reply.send(outcome);
        }
    }

    fn is_open(&self) -> bool {
        self.reply.is_some()
    }
}

/// What all committers share.
struct Shared {
    accounts: Accounts,
    catalogue: Catalogue,
    metrics: Arc<Metrics>,
    /// Account numbers taken from the database and not used yet.
    numbers: std::sync::Mutex<Vec<i64>>,
}

/// The committers. Cheap to clone; when the last clone is dropped they finish what was admitted
/// and end.
#[derive(Clone)]
pub struct Committers {
    shared: Arc<Shared>,
    queues: Arc<[mpsc::Sender<Job>]>,
    /// One permit for each command that may wait or be worked on.
    permits: Arc<Semaphore>,
    connector: Arc<Connector>,
    /// The connection of enrolments.
    desk: Arc<tokio::sync::Mutex<Option<Connection>>>,
}

/// Waits until the committers have ended.
pub struct CommitterTasks(tokio::task::JoinSet<()>);

impl CommitterTasks {
    /// Returns when everything that was admitted has been answered.
    pub async fn ended(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

impl Committers {
    /// Starts the committers. They connect by themselves, also when the database comes later.
    pub fn start(
        settings: &config::Commit,
        database: &config::Database,
        accounts: Accounts,
        catalogue: Catalogue,
        metrics: Arc<Metrics>,
    ) -> (Self, CommitterTasks) {
        let numbers = std::sync::Mutex::default();
        let shared = Arc::new(Shared { accounts, catalogue, metrics, numbers });
        let connector = Arc::new(Connector {
            url: database.url.clone(),
            connect_timeout: Duration::from_millis(database.connect_timeout_ms),
            statement_timeout: Duration::from_millis(settings.statement_timeout_ms),
            lock_timeout: Duration::from_millis(settings.lock_timeout_ms),
        });
        let mut tasks = tokio::task::JoinSet::new();
        let mut queues = Vec::with_capacity(settings.committers);
        for number in 0..settings.committers {
            let (sender, receiver) = mpsc::channel(settings.queue_max);
            queues.push(sender);
            let committer = Committer {
                number,
                batch_max: settings.batch_max,
                connector: Arc::clone(&connector),
                shared: Arc::clone(&shared),
                compressor: Compressor::new(),
                connection: None,
            };
            tasks.spawn(committer.run(receiver));
        }
        let permits = Arc::new(Semaphore::new(settings.queue_max));
        let desk = Arc::default();
        let committers = Self { shared, queues: queues.into(), permits, connector, desk };
        (committers, CommitterTasks(tasks))
    }

    /// Has a command written, and waits for its outcome until the deadline.
    ///
    /// # Errors
    /// [`Error::Overloaded`] at once when too much waits, and [`Error::OutcomeUnknown`] when the
    /// deadline passes first: the work goes on, and asking again under the same name is safe.
    pub async fn submit(
        &self,
        command: Command,
        workstation: Arc<Workstation>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let overloaded = Error::Overloaded { retry_after: RETRY_AFTER };
        let Ok(_permit) = self.permits.try_acquire() else { return Err(overloaded) };
        let name = match &command {
            Command::Record(swipe) => &swipe.name,
            Command::Void(name) => name,
        };
        let name = NameKey::new(&workstation, name);
        let queue = self.queue_of(&command, &workstation);
        let (reply, outcome) = oneshot::channel();
        let admitted_at = Instant::now();
        let reply = Some(reply);
        let job = Job { command, workstation, name, admitted_at, deadline, sent: false, reply };
        if queue.try_send(job).is_err() {
            return Err(overloaded);
        }
        self.shared.metrics.queue_depth.inc();
        match tokio::time::timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The committer is gone, or time is up: the name will tell.
            Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown),
        }
    }

    /// The queue of the account, so far as it is known here; any queue would be right.
    fn queue_of(&self, command: &Command, workstation: &Workstation) -> &mpsc::Sender<Job> {
        let share = match command.customer_card() {
            Some(card) => self
                .shared
                .accounts
                .account_of(card)
                .map_or_else(|| u64::from(bucket::of_card(card)), i64::cast_unsigned),
            None => workstation.house_account.cast_unsigned(),
        };
        // Ids differ in all their bits only after mixing (Fibonacci hashing).
        let mixed = share.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let at = usize::try_from(mixed).expect("32 bits") % self.queues.len();
        &self.queues[at]
    }
}

/// One committer: a connection and what is needed to use it.
struct Committer {
    number: usize,
    batch_max: usize,
    connector: Arc<Connector>,
    shared: Arc<Shared>,
    compressor: Compressor,
    connection: Option<Connection>,
}

struct Connection {
    dedicated: Dedicated,
    statements: Statements,
}

/// How this module connects.
struct Connector {
    url: Secret,
    connect_timeout: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
}

impl Connector {
    async fn connect(&self) -> Result<Connection, DbError> {
        let session = Session {
            application_name: "tillside committer",
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
            settings: sql::SESSION,
        };
        let dedicated = connect_dedicated(&self.url, self.connect_timeout, &session).await?;
        let statements = Statements::prepare(dedicated.client()).await?;
        Ok(Connection { dedicated, statements })
    }
}

impl Committer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        // Connected before the first till comes, so that it need not wait for it.
        if let Err(error) = self.connect().await {
            tracing::warn!(committer = self.number, %error, "not connected yet");
        }
        let mut jobs = Vec::with_capacity(self.batch_max);
        while queue.recv_many(&mut jobs, self.batch_max).await > 0 {
            let metrics = &self.shared.metrics;
            metrics.queue_depth.sub(i64::try_from(jobs.len()).expect("a batch is small"));
            for job in &jobs {
                metrics.phases.queue.observe(job.admitted_at.elapsed().as_secs_f64());
            }
            // A bug must not take the accounts of this committer out of service. Whoever is not
            // answered yet learns that the outcome is unknown when the jobs are dropped.
            if AssertUnwindSafe(self.work(&mut jobs)).catch_unwind().await.is_err() {
                tracing::error!(committer = self.number, "a pass panicked");
                self.connection = None;
                self.compressor = Compressor::new();
            }
            jobs.clear();
        }
    }

    /// Works on a batch until every job is answered. The first attempt trusts the cache; what
    /// did not move is looked at under locks, until it is written, recorded or out of time.
    async fn work(&mut self, jobs: &mut [Job]) {
        let mut footing = Footing::Cached;
        loop {
            let now = Instant::now();
            for job in jobs.iter_mut().filter(|job| job.deadline <= now) {
                let sent = job.sent;
                job.answer(Err(if sent { Error::OutcomeUnknown } else { Error::DeadlineExceeded }));
            }
            if !jobs.iter().any(Job::is_open) {
                return;
            }
            if let Err(error) = self.connect().await {
                tracing::warn!(committer = self.number, %error, "the database cannot be reached");
                tokio::time::sleep(RECONNECT_INTERVAL).await;
                continue;
            }
            self.bisect(jobs, footing).await;
            footing = Footing::Locked;
        }
    }

    /// Runs a pass; when the database refuses it, runs each half by itself, so that only the
    /// culprit gets the error. A lost connection is left to the caller.
    ///
    /// Breadth first: behind a culprit that costs a lock timeout each time, the larger half
    /// without it comes next and not last.
    async fn bisect(&mut self, jobs: &mut [Job], footing: Footing) {
        let mut parts: VecDeque<&mut [Job]> = VecDeque::from([jobs]);
        while let Some(part) = parts.pop_front() {
            let Some(connection) = self.connection.as_mut().filter(|it| !it.dedicated.is_lost())
            else {
                return;
            };
            let pass = pass::run(connection, &self.shared, &mut self.compressor, part, footing);
            match pass.await {
                Ok(()) => {}
                Err(error) if is_lost(&error) => {
                    tracing::warn!(committer = self.number, %error, "connection lost in a pass");
                    self.connection = None;
                }
                Err(error) => {
                    let open = part.iter().filter(|job| job.is_open()).count();
                    if open > 1 {
                        self.shared.metrics.bisections.inc();
                        let (left, right) = part.split_at_mut(part.len() / 2);
                        parts.extend([left, right]);
                    } else if let Some(job) = part.iter_mut().find(|job| job.is_open()) {
                        if is_lost_race(&error) {
                            continue;
                        }
                        tracing::error!(committer = self.number, %error, "refused by the database");
                        job.answer(Err(error));
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(), DbError> {
        if self.connection.as_ref().is_some_and(|connection| !connection.dedicated.is_lost()) {
            return Ok(());
        }
        self.connection = Some(self.connector.connect().await?);
        self.shared.metrics.connections_made.inc();
        Ok(())
    }
}

fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.is_lost())
}

/// Another account has just taken the name (23505), or another session went first (40P01): the
/// next round will see it.
fn is_lost_race(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    matches!(error.sqlstate(), Some("23505" | "40P01"))
}
