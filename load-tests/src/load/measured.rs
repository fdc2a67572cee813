//! What came of the swipes that were meant to be sent in the measured part of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

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
