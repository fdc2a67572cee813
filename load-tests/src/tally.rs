//! What is counted while a run goes on: for the progress line, and for how soon the first till
//! is served after PostgreSQL has come back. Verdicts come from the journal, never from here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counters that everybody may raise.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers 201.
    pub recorded: AtomicU64,
    /// Answers 200.
    pub replayed: AtomicU64,
    /// Attempts after which the till did not know.
    pub unknown: AtomicU64,
    /// Transactions sent sixteen times at once.
    pub storms: AtomicU64,
    /// Commands of the clerk that were killed.
    pub commands_killed: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Refusals and failures that were answered, by the last part of their type.
    problems: BTreeMap<String, u64>,
    back_since: Option<Instant>,
    first_success: Vec<Duration>,
}

impl Tally {
    /// PostgreSQL answers again.
    pub fn postgres_is_back(&self) {
        self.inner().back_since = Some(Instant::now());
    }

    /// Something new was recorded.
    pub fn recorded(&self) {
        self.recorded.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner();
        if let Some(since) = inner.back_since.take() {
            inner.first_success.push(since.elapsed());
        }
    }

    /// A refusal or a failure was answered.
    pub fn problem(&self, slug: &str) {
        *self.inner().problems.entry(slug.to_owned()).or_default() += 1;
    }

    /// Refusals and failures by name.
    pub fn problems(&self) -> BTreeMap<String, u64> {
        self.inner().problems.clone()
    }

    /// The longest time from PostgreSQL's being back to the first new record, and how often it
    /// was measured.
    pub fn first_success(&self) -> (Duration, usize) {
        let inner = self.inner();
        (inner.first_success.iter().max().copied().unwrap_or_default(), inner.first_success.len())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
