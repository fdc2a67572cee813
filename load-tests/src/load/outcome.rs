//! What a scenario came to: for people as a table, for programs as JSON. Judges it by the limits
//! that the scenario names, and by nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::scenario::{Limits, Pace};
use super::{Latency, Measured, Slice};

/// From here on memory must stay as it is: caches are full by then.
const MEMORY_FROM_S: f64 = 60.0;

/// What came of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// As in its file.
    pub title: String,
    /// What it was measured on and with.
    pub conditions: Vec<(String, String)>,
    /// Its phases, in order.
    pub phases: Vec<PhaseOutcome>,
    /// What does not hold.
    pub findings: Vec<String>,
}

/// What came of a phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseOutcome {
    /// As in its file.
    pub name: String,
    /// What decided when swipes were sent.
    pub pace: Pace,
    /// Swipes a second that were meant to be sent; none where the answers decided.
    pub offered_per_s: Option<f64>,
    /// Receipts a second.
    pub per_s: f64,
    /// From the intended time to the receipt.
    pub receipts: Option<Latency>,
    /// The same of refusals, by the last part of the problem's type.
    pub refusals: BTreeMap<String, Latency>,
    /// Other answers, by status.
    pub others: BTreeMap<u16, u64>,
    /// Swipes whose name was known before.
    pub replayed: u64,
    /// Swipes without an answer.
    pub unanswered: u64,
    /// Swipes that could not be sent.
    pub unsent: u64,
    /// Whether every swipe was answered 201.
    pub clean: bool,
    /// What the generator itself added to the latencies.
    pub generator_lag: Option<Latency>,
    /// Processor time for each swipe.
    pub cpu_us: CpuPerSwipe,
    /// Each second.
    pub by_second: Vec<Slice>,
    /// Memory of all replicas, second by second from the beginning of the measured part.
    pub resident_mib: Vec<f64>,
}

/// Processor time for each receipt, in microseconds, user and system.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CpuPerSwipe {
    /// All replicas.
    pub service: f64,
    /// PostgreSQL with all its processes.
    pub postgres: f64,
    /// What sends and measures.
    pub generator: f64,
}

impl PhaseOutcome {
    /// From what was measured; what processes used is added by whoever watched them.
    pub fn new(name: &str, pace: Pace, offered_per_s: Option<f64>, measured: Measured) -> Self {
        let refusals = measured.refusals.iter();
        Self {
            name: name.to_owned(),
            pace,
            offered_per_s,
            per_s: measured.per_s(),
            receipts: Latency::of(&measured.receipts),
            refusals: refusals
                .filter_map(|(slug, latencies)| Some((slug.clone(), Latency::of(latencies)?)))
                .collect(),
            clean: measured.is_clean(),
            generator_lag: Latency::of(&measured.generator_lag),
            cpu_us: CpuPerSwipe { generator: measured.generator_cpu_us, ..CpuPerSwipe::default() },
            others: measured.others,
            replayed: measured.replayed,
            unanswered: measured.unanswered,
            unsent: measured.unsent,
            by_second: measured.by_second,
            resident_mib: Vec::new(),
        }
    }

    /// Memory at the end, as a multiple of that a minute after the beginning.
    fn memory_growth(&self) -> Option<f64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a constant")]
        let early = self.resident_mib.get(MEMORY_FROM_S as usize)?;
        Some(self.resident_mib.last()? / early)
    }
}

impl Outcome {
    /// Notes what does not hold.
    pub fn judge(&mut self, limits: &Limits) {
        let dirty = self.phases.iter().filter(|phase| limits.clean && !phase.clean);
        let dirty = dirty.map(|phase| format!("{}: not every swipe was answered 201", phase.name));
        self.findings.extend(dirty);
        if let (Some(most), Some(last)) = (limits.memory_growth_max, self.phases.last()) {
            match last.memory_growth() {
                Some(growth) if growth <= most => {}
                Some(growth) => self.findings.push(format!(
                    "{}: memory grew by a factor of {growth:.3} after the first minute; {most} is \
                     allowed",
                    last.name
                )),
                None => self.findings.push(format!(
                    "{}: too short to say anything about memory; it needs more than a minute",
                    last.name
                )),
            }
        }
    }

    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for (name, value) in &self.conditions {
            writeln!(f, "  {name:<12} {value}")?;
        }
        writeln!(
            f,
            "\n{:<24} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8} {:>7}",
            "",
            "offered/s",
            "done/s",
            "p50 ms",
            "p99",
            "p99.9",
            "max",
            "service",
            "postgres",
            "sender",
            "MiB"
        )?;
        for phase in &self.phases {
            let offered = phase.offered_per_s.map_or("-".to_owned(), |it| format!("{it:.0}"));
            let ms = |of: fn(&Latency) -> f64| {
                phase.receipts.as_ref().map_or("-".to_owned(), |it| format!("{:.2}", of(it)))
            };
            let CpuPerSwipe { service, postgres, generator } = phase.cpu_us;
            writeln!(
                f,
                "{:<24} {offered:>9} {:>9.0} {:>8} {:>8} {:>8} {:>8}  {service:>8.1} \
                 {postgres:>8.1} {generator:>8.1} {:>7.1}",
                phase.name,
                phase.per_s,
                ms(|it| it.p50_ms),
                ms(|it| it.p99_ms),
                ms(|it| it.p999_ms),
                ms(|it| it.max_ms),
                phase.resident_mib.last().copied().unwrap_or_default(),
            )?;
        }
        writeln!(f, "{:>92}", "(CPU for each swipe, µs)")?;
        for phase in self.phases.iter().filter(|phase| phase.offered_per_s.is_some()) {
            let Some(Latency { p50_ms, p99_ms, .. }) = &phase.generator_lag else { continue };
            let name = &phase.name;
            writeln!(f, "{name}: the sender itself was late by {p50_ms:.2} ms (p99 {p99_ms:.2})")?;
        }
        for phase in self.phases.iter().filter(|phase| !phase.clean) {
            writeln!(f, "{}:", phase.name)?;
            for (slug, Latency { count, p50_ms, p99_ms, .. }) in &phase.refusals {
                writeln!(f, "{count:>9}  refused: {slug} (p50 {p50_ms:.2}, p99 {p99_ms:.2} ms)")?;
            }
            for (status, count) in &phase.others {
                writeln!(f, "{count:>9}  answered {status}")?;
            }
            for (count, what) in [
                (phase.replayed, "known before"),
                (phase.unanswered, "not answered"),
                (phase.unsent, "not sent: nobody was free"),
            ] {
                if count > 0 {
                    writeln!(f, "{count:>9}  {what}")?;
                }
            }
        }
        for finding in &self.findings {
            writeln!(f, "\n- {finding}")?;
        }
        write!(f, "\n{}", if self.holds() { "everything holds" } else { "NOT everything holds" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(clean: bool, resident_mib: Vec<f64>) -> Outcome {
        let phase = PhaseOutcome {
            name: "half of it".to_owned(),
            pace: Pace::PerS(10.0),
            offered_per_s: Some(10.0),
            per_s: 10.0,
            receipts: None,
            refusals: BTreeMap::new(),
            others: BTreeMap::new(),
            replayed: 0,
            unanswered: u64::from(!clean),
            unsent: 0,
            clean,
            generator_lag: None,
            cpu_us: CpuPerSwipe::default(),
            by_second: Vec::new(),
            resident_mib,
        };
        let (title, conditions, findings) = ("A test".to_owned(), Vec::new(), Vec::new());
        Outcome { title, conditions, phases: vec![phase], findings }
    }

    #[test]
    fn each_limit_is_found_when_it_is_passed_and_only_then() {
        let flat = vec![50.0; 61];
        let mut grown = flat.clone();
        grown.extend([54.0, 56.0]);
        let clean = Limits::default();
        let memory = Limits { clean: true, memory_growth_max: Some(1.10) };
        let whatever = Limits { clean: false, memory_growth_max: None };
        for (is_clean, resident_mib, limits, expected) in [
            (true, &flat, &clean, None),
            (false, &flat, &clean, Some("201")),
            (false, &flat, &whatever, None),
            (true, &grown, &clean, None),
            (true, &flat, &memory, None),
            (true, &grown, &memory, Some("factor of 1.120")),
            (true, &vec![50.0; 60], &memory, Some("too short")),
        ] {
            let mut outcome = outcome(is_clean, resident_mib.clone());
            outcome.judge(limits);
            let found = outcome.findings.join("; ");
            assert_eq!(outcome.holds(), expected.is_none(), "{found}");
            assert!(found.contains(expected.unwrap_or_default()), "{found}");
            let text = outcome.to_string();
            assert_eq!(text.ends_with("NOT everything holds"), expected.is_some(), "{text}");
        }
    }
}
