//! The customers of the demo: invented households with cards, consents and habits. Nobody is
//! named after anybody; telephone numbers and addresses are of the ranges kept for fiction.

use jiff::civil::{Date, date};
use jiff::{Span, ToSpan as _};

use super::catalogue::Article;
use super::random::Random;
use super::stores::STORES;
use crate::domain::card::check_digit;
use crate::import::accounts::{AccountRecord, LotRecord, MemberRecord};
use crate::import::findings::Place;

/// Households that have enrolled.
pub(super) const ENROLLED: u32 = 200;
/// Cards that are used though nobody has enrolled them yet.
pub(super) const PROVISIONAL: u32 = 6;

/// Cards of other data sets begin lower.
const FIRST_CARD: u32 = 100_000_000;
const NAMES: [&str; 12] = [
    "Maple", "Cedar", "Willow", "Birch", "Juniper", "Hazel", "Aspen", "Rowan", "Alder", "Linden",
    "Laurel", "Sorrel",
];

/// A household and how it shops.
#[derive(Debug)]
pub(super) struct Household {
    pub(super) number: u32,
    pub(super) cards: Vec<String>,
    pub(super) enrolled: bool,
    /// Its store, by place among the stores.
    pub(super) store: usize,
    /// The day of its large basket, 0 for Monday.
    pub(super) weekday: i8,
    /// When it likes to shop.
    pub(super) hour: u32,
    /// How often it comes on another day, in per cent.
    pub(super) extra_percent: u32,
    pub(super) habits: Vec<Habit>,
    /// Decides everything else about it.
    pub(super) random: Random,
}

/// An article that a household buys again and again.
#[derive(Debug)]
pub(super) struct Habit {
    /// By place in the catalogue.
    pub(super) article: usize,
    pub(super) every_days: u32,
    pub(super) due_in_days: u32,
}

/// Every household of the demo.
pub(super) fn households(articles: &[Article]) -> Vec<Household> {
    (1..=ENROLLED + PROVISIONAL).map(|number| household(number, articles)).collect()
}

/// The accounts of those that have enrolled, on the day before their first basket.
pub(super) fn records(households: &[Household], on: Date) -> Vec<AccountRecord> {
    let enrolled = households.iter().filter(|household| household.enrolled);
    enrolled.map(|household| account(household, on)).collect()
}

fn household(number: u32, articles: &[Article]) -> Household {
    let mut random = Random::new(1_000 + u64::from(number));
    let enrolled = number <= ENROLLED;
    let cards = if enrolled && random.happens(15) { 2 } else { 1 };
    let mut habits: Vec<Habit> = Vec::new();
    let wanted = random.between(10, 19) as usize;
    while habits.len() < wanted {
        let article = random.below(u32::try_from(articles.len()).expect("a few hundred")) as usize;
        let shelf = &articles[article].shelf;
        let common = match shelf.department {
            "Baby" | "Tobacco" => 12,
            "Pet" | "Fuel" | "Alcohol" => 45,
            "Pharmacy" | "Gift cards" => 25,
            _ => 100,
        };
        let known = habits.iter().any(|h| articles[h.article].shelf.kind == shelf.kind);
        if known || !random.happens(common) {
            continue;
        }
        let every_days = (shelf.every_days * random.between(75, 140) / 100).max(3);
        let due_in_days = random.below(every_days);
        habits.push(Habit { article, every_days, due_in_days });
    }
    Household {
        number,
        cards: (0..cards).map(|nth| card(2 * number + nth)).collect(),
        enrolled,
        store: random.below(u32::try_from(STORES.len()).expect("three")) as usize,
        weekday: *random.pick(&[0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 6]),
        hour: *random.pick(&[8, 9, 10, 11, 12, 15, 16, 17, 17, 18, 18, 19]),
        extra_percent: random.between(3, 18),
        habits,
        random,
    }
}

fn card(nth: u32) -> String {
    let body = format!("299{:09}", FIRST_CARD + nth);
    let digit = char::from(check_digit(&body));
    format!("{body}{digit}")
}

fn account(household: &Household, on: Date) -> AccountRecord {
    let number = household.number;
    let mut random = Random::new(500_000 + u64::from(number));
    let consents = ["email-offers", "profiling", "post"];
    let given = consents.iter().filter(|_| random.happens(70)).map(|c| (*c).to_owned()).collect();
    let joined = Span::new().days(i64::from(random.between(1, 900)));
    let age = i64::from(random.between(0, 50 * 365));
    let birthday = date(1950, 1, 1).saturating_add(age.days());
    let member = MemberRecord {
        given_name: Some((*random.pick(&NAMES)).to_owned()),
        family_name: Some(format!("Household {number}")),
        birthday: random.happens(60).then_some(birthday),
        email: Some(format!("household-{number}@example.com")),
        phone: random.happens(50).then(|| format!("+1555555{:04}", 100 + number % 100)),
        consents: given,
        joined_on: on.saturating_sub(joined),
    };
    let expires_in = i64::from(random.between(4, 9));
    let lot = LotRecord {
        points: random.between(20, 400).into(),
        expires_on: on.saturating_add(Span::new().months(expires_in)).last_of_month(),
    };
    AccountRecord {
        place: Place::Row(number.into()),
        cards: household.cards.clone(),
        members: vec![member],
        lots: if random.happens(70) { vec![lot] } else { Vec::new() },
    }
}
