//! What the seconds add up to, and whether it is what was promised.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::second::{Latencies, Second, latencies};

/// Less means that something else than the throttle was the bottleneck.
const CAPACITY_MIN: f64 = 0.75;
/// Of the capacity, in receipts within the deadline.
const GOODPUT_MIN: f64 = 0.9;
/// Of a refusal, at the till.
const REFUSAL_P99_MAX_MS: f64 = 20.0;
/// Of the service's memory, from the first sixth of the overload to the last.
const MEMORY_GROWTH_MAX: f64 = 1.1;
/// Until everything is as it was before the overload.
const NORMAL_AFTER_MAX_S: usize = 5;
/// As before: no refusals, and latencies that are longer by no more than this.
const NORMAL_LATENCY: f64 = 1.5;

/// The seconds of each part of a run.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    pub(super) capacity: Range<usize>,
    pub(super) ordinary: Range<usize>,
    pub(super) overload: Range<usize>,
    pub(super) recovery: Range<usize>,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// As much as could be done, with as much under way as fills every batch.
    pub capacity: Part,
    /// Half of that, before the overload.
    pub ordinary: Part,
    /// The overload.
    pub overload: Part,
    /// The half again, from the end of the overload on.
    pub recovery: Part,
    /// Goodput of the overload, as a part of the capacity.
    pub goodput_ratio: f64,
    /// 99 of 100 refusals of the overload arrived within this time.
    pub refusal_p99_ms: Option<f64>,
    /// Memory of the service at the end of the overload, as a part of that near its beginning.
    pub memory_growth: f64,
    /// Seconds from the end of the overload until all was as before it; none: not in this run.
    pub normal_after_s: Option<usize>,
    /// Whether the capacity was about what it was throttled to; else nothing is shown.
    pub shown: bool,
    /// What was promised and is not so.
    pub findings: Vec<String>,
}

/// What happened in a part of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// How long it was.
    pub seconds: usize,
    /// Requests a second that were meant to be sent.
    pub offered_per_s: f64,
    /// Receipts a second within the deadline.
    pub goodput_per_s: f64,
    /// Receipts that came too late.
    pub late: u64,
    /// How long receipts took, from the intended time.
    pub receipts: Option<Latency>,
    /// How long refusals took, by reason.
    pub refusals: BTreeMap<String, Latency>,
    /// Other answers, by status.
    pub others: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Requests that the generator could not send.
    pub unsent: u64,
    /// Swipes that were refused at their last attempt.
    pub given_up: u64,
    /// What the generator itself added to the latencies.
    pub sending: Option<Latency>,
    /// Most memory of the service.
    pub resident_mib: f64,
    /// Processor cores that the service and the generator used.
    pub service_cores: f64,
    /// The same of the generator, with the proxy before PostgreSQL.
    pub generator_cores: f64,
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
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    fn of(latencies: &Latencies) -> Option<Self> {
        let ms = |us: u64| us as f64 / 1_000.0;
        (!latencies.is_empty()).then(|| Self {
            count: latencies.len(),
            p50_ms: ms(latencies.value_at_quantile(0.5)),
            p99_ms: ms(latencies.value_at_quantile(0.99)),
            max_ms: ms(latencies.max()),
        })
    }
}

impl Part {
    pub(super) fn new(seconds: &[Second]) -> Self {
        let mut all = Second::new();
        for second in seconds {
            all.add(second);
        }
        let length = seconds.len() as f64;
        let used = |cpu_s: fn(&Second) -> f64| {
            let (first, last) = (seconds.first().map(cpu_s), seconds.last().map(cpu_s));
            let used_s = last.zip(first).map_or(0.0, |(last, first)| (last - first).max(0.0));
            used_s / (length - 1.0)
        };
        let refused: u64 = all.refusals.values().map(|refusals| refusals.len()).sum();
        let offered = all.receipts.len()
            + refused
            + all.others.values().sum::<u64>()
            + all.unanswered
            + all.unsent;
        Self {
            seconds: seconds.len(),
            offered_per_s: offered as f64 / length,
            goodput_per_s: all.in_time as f64 / length,
            late: all.receipts.len() - all.in_time,
            receipts: Latency::of(&all.receipts),
            refusals: all
                .refusals
                .iter()
                .filter_map(|(slug, refusals)| Some((slug.clone(), Latency::of(refusals)?)))
                .collect(),
            others: all.others.clone(),
            unanswered: all.unanswered,
            unsent: all.unsent,
            given_up: all.given_up,
            sending: Latency::of(&all.sending),
            resident_mib: all.resident_bytes as f64 / 1_048_576.0,
            service_cores: used(|second| second.service_cpu_s),
            generator_cores: used(|second| second.generator_cpu_s),
        }
    }
}

impl Report {
    pub(super) fn new(phases: &Phases, seconds: &[Second], nominal_per_s: f64) -> Self {
        let part = |range: &Range<usize>| Part::new(&seconds[range.clone()]);
        let [capacity, ordinary, overload, recovery] =
            [&phases.capacity, &phases.ordinary, &phases.overload, &phases.recovery].map(part);
        let mut refusals = latencies();
        for second in &seconds[phases.overload.clone()] {
            for of_one_reason in second.refusals.values() {
                refusals.add(of_one_reason).expect("they have the same bounds");
            }
        }
        let sixths: Vec<Part> = seconds[phases.overload.clone()]
            .chunks(overload.seconds.div_ceil(6))
            .map(Part::new)
            .collect();
        let resident = |part: Option<&Part>| part.map_or(0.0, |part| part.resident_mib);
        let mut report = Self {
            shown: capacity.goodput_per_s >= nominal_per_s * CAPACITY_MIN,
            goodput_ratio: overload.goodput_per_s / capacity.goodput_per_s,
            refusal_p99_ms: Latency::of(&refusals).map(|refusals| refusals.p99_ms),
            memory_growth: resident(sixths.last()) / resident(sixths.first()),
            normal_after_s: normal_after(&ordinary, &seconds[phases.recovery.clone()]),
            capacity,
            ordinary,
            overload,
            recovery,
            findings: Vec::new(),
        };
        report.findings = report.judge();
        report
    }

    /// Whether everything is as promised.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    fn judge(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut require = |holds: bool, finding: String| {
            if !holds {
                findings.push(finding);
            }
        };
        let capacity_per_s = self.capacity.goodput_per_s;
        require(
            self.shown,
            format!(
                "the capacity was {capacity_per_s:.0}/s, much less than it was throttled to: this \
                 machine is too busy or too slow, and nothing is shown"
            ),
        );
        let percent = self.goodput_ratio * 100.0;
        require(
            self.goodput_ratio >= GOODPUT_MIN,
            format!("goodput fell to {percent:.0} % of the capacity; promised are 90 %"),
        );
        let p99_ms = self.refusal_p99_ms.unwrap_or(f64::INFINITY);
        require(
            p99_ms <= REFUSAL_P99_MAX_MS,
            format!("refusals took {p99_ms:.1} ms (p99); promised are {REFUSAL_P99_MAX_MS} ms"),
        );
        let growth = self.memory_growth;
        require(
            growth <= MEMORY_GROWTH_MAX,
            format!("the memory of the service grew by a factor of {growth:.2}"),
        );
        require(
            self.normal_after_s.is_some_and(|seconds| seconds <= NORMAL_AFTER_MAX_S),
            match self.normal_after_s {
                Some(seconds) => format!("it took {seconds} s until all was as before"),
                None => "it was not as before again while it was watched".to_owned(),
            },
        );
        let unsent = self.overload.unsent + self.capacity.unsent;
        require(unsent == 0, format!("{unsent} requests could not be sent: the load was less"));
        findings
    }
}

/// Seconds until each that follows is as the ordinary ones: nobody refused, nobody without an
/// answer, and latencies about the same.
fn normal_after(ordinary: &Part, recovery: &[Second]) -> Option<usize> {
    let p99_ms = |part: &Part| part.receipts.as_ref().map_or(f64::INFINITY, |it| it.p99_ms);
    let is_normal = |second: &Second| {
        let part = Part::new(std::slice::from_ref(second));
        part.refusals.is_empty()
            && part.unanswered == 0
            && p99_ms(&part) <= p99_ms(ordinary) * NORMAL_LATENCY
    };
    let last = recovery.iter().rposition(|second| !is_normal(second));
    let after = last.map_or(0, |last| last + 1);
    (after < recovery.len()).then_some(after)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:>9} {:>9} {:>22} {:>22} {:>6} {:>8} {:>8} {:>14}",
            "",
            "offered/s",
            "goodput/s",
            "receipts p50 p99 max",
            "refusals p50 p99 max",
            "late",
            "no answ.",
            "MiB",
            "cores svc gen"
        )?;
        for (name, part) in [
            ("capacity", &self.capacity),
            ("ordinary", &self.ordinary),
            ("overload", &self.overload),
            ("recovery", &self.recovery),
        ] {
            writeln!(
                f,
                "{name:<10} {:>9.0} {:>9.0} {:>22} {:>22} {:>6} {:>8} {:>8.1} {:>9.2} {:>4.2}",
                part.offered_per_s,
                part.goodput_per_s,
                milliseconds(part.receipts.as_ref()),
                milliseconds(part.refusals.get("overloaded")),
                part.late,
                part.unanswered,
                part.resident_mib,
                part.service_cores,
                part.generator_cores,
            )?;
        }
        writeln!(f)?;
        for (reason, latency) in &self.overload.refusals {
            let (count, times) = (latency.count, milliseconds(Some(latency)));
            writeln!(f, "{count:>9}  refused in the overload: {reason} ({times} ms)")?;
        }
        let sending = milliseconds(self.overload.sending.as_ref());
        writeln!(f, "{:>9}  given up after their last attempt", self.overload.given_up)?;
        writeln!(f, "{:>9}  of the latencies is the generator's own ({sending} ms)", "")?;
        writeln!(f, "{:>7.1} %  of the capacity was goodput", self.goodput_ratio * 100.0)?;
        writeln!(f, "{:>9.2}  times the memory at the end of the overload", self.memory_growth)?;
        match self.normal_after_s {
            Some(seconds) => writeln!(f, "{seconds:>7} s  until all was as before")?,
            None => writeln!(f, "{:>9}  as before again", "never")?,
        }
        for finding in &self.findings {
            writeln!(f, "\n- {finding}")?;
        }
        write!(f, "\noverload: {}", if self.holds() { "as promised" } else { "NOT as promised" })
    }
}

fn milliseconds(latency: Option<&Latency>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |it| format!("{:.1} {:.1} {:.0}", it.p50_ms, it.p99_ms, it.max_ms),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A second with so many receipts, each after so many milliseconds.
    fn second(receipts: u64, latency_ms: u64) -> Second {
        let mut second = Second::new();
        for _ in 0..receipts {
            second.receipt(Duration::from_millis(latency_ms));
        }
        second.resident_bytes = 1_000_000;
        second
    }

    /// The same, and as many refusals.
    fn refusing(receipts: u64, latency_ms: u64, refusal_ms: u64) -> Second {
        let mut second = second(receipts, latency_ms);
        for _ in 0..receipts {
            second.refusal("overloaded".to_owned(), Duration::from_millis(refusal_ms));
        }
        second
    }

    /// A run that is as promised, changed: 6 s of capacity and of ordinary load, 12 of overload,
    /// 10 of recovery, of which the first two are not yet normal.
    fn report(change: impl FnOnce(&mut [Second])) -> Report {
        let mut seconds = vec![second(2_000, 50); 6];
        seconds.extend(vec![second(1_000, 50); 6]);
        seconds.extend(vec![refusing(1_900, 200, 2); 12]);
        seconds.extend(vec![refusing(1_000, 50, 2); 2]);
        seconds.extend(vec![second(1_000, 60); 8]);
        change(&mut seconds);
        let phases = Phases { capacity: 0..6, ordinary: 6..12, overload: 12..24, recovery: 24..34 };
        Report::new(&phases, &seconds, 2_000.0)
    }

    #[test]
    fn a_run_that_is_as_promised_is_said_to_be() {
        let report = report(|_| {});
        assert!(report.holds(), "{:?}", report.findings);
        assert_eq!(report.normal_after_s, Some(2));
        assert!((report.goodput_ratio - 0.95).abs() < 1e-9);
        assert!(report.to_string().ends_with("overload: as promised"), "{report}");
    }

    #[test]
    fn each_broken_promise_is_found_alone() {
        type Spoil = fn(&mut [Second]);
        let cases: [(&str, Spoil); 7] = [
            ("capacity was", |seconds| {
                seconds[0..6].fill(second(1_000, 50));
                seconds[12..24].fill(refusing(1_000, 200, 2));
            }),
            ("goodput", |seconds| seconds[12..24].fill(refusing(1_600, 200, 2))),
            // A receipt after the deadline is none.
            ("goodput", |seconds| seconds[12..24].fill(refusing(1_900, 450, 2))),
            ("refusals", |seconds| seconds[12..24].fill(refusing(1_900, 200, 25))),
            ("memory", |seconds| seconds[23].resident_bytes = 1_200_000),
            ("as before", |seconds| seconds[30] = second(1_000, 90)),
            ("could not be sent", |seconds| seconds[14].unsent = 1),
        ];
        for (expected, change) in cases {
            let findings = report(change).findings;
            assert_eq!(findings.len(), 1, "{expected}: {findings:?}");
            assert!(findings[0].contains(expected), "{expected}: {findings:?}");
        }
    }
}
