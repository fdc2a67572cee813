//! What happened to the requests that were meant to be sent in one second of the run, and what
//! the processes used meanwhile. Latency counts from the intended time: a till that could not
//! send in time has waited.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::usage;

/// Longer waits count as this long.
const LATENCY_MAX_US: u64 = 60_000_000;

/// How long a till waits for a receipt.
pub(super) const DEADLINE: Duration = Duration::from_millis(400);

/// Latencies in microseconds.
pub(super) type Latencies = Histogram<u64>;

pub(super) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 2).expect("the bounds are in order")
}

pub(super) fn record(latencies: &mut Latencies, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US);
    latencies.saturating_record(us.max(1));
}

/// One second of the run.
#[derive(Clone)]
pub(super) struct Second {
    /// Receipts, and how many of them came within the deadline.
    pub(super) receipts: Latencies,
    pub(super) in_time: u64,
    /// 503, by slug.
    pub(super) refusals: BTreeMap<String, Latencies>,
    /// Other answers, by status.
    pub(super) others: BTreeMap<u16, u64>,
    /// No answer while the till listened, or a connection that broke.
    pub(super) unanswered: u64,
    /// Not sent, because too many were under way already.
    pub(super) unsent: u64,
    /// Swipes that were given up after their last attempt.
    pub(super) given_up: u64,
    /// From the intended time until the request was on the wire: what the generator adds.
    pub(super) sending: Latencies,
    /// At the end of the second.
    pub(super) resident_bytes: u64,
    /// Used by the service and by this process until then.
    pub(super) service_cpu_s: f64,
    pub(super) generator_cpu_s: f64,
}

impl Second {
    pub(super) fn new() -> Self {
        Self {
            receipts: latencies(),
            in_time: 0,
            refusals: BTreeMap::new(),
            others: BTreeMap::new(),
            unanswered: 0,
            unsent: 0,
            given_up: 0,
            sending: latencies(),
            resident_bytes: 0,
            service_cpu_s: 0.0,
            generator_cpu_s: 0.0,
        }
    }

    /// Adds what happened in another second; of what was used, the most.
    pub(super) fn add(&mut self, other: &Self) {
        let same = "they have the same bounds";
        self.receipts.add(&other.receipts).expect(same);
        self.sending.add(&other.sending).expect(same);
        for (slug, refusals) in &other.refusals {
            let sum = self.refusals.entry(slug.clone()).or_insert_with(latencies);
            sum.add(refusals).expect(same);
        }
        for (status, count) in &other.others {
            *self.others.entry(*status).or_default() += count;
        }
        self.in_time += other.in_time;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.given_up += other.given_up;
        self.resident_bytes = self.resident_bytes.max(other.resident_bytes);
        self.service_cpu_s = self.service_cpu_s.max(other.service_cpu_s);
        self.generator_cpu_s = self.generator_cpu_s.max(other.generator_cpu_s);
    }

    pub(super) fn receipt(&mut self, latency: Duration) {
        record(&mut self.receipts, latency);
        self.in_time += u64::from(latency <= DEADLINE);
    }

    pub(super) fn refusal(&mut self, slug: String, latency: Duration) {
        record(self.refusals.entry(slug).or_insert_with(latencies), latency);
    }

    /// Takes note of what a process has used: memory now, processor time since it began.
    pub(super) fn usage(&mut self, service: u32) {
        self.resident_bytes = usage::resident_bytes(service);
        self.service_cpu_s = usage::cpu_s(service);
        self.generator_cpu_s = usage::cpu_s(std::process::id());
    }
}
