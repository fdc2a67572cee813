//! The committers: each takes what waits in its lane, and has it written by passes over one
//! connection. Owns the connection, the order of attempts, and what an error means for a batch.
//! Must never decide what a swipe does, nor answer before the database has.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::batch::Batch;
use super::fold::Workbench;
use super::gathering::Gathering;
use super::leases::is_overdrawn;
use super::pass::{self, Footing};
use super::sql;
use super::statements::Statements;
use super::{Job, Shared};
use crate::config::{self, Secret};
use crate::db::DbError;
use crate::db::pool::{Dedicated, SILENCE, Session, connect_dedicated};
use crate::error::Error;
use crate::sabotage::{self, Fault};

/// Between attempts to reach a database that is away.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);
/// Before the next attempt at jobs of which none moved.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// After so many lost races one is hardly a race: a row stands where a new one would. Whoever
/// loses to another replica sees in the next round what that has done.
const RACES_LOST_LOGGED: u8 = 5;
/// How long the siding waits for an account before it looks at the others again.
const HASTE: Duration = Duration::from_millis(20);

/// One committer: a connection and what is needed to use it.
pub(super) struct Committer {
    pub(super) lane: usize,
    pub(super) batch_max: usize,
    pub(super) shared: Arc<Shared>,
    connector: Arc<Connector>,
    workbench: Workbench,
    connection: Option<Connection>,
}

/// A connection, and the statements that are prepared on it.
pub(super) struct Connection {
    pub(super) dedicated: Dedicated,
    pub(super) statements: Statements,
}

impl Connection {
    /// Sends the statement that moves a batch's accounts; a row for each that moved.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn move_accounts(&self, batch: &Batch) -> Result<Vec<Row>, DbError> {
        let client = self.dedicated.client();
        if let Some(parameters) = batch.lone().filter(|_| !sabotage::spoils_the_statement()) {
            return Ok(client.query(&self.statements.commit_lone, &parameters).await?);
        }
        let statement = self.statements.commit_batch(batch.parts());
        let parameters = &batch.parameters()[..statement.params().len()];
        Ok(client.query(statement, parameters).await?)
    }
}

/// How this module connects.
#[derive(Clone)]
pub(super) struct Connector {
    url: Secret,
    connect_timeout: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
}

impl Connector {
    pub(super) fn new(settings: &config::Commit, database: &config::Database) -> Self {
        Self {
            url: database.url.clone(),
            connect_timeout: Duration::from_millis(database.connect_timeout_ms),
            statement_timeout: Duration::from_millis(settings.statement_timeout_ms),
            lock_timeout: Duration::from_millis(settings.lock_timeout_ms),
        }
    }

    /// The same for somebody who waits for no lock for long.
    pub(super) fn hasty(&self) -> Arc<Self> {
        Arc::new(Self { lock_timeout: HASTE, ..self.clone() })
    }

    /// After so long without an answer, whatever stands between us and PostgreSQL has swallowed
    /// it: the server itself would have ended the statement by then.
    pub(super) fn silence_max(&self) -> Duration {
        self.statement_timeout + SILENCE
    }

    pub(super) async fn connect(&self) -> Result<Connection, DbError> {
        let session = Session {
            application_name: "tillside committer",
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
            settings: sql::SESSION,
        };
        let dedicated = connect_dedicated(&self.url, self.connect_timeout, &session).await?;
        if sabotage::is(Fault::SynchronousCommitOff) {
            dedicated.client().batch_execute("SET synchronous_commit = off").await?;
        }
        let preparing = Statements::prepare(dedicated.client());
        let statements = tokio::time::timeout(self.connect_timeout, preparing)
            .await
            .map_err(|_elapsed| DbError::lost("preparing the statements took too long"))??;
        Ok(Connection { dedicated, statements })
    }
}

/// What came of a round of passes.
pub(super) struct Passed {
    /// How long the passes took that succeeded.
    pub(super) worked: Duration,
    /// Whether an account was locked by somebody else for longer than was waited.
    pub(super) locked: bool,
}

impl Committer {
    pub(super) fn new(
        lane: usize,
        settings: &config::Commit,
        connector: &Arc<Connector>,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            lane,
            batch_max: settings.batch_max,
            connector: Arc::clone(connector),
            shared: Arc::clone(shared),
            workbench: Workbench::new(),
            connection: None,
        }
    }

    /// Works until nobody can send anything any more and everything is answered. What cannot
    /// move goes to the siding.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Job>,
        siding: mpsc::WeakSender<Job>,
        mut gathering: Gathering,
    ) {
        self.connect_early().await;
        let mut jobs = Vec::with_capacity(self.batch_max);
        while gathering.take(&mut queue, &mut jobs, |job: &Job| job.admitted_at).await > 0 {
            self.took(&jobs);
            let admission = &self.shared.admission;
            for job in &mut jobs {
                job.held_up = job.account_id.is_some_and(|it| admission.is_held_up(it));
            }
            self.put_on_siding(&mut jobs, &siding, |job| job.held_up);
            self.work(&mut jobs, &siding).await;
            jobs.clear();
        }
        self.give_back().await;
    }

    /// Lets go of what it holds of budgets, at its end.
    pub(super) async fn give_back(&mut self) {
        self.shared.treasury.give_back(&mut self.workbench.purse).await;
    }

    /// Works on a batch until every job is answered or put on the siding. The first attempt
    /// trusts the cache; what did not move is looked at under locks. What is locked by somebody
    /// else goes to the siding, and so does what does not move under locks either.
    async fn work(&mut self, jobs: &mut Vec<Job>, siding: &mpsc::WeakSender<Job>) {
        let mut footing = Footing::Cached;
        let mut round = Duration::ZERO;
        loop {
            answer_late(jobs);
            jobs.retain(Job::is_open);
            if jobs.is_empty() {
                break;
            }
            if !self.connected().await {
                continue;
            }
            let Passed { worked, locked } = self.bisect(jobs, footing).await;
            round += worked;
            let open = jobs.len();
            jobs.retain(Job::is_open);
            let still = footing != Footing::Cached && jobs.len() == open;
            self.put_on_siding(jobs, siding, |job| job.held_up);
            if still && !locked && self.is_connected() {
                self.put_on_siding(jobs, siding, |_| true);
            }
            if still && !jobs.is_empty() {
                // The siding has closed, since the service stops: they are tried again here.
                tokio::time::sleep(PAUSE).await;
            }
            footing = if locked { Footing::Free } else { Footing::Locked };
        }
        if !round.is_zero() {
            self.shared.admission.worked(self.lane, round);
        }
    }

    /// Takes note of jobs that have come out of the queue.
    pub(super) fn took(&self, jobs: &[Job]) {
        let metrics = &self.shared.metrics;
        metrics.queue_depth.sub(i64::try_from(jobs.len()).expect("a queue is bounded"));
        for job in jobs {
            metrics.phases.queue.observe(job.admitted_at.elapsed().as_secs_f64());
        }
    }

    /// Connected before the first till comes, so that it need not wait for it.
    pub(super) async fn connect_early(&mut self) {
        if let Err(error) = self.connect().await {
            tracing::warn!(committer = self.lane, %error, "not connected yet");
        }
    }

    /// Connects where it is not. When that fails, returns after a while: time to look again for
    /// whom it is too late.
    pub(super) async fn connected(&mut self) -> bool {
        let connected = self.connect().await;
        if let Err(error) = &connected {
            tracing::warn!(committer = self.lane, %error, "the database cannot be reached");
            tokio::time::sleep(RECONNECT_INTERVAL).await;
        }
        connected.is_ok()
    }

    /// Runs a pass; when the database refuses it, runs each half by itself, so that only the
    /// culprit gets the error. A lost connection is left to the caller, and so is an account
    /// that somebody holds locked: on [`Footing::Free`] nobody waits for it.
    ///
    /// Breadth first: behind a culprit that costs a lock timeout each time, the larger half
    /// without it comes next and not last.
    pub(super) async fn bisect(&mut self, jobs: &mut [Job], footing: Footing) -> Passed {
        let mut passed = Passed { worked: Duration::ZERO, locked: false };
        let mut hasty = false;
        let mut parts: VecDeque<&mut [Job]> = VecDeque::from([jobs]);
        while let Some(part) = parts.pop_front() {
            let started = Instant::now();
            let waited_for = part.iter().filter(|job| job.is_open() && job.deadline > started);
            if waited_for.count() == 0 {
                continue;
            }
            let Some(connection) = self.connection.as_ref().filter(|it| !it.dedicated.is_lost())
            else {
                return passed;
            };
            let pass = pass::run(connection, &self.shared, &mut self.workbench, part, footing);
            let pass = AssertUnwindSafe(pass).catch_unwind();
            let outcome = match tokio::time::timeout(self.connector.silence_max(), pass).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => {
                    if let Some(silent) = self.connection.take() {
                        silent.dedicated.abandon();
                    }
                    Ok(Err(DbError::silent().into()))
                }
            };
            // Only a statement whose end was not seen can have done something unheard.
            let unseen = match &outcome {
                Ok(Ok(())) => false,
                Ok(Err(error)) => is_unseen(error),
                Err(_) => true,
            };
            for job in part.iter_mut() {
                job.in_doubt |= unseen && job.sent;
                job.sent = false;
            }
            match outcome {
                Ok(Ok(())) => passed.worked += started.elapsed(),
                Ok(Err(error)) if is_lost(&error) => {
                    tracing::warn!(committer = self.lane, %error, "connection lost in a pass");
                    self.connection = None;
                }
                Ok(Err(error)) if is_locked(&error) && footing != Footing::Free => {
                    passed.locked = true;
                }
                Ok(Err(error)) if is_overdrawn(&error) => {
                    // A lease was closed under it. It is put away now: decided again without.
                    self.shared.metrics.leases.with_label_values(&["lost"]).inc();
                    parts.push_front(part);
                }
                Ok(Err(error)) => {
                    if is_locked(&error) && !hasty {
                        // Not an account, then, but a name or a card. Finding out whose shall
                        // cost the others little.
                        hasty = self.set_lock_timeout(sql::SHORT_LOCK_TIMEOUT).await;
                    }
                    let Some(culprit) = self.halve(part, &mut parts) else { continue };
                    if is_locked(&error) {
                        culprit.held_up = true;
                    } else if let Error::Database(refusal) = &error
                        && is_lost_race(&error)
                    {
                        culprit.races_lost = culprit.races_lost.saturating_add(1);
                        if culprit.races_lost == RACES_LOST_LOGGED {
                            let (committer, table) = (self.lane, refusal.table());
                            tracing::warn!(committer, table, %error, "a race is lost again and again");
                        }
                    } else {
                        tracing::error!(committer = self.lane, %error, "refused by the database");
                        culprit.fail(error);
                    }
                }
                Err(_) => {
                    // A bug. What it left of the connection must not be met by the others.
                    tracing::error!(committer = self.lane, "a pass panicked");
                    self.workbench = Workbench::new();
                    (self.connection, hasty) = (None, false);
                    if let Err(error) = self.connect().await {
                        tracing::warn!(committer = self.lane, %error, "not connected again");
                    }
                    if let Some(culprit) = self.halve(part, &mut parts) {
                        culprit.fail(Error::Bug);
                    }
                }
            }
        }
        if hasty {
            self.set_lock_timeout(sql::RESET_LOCK_TIMEOUT).await;
        }
        passed
    }

    /// Halves a part that failed as a whole. The last one that is open in it is the culprit.
    fn halve<'a>(
        &self,
        part: &'a mut [Job],
        parts: &mut VecDeque<&'a mut [Job]>,
    ) -> Option<&'a mut Job> {
        if part.iter().filter(|job| job.is_open()).count() > 1 {
            self.shared.metrics.bisections.inc();
            let (left, right) = part.split_at_mut(part.len() / 2);
            parts.extend([left, right]);
            return None;
        }
        part.iter_mut().find(|job| job.is_open())
    }

    /// Hands over jobs that cannot move, so that the others need not wait with them.
    fn put_on_siding(
        &self,
        jobs: &mut Vec<Job>,
        siding: &mpsc::WeakSender<Job>,
        stuck: impl Fn(&Job) -> bool,
    ) {
        let Some(siding) = siding.upgrade() else { return };
        let Shared { admission, metrics, .. } = &*self.shared;
        for mut job in jobs.extract_if(.., |job| job.is_open() && stuck(job)) {
            if job.held_up {
                metrics.held_up.inc();
                job.account_id.inspect(|account_id| admission.hold_up(*account_id));
            }
            if let Err(full) = admission.move_to_siding(&mut job.ticket) {
                job.fail(full);
                continue;
            }
            // Its queue has room for every ticket that there is; else the name will tell.
            if siding.try_send(job).is_ok() {
                metrics.queue_depth.inc();
            }
        }
    }

    /// Whether it was done. A connection on which it was not is given up: it must not keep a
    /// timeout that nobody asked for.
    async fn set_lock_timeout(&mut self, setting: &str) -> bool {
        let Some(connection) = &self.connection else { return false };
        let setting = connection.dedicated.client().batch_execute(setting);
        let set = tokio::time::timeout(self.connector.silence_max(), setting).await;
        let done = matches!(set, Ok(Ok(())));
        if !done && let Some(connection) = self.connection.take() {
            connection.dedicated.abandon();
        }
        done
    }

    fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.dedicated.is_lost())
    }

    async fn connect(&mut self) -> Result<(), DbError> {
        if self.is_connected() {
            return Ok(());
        }
        self.connection = Some(self.connector.connect().await?);
        self.shared.metrics.connections_made.inc();
        Ok(())
    }
}

/// Answers those for whom it is too late.
pub(super) fn answer_late(jobs: &mut [Job]) {
    let now = Instant::now();
    for job in jobs.iter_mut().filter(|job| job.deadline <= now) {
        job.fail(Error::DeadlineExceeded);
    }
}

/// The end of the statement was not seen: it may have taken effect.
fn is_unseen(error: &Error) -> bool {
    matches!(error, Error::Database(DbError::Lost(_) | DbError::Misunderstood(_)))
}

pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.is_lost())
}

/// Another account has just taken the name (23505), or another session went first (40P01): the
/// next round will see it.
pub(super) fn is_lost_race(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    matches!(error.sqlstate(), Some("23505" | "40P01"))
}

/// An account stayed locked by somebody else for longer than a committer waits.
pub(super) fn is_locked(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    error.sqlstate() == Some("55P03")
}
