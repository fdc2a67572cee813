//! Compiled rules against a slow evaluator that reads the rules as they are written, on
//! generated programmes and baskets; and what must hold for all of them.

use std::cmp::Reverse;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::programme::{
    SATURDAY, When, ZONE_HOURS, article, compiled, earned, fixed, names, per_item, sold, times,
};
use crate::domain::programme::caps::{AccountCap, EarnedBefore};
use crate::domain::programme::earning::Sold;
use crate::domain::programme::rules::{Dates, Hours, TimeOfDay, Weekday};
use crate::domain::programme::tiers::Tier;
use crate::domain::programme::{BaseRate, EarnRule, Rules};
use crate::domain::quantity::Quantity;

/// Baskets on which the two are compared.
const COMPARED: u64 = 100_000;
/// Baskets for each generated programme.
const BASKETS: u64 = 50;

/// Tiers of each of them.
const TIERS: u8 = 3;

/// A tier by its number.
fn tier(tier_no: u8) -> Tier {
    Tier { name: format!("l{tier_no}"), threshold_minor: i64::from(tier_no) * 10_000 }
}

/// Numbers that look drawn, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below what was asked for")
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn small(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(end.into())).expect("below what was asked for")
    }

    /// One to three names of a level.
    fn names(&mut self, letter: char, levels: u64) -> Vec<String> {
        (0..=self.below(3)).map(|_| format!("{letter}{}", self.below(levels) + 1)).collect()
    }

    fn rule(&mut self, at: usize) -> EarnRule {
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

    fn rules(&mut self) -> Rules {
        let count = self.index(9);
        let mut rules = Rules {
            earn: BaseRate { points: self.small(12), per_minor: self.small(250) + 1 },
            tiers: (1..=TIERS).map(tier).collect(),
            rules: (0..count).map(|at| self.rule(at)).collect(),
            ..Rules::default()
        };
        if self.one_in(3) {
            rules.excluded_departments = self.names('d', 6);
        }
        if self.one_in(6) {
            rules.excluded_types = self.names('t', 12);
        }
        if self.one_in(6) {
            rules.excluded_skus = self.names('s', 40);
        }
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
        rules
    }

    fn basket(&mut self) -> (When, Vec<Sold>) {
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

// ------------------------------------------------------------------ the slow evaluator

fn named(names: &[String], letter: char, number: u32) -> bool {
    number != 0 && names.contains(&format!("{letter}{number}"))
}

fn is_excluded(rules: &Rules, line: &Sold) -> bool {
    let taxa = line.product.taxa;
    line.product.no_points
        || named(&rules.excluded_departments, 'd', taxa.department_no)
        || named(&rules.excluded_categories, 'c', taxa.category_no)
        || named(&rules.excluded_types, 't', taxa.type_no)
        || named(&rules.excluded_brands, 'b', taxa.brand_no)
        || named(&rules.excluded_skus, 's', line.product.product_no)
}

fn in_scope(rule: &EarnRule, line: &Sold) -> bool {
    let taxa = line.product.taxa;
    let open_or_named =
        |names: &[String], letter, number| names.is_empty() || named(names, letter, number);
    open_or_named(&rule.departments, 'd', taxa.department_no)
        && open_or_named(&rule.categories, 'c', taxa.category_no)
        && open_or_named(&rule.types, 't', taxa.type_no)
        && open_or_named(&rule.brands, 'b', taxa.brand_no)
        && open_or_named(&rule.skus, 's', line.product.product_no)
}

fn holds(rule: &EarnRule, when: When, eligible_minor: i64) -> bool {
    let local_s = when.occurred_at.as_second() + i64::from(ZONE_HOURS) * 3_600;
    let minute = local_s.rem_euclid(86_400) / 60;
    let hours = rule.hours.is_none_or(|Hours { from, to }| {
        // Goes from the first minute on, round the clock, until the last.
        let (from, to) = (i64::from(from.0), i64::from(to.0));
        (minute - from).rem_euclid(1_440) < (to - from).rem_euclid(1_440)
    });
    let weekday = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    // The fourteenth of March is a Saturday.
    let days = (when.business_date - SATURDAY).get_days();
    let weekday = weekday[usize::try_from((days + 5).rem_euclid(7)).expect("a day")];
    let dates = rule.dates.unwrap_or(Dates { from: None, until: None });
    hours
        && (rule.weekdays.is_empty() || rule.weekdays.contains(&weekday))
        && (rule.tiers.is_empty() || named(&rule.tiers, 'l', when.tier_no.into()))
        && (rule.stores.is_empty() || named(&rule.stores, 'w', when.store_no))
        && dates.from.unwrap_or(Date::MIN) <= when.business_date
        && when.business_date <= dates.until.unwrap_or(Date::MAX)
        && eligible_minor >= rule.minimum_minor
}

/// The rules with caps of their own that compete with others, in the order in which they are
/// tried.
fn competing<'a>(holding: &[&'a EarnRule]) -> Vec<&'a EarnRule> {
    let competes = |rule: &&EarnRule| rule.multiplier.is_some() && rule.cap_per_swipe.is_some();
    let mut competing: Vec<&EarnRule> = holding.iter().copied().filter(competes).collect();
    competing.sort_by_key(|rule| (Reverse(rule.multiplier), rule.name.clone()));
    competing
}

/// For each line the rule that multiplies it: the highest, of equal ones one without a cap of its
/// own, of several such the one that is written first, of others the first by name.
fn multiplied<'a>(rules: &[&'a EarnRule], lines: &[Sold]) -> Vec<Option<&'a EarnRule>> {
    let mut sorted: Vec<&EarnRule> =
        rules.iter().copied().filter(|rule| rule.multiplier.is_some()).collect();
    sorted.sort_by_key(|rule| {
        (Reverse(rule.multiplier), rule.cap_per_swipe.map(|_| rule.name.clone()))
    });
    let best = |line: &Sold| sorted.iter().copied().find(|rule| in_scope(rule, line));
    lines.iter().map(best).collect()
}

/// Rules that count, and for each line the one that multiplies it.
struct Counting<'a> {
    rules: Vec<&'a EarnRule>,
    best: Vec<Option<&'a EarnRule>>,
}

/// What the first lines earn of what all of them earn by rates, multipliers and items, in parts
/// of 1/1000 of 1/per_minor of a point.
fn exact(rules: &Rules, counting: &Counting<'_>, lines: &[Sold], end: usize) -> i128 {
    let per_minor = i128::from(rules.earn.per_minor);
    let Counting { rules: counting, best } = counting;
    let eligible = |at: &usize| !is_excluded(rules, &lines[*at]);
    let base = |at: usize| i128::from(lines[at].net_minor.max(0)) * i128::from(rules.earn.points);
    let mut sum: i128 = (0..end).filter(eligible).map(|at| base(at) * 1_000).sum();
    for rule in counting.iter().filter(|rule| rule.fixed_points.is_none()) {
        let due = |at: usize| match rule.multiplier {
            Some(factor) if best[at].is_some_and(|it| it.name == rule.name) => {
                base(at) * i128::from(factor.0 - 1_000)
            }
            Some(_) => 0,
            None if in_scope(rule, &lines[at]) => {
                let points = i128::from(rule.points_per_item.unwrap_or(0));
                points * i128::from(lines[at].quantity.thousandths()) * per_minor
            }
            None => 0,
        };
        let (part, whole): (i128, i128) = (
            (0..end).filter(eligible).map(due).sum(),
            (0..lines.len()).filter(eligible).map(due).sum(),
        );
        let most = rule.cap_per_swipe.map_or(whole, |most| i128::from(most) * 1_000 * per_minor);
        sum += if whole > most { most * part / whole } else { part };
    }
    sum
}

/// What lines earn, read off the words of the rules: for every beginning of the basket what it
/// has of the whole, and for each line the difference that it makes.
fn slowly_earned(rules: &Rules, when: When, lines: &[Sold]) -> (i64, Vec<i64>) {
    let eligible = |line: &&Sold| !is_excluded(rules, line);
    let paid = |line: &Sold| line.net_minor.max(0);
    let eligible_minor = lines.iter().filter(eligible).map(paid).sum();
    let holding: Vec<&EarnRule> =
        rules.rules.iter().filter(|rule| holds(rule, when, eligible_minor)).collect();
    let competing = competing(&holding);
    let without = |back: u32| {
        let stands_back = |rule: &EarnRule| {
            let at = competing.iter().position(|it| it.name == rule.name);
            at.is_some_and(|at| back >> at & 1 == 1)
        };
        let rules: Vec<&EarnRule> =
            holding.iter().copied().filter(|rule| !stands_back(rule)).collect();
        Counting { best: multiplied(&rules, lines), rules }
    };
    let whole = |back: &u32| exact(rules, &without(*back), lines, lines.len());
    let back = (0..1 << competing.len()).rev().max_by_key(whole).expect("nobody stands back");
    let counting = without(back);
    let of_prefix = |end: usize| -> i64 {
        let prefix: Vec<&Sold> = lines[..end].iter().filter(eligible).collect();
        let exact = exact(rules, &counting, lines, end);
        let by_lines = i64::try_from(exact / (1_000 * i128::from(rules.earn.per_minor)));
        let mut points = by_lines.expect("small");
        for rule in holding.iter().filter(|rule| rule.fixed_points.is_some()) {
            let cost = |lines: &mut dyn Iterator<Item = &Sold>| -> i64 {
                lines.filter(|line| in_scope(rule, line)).map(paid).sum()
            };
            let whole = cost(&mut lines.iter().filter(eligible));
            if whole > 0 {
                let part = cost(&mut prefix.iter().copied());
                points += i64::from(rule.fixed_points.unwrap_or(0)) * part / whole;
            }
        }
        points
    };
    let uncapped: Vec<i64> = (0..=lines.len()).map(of_prefix).collect();
    let sum = uncapped[lines.len()];
    let mut cap = sum;
    if let Some(per_swipe) = rules.cap_per_swipe {
        cap = cap.min(per_swipe.into());
    }
    if let Some(per_day) = rules.cap_per_day {
        cap = cap.min(i64::from(per_day) - when.earned.on_day).max(0);
    }
    if let Some(AccountCap { points, from, until }) = rules.cap_per_account
        && from <= when.business_date
        && when.business_date <= until.unwrap_or(Date::MAX)
    {
        cap = cap.min(i64::from(points) - when.earned.in_period).max(0);
    }
    let capped = |points: &i64| if sum == 0 { 0 } else { points * cap / sum };
    let capped: Vec<i64> = uncapped.iter().map(capped).collect();
    (cap, capped.windows(2).map(|pair| pair[1] - pair[0]).collect())
}

#[test]
fn compiled_rules_give_what_the_words_of_the_rules_say_on_a_hundred_thousand_baskets() {
    let mut random = Random(1);
    let (mut differs_from_base, mut capped, mut capped_by_rules) = (0, 0, 0);
    for _ in 0..COMPARED.div_ceil(BASKETS) {
        let rules = random.rules();
        let plain = Rules {
            rules: Vec::new(),
            cap_per_swipe: None,
            cap_per_day: None,
            cap_per_account: None,
            ..rules.clone()
        };
        let uncapped = Rules { rules: rules.rules.clone(), ..plain.clone() };
        let mut without_own_caps = uncapped.clone();
        without_own_caps.rules.iter_mut().for_each(|rule| rule.cap_per_swipe = None);
        for _ in 0..BASKETS {
            let (when, lines) = random.basket();
            let (sum, line_points) = earned(&rules, when, &lines);
            let slowly = slowly_earned(&rules, when, &lines);
            assert_eq!((sum, line_points.clone()), slowly, "{rules:#?} {when:?} {lines:#?}");
            assert_eq!(line_points.iter().sum::<i64>(), sum);
            assert!(line_points.iter().all(|points| *points >= 0));
            differs_from_base += u64::from(sum != earned(&plain, when, &lines).0);
            let by_rules = earned(&uncapped, when, &lines).0;
            capped += u64::from(sum != by_rules);
            capped_by_rules += u64::from(by_rules != earned(&without_own_caps, when, &lines).0);
        }
    }
    // Otherwise the rules were about nothing that was ever bought.
    assert!(
        differs_from_base * 3 > COMPARED
            && capped * 50 > COMPARED
            && capped_by_rules * 50 > COMPARED,
        "{differs_from_base} {capped} {capped_by_rules}"
    );
}

#[test]
fn the_order_of_lines_changes_no_sum() {
    let mut random = Random(2);
    for _ in 0..1_000 {
        let (rules, (when, mut lines)) = (random.rules(), random.basket());
        let before = earned(&rules, when, &lines).0;
        for at in (1..lines.len()).rev() {
            lines.swap(at, random.index(at + 1));
        }
        assert_eq!(earned(&rules, when, &lines).0, before, "{rules:#?} {lines:#?}");
    }
}

#[test]
fn a_line_that_is_split_earns_the_same() {
    let mut random = Random(3);
    for _ in 0..1_000 {
        let (rules, (when, mut lines)) = (random.rules(), random.basket());
        // What costs less than nothing is not shared: the line earns nothing anyhow.
        let Some(at) = lines.iter().position(|line| line.net_minor >= 0) else { continue };
        let before = earned(&rules, when, &lines).0;
        let whole = lines[at];
        let share = |of: i64, hundredths: u64| of * hundredths.cast_signed() / 100;
        let net_minor = share(whole.net_minor, random.below(101));
        let thousandths = share(whole.quantity.thousandths(), random.below(101));
        let quantity = |value| Quantity::from_thousandths(value).expect("a part");
        lines[at] = Sold { net_minor, quantity: quantity(thousandths), ..whole };
        let rest = quantity(whole.quantity.thousandths() - thousandths);
        let rest = Sold { net_minor: whole.net_minor - net_minor, quantity: rest, ..whole };
        let at = random.index(lines.len() + 1);
        lines.insert(at, rest);
        assert_eq!(earned(&rules, when, &lines).0, before, "{rules:#?} {lines:#?}");
    }
}

#[test]
fn a_further_rule_never_takes_points_away() {
    let mut random = Random(4);
    for _ in 0..1_000 {
        let (rules, (when, lines)) = (random.rules(), random.basket());
        let before = earned(&rules, when, &lines).0;
        let mut more = rules.clone();
        let at = random.index(more.rules.len() + 1);
        more.rules.insert(at, random.rule(99));
        assert!(earned(&more, when, &lines).0 >= before, "{more:#?} {when:?} {lines:#?}");
    }
}

#[test]
fn the_order_in_which_rules_are_written_changes_no_sum() {
    let mut random = Random(5);
    for _ in 0..1_000 {
        let (mut rules, (when, lines)) = (random.rules(), random.basket());
        let before = earned(&rules, when, &lines).0;
        for at in (1..rules.rules.len()).rev() {
            rules.rules.swap(at, random.index(at + 1));
        }
        assert_eq!(earned(&rules, when, &lines).0, before, "{rules:#?} {lines:#?}");
    }
}

#[test]
fn a_cap_of_a_rule_never_gives_more_than_none() {
    let mut random = Random(6);
    for _ in 0..1_000 {
        let (mut rules, (when, lines)) = (random.rules(), random.basket());
        let before = earned(&rules, when, &lines).0;
        let at = random.index(rules.rules.len().max(1));
        let points = random.small(60) + 1;
        let Some(rule) = rules.rules.get_mut(at).filter(|it| it.fixed_points.is_none()) else {
            continue;
        };
        rule.cap_per_swipe = Some(rule.cap_per_swipe.map_or(points, |before| before.min(points)));
        assert!(earned(&rules, when, &lines).0 <= before, "{rules:#?} {lines:#?}");
    }
}

#[test]
fn as_many_rules_as_there_may_be_fit_and_one_more_does_not() {
    let rule =
        |at: u32| EarnRule { skus: names(&[&format!("s{at}")]), ..per_item(&format!("{at}"), 1) };
    let rules = |count| Rules { rules: (0..count).map(rule).collect(), ..Rules::default() };
    let lines = [sold(127, 0, 1_000), sold(1, 0, 2_000), sold(64, 0, 1_000)];
    assert_eq!(earned(&rules(128), When::at(SATURDAY, 600, 1), &lines), (4, vec![1, 2, 1]));
    assert_eq!(rules(129).findings()[0].pointer, "/rules");
    assert!(compiled(&rules(128)).earns(&article(1)));
}

#[test]
fn the_largest_basket_at_the_highest_rates_is_within_the_numbers() {
    let rules = Rules {
        earn: BaseRate { points: 100, per_minor: 1 },
        rules: vec![times("a", 100_000), fixed("b", 1_000_000), per_item("c", 1_000)],
        ..Rules::default()
    };
    let lines = [sold(1, 1_000_000_000_000, 999_999_999); 500];
    let (sum, line_points) = earned(&rules, When::at(SATURDAY, 600, 1), &lines);
    assert_eq!(sum, 5_000_000_000_000_000_000 + 499_999_999_500 + 1_000_000);
    assert_eq!(line_points.iter().sum::<i64>(), sum);
    let more = BaseRate { points: 101, per_minor: 1 };
    let pointers = Rules { earn: more, ..rules }.findings();
    assert_eq!(pointers[0].pointer, "/rules/0/multiplier");
}
