//! The slow evaluator: what a basket earns, read off the words of `docs/programme.md`, name by
//! name and line by line. It must never use what compiled rules are made of.

use std::cmp::Reverse;

use jiff::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::super::programme::{SATURDAY, When};
use crate::domain::ledger::NEVER;
use crate::domain::programme::caps::AccountCap;
use crate::domain::programme::earning::Sold;
use crate::domain::programme::rules::{Dates, Hours, Weekday};
use crate::domain::programme::{EarnRule, Rules};

pub(super) fn named(names: &[String], letter: char, number: u32) -> bool {
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
    // In the night to the eighth of March the clocks go on, at seven in the morning UTC.
    let summer: Timestamp = "2026-03-08T07:00:00Z".parse().expect("a moment");
    let behind_h = if when.occurred_at < summer { 5 } else { 4 };
    let local_s = when.occurred_at.as_second() - behind_h * 3_600;
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
pub(super) fn slowly_earned(rules: &Rules, when: When, lines: &[Sold]) -> (i64, Vec<i64>) {
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

/// From when on the points of a purchase can be spent, and the last day on which they can.
pub(super) fn slowly_kept(rules: &Rules, business_date: Date) -> (Date, Date) {
    let mut month_end = business_date;
    for _ in 0..rules.expire_after_months.unwrap_or(0) {
        month_end = month_end.last_of_month() + 1.days();
    }
    let until = rules.expire_after_months.map_or(NEVER, |_| month_end.last_of_month());
    match rules.pending_days {
        // All of a month share a lot.
        0 => (business_date.first_of_month(), until),
        days => (business_date + i64::from(days).days(), until),
    }
}

/// What points pay, in minor units: as many as they cover.
pub(super) fn slowly_worth(rules: &Rules, points: i64) -> i64 {
    let (for_points, value) = (i64::from(rules.redeem.points), i64::from(rules.redeem.value_minor));
    (1..).take_while(|minor| minor * for_points <= points * value).last().unwrap_or(0)
}
