//! What a replay adds up: answers, money, points and times. Sums only; decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Receipt;

/// Slower requests count as this slow.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What the answers to the baskets add up to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Answered 201: recorded now.
    pub recorded: u64,
    /// Answered 200: had been recorded before.
    pub known_before: u64,
    /// Refused, by the slug of the reason.
    pub refused: BTreeMap<String, u64>,
    /// Sent again, because there was no answer or the service was busy.
    pub retries: u64,
    /// Lines of the accepted baskets.
    pub lines: u64,
    /// What was paid for the accepted baskets, in minor units.
    pub sales_minor: i64,
    /// Points that the receipts say were earned.
    pub points_earned: i64,
    /// Coupons that the receipts carry.
    pub coupons: u64,
    /// What became of the coupons that tills took, by the outcome.
    pub redemptions: BTreeMap<String, u64>,
}

/// Counts, and how long it took.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// What the answers add up to.
    pub counts: Counts,
    /// From the first basket to the last answer.
    pub elapsed: Duration,
    latency_us: Histogram<u64>,
}

/// The figures of a replay, for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Baskets that were answered.
    pub baskets: u64,
    /// What the answers add up to.
    #[serde(flatten)]
    pub counts: Counts,
    /// From the first basket to the last answer, in seconds.
    pub elapsed_s: f64,
    /// Answered baskets per second.
    pub baskets_per_s: f64,
    /// From sending a request to its complete answer, in milliseconds.
    pub latency_ms: Latency,
}

/// Percentiles of the time for one request, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half of the requests took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1,000 took no longer.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            elapsed: Duration::ZERO,
            latency_us: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .expect("1 µs to 60 s with three digits is a range that a histogram can have"),
        }
    }
}

impl Statistics {
    /// Notes an accepted basket.
    pub(super) fn accepted(
        &mut self,
        is_new: bool,
        lines: usize,
        sales_minor: i64,
        receipt: &Receipt,
    ) {
        let counts = &mut self.counts;
        *(if is_new { &mut counts.recorded } else { &mut counts.known_before }) += 1;
        counts.lines += lines as u64;
        counts.sales_minor += sales_minor;
        counts.points_earned += receipt.points.earned;
        counts.coupons += receipt.coupons.len() as u64;
        for redemption in &receipt.redemptions {
            *counts.redemptions.entry(redemption.outcome.clone()).or_default() += 1;
        }
    }

    /// Notes a refused basket.
    pub(super) fn refused(&mut self, slug: String) {
        *self.counts.refused.entry(slug).or_default() += 1;
    }

    /// Notes that a basket has to be sent again.
    pub(super) fn retried(&mut self) {
        self.counts.retries += 1;
    }

    /// Notes how long a request took that was answered.
    pub(super) fn answered(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(us.clamp(1, LATENCY_MAX_US));
    }

    /// Whether any request was answered.
    pub(super) fn has_answers(&self) -> bool {
        !self.latency_us.is_empty()
    }

    /// Adds what another connection saw.
    pub(super) fn add(&mut self, other: &Self) {
        let (counts, others) = (&mut self.counts, &other.counts);
        counts.recorded += others.recorded;
        counts.known_before += others.known_before;
        for (slug, count) in &others.refused {
            *counts.refused.entry(slug.clone()).or_default() += count;
        }
        counts.retries += others.retries;
        counts.lines += others.lines;
        counts.sales_minor += others.sales_minor;
        counts.points_earned += others.points_earned;
        counts.coupons += others.coupons;
        for (outcome, count) in &others.redemptions {
            *counts.redemptions.entry(outcome.clone()).or_default() += count;
        }
        self.latency_us.add(&other.latency_us).expect("all histograms have the same bounds");
    }

    /// The figures for people and programs.
    pub fn summary(&self) -> Summary {
        let percentile = |quantile| milliseconds(self.latency_us.value_at_quantile(quantile));
        let counts = self.counts.clone();
        let baskets = counts.recorded + counts.known_before + counts.refused.values().sum::<u64>();
        let elapsed_s = self.elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is printed with few digits")]
        let baskets_per_s = if elapsed_s > 0.0 { baskets as f64 / elapsed_s } else { 0.0 };
        Summary {
            baskets,
            counts,
            elapsed_s,
            baskets_per_s,
            latency_ms: Latency {
                p50: percentile(0.5),
                p99: percentile(0.99),
                p999: percentile(0.999),
                max: milliseconds(self.latency_us.max()),
            },
        }
    }
}

fn milliseconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p99, p999, max } = self.latency_ms;
        let counts = &self.counts;
        writeln!(f, "baskets        {:>12}", self.baskets)?;
        writeln!(f, "  recorded     {:>12}", counts.recorded)?;
        writeln!(f, "  known before {:>12}", counts.known_before)?;
        for (slug, count) in &counts.refused {
            writeln!(f, "  refused      {count:>12}  {slug}")?;
        }
        writeln!(f, "sent again     {:>12}", counts.retries)?;
        writeln!(f, "lines          {:>12}", counts.lines)?;
        writeln!(f, "sales          {:>12}  minor units", counts.sales_minor)?;
        writeln!(f, "points earned  {:>12}", counts.points_earned)?;
        writeln!(f, "coupons        {:>12}", counts.coupons)?;
        for (outcome, count) in &counts.redemptions {
            writeln!(f, "  taken        {count:>12}  {outcome}")?;
        }
        writeln!(f, "seconds        {:>12.1}", self.elapsed_s)?;
        writeln!(f, "baskets/s      {:>12.0}", self.baskets_per_s)?;
        write!(f, "latency        p50 {p50:.2} ms, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_add_up() {
        let mut total = Statistics::default();
        for is_new in [true, false] {
            let mut one = Statistics::default();
            let receipt = r#"{"swipe":"","points":{"earned":12},"coupons":[{},{}],
                "redemptions":[{"outcome":"redeemed"},{"outcome":"expired"}]}"#;
            let receipt = serde_json::from_str(receipt).expect("a receipt");
            one.accepted(is_new, 3, 1_250, &receipt);
            one.answered(Duration::from_millis(4));
            one.refused("terminal-mismatch".into());
            one.retried();
            total.add(&one);
        }
        total.elapsed = Duration::from_secs(2);
        let summary = total.summary();
        let counts = &summary.counts;
        assert_eq!((counts.recorded, counts.known_before, summary.baskets), (1, 1, 4));
        assert_eq!(counts.refused["terminal-mismatch"], 2);
        assert_eq!((counts.lines, counts.sales_minor, counts.points_earned), (6, 2_500, 24));
        assert_eq!((counts.coupons, counts.redemptions["expired"]), (4, 2));
        assert!((summary.baskets_per_s - 2.0).abs() < 1e-9);
        assert!((summary.latency_ms.p999 - 4.0).abs() < 0.01, "{:?}", summary.latency_ms);
    }
}
