//! Compiled rules against a slow evaluator that reads the rules as they are written ([`slow`]), on
//! generated programmes and baskets ([`random`]); and what must hold for all of them.

mod random;
mod slow;

use jiff::civil::Date;

use self::random::Random;
use self::slow::{named, slowly_earned, slowly_kept, slowly_worth};
use super::programme::{
    SATURDAY, When, article, compiled, earned, fixed, names, per_item, sold, times,
};
use crate::domain::programme::earning::Sold;
use crate::domain::programme::{BaseRate, EarnRule, Rules};
use crate::domain::quantity::Quantity;

/// Baskets on which the two are compared.
const COMPARED: u64 = 100_000;
/// Baskets for each generated programme.
const BASKETS: u64 = 50;

/// Baskets on which each property is shown.
const SHOWN: u64 = 5_000;

/// Takes something out of rules.
type Without = fn(&mut Rules);

/// Everything that decides what a basket earns, and the rules without it.
const SAID: [(&str, Without); 25] = [
    ("excluded_departments", |it| it.excluded_departments.clear()),
    ("excluded_categories", |it| it.excluded_categories.clear()),
    ("excluded_types", |it| it.excluded_types.clear()),
    ("excluded_brands", |it| it.excluded_brands.clear()),
    ("excluded_skus", |it| it.excluded_skus.clear()),
    ("cap_per_swipe", |it| it.cap_per_swipe = None),
    ("cap_per_day", |it| it.cap_per_day = None),
    ("cap_per_account", |it| it.cap_per_account = None),
    ("from and until of cap_per_account", |it| {
        let cap = it.cap_per_account.as_mut();
        cap.into_iter().for_each(|cap| (cap.from, cap.until) = (Date::MIN, None));
    }),
    ("departments of rules", |it| each_rule(it, |rule| rule.departments.clear())),
    ("their categories", |it| each_rule(it, |rule| rule.categories.clear())),
    ("their types", |it| each_rule(it, |rule| rule.types.clear())),
    ("their brands", |it| each_rule(it, |rule| rule.brands.clear())),
    ("their skus", |it| each_rule(it, |rule| rule.skus.clear())),
    ("their stores", |it| each_rule(it, |rule| rule.stores.clear())),
    ("their weekdays", |it| each_rule(it, |rule| rule.weekdays.clear())),
    ("their hours", |it| each_rule(it, |rule| rule.hours = None)),
    ("their dates", |it| each_rule(it, |rule| rule.dates = None)),
    ("their tiers", |it| each_rule(it, |rule| rule.tiers.clear())),
    ("their minimum_minor", |it| each_rule(it, |rule| rule.minimum_minor = 0)),
    ("their own cap_per_swipe", |it| each_rule(it, |rule| rule.cap_per_swipe = None)),
    ("multiplier", |it| it.rules.retain(|rule| rule.multiplier.is_none())),
    ("multiplier with a cap", |it| {
        it.rules.retain(|rule| rule.multiplier.is_none() || rule.cap_per_swipe.is_none());
    }),
    ("points_per_item", |it| it.rules.retain(|rule| rule.points_per_item.is_none())),
    ("fixed_points", |it| it.rules.retain(|rule| rule.fixed_points.is_none())),
];

fn each_rule(rules: &mut Rules, change: impl FnMut(&mut EarnRule)) {
    rules.rules.iter_mut().for_each(change);
}

#[test]
fn compiled_rules_give_what_the_words_of_the_rules_say_on_a_hundred_thousand_baskets() {
    let mut random = Random(1);
    let mut decided = [0_u64; SAID.len()];
    for _ in 0..COMPARED.div_ceil(BASKETS) {
        let rules = random.rules();
        let without = SAID.map(|(_, without)| {
            let mut rules = rules.clone();
            without(&mut rules);
            rules
        });
        for basket in 0..BASKETS {
            let (when, lines) = random.basket();
            let (sum, line_points) = earned(&rules, when, &lines);
            let slowly = slowly_earned(&rules, when, &lines);
            assert_eq!((sum, line_points.clone()), slowly, "{rules:#?} {when:?} {lines:#?}");
            assert_eq!(line_points.iter().sum::<i64>(), sum);
            assert!(line_points.iter().all(|points| *points >= 0));
            if basket % 25 == 0 {
                for (decided, without) in decided.iter_mut().zip(&without) {
                    *decided +=
                        u64::from(*without != rules && earned(without, when, &lines).0 != sum);
                }
            }
        }
    }
    // Otherwise the rules were about nothing that was ever bought.
    let seldom: Vec<(&str, u64)> = SAID
        .iter()
        .zip(decided)
        .filter(|(_, decided)| *decided < 20)
        .map(|((name, _), decided)| (*name, decided))
        .collect();
    assert!(seldom.is_empty(), "so seldom do these decide: {seldom:?}");
}

#[test]
fn points_are_kept_and_worth_what_the_words_of_the_rules_say() {
    let mut random = Random(7);
    for _ in 0..SHOWN {
        let (rules, (when, lines)) = (random.rules(), random.basket());
        let (programme, date) = (compiled(&rules), when.business_date);
        let lot = programme.lot_of(date);
        assert_eq!((lot.available_from, lot.expires_on), slowly_kept(&rules, date), "{rules:#?}");
        let points = i64::from(random.small(3_000));
        assert_eq!(programme.value_minor_of(points), slowly_worth(&rules, points), "{rules:#?}");
        for line in &lines {
            let department_no = line.product.taxa.department_no;
            let restricted = named(&rules.age_restricted_departments, 'd', department_no);
            assert_eq!(programme.is_age_restricted(&line.product), restricted, "{rules:#?}");
        }
    }
}

#[test]
fn the_order_of_lines_changes_no_sum() {
    let mut random = Random(2);
    for _ in 0..SHOWN {
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
    for _ in 0..SHOWN {
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
    for _ in 0..SHOWN {
        let (rules, (when, lines)) = (random.rules(), random.basket());
        let before = earned(&rules, when, &lines).0;
        let mut more = rules.clone();
        let at = random.index(more.rules.len() + 1);
        more.rules.insert(at, random.rule(99));
        assert!(earned(&more, when, &lines).0 >= before, "{more:#?} {when:?} {lines:#?}");
    }
}

#[test]
fn a_further_exclusion_never_gives_points() {
    let mut random = Random(8);
    for _ in 0..SHOWN {
        let (rules, (when, lines)) = (random.rules(), random.basket());
        let before = earned(&rules, when, &lines).0;
        let (mut more, name) = (rules.clone(), random.small(11) + 1);
        let (list, letter) = match random.below(5) {
            0 => (&mut more.excluded_departments, 'd'),
            1 => (&mut more.excluded_categories, 'c'),
            2 => (&mut more.excluded_types, 't'),
            3 => (&mut more.excluded_brands, 'b'),
            _ => (&mut more.excluded_skus, 's'),
        };
        list.push(format!("{letter}{name}"));
        assert!(earned(&more, when, &lines).0 <= before, "{more:#?} {when:?} {lines:#?}");
    }
}

#[test]
fn the_order_in_which_rules_are_written_changes_no_sum() {
    let mut random = Random(5);
    for _ in 0..SHOWN {
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
    for _ in 0..SHOWN {
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
