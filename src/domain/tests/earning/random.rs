//! Programmes and baskets that nobody chose: everything that a programme can say is said by some
//! of them.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::super::programme::{SATURDAY, When, fixed, per_item, sold, times};
use crate::domain::programme::caps::{AccountCap, EarnedBefore};
use crate::domain::programme::earning::Sold;
use crate::domain::programme::rules::{Dates, Hours, TimeOfDay, Weekday};
use crate::domain::programme::tiers::Tier;
use crate::domain::programme::{BaseRate, EarnRule, RedemptionRate, Rules};

/// Tiers of each programme.
const TIERS: u8 = 3;

/// A tier by its number.
fn tier(tier_no: u8) -> Tier {
    Tier { name: format!("l{tier_no}"), threshold_minor: i64::from(tier_no) * 10_000 }
}

/// Numbers that look drawn, the same in each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(super) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below what was asked for")
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn small(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(end.into())).expect("below what was asked for")
    }

    /// One to four names of a level; now and then one that no catalogue has. Of tiers there is
    /// none that the rules do not have.
    fn names(&mut self, letter: char, levels: u64) -> Vec<String> {
        let count = self.below(4) + 1;
        let name = |_| match self.one_in(20) && letter != 'l' {
            true => format!("{letter}?"),
            false => format!("{letter}{}", self.below(levels) + 1),
        };
        (0..count).map(name).collect()
    }

    pub(super) fn rule(&mut self, at: usize) -> EarnRule {
        let name = format!("rule {at}");
        let mut rule = match self.below(4) {
            0 => fixed(&name, self.small(300) + 1),
            1 => per_item(&name, self.small(20) + 1),
            _ => times(&name, 1_000 + self.small(9) * 250 + self.small(2)),
        };
        if rule.fixed_points.is_none() && self.one_in(4) {
            rule.cap_per_swipe = Some(self.small(60) + 1);
        }
        let mut given = |chances, letter, levels| {
            if self.one_in(chances) { self.names(letter, levels) } else { Vec::new() }
        };
        rule.departments = given(3, 'd', 6);
        rule.categories = given(6, 'c', 8);
        rule.types = given(8, 't', 12);
        rule.brands = given(5, 'b', 4);
        rule.skus = given(8, 's', 40);
        rule.stores = given(4, 'w', 4);
        rule.tiers = given(4, 'l', TIERS.into());
        if self.one_in(4) {
            rule.minimum_minor = i64::from(self.small(8_000));
        }
        if self.one_in(4) {
            let (from, to) = (self.small(1_440), self.small(1_440));
            let minutes = |minutes: u32| TimeOfDay(minutes.try_into().expect("of a day"));
            rule.hours = (from != to).then(|| Hours { from: minutes(from), to: minutes(to) });
        }
        if self.one_in(4) {
            let days = [
                Weekday::Monday,
                Weekday::Tuesday,
                Weekday::Wednesday,
                Weekday::Thursday,
                Weekday::Friday,
                Weekday::Saturday,
                Weekday::Sunday,
            ];
            rule.weekdays = days.into_iter().filter(|_| self.one_in(2)).collect();
        }
        if self.one_in(4) {
            let from = (!self.one_in(3)).then(|| self.day());
            let until = (!self.one_in(3)).then(|| self.day().max(from.unwrap_or(Date::MIN)));
            rule.dates = Some(Dates { from, until });
        }
        rule
    }

    fn day(&mut self) -> Date {
        SATURDAY + (i64::from(self.small(20)) - 10).days()
    }

    pub(super) fn rules(&mut self) -> Rules {
        let count = self.index(9);
        let mut rules = Rules {
            earn: BaseRate { points: self.small(12), per_minor: self.small(250) + 1 },
            tiers: (1..=TIERS).map(tier).collect(),
            rules: (0..count).map(|at| self.rule(at)).collect(),
            ..Rules::default()
        };
        let mut given = |chances, letter, levels| {
            if self.one_in(chances) { self.names(letter, levels) } else { Vec::new() }
        };
        rules.excluded_departments = given(4, 'd', 6);
        rules.excluded_categories = given(6, 'c', 8);
        rules.excluded_types = given(6, 't', 12);
        rules.excluded_brands = given(12, 'b', 4);
        rules.excluded_skus = given(6, 's', 40);
        rules.age_restricted_departments = given(3, 'd', 6);
        if self.one_in(3) {
            rules.cap_per_swipe = Some(self.small(400) + 1);
        }
        if self.one_in(3) {
            rules.cap_per_day = Some(self.small(600) + 1);
        }
        if self.one_in(3) {
            let (points, from) = (self.small(2_000) + 1, self.day());
            let until = (!self.one_in(3)).then(|| self.day().max(from));
            rules.cap_per_account = Some(AccountCap { points, from, until });
        }
        let months = u8::try_from(self.below(40) + 1).expect("below what was asked for");
        rules.expire_after_months = (!self.one_in(4)).then_some(months);
        if self.one_in(2) {
            // Nothing runs out before it can be spent.
            let most = rules.expire_after_months.map_or(366, |months| u64::from(months) * 28);
            rules.pending_days = self.below(most.min(366)).try_into().expect("days of a year");
        }
        rules.redeem = RedemptionRate { points: self.small(300) + 1, value_minor: self.small(80) };
        rules
    }

    pub(super) fn basket(&mut self) -> (When, Vec<Sold>) {
        let mut when = When::at(self.day(), self.below(1_700).cast_signed(), self.small(4) + 1);
        when.tier_no = u8::try_from(self.below(u64::from(TIERS) + 1)).expect("a tier");
        let before = |it: &mut Self, end| if it.one_in(2) { it.small(end).into() } else { 0 };
        when.earned = EarnedBefore { on_day: before(self, 700), in_period: before(self, 2_500) };
        let count = self.below(8) + 1;
        let line = |_| {
            let net_minor = i64::from(self.small(3_000)) - 100;
            let thousandths = match self.below(3) {
                0 => self.below(4_000).cast_signed(),
                whole => whole.cast_signed() * 1_000,
            };
            sold(self.small(45), net_minor, thousandths)
        };
        (when, (0..count).map(line).collect())
    }
}
