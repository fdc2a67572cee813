//! The protocol on a small invented data set: nothing after a question has a part in its answer,
//! and what looks equal has an order.

use std::collections::HashSet;

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan as _};

use super::baskets::{Decision, Setting, decide};
use super::data::{Data, LEVELS};
use super::methods::{METHODS, Method, draw};
use super::metrics::PLACES;
use super::queries::Parting;
use super::{COUPONS_FROM, CUTS, Row, Settings, rows, run};
use crate::domain::profile::Level;
use crate::domain::selection::Part;
use crate::journey::campaigns::{JourneyCampaign, JourneyCoupon, Redemption};
use crate::journey::products::JourneyProduct;
use crate::journey::transactions::{RecordedLine, Transactions};

pub(super) const HOUSEHOLDS: u32 = 24;
const PRODUCTS: u32 = 60;
const CUT: Date = date(2017, 9, 1);

/// Two products of a type, of which one holds twice as much; three types of a category.
pub(super) fn catalogue() -> Vec<JourneyProduct> {
    let product = |product_id: u32| JourneyProduct {
        product_id,
        manufacturer_id: product_id % 7,
        label: Some("National".into()),
        department: Some("GROCERY".into()),
        category: Some(format!("CATEGORY {:02}", product_id / 6)),
        kind: Some(format!("TYPE {:02}", product_id / 2)),
        package_size: Some(if product_id.is_multiple_of(2) { "500 G" } else { "1000 G" }.into()),
    };
    (1..=PRODUCTS).map(product).collect()
}

/// A basket every four days of the year. `world` draws the baskets of `from` and later: two
/// worlds are the same before.
pub(super) fn transactions(from: Date, world: u64) -> Transactions {
    let mut all = Transactions::default();
    let mut basket_id: i64 = 0;
    for visit in 0..90_i64 {
        for household in 1..=HOUSEHOLDS {
            basket_id += 1;
            let on = date(2017, 1, 1).saturating_add((visit * 4).days());
            let world = if on < from { 0 } else { world };
            let at: Timestamp = on.at(17, 0, 0, 0).in_tz("UTC").expect("a time").timestamp();
            let lines: Vec<RecordedLine> = (0..5_u32)
                .map(|nth| {
                    let drawn = draw(world << 40 | basket_id.unsigned_abs(), nth);
                    // Each household has a shelf of its own, and now and then something else.
                    let width = if drawn.is_multiple_of(5) { u64::from(PRODUCTS) } else { 9 };
                    let within = u32::try_from((drawn >> 8) % width).expect("small");
                    1 + (household * 5 + within) % PRODUCTS
                })
                .collect::<HashSet<u32>>()
                .into_iter()
                .map(|product_id| RecordedLine::new(product_id, 1, 100, 0))
                .collect();
            all.push(basket_id, household, 1, at, &lines);
        }
    }
    all
}

fn data(from: Date, world: u64) -> Data {
    Data::new(&transactions(from, world), &catalogue(), Vec::new(), Vec::new())
}

/// A campaign of ten coupons for all households.
pub(super) fn campaign(campaign_id: u32, start: Date) -> JourneyCampaign {
    let coupon = |n: u32| JourneyCoupon { coupon_upc: n.into(), products: vec![n * 6] };
    JourneyCampaign {
        campaign_id,
        start,
        end: start.saturating_add(30.days()),
        households: (1..=HOUSEHOLDS).collect(),
        coupons: (1..=10).map(coupon).collect(),
        gives_all: true,
    }
}

/// What a method chose for a basket, by its day.
type Chosen = (usize, Date, Part, Method, Vec<u32>);

/// What every method chose for the first basket of each household on or after the cut.
fn choices(data: &Data) -> Vec<Chosen> {
    choices_of(data, &Parting::at(data, CUT, None), 1)
}

fn choices_of(data: &Data, parting: &Parting, asked_max: usize) -> Vec<Chosen> {
    let everybody = vec![true; data.households.len()];
    let open: Vec<bool> = (0..data.households.len()).map(|place| place % 3 != 0).collect();
    let mut found = Vec::new();
    for level in LEVELS {
        let setting = Setting {
            level,
            parting,
            asked_max,
            ideal_max: PLACES,
            open: &open,
            scored: &everybody,
        };
        decide(data, &setting, |choice| {
            let Decision { place, index, part, method, list, .. } = choice;
            let on = data.households[*place].baskets[*index].date;
            found.push((*place, on, *part, *method, list.to_vec()));
        });
    }
    found
}

#[test]
fn what_happens_after_a_question_has_no_part_in_its_answer() {
    let (one, other) = (data(CUT, 0), data(CUT, 1));
    let newest = |data: &Data| data.households[0].baskets.last().map(|b| b.items.clone());
    assert_ne!(newest(&one), newest(&other), "the futures are the same");
    let chosen = choices(&one);
    assert_eq!(chosen, choices(&other));
    assert_eq!(chosen.len(), 24 * 3 * 3 * METHODS.len());
    assert!(chosen.iter().all(|(_, _, part, method, list)| {
        let nothing_to_fill_with = *part == Part::Explore && *method == Method::PTop;
        list.is_empty() == nothing_to_fill_with || *part == Part::Explore
    }));
}

#[test]
fn what_happens_before_a_question_has_a_part_in_its_answer() {
    let before = CUT.saturating_sub(100.days());
    assert_ne!(choices(&data(before, 0)), choices(&data(before, 1)));
}

#[test]
fn what_a_last_basket_holds_has_no_part_in_what_is_chosen_for_it() {
    let last_day = date(2017, 1, 1).saturating_add((89 * 4).days());
    let (one, other) = (data(last_day, 0), data(last_day, 1));
    assert_ne!(
        one.households[0].baskets.last().map(|basket| &basket.items),
        other.households[0].baskets.last().map(|basket| &basket.items),
        "the last baskets are the same"
    );
    let chosen = |data| choices_of(data, &Parting::before_the_last(data), 1);
    assert_eq!(chosen(&one).len(), 24 * 3 * 3 * METHODS.len());
    assert_eq!(chosen(&one), chosen(&other));
}

#[test]
fn a_later_basket_is_chosen_for_from_what_came_before_it_and_nothing_after() {
    // Asked are the baskets of September 2nd, 6th, 10th, 14th and 18th.
    let third = date(2017, 9, 10);
    let [one, other] = [0, 1].map(|world| {
        let data = data(third, world);
        choices_of(&data, &Parting::at(&data, CUT, None), 5)
    });
    assert_eq!(one.len(), 5 * 24 * 3 * 3 * METHODS.len());
    let until = |all: &[Chosen], day: Date| -> Vec<Chosen> {
        all.iter().filter(|(_, on, ..)| *on <= day).cloned().collect()
    };
    assert_eq!(until(&one, third), until(&other, third));
    assert_eq!(until(&one, third).len(), 3 * 24 * 3 * 3 * METHODS.len());
    let fourth = date(2017, 9, 14);
    assert_ne!(until(&one, fourth), until(&other, fourth), "what was bought meanwhile is known");
}

#[test]
fn means_are_taken_by_household_first_and_by_what_is_new_as_by_hand() {
    // Articles 1, 3 and 7 are of three types. Before the cut one household buys the first, the
    // other the second, and nobody the third.
    let baskets: [(u32, Date, &[u32]); 9] = [
        (1, date(2017, 8, 1), &[1]),
        (1, date(2017, 8, 2), &[1]),
        (1, date(2017, 8, 3), &[1]),
        (2, date(2017, 8, 1), &[3]),
        (2, date(2017, 8, 2), &[3]),
        (2, date(2017, 8, 3), &[3]),
        (1, date(2017, 9, 2), &[1]),
        (1, date(2017, 9, 3), &[1, 3, 7]),
        (2, date(2017, 9, 2), &[7]),
    ];
    let mut all = Transactions::default();
    for (basket_id, (household, on, ids)) in (1..).zip(baskets) {
        let at = on.at(17, 0, 0, 0).in_tz("UTC").expect("a time").timestamp();
        let lines: Vec<RecordedLine> =
            ids.iter().map(|id| RecordedLine::new(*id, 1, 100, 0)).collect();
        all.push(basket_id, household, 1, at, &lines);
    }
    let data = Data::new(&all, &catalogue(), Vec::new(), Vec::new());
    let setting = Setting {
        level: Level::Type,
        parting: &Parting::at(&data, CUT, None),
        asked_max: 5,
        ideal_max: PLACES,
        open: &[true; 2],
        scored: &[true; 2],
    };
    let rows = rows("basket", Some(CUT), &data, &setting);
    let of = |part: &str, method: Method| {
        let is = |row: &&Row| row.part == part && row.method == method.name();
        let row = rows.iter().find(is).expect("a row");
        (row.basket.expect("figures"), row.households, row.queries)
    };
    let close = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    };
    // Whole baskets: 1 and 2/3 of the first household, 0 of the second; not a third of 5/3.
    let (figures, households, queries) = of("all", Method::Popularity);
    assert_eq!((households, queries), (2, 3));
    close(figures.recall_at_10, 5.0 / 12.0);
    close(figures.hit_rate_at_5, 0.5);
    close(figures.explore_recall_at_10, 0.25);
    // What was bought before: both baskets of the first household, none of the second.
    let (figures, households, queries) = of("repeat", Method::Popularity);
    assert_eq!((households, queries), (1, 2));
    close(figures.recall_at_10, 1.0);
    // What is new: one of two, and none of one.
    let (figures, households, queries) = of("explore", Method::Popularity);
    assert_eq!((households, queries), (2, 2));
    close(figures.recall_at_10, 0.25);
    // P-Top finds a third of the second basket: 2/3 instead of 5/6, and 0 instead of 0.
    let (figures, ..) = of("all", Method::PTop);
    close(figures.recall_at_10, 1.0 / 3.0);
    close(figures.delta_recall_vs_gp_top, -1.0 / 12.0);
    close(figures.delta_se, 1.0 / 12.0);
}

#[test]
fn households_that_are_not_open_teach_nothing() {
    let everything = transactions(CUT, 0);
    let mut without = everything.clone();
    // Household 4 stands on a place that is not open, and is the one that is asked about less.
    without.retain(|basket| basket.household_id != 4 || basket.basket_id < 24 * 20);
    let of = |transactions: &Transactions| {
        let data = Data::new(transactions, &catalogue(), Vec::new(), Vec::new());
        let mut found = choices(&data);
        found.retain(|(place, ..)| *place != 3);
        found
    };
    assert_eq!(of(&everything), of(&without));
}

#[test]
fn of_equals_the_more_popular_goes_first_then_the_name() {
    let mut all = Transactions::default();
    // Products 2, 4 and 6 of one household, three times each; others buy 4, so it is popular.
    let mut basket_id = 0;
    for household in [1, 2, 3] {
        for visit in 0..5_i64 {
            basket_id += 1;
            let on = date(2017, 8, 1).saturating_add((visit * 8).days());
            let at = on.at(17, 0, 0, 0).in_tz("UTC").expect("a time").timestamp();
            let ids: &[u32] = if household == 1 { &[6, 2, 4] } else { &[4, 8, 10] };
            let lines: Vec<RecordedLine> =
                ids.iter().map(|id| RecordedLine::new(*id, 1, 100, 0)).collect();
            all.push(basket_id, household, 1, at, &lines);
        }
    }
    let data = Data::new(&all, &catalogue(), Vec::new(), Vec::new());
    let parting = Parting::at(&data, CUT, None);
    let everybody = [true; 3];
    let setting = Setting {
        level: Level::Type,
        parting: &parting,
        asked_max: 1,
        ideal_max: PLACES,
        open: &everybody,
        scored: &everybody,
    };
    let mut lists = Vec::new();
    decide(&data, &setting, |choice| {
        if choice.place == 0 && choice.part == Part::All && choice.method != Method::Random {
            lists.push((choice.method, choice.list.to_vec()));
        }
    });
    // Types are numbered by name: that of product 2 is 2, of 4 is 3, of 6 is 4, and so on.
    assert_eq!(lists[0], (Method::Popularity, vec![3, 5, 6, 2, 4]));
    assert_eq!(lists[1], (Method::PTop, vec![3, 2, 4]));
    assert_eq!(lists[2], (Method::GpTop, vec![3, 2, 4, 5, 6]));
    // What nobody bought comes last, by name.
    assert_eq!(lists[3], (Method::Ours, vec![3, 2, 4, 5, 6, 1, 7, 8, 9, 10]));
}

#[test]
fn every_task_has_its_rows() {
    let campaigns = vec![campaign(1, date(2017, 5, 1)), campaign(2, date(2017, 9, 1))];
    // Whoever's number ends so redeems the coupon of that number.
    let redemptions = (1..=HOUSEHOLDS)
        .flat_map(|household_id| {
            [(1, date(2017, 5, 9)), (2, date(2017, 9, 9))].map(|(campaign_id, on)| {
                let coupon_upc = i64::from(household_id % 10 + 1);
                Redemption { household_id, coupon_upc, campaign_id, on }
            })
        })
        .collect();
    let data = Data::new(&transactions(CUT, 0), &catalogue(), campaigns, redemptions);
    let everybody: HashSet<u32> = (1..=HOUSEHOLDS).collect();
    let settings = Settings {
        households: everybody.clone(),
        open: everybody,
        cuts: CUTS.into(),
        coupons_from: COUPONS_FROM,
    };
    let mut told = 0;
    let report = run(&data, &settings, || told += 1);
    assert_eq!(told, super::steps(&settings));
    let basket_rows = (CUTS.len() * LEVELS.len() + 1) * 3 * METHODS.len();
    assert_eq!(report.rows.len(), basket_rows + 4);
    assert_eq!((report.coupons.pairs, report.coupons.redeemed), (240, 24));
    let json = serde_json::to_value(&report.rows).expect("plain values");
    assert_eq!(json[0]["task"], "basket");
    assert_eq!(json[0]["cut"], "2017-09-01");
    assert!(json[0]["recall_at_10"].is_f64() && json[0].get("pooled_auc").is_none());
    let last = &json[report.rows.len() - 1];
    assert_eq!((&last["task"], &last["method"]), (&"coupon".into(), &"ours".into()));
    assert!(last["pooled_auc"].is_f64() && last.get("recall_at_10").is_none());
    assert!(last["profile_p99_bytes"].as_u64().expect("a number") > 100);
    // Everything that a till gives comes along in what is timed.
    let swipes = report.coupons.swipes;
    assert!(swipes.chosen > swipes.larger + swipes.pushed, "{swipes:?}");
    assert!(swipes.larger > 0 && swipes.pushed > 0, "{swipes:?}");
    let again = run(&data, &settings, || ()).coupons.swipes;
    assert_eq!((again.checksum, again.chosen), (swipes.checksum, swipes.chosen));
    assert!(report.to_string().contains("A profile, as it is held in memory: "));
    let text = report.to_string();
    assert!(text.contains("The next baskets from 2017-09-01, by category: 24 households"));
}
