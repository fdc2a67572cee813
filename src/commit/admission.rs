//! Admission: who may wait, for which committer, and who is told at once to come again.
//!
//! Decides on what is in memory: counts, the pace of the committers, and which accounts somebody
//! else holds locked. Must never wait, nor ask the database.
//!
//! A bound on how many wait is not enough: at the pace of a slow disk a full queue is older
//! than any till's patience, and all work would go into answers that nobody waits for any more.
//! So a lane is also bounded by time: whoever would have to wait for too long is refused while
//! there is still time to hear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Command;
use crate::catalogue::Workstation;
use crate::config;
use crate::domain::bucket;
use crate::error::Error;
use crate::sabotage::{self, Fault};

/// The least that a refused caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// For how long an account that was found locked is kept apart.
const HELD_UP: Duration = Duration::from_secs(2);
/// Most accounts that are kept apart.
const HELD_UP_MAX: u64 = 1_024;

/// Who may wait, and where.
pub(super) struct Admission {
    /// One permit for each command that may wait or be worked on.
    permits: Arc<Semaphore>,
    /// One for each committer; the last is the siding.
    lanes: Vec<Arc<Lane>>,
    batch_max: usize,
    /// Most commands on the siding: whatever is locked there, the lanes keep room to work.
    siding_max: usize,
    wait_max: Duration,
    /// Accounts that somebody else holds locked.
    held_up: Cache<i64, ()>,
}

/// What waits for one committer, and how fast that works.
#[derive(Default)]
struct Lane {
    waiting: AtomicUsize,
    /// Running mean of what a round takes, in microseconds.
    round_us: AtomicU64,
}

/// A place among what may wait. Given back when it is dropped.
pub(super) struct Ticket {
    lane: Arc<Lane>,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(settings: &config::Commit) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(settings.queue_max)),
            lanes: (0..=settings.committers).map(|_| Arc::default()).collect(),
            batch_max: settings.batch_max,
            siding_max: settings.queue_max.div_ceil(2),
            wait_max: Duration::from_millis(settings.wait_max_ms),
            held_up: Cache::builder().max_capacity(HELD_UP_MAX).time_to_live(HELD_UP).build(),
        }
    }

    /// The lane of the account, so far as that is known; any lane would be right.
    pub(super) fn lane_of(
        &self,
        account_id: Option<i64>,
        command: &Command,
        workstation: &Workstation,
    ) -> usize {
        let siding = self.lanes.len() - 1;
        if account_id.is_some_and(|account_id| self.is_held_up(account_id)) {
            return siding;
        }
        let share = match (account_id, command.customer_card()) {
            (Some(account_id), _) => account_id.cast_unsigned(),
            (None, Some(card)) => u64::from(bucket::of_card(card)),
            (None, None) => workstation.house_account.cast_unsigned(),
        };
        // Ids differ in all their bits only after mixing (Fibonacci hashing).
        let mixed = share.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).expect("32 bits") % siding
    }

    /// A place in a lane for a command that must be done by `deadline`.
    ///
    /// A lane with less than one batch is always open: an estimate that has become wrong, after
    /// a stall for example, is mended only by work.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too much waits, or would for too long.
    pub(super) fn admit(&self, lane: usize, deadline: Instant) -> Result<Ticket, Error> {
        let on_siding = lane == self.lanes.len() - 1;
        let lane = &self.lanes[lane];
        let waiting = lane.waiting.load(Ordering::Relaxed);
        let round = Duration::from_micros(lane.round_us.load(Ordering::Relaxed));
        let rounds = u32::try_from(waiting / self.batch_max + 1).unwrap_or(u32::MAX);
        let wait = round.saturating_mul(rounds);
        // Half of what is left: the answer has a way to go, and estimates are estimates.
        let patience = deadline.saturating_duration_since(Instant::now()) / 2;
        let overloaded = || Error::Overloaded { retry_after: wait.max(RETRY_AFTER) };
        let bounded = !sabotage::is(Fault::UnboundedQueue);
        if bounded && waiting >= self.batch_max && wait > patience.min(self.wait_max) {
            return Err(overloaded());
        }
        if on_siding && waiting >= self.siding_max {
            return Err(overloaded());
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| overloaded())?;
        lane.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket { lane: Arc::clone(lane), _permit: permit })
    }

    /// Takes note of how long a lane's committer worked on one batch.
    pub(super) fn worked(&self, lane: usize, round: Duration) {
        let round_us = u64::try_from(round.as_micros()).unwrap_or(u64::MAX / 8);
        let mean = &self.lanes[lane].round_us;
        // Only the lane's committer writes it.
        mean.store((mean.load(Ordering::Relaxed) * 3 + round_us) / 4, Ordering::Relaxed);
    }

    /// Takes a place along to the siding.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the siding is full.
    pub(super) fn move_to_siding(&self, ticket: &mut Ticket) -> Result<(), Error> {
        let siding = self.lanes.last().expect("the siding is always there");
        if siding.waiting.load(Ordering::Relaxed) >= self.siding_max {
            return Err(Error::Overloaded { retry_after: RETRY_AFTER });
        }
        siding.waiting.fetch_add(1, Ordering::Relaxed);
        ticket.lane.waiting.fetch_sub(1, Ordering::Relaxed);
        ticket.lane = Arc::clone(siding);
        Ok(())
    }

    /// Keeps an account apart for a while.
    pub(super) fn hold_up(&self, account_id: i64) {
        self.held_up.insert(account_id, ());
    }

    /// Whether somebody else held the account locked a moment ago.
    pub(super) fn is_held_up(&self, account_id: i64) -> bool {
        self.held_up.contains_key(&account_id)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        let settings = config::Commit {
            committers: 2,
            batch_max: 4,
            queue_max: 100,
            wait_max_ms: 200,
            ..config::Commit::default()
        };
        Admission::new(&settings)
    }

    /// Admits to lane 0 until somebody is refused.
    fn fill(admission: &Admission, deadline_ms: u64) -> Vec<Ticket> {
        let deadline = Instant::now() + Duration::from_millis(deadline_ms);
        let mut tickets = Vec::new();
        while let Ok(ticket) = admission.admit(0, deadline) {
            tickets.push(ticket);
        }
        tickets
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_takes_what_it_can_do_in_time() {
        let admission = admission();
        for _ in 0..100 {
            admission.worked(0, Duration::from_millis(50));
        }
        // Rounds of four: the fifth round would end after 250 ms.
        assert_eq!(fill(&admission, 60_000).len(), 16);
        // A till that listens for 160 ms is answered within 80.
        assert_eq!(fill(&admission, 160).len(), 4);
        let deadline = Instant::now() + Duration::from_secs(1);
        assert!(admission.admit(1, deadline).is_ok(), "the other lane has nothing to do");
    }

    #[tokio::test(start_paused = true)]
    async fn one_batch_is_always_let_in_so_that_a_stall_is_forgotten() {
        let admission = admission();
        admission.worked(0, Duration::from_secs(600));
        let tickets = fill(&admission, 400);
        assert_eq!(tickets.len(), 4);
        let refusal = admission.admit(0, Instant::now() + Duration::from_secs(1));
        let Err(Error::Overloaded { retry_after }) = refusal else { panic!("it was let in") };
        assert!(retry_after > RETRY_AFTER, "the wait is longer than the least");
        drop(tickets);
        for _ in 0..60 {
            admission.worked(0, Duration::from_millis(1));
        }
        assert_eq!(fill(&admission, 400).len(), 100, "as many as there are permits");
    }

    #[tokio::test(start_paused = true)]
    async fn the_siding_never_takes_all_the_room() {
        let admission = admission();
        let siding = 2;
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut places = Vec::new();
        while let Ok(place) = admission.admit(siding, deadline) {
            places.push(place);
        }
        assert_eq!(places.len(), 50, "half of what may wait");
        let mut late = admission.admit(0, deadline).expect("the lanes have room");
        let full = admission.move_to_siding(&mut late);
        assert!(matches!(full, Err(Error::Overloaded { .. })), "{full:?}");
        drop(places.pop());
        admission.move_to_siding(&mut late).expect("there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_goes_along_to_the_siding_and_is_given_back_once() {
        let admission = admission();
        admission.worked(0, Duration::from_secs(600));
        let mut tickets = fill(&admission, 400);
        let mut moved = tickets.pop().expect("four were let in");
        admission.move_to_siding(&mut moved).expect("there is room");
        let waiting = |lane: usize| admission.lanes[lane].waiting.load(Ordering::Relaxed);
        assert_eq!([waiting(0), waiting(1), waiting(2)], [3, 0, 1]);
        drop((moved, tickets));
        assert_eq!([waiting(0), waiting(1), waiting(2)], [0, 0, 0]);
        assert_eq!(admission.permits.available_permits(), 100);
    }
}
