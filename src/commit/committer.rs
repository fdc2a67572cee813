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

use super::pass::{self, Footing};
use super::sql::{self, Statements};
use super::{Job, Shared};
use crate::config::{self, Secret};
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::error::Error;
use crate::receipt::Compressor;
use crate::sabotage::{self, Fault};

/// Between attempts to reach a database that is away.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);
/// How much longer than a statement may take somebody may say nothing before they are given up.
const SILENCE: Duration = Duration::from_secs(1);
/// Before the next attempt at jobs of which none came any further.
const PAUSE: Duration = Duration::from_millis(5);

/// One committer: a connection and what is needed to use it.
pub(super) struct Committer {
    lane: usize,
    batch_max: usize,
    connector: Arc<Connector>,
    shared: Arc<Shared>,
    compressor: Compressor,
    connection: Option<Connection>,
    /// Where jobs go whose account somebody else holds locked; the siding itself has none.
    siding: Option<mpsc::WeakSender<Job>>,
}

/// A connection, and the statements that are prepared on it.
pub(super) struct Connection {
    pub(super) dedicated: Dedicated,
    pub(super) statements: Statements,
}

/// How this module connects.
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

impl Committer {
    pub(super) fn new(
        lane: usize,
        settings: &config::Commit,
        connector: &Arc<Connector>,
        shared: &Arc<Shared>,
        siding: Option<mpsc::WeakSender<Job>>,
    ) -> Self {
        Self {
            lane,
            batch_max: settings.batch_max,
            connector: Arc::clone(connector),
            shared: Arc::clone(shared),
            compressor: Compressor::new(),
            connection: None,
            siding,
        }
    }

    /// Works until nobody can send anything any more and everything is answered.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        // Connected before the first till comes, so that it need not wait for it.
        if let Err(error) = self.connect().await {
            tracing::warn!(committer = self.lane, %error, "not connected yet");
        }
        let mut jobs = Vec::with_capacity(self.batch_max);
        while queue.recv_many(&mut jobs, self.batch_max).await > 0 {
            let metrics = &self.shared.metrics;
            metrics.queue_depth.sub(i64::try_from(jobs.len()).expect("a batch is small"));
            for job in &jobs {
                metrics.phases.queue.observe(job.admitted_at.elapsed().as_secs_f64());
            }
            self.work(&mut jobs).await;
            jobs.clear();
        }
    }

    /// Works on a batch until every job is answered or put on the siding. The first attempt
    /// trusts the cache; what did not move is looked at under locks, until it is written,
    /// recorded or out of time.
    async fn work(&mut self, jobs: &mut Vec<Job>) {
        let mut footing = Footing::Cached;
        let mut round = Duration::ZERO;
        loop {
            let now = Instant::now();
            for job in jobs.iter_mut().filter(|job| job.deadline <= now) {
                let in_doubt = job.in_doubt;
                let late = Error::DeadlineExceeded;
                job.answer(Err(if in_doubt { Error::OutcomeUnknown } else { late }));
            }
            jobs.retain(Job::is_open);
            if jobs.is_empty() {
                break;
            }
            if let Err(error) = self.connect().await {
                tracing::warn!(committer = self.lane, %error, "the database cannot be reached");
                tokio::time::sleep(RECONNECT_INTERVAL).await;
                continue;
            }
            round += self.bisect(jobs, footing).await;
            let open = jobs.len();
            self.put_on_siding(jobs);
            jobs.retain(Job::is_open);
            if footing == Footing::Locked && jobs.len() == open {
                tokio::time::sleep(PAUSE).await;
            }
            footing = Footing::Locked;
        }
        if !round.is_zero() {
            self.shared.admission.worked(self.lane, round);
        }
    }

    /// Runs a pass; when the database refuses it, runs each half by itself, so that only the
    /// culprit gets the error. A lost connection is left to the caller. Returns how long the
    /// passes took that succeeded.
    ///
    /// Breadth first: behind a culprit that costs a lock timeout each time, the larger half
    /// without it comes next and not last.
    async fn bisect(&mut self, jobs: &mut [Job], footing: Footing) -> Duration {
        let mut worked = Duration::ZERO;
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
                return worked;
            };
            let pass = pass::run(connection, &self.shared, &mut self.compressor, part, footing);
            let pass = AssertUnwindSafe(pass).catch_unwind();
            let outcome = match tokio::time::timeout(self.connector.silence_max(), pass).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => {
                    if let Some(silent) = self.connection.take() {
                        silent.dedicated.abandon();
                    }
                    Ok(Err(DbError::lost("PostgreSQL has fallen silent").into()))
                }
            };
            // Only a statement whose end was not seen can have done something unheard.
            let unseen = match &outcome {
                Ok(Ok(())) => false,
                Ok(Err(error)) => is_lost(error),
                Err(_) => true,
            };
            for job in part.iter_mut() {
                job.in_doubt |= unseen && job.sent;
                job.sent = false;
            }
            match outcome {
                Ok(Ok(())) => worked += started.elapsed(),
                Ok(Err(error)) if is_lost(&error) => {
                    tracing::warn!(committer = self.lane, %error, "connection lost in a pass");
                    self.connection = None;
                }
                Ok(Err(error)) => {
                    if is_locked(&error) && !hasty {
                        // Somebody holds an account. Finding out which shall cost others little.
                        hasty = self.set_lock_timeout(sql::SHORT_LOCK_TIMEOUT).await;
                    }
                    let Some(culprit) = self.halve(part, &mut parts) else { continue };
                    if is_locked(&error) {
                        culprit.held_up = true;
                    } else if !is_lost_race(&error) {
                        tracing::error!(committer = self.lane, %error, "refused by the database");
                        let in_doubt = culprit.in_doubt;
                        culprit.answer(Err(if in_doubt { Error::OutcomeUnknown } else { error }));
                    }
                }
                Err(_) => {
                    // A bug. What it left of the connection must not be met by the others.
                    tracing::error!(committer = self.lane, "a pass panicked");
                    self.compressor = Compressor::new();
                    (self.connection, hasty) = (None, false);
                    if let Err(error) = self.connect().await {
                        tracing::warn!(committer = self.lane, %error, "not connected again");
                    }
                    if let Some(culprit) = self.halve(part, &mut parts) {
                        let in_doubt = culprit.in_doubt;
                        let bug = Error::Bug;
                        culprit.answer(Err(if in_doubt { Error::OutcomeUnknown } else { bug }));
                    }
                }
            }
        }
        if hasty {
            self.set_lock_timeout(sql::RESET_LOCK_TIMEOUT).await;
        }
        worked
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

    /// Hands over jobs whose account somebody else holds locked, so that the others need not
    /// wait with them. On the siding itself they are tried again until their time is up.
    fn put_on_siding(&self, jobs: &mut Vec<Job>) {
        let Some(siding) = self.siding.as_ref().and_then(mpsc::WeakSender::upgrade) else { return };
        let Shared { accounts, admission, metrics, .. } = &*self.shared;
        for mut job in jobs.extract_if(.., |job| job.held_up && job.is_open()) {
            admission.hold_up(accounts, &job.command, &job.workstation);
            admission.move_to_siding(&mut job.ticket);
            metrics.held_up.inc();
            job.held_up = false;
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

    async fn connect(&mut self) -> Result<(), DbError> {
        if self.connection.as_ref().is_some_and(|connection| !connection.dedicated.is_lost()) {
            return Ok(());
        }
        self.connection = Some(self.connector.connect().await?);
        self.shared.metrics.connections_made.inc();
        Ok(())
    }
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
