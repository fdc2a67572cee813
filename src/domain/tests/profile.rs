//! Profiles against a model that remembers everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::civil::Date;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{a_date, a_product};
use crate::domain::codec::{date_of, days};
use crate::domain::product::{Product, Taxa};
use crate::domain::profile::{ENCODING, Level, Profile, Visit};

#[derive(Clone, Debug)]
struct Basket {
    business_date: Date,
    hour: u8,
    store_no: u32,
    total_minor: i64,
    redemptions: usize,
    sold: Vec<Product>,
}

impl Basket {
    fn visit(&self) -> Visit<'_> {
        let Self { business_date, hour, store_no, total_minor, redemptions, .. } = *self;
        Visit { business_date, hour, store_no, total_minor, redemptions, sold: &self.sold }
    }
}

fn a_basket() -> impl Strategy<Value = Basket> {
    let rest = (a_date(), 0_u8..24, 1_u32..7, -500_i64..50_000, 0_usize..3);
    (rest, vec(a_product(), 0..12)).prop_map(|(rest, sold)| {
        let (business_date, hour, store_no, total_minor, redemptions) = rest;
        Basket { business_date, hour, store_no, total_minor, redemptions, sold }
    })
}

fn fold(baskets: &[Basket]) -> Profile {
    let mut profile = Profile::default();
    for basket in baskets {
        profile.learn(&basket.visit());
    }
    profile
}

fn item(product: &Product, level: Level) -> u32 {
    match level {
        Level::Category => product.taxa.category_no,
        Level::Type => product.taxa.type_no,
        Level::Product => product.product_no,
    }
}

const LEVELS: [Level; 3] = [Level::Category, Level::Type, Level::Product];

proptest! {
    #[test]
    fn folding_in_pieces_is_folding(
        baskets in vec(a_basket(), 0..40), cuts in vec(any::<bool>(), 40),
    ) {
        let whole = fold(&baskets);
        let mut profile = Profile::default();
        for (basket, cut) in baskets.iter().zip(cuts) {
            if cut {
                profile = Profile::decode(&profile.encode()).expect("just encoded");
            }
            profile.learn(&basket.visit());
        }
        prop_assert_eq!(&profile, &whole);
        prop_assert!(profile.differing(&whole).is_empty());
        prop_assert_eq!(Profile::decode(&whole.encode()), Ok(whole));
    }

    #[test]
    fn the_order_of_articles_does_not_matter(
        baskets in vec(a_basket(), 1..10),
        others in vec(any::<prop::sample::Index>(), 12),
    ) {
        let mut shuffled = baskets.clone();
        for basket in &mut shuffled {
            for (at, other) in others.iter().enumerate().take(basket.sold.len()) {
                let other = other.index(basket.sold.len());
                basket.sold.swap(at, other);
            }
        }
        prop_assert_eq!(fold(&shuffled), fold(&baskets));
    }

    #[test]
    fn counts_are_those_of_a_model_that_forgets_nothing(baskets in vec(a_basket(), 1..60)) {
        let profile = fold(&baskets);
        prop_assert_eq!(profile.baskets() as usize, baskets.len());
        prop_assert_eq!(
            profile.redemptions() as usize,
            baskets.iter().map(|basket| basket.redemptions).sum::<usize>()
        );
        let mut hours = [0; 24];
        let mut stores: BTreeMap<u32, usize> = BTreeMap::new();
        for basket in &baskets {
            hours[usize::from(basket.hour)] += 1;
            *stores.entry(basket.store_no).or_default() += 1;
        }
        prop_assert_eq!(profile.hours(), &hours);
        let most = stores.values().max().copied().unwrap_or_default();
        let usual = stores.iter().find(|(_, count)| **count == most).map(|(store, _)| *store);
        prop_assert_eq!(profile.usual_store(), usual);
        for level in LEVELS {
            check_level(&profile, &baskets, level)?;
        }
    }

    #[test]
    fn stored_profiles_that_are_none_never_panic(
        mut bytes in vec(any::<u8>(), 1..300), baskets in vec(a_basket(), 1..4),
    ) {
        bytes[0] = ENCODING;
        if let Ok(mut profile) = Profile::decode(&bytes) {
            for basket in &baskets {
                profile.learn(&basket.visit());
            }
            profile.encode();
        }
    }

    #[test]
    fn a_damaged_profile_never_panics(
        baskets in vec(a_basket(), 1..20), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = fold(&baskets).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(mut profile) = Profile::decode(&bytes) {
            profile.learn(&baskets[0].visit());
            profile.encode();
        }
    }
}

/// Σ over the baskets that held an item of what is left of each after those that followed.
fn check_level(profile: &Profile, baskets: &[Basket], level: Level) -> Result<(), TestCaseError> {
    let mut held: HashMap<u32, Vec<usize>> = HashMap::new();
    for (number, basket) in baskets.iter().enumerate() {
        let learnt = basket.sold.iter().filter(|product| !product.sensitive);
        let ids: BTreeSet<u32> = learnt.map(|product| item(product, level)).collect();
        for id in ids.into_iter().filter(|id| *id != 0) {
            held.entry(id).or_default().push(number);
        }
    }
    prop_assert_eq!(profile.affinities(level).count(), held.len());
    for (id, numbers) in held {
        let known = profile.affinity(level, id).expect("it was bought");
        let last = numbers[numbers.len() - 1];
        prop_assert_eq!(usize::from(known.count), numbers.len());
        prop_assert_eq!(known.baskets_since as usize, baskets.len() - 1 - last);
        // By the account's clock, which never goes back.
        let day = |number: usize| {
            baskets[..=number].iter().map(|basket| days(basket.business_date)).max().unwrap_or(0)
        };
        prop_assert_eq!(i32::from(known.last_day), day(last));
        prop_assert_eq!(known.usual_gap_days.is_some(), numbers.len() > 1);
        if let Some(gap) = known.usual_gap_days {
            let gaps = numbers.len() as f32 - 1.0;
            prop_assert!((gap - (day(last) - day(numbers[0])) as f32 / gaps).abs() < 0.01);
        }
        let left = |base: f64| -> f64 {
            let since = |number: &usize| i32::try_from(baskets.len() - 1 - number).expect("few");
            numbers.iter().map(|number| base.powi(since(number))).sum()
        };
        // Each update rounds by half a 1024th at most, and what was rounded decays as well.
        prop_assert!((f64::from(known.slow) - left(0.97)).abs() < 0.5 / 0.03 / 1024.0);
        prop_assert!((f64::from(known.fast) - left(0.93)).abs() < 0.5 / 0.07 / 1024.0);
    }
    Ok(())
}

#[test]
fn what_is_remembered_is_bounded_and_the_newest_basket_stays() {
    let mut profile = Profile::default();
    for number in 0..60_u32 {
        let sold: Vec<Product> = (1..=100)
            .map(|n| {
                let id = number * 100 + n;
                let taxa = Taxa { category_no: id, type_no: id, ..Taxa::default() };
                Product { product_no: id, taxa, ..Product::default() }
            })
            .collect();
        let business_date = date_of(9_000).expect("in the calendar");
        let (hour, store_no, total_minor, redemptions) = (12, 1 + number % 20, 100, 0);
        let basket = Basket { business_date, hour, store_no, total_minor, redemptions, sold };
        profile.learn(&basket.visit());
        for level in LEVELS {
            for product in &basket.sold {
                assert!(profile.affinity(level, product.product_no).is_some());
            }
        }
    }
    let remembered = LEVELS.map(|level| profile.affinities(level).count());
    assert_eq!(remembered, [256, 512, 1_024]);
    assert!(profile.encode().len() < 20_000);
}

#[test]
fn a_basket_that_lies_too_far_back_has_the_oldest_day_that_is_known() {
    let product = |id| Product { product_no: id, ..Product::default() };
    let mut whole = Profile::default();
    let mut pieces = Profile::default();
    for number in 0..300_u32 {
        let business_date = date_of(9_000 + number.cast_signed()).expect("in the calendar");
        let sold = if [0, 1, 299].contains(&number) { vec![product(7)] } else { vec![] };
        let basket =
            Basket { business_date, hour: 12, store_no: 1, total_minor: 1, redemptions: 0, sold };
        whole.learn(&basket.visit());
        pieces.learn(&basket.visit());
        pieces.read(&pieces.clone().encode()).expect("just encoded");
    }
    assert_eq!(pieces, whole);
    let known = whole.affinity(Level::Product, 7).expect("it was bought");
    // From the first basket, whose day was known when the second was bought, to the last.
    assert_eq!((known.last_day, known.usual_gap_days), (9_299, Some(299.0 / 2.0)));
    let once = |id| {
        let mut profile = whole.clone();
        let (hour, store_no, total_minor, redemptions) = (12, 1, 1, 0);
        for day in [9_300, 9_600] {
            let business_date = date_of(day).expect("in the calendar");
            let sold = &[product(id)];
            profile.learn(&Visit { business_date, hour, store_no, total_minor, redemptions, sold });
        }
        profile.affinity(Level::Product, id).and_then(|known| known.usual_gap_days)
    };
    assert_eq!(once(8), Some(300.0));
}

#[test]
fn years_folded_basket_by_basket_are_years_folded_at_once() {
    // Articles 1 to 28 are bought every so many baskets, some of them from a later one on: some
    // are bought too often to be kept as gaps, others are when their first day is forgotten.
    let (mut whole, mut pieces) = (Profile::default(), Profile::default());
    let mut baskets = Vec::new();
    for number in 0..700_u32 {
        let due = |id: &u32| number >= id * 7 && (number - id * 7).is_multiple_of(id * 9);
        let product = |id| Product { product_no: id, ..Product::default() };
        let sold = (1..=28).filter(due).map(product).collect();
        let business_date = date_of(9_000 + number.cast_signed()).expect("in the calendar");
        let (hour, store_no, total_minor, redemptions) = (12, 1, 1, 0);
        baskets.push(Basket { business_date, hour, store_no, total_minor, redemptions, sold });
        whole.learn(&baskets[number as usize].visit());
        pieces.learn(&baskets[number as usize].visit());
        assert_eq!(pieces, whole, "after basket {number}");
        pieces = Profile::decode(&pieces.encode()).expect("just encoded");
    }
    check_level(&whole, &baskets, Level::Product).expect("the days of all of them are known");
}

#[test]
fn a_year_of_a_household_takes_less_than_four_kilobytes() {
    // 63 baskets, 350 articles in 176 types, most of the articles bought once: about what the
    // households of The Complete Journey leave behind.
    let mut profile = Profile::default();
    for number in 0..63_u32 {
        let once = (0..4).map(|n| 100 + number * 4 + n);
        let again = (0..6).map(|n| (number * 6 + n) % 98);
        let sold: Vec<Product> = once
            .chain(again)
            .map(|n| {
                let taxa =
                    Taxa { category_no: n % 90 + 1, type_no: n % 176 + 1, ..Taxa::default() };
                Product { product_no: n * 260 + 1, taxa, ..Product::default() }
            })
            .collect();
        let business_date = date_of(9_000 + number.cast_signed() * 6).expect("in the calendar");
        let basket =
            Basket { business_date, hour: 12, store_no: 1, total_minor: 1, redemptions: 0, sold };
        profile.learn(&basket.visit());
    }
    let counts = LEVELS.map(|level| profile.affinities(level).count());
    assert_eq!(counts, [90, 176, 350]);
    assert!(profile.encode().len() < 3_500, "{}", profile.encode().len());
}

#[test]
fn what_was_just_bought_stays_even_among_things_bought_more_often() {
    let mut profile = Profile::default();
    let product = |id| Product { product_no: id, ..Product::default() };
    let mut learn = |sold: &[Product]| {
        let business_date = date_of(9_000).expect("in the calendar");
        let (hour, store_no, total_minor, redemptions) = (12, 1, 1, 0);
        profile.learn(&Visit { business_date, hour, store_no, total_minor, redemptions, sold });
    };
    let full: Vec<Product> = (1..=1_024).map(product).collect();
    learn(&full);
    learn(&full);
    learn(&[product(2_000)]);
    assert!(profile.affinity(Level::Product, 2_000).is_some());
    assert_eq!(profile.affinities(Level::Product).count(), 1_024);
}

#[test]
fn a_usual_item_outlives_many_that_were_bought_once() {
    let mut profile = Profile::default();
    let product = |id| Product { product_no: id, ..Product::default() };
    for number in 0..40_u32 {
        let mut sold: Vec<Product> = (1..=90).map(|n| product(1_000 + number * 90 + n)).collect();
        // By the last purchase alone it would be forgotten after a dozen baskets.
        if [0, 1, 30].contains(&number) {
            sold.push(product(7));
        }
        let business_date = date_of(9_000 + number.cast_signed()).expect("in the calendar");
        let basket =
            Basket { business_date, hour: 12, store_no: 1, total_minor: 1, redemptions: 0, sold };
        profile.learn(&basket.visit());
    }
    assert_eq!(profile.affinity(Level::Product, 7).map(|it| it.count), Some(3));
}
