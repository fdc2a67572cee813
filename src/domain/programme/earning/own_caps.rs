//! Caps of single rules: the most that one rule gives in a transaction.
//!
//! A multiplier with such a cap counts for all of its lines or for none of them: where a
//! transaction earns more without it, it stands back for the others. So of all ways to let some
//! of them stand back the one counts that earns most, and of equal ones the first that is tried:
//! nobody stands back in vain. What a cap leaves is shared like what it was cut from. Owns who
//! stands back and who is cut; must never look at the caps of the whole, which come after.

use super::{Gives, Programme, RuleSet, Shared, Sold, bits};
use crate::domain::programme::rules::RULES_MAX;

/// What the cap of a rule took off a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCut<'a> {
    /// The rule.
    pub rule: &'a str,
    /// What it would have given without its cap, in thousandths of a point.
    pub due_thousandths: i64,
    /// What it gives, in points; 0 where it stands back for others, which give more.
    pub given: i64,
}

/// What caps of single rules do to one transaction.
#[derive(Default)]
pub(super) struct OwnCaps<'a> {
    /// Multipliers that stand back.
    pub(super) standing_back: RuleSet,
    /// What those give that are cut, in parts of [`Programme::unit`].
    pub(super) reached: Vec<Shared>,
    /// The same in words.
    pub(super) cuts: Vec<OwnCut<'a>>,
}

/// A line of sale, as far as rules with caps look at it.
struct Line {
    in_scope: RuleSet,
    /// Not negative.
    net_minor: i64,
    thousandths: i64,
}

impl Programme {
    /// What caps of single rules do, of those rules that hold.
    pub(super) fn own_caps(
        &self,
        holding: RuleSet,
        sold: impl Iterator<Item = Sold>,
    ) -> OwnCaps<'_> {
        let capped = holding & self.scopes.capped;
        if capped == 0 {
            return OwnCaps::default();
        }
        let line = |line: Sold| Line {
            in_scope: holding & self.scopes.of(&line.product),
            net_minor: line.net_minor.max(0),
            thousandths: line.quantity.thousandths(),
        };
        let lines: Vec<Line> = sold.map(line).collect();
        let multipliers = capped & self.scopes.multipliers;
        let of_all = self.multiplied(&lines, 0);
        let standing_back = self.standing_back(&lines, multipliers, &of_all);
        let multiplied = self.multiplied(&lines, standing_back);

        let mut caps = OwnCaps { standing_back, ..OwnCaps::default() };
        for bit in bits(capped) {
            let items = || {
                let in_scope = lines.iter().filter(|line| line.in_scope >> bit & 1 == 1);
                in_scope.map(|line| line.thousandths).sum()
            };
            let stands_back = standing_back >> bit & 1 == 1;
            let whole = match multipliers >> bit & 1 == 1 {
                true if stands_back => of_all[bit],
                true => multiplied[bit],
                false => items(),
            };
            let (due, most) = (self.due(bit, whole), self.most(bit));
            if due <= most && !stands_back {
                continue;
            }
            if !stands_back {
                let whole = whole.into();
                caps.reached.push(Shared { bit, amount: most, whole, so_far: 0 });
            }
            let due_thousandths = self.thousandths(due);
            let given = if stands_back { 0 } else { most / self.unit() };
            let given = i64::try_from(given).expect("caps are small");
            caps.cuts.push(OwnCut { rule: &self.rules[bit].name, due_thousandths, given });
        }
        caps
    }

    /// Which of the multipliers with caps stand back. `of_all`: what they count for when none
    /// does.
    fn standing_back(
        &self,
        lines: &[Line],
        multipliers: RuleSet,
        of_all: &[i64; RULES_MAX],
    ) -> RuleSet {
        let is_cut = |bit: usize| self.due(bit, of_all[bit]) > self.most(bit);
        if !bits(multipliers).any(is_cut) {
            return 0;
        }
        let (mut most, mut best) = (self.bonus(of_all), 0);
        let mut some: RuleSet = 0;
        loop {
            // Goes through all subsets, each after those that it contains.
            some = some.wrapping_sub(multipliers) & multipliers;
            if some == 0 {
                return best;
            }
            let bonus = self.bonus(&self.multiplied(lines, some));
            if bonus > most {
                (most, best) = (bonus, some);
            }
        }
    }

    /// What the lines cost that each multiplier counts for, by its bit.
    fn multiplied(&self, lines: &[Line], standing_back: RuleSet) -> [i64; RULES_MAX] {
        let mut minor = [0; RULES_MAX];
        let multipliers = self.scopes.multipliers & !standing_back;
        for line in lines {
            if let Some(best) = bits(line.in_scope & multipliers).next() {
                minor[best] += line.net_minor;
            }
        }
        minor
    }

    /// What all multipliers give beyond the base rate, caps of their own taken off.
    fn bonus(&self, minor: &[i64; RULES_MAX]) -> i128 {
        let given = |bit: usize| self.due(bit, minor[bit]).min(self.most(bit));
        bits(self.scopes.multipliers).map(given).sum()
    }

    /// What a rule gives for what its lines cost, or for how many units there are.
    fn due(&self, bit: usize, whole: i64) -> i128 {
        let (rate, per_minor) = (i128::from(self.rate.points), i128::from(self.rate.per_minor));
        match self.rules[bit].gives {
            Gives::Multiplied(factor) => i128::from(whole) * rate * (i128::from(factor) - 1_000),
            Gives::PerItem(points) => i128::from(points) * i128::from(whole) * per_minor,
            Gives::Fixed(points) => i128::from(points) * self.unit(),
        }
    }

    /// The most that a rule gives.
    fn most(&self, bit: usize) -> i128 {
        self.rules[bit].cap.map_or(i128::MAX, |points| i128::from(points) * self.unit())
    }
}
