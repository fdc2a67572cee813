//! What the households bought: weeks of baskets in the order of time, made from their habits.
//! The same baskets come out for the same last day.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::catalogue::{Article, Measure};
use super::households::Household;
use super::random::Random;
use super::stores::STORES;
use crate::domain::basket::{
    Adjustment, AdjustmentKind, EntryMethod, Line, LineKind, SoldOn, Swipe,
};
use crate::domain::name::SwipeName;
use crate::domain::quantity::Quantity;

/// How much history there is.
pub(super) const DAYS: i32 = 12 * 7;
/// Cards without an account came up only lately.
const PROVISIONAL_DAYS: i32 = 3 * 7;
/// Stores close at nine.
const LAST_HOUR: u32 = 20;
const TAX_PERCENT: i64 = 6;

/// A basket that has no name yet.
struct Basket {
    store: usize,
    at: DateTime,
    workstation_id: &'static str,
    /// The household, by place; nobody for a basket without a card.
    household: Option<usize>,
    card: Option<String>,
    lines: Vec<Line>,
    tax_minor: i64,
}

/// A line that could be brought back.
struct Kept {
    sold_on: SoldOn,
    line: Line,
    on: Date,
}

/// Every basket of the days before `today`, in the order of time.
pub(super) fn swipes(
    mut households: Vec<Household>,
    articles: &[Article],
    today: Date,
) -> Vec<Swipe> {
    let zones = STORES.map(|s| TimeZone::get(s.time_zone).expect("the demo's zones are known"));
    let mut walk_ins = Random::new(9);
    let mut kept: HashMap<usize, Kept> = HashMap::new();
    let mut swipes = Vec::new();
    for back in (1..=DAYS).rev() {
        let day = today.saturating_sub(back.days());
        let mut baskets = Vec::new();
        for (at, household) in households.iter_mut().enumerate() {
            for habit in &mut household.habits {
                habit.due_in_days = habit.due_in_days.saturating_sub(1);
            }
            if household.enrolled || back <= PROVISIONAL_DAYS {
                baskets.extend(trip(household, at, articles, day, kept.get(&at)));
            }
        }
        for store in 0..STORES.len() {
            for _ in 0..walk_ins.between(1, 3) {
                baskets.push(walk_in(&mut walk_ins, store, articles, day));
            }
        }
        baskets.sort_by_key(|basket| (basket.at, basket.store, basket.household));
        let mut counters: HashMap<(usize, &str), i64> = HashMap::new();
        for basket in baskets {
            let counter = counters.entry((basket.store, basket.workstation_id)).or_default();
            *counter += 1;
            let household = basket.household;
            let swipe = swipe(basket, *counter, day, &zones);
            if let Some(household) = household {
                kept.remove(&household);
                let sold = swipe.lines.iter().find(|line| line.kind == LineKind::Sale);
                if let Some(line) = sold.filter(|line| line.quantity.thousandths() % 1_000 == 0) {
                    let sold_on = SoldOn { swipe: swipe.name.clone(), line: line.line };
                    kept.insert(household, Kept { sold_on, line: line.clone(), on: day });
                }
            }
            swipes.push(swipe);
        }
    }
    swipes.sort_by_key(|swipe| (swipe.occurred_at, swipe.name.clone()));
    swipes
}

/// What a household buys on a day: nothing, a basket, or a basket and fuel.
fn trip(
    household: &mut Household,
    at: usize,
    articles: &[Article],
    day: Date,
    kept: Option<&Kept>,
) -> Vec<Basket> {
    let main = day.weekday().to_monday_zero_offset() == household.weekday;
    let percent = if main { 88 } else { household.extra_percent };
    let random = &mut household.random;
    if !random.happens(percent) {
        return Vec::new();
    }
    let mut chosen = Vec::new();
    for habit in &mut household.habits {
        if habit.due_in_days <= 1 {
            habit.due_in_days = (habit.every_days * random.between(75, 125) / 100).max(2);
            // Now and then another brand or size of the same.
            let same = |other: &&Article| other.shelf.kind == articles[habit.article].shelf.kind;
            let others: Vec<&Article> = articles.iter().filter(same).collect();
            let usual = random.happens(85);
            chosen.push(if usual { &articles[habit.article] } else { *random.pick(&others) });
        }
    }
    let (fuel, mut chosen): (Vec<&Article>, Vec<&Article>) =
        chosen.into_iter().partition(|article| article.measure == Measure::Gallons);
    let extras = random.below(4).max(u32::from(chosen.is_empty() && fuel.is_empty()));
    chosen.extend((0..extras).map(|_| impulse(random, articles)));
    let store = if random.happens(94) { household.store } else { random.below(3) as usize };
    let hour = household.hour;
    let card = random.pick(&household.cards).clone();
    let mut baskets = Vec::new();
    for articles in [chosen, fuel].into_iter().filter(|articles| !articles.is_empty()) {
        let mut basket = basket(random, store, hour, day, &articles, true);
        (basket.household, basket.card) = (Some(at), Some(card.clone()));
        baskets.push(basket);
    }
    if let (Some(basket), Some(kept)) = (baskets.first_mut(), kept)
        && (day - kept.on).get_days() <= 9
        && kept.sold_on.swipe.store_id == STORES[basket.store].store_id
        && random.happens(4)
    {
        let line = u16::try_from(basket.lines.len() + 1).expect("a basket is small");
        let kind = LineKind::Return { sold_on: Some(kept.sold_on.clone()) };
        basket.lines.push(Line { line, kind, ..kept.line.clone() });
    }
    baskets
}

fn walk_in(random: &mut Random, store: usize, articles: &[Article], day: Date) -> Basket {
    let chosen: Vec<&Article> =
        (0..random.between(1, 9)).map(|_| impulse(random, articles)).collect();
    let hour = random.between(7, LAST_HOUR);
    basket(random, store, hour, day, &chosen, false)
}

/// An article that nobody came for.
fn impulse<'a>(random: &mut Random, articles: &'a [Article]) -> &'a Article {
    loop {
        let article = random.pick(articles);
        if article.is_impulse() {
            return article;
        }
    }
}

fn basket(
    random: &mut Random,
    store: usize,
    hour: u32,
    day: Date,
    chosen: &[&Article],
    with_card: bool,
) -> Basket {
    let mut lines: Vec<Line> = Vec::new();
    let mut taxed_minor = 0;
    for article in chosen {
        if lines.iter().any(|line| line.sku == article.sku) {
            continue;
        }
        let thousandths: i64 = match article.measure {
            Measure::Pieces => i64::from(*random.pick(&[1, 1, 1, 1, 1, 2, 2, 3])) * 1_000,
            Measure::Pounds => random.between(300, 2_400).into(),
            Measure::Gallons => random.between(6_000, 14_500).into(),
        };
        let amount_minor = (article.price_minor * thousandths + 500) / 1_000;
        let reduced = with_card && article.is_impulse() && random.happens(9);
        let discount_minor =
            if reduced { amount_minor * random.pick(&[10, 15, 20]) / 100 } else { 0 };
        if article.is_taxed() {
            taxed_minor += amount_minor - discount_minor;
        }
        lines.push(Line {
            line: u16::try_from(lines.len() + 1).expect("a basket is small"),
            kind: LineKind::Sale,
            sku: article.sku.clone(),
            quantity: Quantity::from_thousandths(thousandths).expect("a few pieces or pounds"),
            amount_minor,
            discount_minor,
        });
    }
    let hour = (hour + random.below(3)).saturating_sub(1).clamp(7, LAST_HOUR);
    let [hour, minute, second] = [hour, random.below(60), random.below(60)]
        .map(|value| i8::try_from(value).expect("a part of a time of day"));
    Basket {
        store,
        at: day.at(hour, minute, second, 0),
        workstation_id: random.pick::<&'static str>(STORES[store].workstations),
        household: None,
        card: None,
        lines,
        tax_minor: (taxed_minor * TAX_PERCENT + 50) / 100,
    }
}

fn swipe(basket: Basket, sequence_number: i64, day: Date, zones: &[TimeZone]) -> Swipe {
    let zoned = zones[basket.store].to_ambiguous_zoned(basket.at).compatible();
    let occurred_at = zoned.map(|at| at.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH);
    let net: i64 = basket
        .lines
        .iter()
        .map(|line| if line.kind == LineKind::Sale { line.net_minor() } else { -line.net_minor() })
        .sum();
    let tax = Adjustment { kind: AdjustmentKind::Tax, amount_minor: basket.tax_minor };
    Swipe {
        name: SwipeName {
            store_id: STORES[basket.store].store_id.to_owned(),
            workstation_id: basket.workstation_id.to_owned(),
            business_date: day,
            sequence_number,
        },
        occurred_at,
        entry_method: basket.card.is_some().then_some(EntryMethod::Scanned),
        card: basket.card,
        operator_id: None,
        training: false,
        offline: false,
        lines: basket.lines,
        adjustments: if basket.tax_minor == 0 { Vec::new() } else { vec![tax] },
        total_minor: net + basket.tax_minor,
        redemptions: Vec::new(),
        points_spent: 0,
        points_value_minor: 0,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::{catalogue, households};
    use super::*;

    #[test]
    fn the_history_is_believable_sound_and_the_same_every_time() {
        let articles = catalogue::articles();
        let today = date(2026, 3, 14);
        let make = || swipes(households::households(&articles), &articles, today);
        let found = make();
        assert_eq!(found, make());
        assert!((2_500..6_000).contains(&found.len()), "{} baskets", found.len());
        for swipe in &found {
            assert_eq!(swipe.findings(), [], "{}", swipe.name);
            assert!(!swipe.holds_payment_card(), "{}", swipe.name);
            let day = swipe.name.business_date;
            assert!(today.saturating_sub(DAYS.days()) <= day && day < today, "{day}");
        }
        let mut names: Vec<_> = found.iter().map(|swipe| &swipe.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), found.len(), "each has a name of its own");
        let count = |holds: fn(&Swipe) -> bool| found.iter().filter(|s| holds(s)).count();
        assert!(count(|swipe| swipe.card.is_none()) > 200);
        let is_return = |line: &Line| line.kind != LineKind::Sale;
        let returns = found.iter().filter(|swipe| swipe.lines.iter().any(is_return)).count();
        assert!((20..300).contains(&returns), "{returns} returns");
    }
}
