//! What can be concluded from counts and sums: rates, means and differences, each with an interval
//! that says how far chance alone may have moved it.
//!
//! Owns the formulas and their sources. Knows nothing of what is counted; must never give an
//! interval that hides how little was seen.

use serde::Serialize;
use utoipa::ToSchema;

/// The 97.5th percentile of the standard normal distribution: intervals hold in 95 of 100 cases.
const Z: f64 = 1.959_963_984_540_054;

/// Where a value lies in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = EstimateInterval)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A share with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = EstimatedRate)]
pub struct Rate {
    /// From 0 to 1.
    pub rate: f64,
    /// Where it lies in 95 of 100 cases.
    pub interval: Interval,
}

impl Rate {
    /// Of so many cases, so many successes; none of no cases.
    pub fn of(successes: i64, cases: i64) -> Option<Self> {
        let (successes, cases) = (float(successes), float(cases));
        (cases > 0.0).then(|| Self::wilson(successes / cases, cases))
    }

    /// The score interval (Wilson, Probable inference, the law of succession, and statistical
    /// inference, JASA 22, 1927): the shares p for which the one seen lies within z standard
    /// errors of p. It stays within 0 to 1, and of no success among few cases it does not say 0.
    fn wilson(rate: f64, cases: f64) -> Self {
        let spread = Z * Z / cases;
        let middle = (rate + spread / 2.0) / (1.0 + spread);
        let half =
            (rate * (1.0 - rate) / cases + spread / (4.0 * cases)).sqrt() * Z / (1.0 + spread);
        let low = if rate <= 0.0 { 0.0 } else { (middle - half).max(0.0) };
        let high = if rate >= 1.0 { 1.0 } else { (middle + half).min(1.0) };
        Self { rate, interval: Interval { low, high } }
    }
}

/// Sums over cases that each came about with a known probability p, weighing 1/p.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weighed {
    /// Σ 1/p.
    pub weight: f64,
    /// The same over successes.
    pub of_successes: f64,
    /// Σ 1/p².
    pub squares: f64,
}

impl Weighed {
    /// With other cases.
    pub fn and(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            of_successes: self.of_successes + other.of_successes,
            squares: self.squares + other.squares,
        }
    }

    /// How many cases of one weight would tell as much: (Σ w)² / Σ w² (Kish, Survey Sampling,
    /// 1965).
    pub fn effective(&self) -> f64 {
        if self.squares > 0.0 { self.weight * self.weight / self.squares } else { 0.0 }
    }

    /// The share of successes if every possible case had been as likely: Σ y/p ÷ Σ 1/p (Hájek,
    /// in Foundations of Statistical Inference, 1971, after Horvitz and Thompson, JASA 47, 1952),
    /// with the score interval of the effective number of cases. None of no cases.
    pub fn rate(&self) -> Option<Rate> {
        let share = (self.of_successes / self.weight).clamp(0.0, 1.0);
        (self.weight > 0.0).then(|| Rate::wilson(share, self.effective()))
    }
}

/// Count, mean and spread of values that come one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    count: i64,
    mean: f64,
    /// Σ (x − mean)².
    squares: f64,
}

impl Sample {
    /// Takes one in (Welford, Technometrics 4, 1962): nothing large is taken from something
    /// large, so many values lose no digits.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / float(self.count);
        self.squares += before * (value - self.mean);
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The variance of the mean; of fewer than two values it cannot be told.
    fn variance_of_mean(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / float(self.count - 1) / float(self.count))
    }
}

/// How much larger the mean of one group is than that of another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = EstimatedDifference)]
pub struct Difference {
    /// The difference of the means.
    pub difference: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Where it lies in 95 of 100 cases.
    pub interval: Interval,
}

impl Difference {
    /// Of two groups whose values do not depend on each other: variances may differ (Welch,
    /// Biometrika 34, 1947), and the groups are large enough for their means to be as good as
    /// normally distributed. None where a group has fewer than two.
    pub fn of(one: &Sample, other: &Sample) -> Option<Self> {
        let variance = one.variance_of_mean()? + other.variance_of_mean()?;
        let (difference, standard_error) = (one.mean - other.mean, variance.sqrt());
        let half = Z * standard_error;
        let interval = Interval { low: difference - half, high: difference + half };
        Some(Self { difference, standard_error, interval })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn float(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-5, "{found} is not {expected}");
    }

    #[test]
    fn score_intervals_are_those_that_were_worked_out_by_hand() {
        // z² = 3.8415. Of 10: middle (0.1 + 0.19207) / 1.38415, half 1.95996 · √(0.009 + 0.0096036)
        // / 1.38415; and so on.
        for (successes, cases, low, high) in [
            (1, 10, 0.01788, 0.40415),
            (0, 10, 0.0, 0.27753),
            (10, 10, 0.72247, 1.0),
            (15, 148, 0.06239, 0.16049),
            (500, 1_000, 0.46907, 0.53093),
        ] {
            let found = Rate::of(successes, cases).expect("there are cases");
            close(found.interval.low, low);
            close(found.interval.high, high);
        }
        assert_eq!(Rate::of(0, 0), None);
    }

    #[test]
    fn what_was_unlikely_weighs_as_much_as_it_stands_for() {
        // Of ten places nine had the likeliest (p = 0.9, three used), one another (p = 0.1, used):
        // Σ 1/p = 10 + 10, of those used 3.3333 + 10, Σ 1/p² = 11.1111 + 100.
        let often = Weighed { weight: 10.0, of_successes: 3.0 / 0.9, squares: 9.0 / 0.81 };
        let seldom = Weighed { weight: 10.0, of_successes: 10.0, squares: 100.0 };
        let both = often.and(seldom);
        let rate = both.rate().expect("there are cases");
        close(rate.rate, 0.66667);
        close(both.effective(), 3.6);
        // 3.6 cases: middle (0.66667 + 0.53353) / 2.06707, half 1.95996 · √(0.0617284 + 0.0741019)
        // / 2.06707.
        close(rate.interval.low, 0.23117);
        close(rate.interval.high, 0.93008);
        // Of one weight it is the plain rate.
        let even = Weighed { weight: 20.0, of_successes: 2.0, squares: 40.0 };
        assert_eq!(even.rate(), Rate::of(1, 10));
        assert_eq!(Weighed::default().rate(), None);
    }

    #[test]
    fn a_difference_of_means_is_the_one_that_was_worked_out_by_hand() {
        let sample = |values: &[f64]| {
            let mut sample = Sample::default();
            values.iter().for_each(|value| sample.add(*value));
            sample
        };
        // Means 5 and 2; variances 6.6667 and 1, of the means 1.6667 and 0.33333; their sum is 2.
        let one = sample(&[2.0, 4.0, 6.0, 8.0]);
        let other = sample(&[1.0, 2.0, 3.0]);
        let found = Difference::of(&one, &other).expect("enough");
        close(found.difference, 3.0);
        close(found.standard_error, 2_f64.sqrt());
        close(found.interval.low, 0.22819);
        close(found.interval.high, 5.77181);
        assert_eq!(Difference::of(&one, &sample(&[1.0])), None);
        assert_eq!(Difference::of(&sample(&[]), &one), None);
        // Large values that differ little lose no digits.
        let far = sample(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]);
        close(Difference::of(&far, &other).expect("enough").standard_error, 0.81650);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_rate_and_narrows_with_more_cases(
            (cases, part) in (1_i64..100_000, 0.0..=1.0),
        ) {
            #[expect(clippy::cast_possible_truncation, reason = "a part of them")]
            let successes = (float(cases) * part) as i64;
            let few = Rate::of(successes, cases).expect("cases");
            let many = Rate::of(successes * 10, cases * 10).expect("cases");
            for it in [few, many] {
                let Interval { low, high } = it.interval;
                prop_assert!(0.0 <= low && low <= it.rate && it.rate <= high && high <= 1.0);
            }
            let width = |it: Rate| it.interval.high - it.interval.low;
            prop_assert!(width(many) < width(few));
        }
    }
}
