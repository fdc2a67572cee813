//! What a basket of the model earns: the base rate, rules that give more, some of them with caps
//! of their own, and what is left of a day.
//!
//! Written from `docs/programme.md` alone, with the same interdiction as `account.rs`: it must
//! never call `tillside::domain`.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::account::Key;
use super::purchase::Line;
use super::tiers::Tiers;

/// How purchases earn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Programme {
    pub(crate) points: i64,
    pub(crate) per_minor: i64,
    /// Points run out at the end of the month so many months later; 0: never.
    pub(crate) months: i64,
    /// The most that an account earns on a day; 0: anything.
    pub(crate) per_day: i64,
    pub(crate) tiers: Option<Tiers>,
    /// The most that tiers add which earn twice as much, in a transaction; 0: anything.
    pub(crate) doubling_most: i64,
    /// Whether everybody earns half as much again.
    pub(crate) half_more: bool,
    /// Points for each piece, beside everything else.
    pub(crate) per_item: i64,
    /// The most that these come to in a transaction; 0: anything.
    pub(crate) items_most: i64,
}

/// What the lines of a basket earn.
pub(crate) struct Worth {
    /// Each what the basket is worth more with it than without it and what follows it.
    pub(crate) lines: Vec<i64>,
    /// Whether a rule gave less than it would without its cap.
    pub(crate) cut_by_rule: bool,
    /// Whether a rule gave nothing, for the sake of another that gives more.
    pub(crate) stood_back: bool,
}

impl Worth {
    /// Leaves so many points: each beginning of the basket has its share of them, whole ones only.
    pub(crate) fn cut_to(&mut self, room: i64) {
        let due: i64 = self.lines.iter().sum();
        let (mut of_due, mut of_room) = (0, 0);
        for points in &mut self.lines {
            of_due += *points;
            *points = of_due * room / due - of_room;
            of_room += *points;
        }
    }
}

impl Programme {
    /// Points at the base rate. Fractions of a point are dropped.
    pub(crate) fn points_for(&self, minor: i64) -> i64 {
        minor.max(0) * self.points / self.per_minor
    }

    pub(crate) fn lot_of(&self, date: Date) -> Key {
        let available_from = date.first_of_month();
        let expires_on = match self.months {
            0 => Date::MAX,
            months => (available_from + months.months()).last_of_month(),
        };
        Key { expires_on, available_from }
    }

    /// What each of these lines of sale earns, for somebody whose tier may earn twice as much.
    pub(crate) fn worth(&self, sold: &[&Line], doubles: bool) -> Worth {
        let per_minor = i128::from(self.per_minor);
        // Sums are in thousandths of a point divided by `per_minor`: so all of them are whole.
        let point = 1_000 * per_minor;
        let most = |points: i64| if points == 0 { i128::MAX } else { i128::from(points) * point };
        let of = |lines: &[&Line], what: fn(&Line) -> i64| -> i128 {
            lines.iter().filter(|line| !line.no_points).map(|line| i128::from(what(line))).sum()
        };
        let minor = |lines: &[&Line]| of(lines, Line::net_minor);
        let pieces = |lines: &[&Line]| of(lines, |line| line.quantity);
        let base = |lines: &[&Line]| minor(lines) * i128::from(self.points) * 1_000;
        let items = |lines: &[&Line]| pieces(lines) * i128::from(self.per_item) * per_minor;
        // What is cut is shared as the whole would have been.
        let share = |amount: i128, part: i128, whole: i128| match whole {
            0 => 0,
            whole => amount * part / whole,
        };

        let (once_more, half) = (base(sold), base(sold) / 2);
        let doubled = once_more.min(most(self.doubling_most));
        let stood_back = doubles && self.half_more && half > doubled;
        let is_doubled = doubles && !stood_back;
        let given_for_items = items(sold).min(most(self.items_most));
        let beginning = |end: usize| -> i64 {
            let lines = &sold[..end];
            let more = match (is_doubled, self.half_more) {
                (true, _) if doubled < once_more => share(doubled, minor(lines), minor(sold)),
                (true, _) => base(lines),
                (false, true) => base(lines) / 2,
                (false, false) => 0,
            };
            let for_items = match given_for_items < items(sold) {
                true => share(given_for_items, pieces(lines), pieces(sold)),
                false => items(lines),
            };
            let points = (base(lines) + more + for_items) / point;
            i64::try_from(points).expect("a basket of a test")
        };
        let lines = (0..sold.len()).map(|at| beginning(at + 1) - beginning(at)).collect();
        let cut_by_rule = given_for_items < items(sold) || is_doubled && doubled < once_more;
        Worth { lines, cut_by_rule, stood_back }
    }
}
