//! Tiers of the model: what was spent by month, and what a retailer would make of it on paper,
//! month after month.
//!
//! Written from the words of the rules alone, with the same interdiction as `account.rs`: it
//! must never call `tillside::domain`.

use jiff::civil::Date;

/// Never more months than these are remembered.
const MONTHS_MAX: usize = 64;

/// What customers reach by spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiers {
    /// What has to be spent for each, the lowest first.
    pub(crate) thresholds: [i64; 3],
    /// Months of spending that count together.
    pub(crate) window: i32,
    /// Months that a tier is kept after the last one that earned it.
    pub(crate) grace: i32,
    /// Whether it is lost a step at a time.
    pub(crate) steps: bool,
    /// The lowest tier that earns twice as much; 0: none does.
    pub(crate) doubles_from: usize,
}

/// How an account stands with tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    /// Counted from 1; 0 below the lowest.
    pub(crate) number: usize,
    /// What is still to be spent this month for the next one.
    pub(crate) to_next_minor: Option<i64>,
}

/// What qualifies for tiers, by month.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Months {
    /// In their order; never nothing.
    sums: Vec<(i32, i64)>,
    /// Earlier ones are forgotten.
    since: i32,
}

/// The month of a day, counted from the year 0.
pub(crate) fn month(date: Date) -> i32 {
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

impl Months {
    pub(crate) fn new() -> Self {
        Self { sums: Vec::new(), since: i32::MIN }
    }

    /// Counts what was spent in a month; below zero what came back of it.
    pub(crate) fn count(&mut self, month: i32, minor: i64) {
        if minor == 0 || month < self.since {
            return;
        }
        match self.sums.iter_mut().find(|(of, _)| *of == month) {
            Some((_, sum)) => *sum += minor,
            None => self.sums.push((month, minor)),
        }
        self.sums.retain(|(_, sum)| *sum != 0);
        self.sums.sort_unstable();
        if self.sums.len() > MONTHS_MAX {
            self.forget_before(self.sums[1].0);
        }
    }

    pub(crate) fn forget_before(&mut self, month: i32) {
        self.since = self.since.max(month);
        self.sums.retain(|(of, _)| *of >= self.since);
    }

    /// Gives everything to those of another account.
    pub(crate) fn give_to(&mut self, heir: &mut Self) {
        let Self { sums, since } = std::mem::replace(self, Self::new());
        heir.forget_before(since);
        for (month, minor) in sums {
            heir.count(month, minor);
        }
    }
}

impl Tiers {
    /// The first month that can still decide about a tier in this one.
    pub(crate) fn first_month(&self, now: i32) -> i32 {
        let tiers = i32::try_from(self.thresholds.len()).expect("three");
        let kept = if self.steps { tiers * (self.grace + 1) - 1 } else { self.grace };
        now - kept - self.window + 1
    }

    fn spent(&self, months: &Months, at: i32) -> i64 {
        let counts = |month: i32| at - self.window < month && month <= at;
        let sums = months.sums.iter().filter(|(month, _)| counts(*month));
        sums.map(|(_, minor)| minor).sum::<i64>().max(0)
    }

    /// How many tiers a month earns.
    pub(crate) fn earned(&self, months: &Months, at: i32) -> usize {
        let spent = self.spent(months, at);
        self.thresholds.iter().filter(|threshold| **threshold <= spent).count()
    }

    /// The tier that is held in a month: kept for its grace since the last that earned it, and
    /// then lost at once, or by a step with a grace of its own.
    pub(crate) fn held(&self, months: &Months, at: i32) -> usize {
        if !self.steps {
            let kept = (at - self.grace..=at).map(|month| self.earned(months, month));
            return kept.max().expect("this month is one of them");
        }
        // What came back of a sale that nobody knows may be of a month that is still to come.
        let first = months.sums.first().map_or(at, |(month, _)| *month).min(at);
        let (mut held, mut until) = (0, first);
        for month in first..=at {
            if month > until && held > 0 {
                (held, until) = (held - 1, month + self.grace);
            }
            let earned = self.earned(months, month);
            if earned >= held {
                (held, until) = (earned, month + self.grace);
            }
        }
        held
    }

    /// How an account stands in a month.
    pub(crate) fn standing(&self, months: &Months, at: i32) -> Tier {
        let number = self.held(months, at);
        let next = self.thresholds.get(number);
        let to_next_minor = next.map(|threshold| threshold - self.spent(months, at));
        Tier { number, to_next_minor }
    }
}
