//! Admission, batches and the committers: the only place that writes account-owned rows.
//!
//! A command is admitted before any work on it, or refused at once when too much waits. Each
//! committer is a task that owns a connection and a share of the accounts by hash, so that
//! swipes of one account meet in one place and are chained. While one batch is in PostgreSQL
//! the next one fills, and where swipes come in company a small one waits a little for more: the
//! batch size follows the load by itself, and who is alone waits for nobody. One more
//! committer, the siding, takes what cannot move: accounts that somebody else holds locked, for
//! instance. Nobody waits for them but those who want them.
//!
//! A caller that goes away cancels nothing: committers own their work, and the answer can be
//! asked for by name. Nothing here is refused for business reasons.

mod admission;
mod batch;
mod cards;
mod committer;
mod coupon_facts;
mod coupons;
mod desk;
mod expiries;
mod facts;
mod fold;
mod gathering;
mod handout;
mod leases;
mod pass;
mod pools;
mod presented;
#[doc(hidden)]
pub mod probe;
mod redeem;
mod replace;
mod route;
mod siding;
mod sql;
mod statements;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::civil::Date;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::catalogue::{Catalogue, Workstation};
use crate::config;
use crate::domain::basket::Swipe;
use crate::domain::name::SwipeName;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::sabotage;
use admission::{Admission, Ticket};
pub use cards::{Enrolled, Enrolment, MemberDetails};
use committer::{Committer, Connection, Connector};
use coupons::random_bits;
pub use coupons::{ORDER_COUPONS_MAX, Order, Ordered};
pub use desk::{Adjusted, Adjustment, ByUser, Desk, Made, Whose, give_way};
pub use expiries::{Expiries, Page};
use gathering::Gathering;
pub use handout::{Given, HANDOUT_COUPONS_MAX, HandedOut, Handout, Mailing, TakeBack, TakenBack};
use leases::Treasury;
pub use replace::{Replaced, Replacement};

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
    /// Random bits for the codes of coupons that it is given: drawn once, so that every attempt
    /// gives the same ones.
    random: [u64; config::COUPONS_PER_SWIPE_MAX],
    /// Its account, so far as it is known: by the cache, or by the last pass.
    account_id: Option<i64>,
    /// Whether the pass under way has sent a statement with it.
    sent: bool,
    /// Whether it was in a statement whose end was not seen.
    in_doubt: bool,
    /// Whether somebody else holds what it needs: it goes to the siding.
    held_up: bool,
    /// How often the database has let somebody else go first.
    races_lost: u8,
    /// Its place among what may wait; given back when the job is gone.
    ticket: Ticket,
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

    /// Answers an error; where a statement with it was sent whose end was not seen, that nobody
    /// knows what became of it.
    fn fail(&mut self, error: Error) {
        let error = if self.in_doubt { Error::OutcomeUnknown } else { error };
        self.answer(Err(error));
    }

    fn is_open(&self) -> bool {
        self.reply.is_some()
    }
}

/// The first open job of each name: a name that stands twice in a batch waits for its first.
fn first_of_each_open_name(jobs: &[Job]) -> Vec<usize> {
    let mut names = HashSet::with_capacity(jobs.len());
    let open = jobs.iter().enumerate().filter(|(_, job)| job.is_open());
    open.filter(|(_, job)| names.insert(&job.name)).map(|(at, _)| at).collect()
}

/// What all committers share.
struct Shared {
    accounts: Accounts,
    catalogue: Catalogue,
    metrics: Arc<Metrics>,
    admission: Admission,
    treasury: Treasury,
    limits: config::Coupons,
    /// Account numbers taken from the database and not used yet.
    numbers: std::sync::Mutex<Vec<i64>>,
}

/// The committers. Cheap to clone; when the last clone is dropped they finish what was admitted
/// and end.
#[derive(Clone)]
pub struct Committers {
    shared: Arc<Shared>,
    /// One for each lane of the admission.
    queues: Arc<[mpsc::Sender<Job>]>,
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
        limits: &config::Coupons,
        database: &config::Database,
        accounts: Accounts,
        catalogue: Catalogue,
        metrics: Arc<Metrics>,
    ) -> (Self, CommitterTasks) {
        let settings = &sabotage::settings(settings);
        let numbers = std::sync::Mutex::default();
        let admission = Admission::new(settings);
        let connector = Arc::new(Connector::new(settings, database));
        let treasury = Treasury::new(Arc::clone(&connector), Arc::clone(&metrics));
        let shared = Arc::new(Shared {
            accounts,
            catalogue,
            metrics,
            admission,
            treasury,
            limits: limits.clone(),
            numbers,
        });
        tokio::spawn(Treasury::reclaim(Arc::downgrade(&shared)));
        let (siding, held_up) = mpsc::channel(settings.queue_max);
        let mut tasks = tokio::task::JoinSet::new();
        let mut queues = Vec::with_capacity(settings.committers + 1);
        for lane in 0..settings.committers {
            let (sender, receiver) = mpsc::channel(settings.queue_max);
            queues.push(sender);
            let committer = Committer::new(lane, settings, &connector, &shared);
            tasks.spawn(committer.run(receiver, siding.downgrade(), Gathering::new(settings)));
        }
        queues.push(siding);
        let hasty = connector.hasty();
        let committer = Committer::new(settings.committers, settings, &hasty, &shared);
        tasks.spawn(siding::run(committer, held_up));
        let committers = Self { shared, queues: queues.into(), connector, desk: Arc::default() };
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
        let name = match &command {
            Command::Record(swipe) => &swipe.name,
            Command::Void(name) => name,
        };
        let name = NameKey::new(&workstation, name);
        let Shared { accounts, admission, metrics, .. } = &*self.shared;
        // That of a void is known to its name only.
        let account_id = match (&command, command.customer_card()) {
            (Command::Void(_), _) => None,
            (_, Some(card)) => accounts.account_of(card),
            (_, None) => Some(workstation.house_account),
        };
        let lane = admission.lane_of(account_id, &command, &workstation);
        let ticket = admission.admit(lane, deadline)?;
        let (reply, outcome) = oneshot::channel();
        let job = Job {
            command,
            workstation,
            name,
            admitted_at: Instant::now(),
            deadline,
            random: random_bits(),
            account_id,
            sent: false,
            in_doubt: false,
            held_up: false,
            races_lost: 0,
            ticket,
            reply: Some(reply),
        };
        // A queue has room for every ticket that there is.
        if self.queues[lane].try_send(job).is_err() {
            return Err(Error::OutcomeUnknown);
        }
        metrics.queue_depth.inc();
        match tokio::time::timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The committer is gone, or time is up: the name will tell.
            Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown),
        }
    }
}
