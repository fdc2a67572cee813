//! The figures: what a row of the table is, what must hold of it, and how rounds become one value
//! with its spread.

use serde::Serialize;

/// A value and how far it was spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Value {
    /// The value.
    pub value: f64,
    /// The lowest of a single round.
    pub min: f64,
    /// The highest of a single round.
    pub max: f64,
}

/// What is promised of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// More is better.
    AtLeast {
        /// What must hold.
        must: f64,
        /// What is aimed at.
        aim: f64,
    },
    /// Less is better.
    AtMost {
        /// What must hold.
        must: f64,
        /// What is aimed at.
        aim: f64,
    },
    /// For information.
    Nothing,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in files.
    pub key: &'static str,
    /// What it is of.
    pub unit: &'static str,
    /// What is promised.
    pub promise: Promise,
    /// The figure, or why there is none.
    pub outcome: Result<Value, String>,
    /// How it came about, for people; may be empty.
    pub note: String,
}

impl Value {
    /// One figure that was measured once.
    pub fn once(value: f64) -> Self {
        Self { value, min: value, max: value }
    }

    /// The median of rounds, with the lowest and the highest.
    ///
    /// # Panics
    /// Without any round.
    pub fn of_rounds(rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted.first(), sorted.last());
        let (Some(min), Some(max)) = (first.copied(), last.copied()) else {
            panic!("there is no median of nothing");
        };
        let half = sorted.len() / 2;
        let value = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[half - 1], sorted[half]),
            _ => sorted[half],
        };
        Self { value, min, max }
    }

    /// The ratio of two medians; spread as the ratios of single rounds are.
    ///
    /// # Panics
    /// Without any round, or when the sides have not had the same number of them.
    pub fn ratio_of_medians(ours: &[f64], theirs: &[f64]) -> Self {
        assert_eq!(ours.len(), theirs.len(), "rounds alternate");
        let rounds: Vec<f64> =
            ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let value = Self::of_rounds(ours).value / Self::of_rounds(theirs).value;
        Self { value, ..Self::of_rounds(&rounds) }
    }
}

impl Promise {
    /// Whether what must hold does, and whether what is aimed at does.
    pub fn holds(self, value: f64) -> (bool, bool) {
        match self {
            Self::AtLeast { must, aim } => (value >= must, value >= aim),
            Self::AtMost { must, aim } => (value <= must, value <= aim),
            Self::Nothing => (true, true),
        }
    }
}

impl Row {
    /// Whether it was measured and what must hold does.
    pub fn holds(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|value| self.promise.holds(value.value).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_between_two_middles_half_way() {
        let odd = Value::of_rounds(&[9.0, 1.0, 5.0]);
        assert_eq!(odd, Value { value: 5.0, min: 1.0, max: 9.0 });
        let even = Value::of_rounds(&[8.0, 2.0, 4.0, 100.0]);
        assert_eq!(even, Value { value: 6.0, min: 2.0, max: 100.0 });
    }

    #[test]
    fn the_ratio_is_of_the_medians_and_its_spread_of_the_rounds() {
        // Medians 12 and 4. Rounds 10/4, 12/3, 16/8.
        let ratio = Value::ratio_of_medians(&[10.0, 12.0, 16.0], &[4.0, 3.0, 8.0]);
        assert_eq!(ratio, Value { value: 3.0, min: 2.0, max: 4.0 });
    }

    #[test]
    fn promises_are_kept_at_their_limit_and_broken_behind_it() {
        let more = Promise::AtLeast { must: 2.2, aim: 4.0 };
        assert_eq!(
            [2.1, 2.2, 4.0].map(|value| more.holds(value)),
            [(false, false), (true, false), (true, true)]
        );
        let less = Promise::AtMost { must: 10.0, aim: 5.0 };
        assert_eq!(
            [10.1, 10.0, 5.0].map(|value| less.holds(value)),
            [(false, false), (true, false), (true, true)]
        );
        assert_eq!(more.holds(f64::NAN), (false, false));
        let row = Row {
            key: "k",
            unit: "ms",
            promise: less,
            outcome: Err("an answer was missing".to_owned()),
            note: String::new(),
        };
        assert!(!row.holds(), "what was not measured does not hold");
    }
}
