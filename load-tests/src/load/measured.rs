//! What came of the swipes that were meant to be sent in the measured part of a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::wire::Answer;

/// Longer waits count as this long.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What came of a run. Latencies are in microseconds.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Length of the measured part.
    pub seconds: f64,
    /// Receipts (201, 200), from the intended time to the answer.
    pub receipts: Histogram<u64>,
    /// How many of them were 200: the name was known before, so nothing was recorded.
    pub replayed: u64,
    /// Problems, by the last part of their type.
    pub refusals: BTreeMap<String, Histogram<u64>>,
    /// Other answers, by status.
    pub others: BTreeMap<u16, u64>,
    /// Connections that broke, or stayed silent, while a till waited for an answer.
    pub unanswered: u64,
    /// Swipes that were due and could not be sent before the end.
    pub unsent: u64,
    /// How late the generator sent what it had a free connection for.
    pub generator_lag: Histogram<u64>,
    /// The seconds of the measured part.
    pub by_second: Vec<Slice>,
    /// Receipts that arrived within the measured part.
    pub arrived: u64,
    /// Processor time of the generator for each swipe, user and system.
    pub generator_cpu_us: f64,
    /// The first number that is free again.
    pub next_sequence_number: u64,
}

/// One second.
#[derive(Clone, Debug, Serialize)]
pub struct Slice {
    /// When it began, from the beginning of the measured part.
    pub at_s: f64,
    /// Receipts that arrived in it.
    pub per_s: f64,
    /// Half of the swipes that were due in it had their receipt after this time; this and the
    /// others are not numbers when none of them got one.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1,000.
    pub p999_ms: f64,
    /// All of them.
    pub max_ms: f64,
}

/// A distribution, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// Of 100, the longest but one.
    pub p99_ms: f64,
    /// Of 1,000, the longest but one.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Measured {
    /// Receipts that arrived in a second.
    pub fn per_s(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
        let arrived = self.arrived as f64;
        arrived / self.seconds
    }

    /// Whether every swipe was sent, and recorded by it: answered 201.
    pub fn is_clean(&self) -> bool {
        let failed = self.replayed + self.unanswered + self.unsent;
        failed == 0 && self.refusals.is_empty() && self.others.is_empty()
    }
}

impl Latency {
    /// The same in figures; none when nothing was measured.
    pub fn of(latencies: &Histogram<u64>) -> Option<Self> {
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1_000.0;
        let at = |quantile| ms(latencies.value_at_quantile(quantile));
        (!latencies.is_empty()).then(|| Self {
            count: latencies.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(latencies.max()),
        })
    }
}

/// What is noted while a run lasts.
pub(super) struct Notes {
    measuring: Instant,
    seconds: f64,
    receipts: Histogram<u64>,
    replayed: u64,
    refusals: BTreeMap<String, Histogram<u64>>,
    others: BTreeMap<u16, u64>,
    pub(super) unanswered: u64,
    pub(super) unsent: u64,
    generator_lag: Histogram<u64>,
    by_second: Vec<Second>,
    /// Answers of any kind that arrived within the measured part.
    answered: u64,
}

struct Second {
    arrived: u64,
    latencies: Histogram<u64>,
}

impl Notes {
    /// For a part that begins at `measuring`.
    pub(super) fn new(measuring: Instant, seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of seconds, checked to be above 0"
        )]
        let whole = seconds.ceil() as usize;
        // Rough: there may be an hour of them.
        let second = || Second { arrived: 0, latencies: latencies(2) };
        Self {
            measuring,
            seconds,
            receipts: latencies(3),
            replayed: 0,
            refusals: BTreeMap::new(),
            others: BTreeMap::new(),
            unanswered: 0,
            unsent: 0,
            generator_lag: latencies(3),
            by_second: std::iter::repeat_with(second).take(whole).collect(),
            answered: 0,
        }
    }

    /// Takes note of what became of a swipe that was due at `due_at`.
    pub(super) fn take(&mut self, due_at: Instant, now: Instant, answer: Option<Answer>) {
        let receipt = answer.as_ref().is_some_and(|it| matches!(it.status, 200 | 201));
        if let Some(second) = self.second_of(now) {
            self.answered += u64::from(answer.is_some());
            self.by_second[second].arrived += u64::from(receipt);
        }
        let Some(second) = self.second_of(due_at) else { return };
        let us = micros(now.saturating_duration_since(due_at));
        match answer {
            Some(Answer { status, .. }) if receipt => {
                self.receipts.saturating_record(us);
                self.by_second[second].latencies.saturating_record(us);
                self.replayed += u64::from(status == 200);
            }
            Some(Answer { slug, .. }) if !slug.is_empty() => {
                self.refusals.entry(slug).or_insert_with(|| latencies(3)).saturating_record(us);
            }
            Some(Answer { status, .. }) => *self.others.entry(status).or_default() += 1,
            None => self.unanswered += 1,
        }
    }

    /// Takes note of how late the generator was with a swipe that was due at `due_at`.
    pub(super) fn lag(&mut self, due_at: Instant, lag: Duration) {
        if self.second_of(due_at).is_some() {
            self.generator_lag.saturating_record(micros(lag));
        }
    }

    /// What it adds up to.
    pub(super) fn measured(&self, used: Duration, next_sequence_number: u64) -> Measured {
        let slice = |(index, second): (usize, &Second)| {
            let at_s = index as f64;
            let latency = Latency::of(&second.latencies);
            let ms = |of: fn(&Latency) -> f64| latency.as_ref().map_or(f64::NAN, of);
            Slice {
                at_s,
                // The last one may be shorter.
                per_s: second.arrived as f64 / (self.seconds - at_s).min(1.0),
                p50_ms: ms(|it| it.p50_ms),
                p99_ms: ms(|it| it.p99_ms),
                p999_ms: ms(|it| it.p999_ms),
                max_ms: ms(|it| it.max_ms),
            }
        };
        Measured {
            seconds: self.seconds,
            receipts: self.receipts.clone(),
            replayed: self.replayed,
            refusals: self.refusals.clone(),
            others: self.others.clone(),
            unanswered: self.unanswered,
            unsent: self.unsent,
            generator_lag: self.generator_lag.clone(),
            by_second: self.by_second.iter().enumerate().map(slice).collect(),
            arrived: self.by_second.iter().map(|second| second.arrived).sum(),
            generator_cpu_us: used.as_secs_f64() * 1e6 / self.answered.max(1) as f64,
            next_sequence_number,
        }
    }

    /// The second of the measured part that an instant lies in.
    fn second_of(&self, at: Instant) -> Option<usize> {
        let since = at.checked_duration_since(self.measuring)?;
        let second = usize::try_from(since.as_secs()).expect("a run takes minutes");
        (since.as_secs_f64() < self.seconds).then_some(second)
    }
}

fn latencies(figures: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, figures).expect("the bounds are in order")
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US).max(1)
}
