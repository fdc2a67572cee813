//! Earning by rules, as tables: precedence, when a rule holds, what it is about, when points can
//! be spent, and what returns take back. [`super::earning`] has what holds for all rules.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::domain::account::{Account, State};
use crate::domain::basket::{Line, LineKind, Swipe};
use crate::domain::ledger::{EntryKind, LotKey};
use crate::domain::product::{Product, Taxa};
use crate::domain::programme::caps::EarnedBefore;
use crate::domain::programme::earning::{Occasion, Place, Sold};
use crate::domain::programme::rules::{Dates, Hours, TimeOfDay, Weekday};
use crate::domain::programme::{EarnRule, Level, Multiplier, NegativeBalance, Programme, Rules};
use crate::domain::quantity::Quantity;
use crate::domain::swipe::{Facts, SoldLine, decide};
use crate::domain::tally::CountedOn;

pub(super) const SATURDAY: Date = date(2026, 3, 14);

/// The zone of all stores: five hours behind UTC, and four from the second Sunday of March on.
fn zone() -> TimeZone {
    TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a zone")
}

/// The number of a level is what its name ends with; of some names there is none.
fn number(_: Level, name: &str) -> Option<u32> {
    name.get(1..)?.parse().ok()
}

pub(super) fn compiled(rules: &Rules) -> Programme {
    Programme::compile(rules, number).unwrap_or_else(|error| panic!("{error}: {rules:?}"))
}

/// An article of a catalogue in which numbers follow from numbers; 0 is in none.
pub(super) fn article(product_no: u32) -> Product {
    let of = |levels: u32| if product_no == 0 { 0 } else { product_no % levels + 1 };
    let taxa = Taxa { department_no: of(5), category_no: of(7), type_no: of(11), brand_no: of(3) };
    Product { product_no, taxa, no_points: product_no == 13, ..Product::default() }
}

pub(super) fn sold(product_no: u32, net_minor: i64, thousandths: i64) -> Sold {
    let quantity = Quantity::from_thousandths(thousandths).expect("in range");
    Sold { at: 0, product: article(product_no), net_minor, quantity }
}

/// Where and when a basket was bought.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) business_date: Date,
    pub(super) occurred_at: Timestamp,
    pub(super) store_no: u32,
    /// The customer's tier before.
    pub(super) tier_no: u8,
    /// What the account had earned before.
    pub(super) earned: EarnedBefore,
}

impl When {
    /// A moment by the store's clock, on a business date.
    pub(super) fn at(business_date: Date, minutes: i64, store_no: u32) -> Self {
        let midnight = zone().to_timestamp(business_date.at(0, 0, 0, 0)).expect("a time");
        let occurred_at = midnight + minutes.minutes();
        let earned = EarnedBefore::default();
        Self { business_date, occurred_at, store_no, tier_no: 0, earned }
    }
}

pub(super) fn earned(rules: &Rules, when: When, lines: &[Sold]) -> (i64, Vec<i64>) {
    let zone = zone();
    let place = Place { store_no: when.store_no, time_zone: Some(&zone) };
    let When { business_date, occurred_at, tier_no, .. } = when;
    let earned = when.earned;
    let occasion = Occasion { business_date, occurred_at, place, tier_no, earned };
    let mut points = vec![0; lines.len()];
    let numbered = lines.iter().enumerate().map(|(at, line)| Sold { at, ..*line });
    let programme = compiled(rules);
    let sum = programme.earn(&occasion, numbered.clone(), &mut points);
    let mut again = vec![0; lines.len()];
    let explained = programme.explain(&occasion, numbered, &mut again);
    assert_eq!(explained.earned, sum);
    assert!(explained.cut.is_none_or(|cut| cut.due > sum));
    assert_eq!(again, points, "an explanation is of what was decided");
    // Of each part less than a thousandth is not told, of the sum less than a point is dropped; and
    // of the largest numbers no thousandths are told.
    if let Some(due) = explained.cut.map_or(sum, |cut| cut.due).checked_mul(1_000) {
        let told: i64 = explained.parts.iter().map(|part| part.thousandths).sum();
        let untold = i64::try_from(explained.parts.len()).expect("few");
        assert!((due - untold..due + 1_000).contains(&told), "{explained:?}");
    }
    (sum, points)
}

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn times(name: &str, thousandths: u32) -> EarnRule {
    let multiplier = Some(Multiplier(thousandths));
    EarnRule { name: name.to_owned(), multiplier, ..EarnRule::default() }
}

pub(super) fn fixed(name: &str, points: u32) -> EarnRule {
    EarnRule { name: name.to_owned(), fixed_points: Some(points), ..EarnRule::default() }
}

/// A rule with a cap of its own.
pub(super) fn capped(points: u32, rule: EarnRule) -> EarnRule {
    EarnRule { cap_per_swipe: Some(points), ..rule }
}

pub(super) fn per_item(name: &str, points: u32) -> EarnRule {
    EarnRule { name: name.to_owned(), points_per_item: Some(points), ..EarnRule::default() }
}

// ------------------------------------------------------------------ precedence, as tables

#[test]
fn exclusions_come_first_then_the_best_multiplier_then_items_then_fixed_points_then_the_cap() {
    // 10.50 of article 1 (d2 c2 t2 b2), three pieces; 4.20 of article 2 (d3 c3 t3 b3), one.
    let lines = [sold(1, 1_050, 3_000), sold(2, 420, 1_000)];
    let when = When::at(SATURDAY, 600, 1);
    let in_d2 = |rule: EarnRule| EarnRule { departments: names(&["d2"]), ..rule };
    let minimum = |minimum_minor| EarnRule { minimum_minor, ..fixed("m", 7) };
    type Change = fn(&mut Rules);
    let leave: Change = |_| ();
    for (rules, change, sum, line_points) in [
        (vec![], leave, 14, [10, 4]),
        (vec![times("a", 2_000)], leave, 29, [21, 8]),
        // Fractions are dropped once: 26.25 and 4.2.
        (vec![in_d2(times("a", 2_500))], leave, 30, [26, 4]),
        // The best, never the product, in whatever order they are written.
        (vec![times("a", 2_000), in_d2(times("b", 3_000))], leave, 39, [31, 8]),
        (vec![in_d2(times("b", 3_000)), times("a", 2_000)], leave, 39, [31, 8]),
        // Per item is not multiplied; both rules count.
        (vec![times("a", 2_000), in_d2(per_item("b", 5))], leave, 44, [36, 8]),
        (vec![per_item("a", 1), in_d2(per_item("b", 5))], leave, 33, [28, 5]),
        // Fixed points are shared in proportion to what the lines cost: 71.42 of 100 and the rest.
        (vec![fixed("a", 100)], leave, 114, [81, 33]),
        (vec![in_d2(fixed("a", 100))], leave, 114, [110, 4]),
        (vec![times("a", 2_000), fixed("b", 100)], leave, 129, [92, 37]),
        // The minimum is what all lines come to that earn.
        (vec![minimum(1_470)], leave, 21, [15, 6]),
        (vec![minimum(1_471)], leave, 14, [10, 4]),
        (vec![minimum(1_470)], |rules| rules.excluded_brands = names(&["b3"]), 10, [10, 0]),
        // No rule brings back what is excluded, whatever it is excluded by.
        (
            vec![fixed("a", 9), per_item("b", 5), times("c", 3_000)],
            |rules| rules.excluded_skus = names(&["s1"]),
            26,
            [0, 26],
        ),
        (vec![in_d2(fixed("a", 9))], |rules| rules.excluded_types = names(&["t2"]), 4, [0, 4]),
        (
            vec![times("a", 2_000)],
            |rules| rules.excluded_categories = names(&["c2", "c3"]),
            0,
            [0, 0],
        ),
        // The cap of a rule is of what it adds: 29.4, of which 10 are shared 7.14 to 2.86.
        (vec![capped(10, times("a", 3_000))], leave, 24, [17, 7]),
        (vec![capped(30, times("a", 3_000))], leave, 44, [31, 13]),
        (vec![capped(7, in_d2(per_item("b", 5)))], leave, 21, [17, 4]),
        // A multiplier counts for all of its lines or for none: the best way for the customer.
        (vec![capped(10, times("a", 3_000)), times("b", 2_000)], leave, 29, [21, 8]),
        (vec![capped(10, times("a", 3_000)), in_d2(times("b", 2_000))], leave, 25, [21, 4]),
        (vec![capped(11, times("a", 3_000)), in_d2(times("b", 2_000))], leave, 25, [18, 7]),
        (
            vec![capped(9, in_d2(times("a", 4_000))), capped(8, times("b", 2_000))],
            leave,
            27,
            [19, 8],
        ),
        (vec![capped(10, times("a", 3_000)), fixed("b", 100)], leave, 124, [88, 36]),
        (vec![capped(10, times("a", 3_000))], |rules| rules.cap_per_swipe = Some(20), 20, [14, 6]),
        // The cap of the whole comes last; what is left is shared like the sum was: 7.93 of 10.
        (
            vec![times("a", 2_000), fixed("b", 100)],
            |rules| rules.cap_per_swipe = Some(10),
            10,
            [7, 3],
        ),
        (vec![], |rules| rules.cap_per_swipe = Some(14), 14, [10, 4]),
        (vec![], |rules| rules.cap_per_swipe = Some(13), 13, [9, 4]),
    ] {
        let mut rules = Rules { rules, ..Rules::default() };
        change(&mut rules);
        assert_eq!(earned(&rules, when, &lines), (sum, line_points.to_vec()), "{rules:?}");
    }
}

#[test]
fn a_rule_holds_where_and_when_it_says() {
    let hours = |from, to| EarnRule {
        hours: Some(Hours { from: TimeOfDay(from), to: TimeOfDay(to) }),
        ..fixed("x", 9)
    };
    let dates = |from, until| EarnRule { dates: Some(Dates { from, until }), ..fixed("x", 9) };
    let weekdays = |weekdays| EarnRule { weekdays, ..fixed("x", 9) };
    let stores = |stores: &[&str]| EarnRule { stores: names(stores), ..fixed("x", 9) };
    let (friday, sunday) = (date(2026, 3, 13), date(2026, 3, 15));
    for (rule, minutes, store_no, holds) in [
        (hours(480, 720), 479, 1, false),
        (hours(480, 720), 480, 1, true),
        (hours(480, 720), 719, 1, true),
        (hours(480, 720), 720, 1, false),
        // Over midnight; the business date is that of the evening, the clock goes on.
        (hours(1_320, 120), 1_319, 1, false),
        (hours(1_320, 120), 1_320, 1, true),
        (hours(1_320, 120), 1_440 + 119, 1, true),
        (hours(1_320, 120), 1_440 + 120, 1, false),
        (hours(1_320, 1_440), 1_439, 1, true),
        (dates(Some(SATURDAY), Some(SATURDAY)), 600, 1, true),
        (dates(Some(sunday), None), 600, 1, false),
        (dates(None, Some(friday)), 600, 1, false),
        (dates(None, None), 600, 1, true),
        (weekdays(vec![Weekday::Saturday]), 600, 1, true),
        // Of the business date, even after midnight.
        (weekdays(vec![Weekday::Saturday]), 1_500, 1, true),
        (weekdays(vec![Weekday::Friday, Weekday::Sunday]), 600, 1, false),
        (stores(&["w1", "w3"]), 600, 1, true),
        (stores(&["w1", "w3"]), 600, 2, false),
        // A store that is still to come is no store, not every store.
        (stores(&["new"]), 600, 1, false),
    ] {
        let rules = Rules { rules: vec![rule], ..Rules::default() };
        let when = When::at(SATURDAY, minutes, store_no);
        let (sum, _) = earned(&rules, when, &[sold(1, 100, 1_000)]);
        assert_eq!(sum == 10, holds, "{:?} at {minutes} in {store_no}", rules.rules[0]);
    }
}

#[test]
fn a_scope_is_every_list_that_is_given_and_any_of_its_names() {
    let nothing = || fixed("x", 9);
    for (rule, holds) in [
        (EarnRule { departments: names(&["d2"]), ..nothing() }, true),
        (EarnRule { departments: names(&["d1", "d2"]), ..nothing() }, true),
        (EarnRule { departments: names(&["d1"]), ..nothing() }, false),
        (EarnRule { departments: names(&["d2"]), brands: names(&["b2"]), ..nothing() }, true),
        (EarnRule { departments: names(&["d2"]), brands: names(&["b1"]), ..nothing() }, false),
        (EarnRule { skus: names(&["s1"]), types: names(&["t2"]), ..nothing() }, true),
        // An article that is still to come is no article, not every article.
        (EarnRule { skus: names(&["s?"]), ..nothing() }, false),
    ] {
        let rules = Rules { rules: vec![rule], ..Rules::default() };
        let (sum, _) = earned(&rules, When::at(SATURDAY, 600, 1), &[sold(1, 100, 1_000)]);
        assert_eq!(sum == 10, holds, "{:?}", rules.rules[0]);
    }
    // An article that no catalogue has is in scope of what names no article.
    let unknown = [sold(0, 100, 1_000)];
    let rules = Rules { rules: vec![nothing()], ..Rules::default() };
    assert_eq!(earned(&rules, When::at(SATURDAY, 600, 1), &unknown).0, 10);
}

#[test]
fn stored_rules_of_before_load_and_mean_what_they_meant() {
    let stored = r#"{"earn": {"points": 3, "per_minor": 200}, "redeem": {"points": 2,
        "value_minor": 1}, "excluded_departments": ["d2"], "excluded_categories": [],
        "expire_after_months": 12}"#;
    let rules: Rules = serde_json::from_str(stored).expect("stored by the version before");
    let lines = [sold(1, 1_000, 1_000), sold(2, 199, 1_000), sold(3, 134, 420)];
    let (sum, line_points) = earned(&rules, When::at(SATURDAY, 600, 1), &lines);
    assert_eq!((sum, line_points), (4, vec![0, 2, 2]));
    let programme = compiled(&rules);
    let lot = LotKey { expires_on: date(2027, 3, 31), available_from: date(2026, 3, 1) };
    assert_eq!((programme.lot_of(SATURDAY), programme.value_minor_of(9)), (lot, 4));
    assert_eq!(programme.takes_at_most(-5), i64::MAX);
    assert!(serde_json::from_str::<Rules>(&stored.replace("redeem", "levels")).is_err());
}

#[test]
fn pending_points_are_there_after_so_many_days_and_expire_with_their_month() {
    let rules = Rules { pending_days: 14, ..Rules::default() };
    let programme = compiled(&rules);
    let lot = programme.lot_of(SATURDAY);
    assert_eq!((lot.available_from, lot.expires_on), (date(2026, 3, 28), date(2028, 3, 31)));
    // A gift is not waited for, and shares the lot of its month.
    let plain = compiled(&Rules::default());
    assert_eq!(programme.lot_at_once(SATURDAY), plain.lot_of(SATURDAY));
    let swipe = basket(&[sold(1, 900, 1_000)], SATURDAY);
    let decision = decided(&programme, &Account::new(256, State::Enrolled), &swipe, &[None]);
    let standing = |on| crate::domain::standing::of(&decision.account, on);
    assert_eq!(
        (standing(date(2026, 3, 27)).spendable, standing(date(2026, 3, 27)).pending),
        (0, 9)
    );
    assert_eq!(
        (standing(date(2026, 3, 28)).spendable, standing(date(2026, 3, 28)).pending),
        (9, 0)
    );
}

#[test]
fn a_floor_lets_off_what_a_return_cannot_take_and_a_debt_does_not() {
    let lot = compiled(&Rules::default()).lot_of(SATURDAY);
    let known = |points| {
        let quantity = Quantity::from_thousandths(1_000).expect("in range");
        let counted_on = CountedOn::default();
        Some(SoldLine { points, quantity, lot, qualifying_minor: 0, counted_on })
    };
    // What there is, what is bought, what two known lines and an unknown one take back.
    for (balance, bought, back, floor, debt) in [
        (100, 0, [30, 20, 10], ([30, 20, 10], 40), ([30, 20, 10], 40)),
        (45, 0, [30, 20, 10], ([30, 15, 0], 0), ([30, 20, 10], -15)),
        (0, 0, [30, 20, 10], ([0, 0, 0], 0), ([30, 20, 10], -60)),
        // What is bought in exchange counts as being there.
        (0, 35, [30, 20, 10], ([30, 5, 0], 0), ([30, 20, 10], -25)),
        // A debt from before is not let off, but does not grow.
        (-8, 0, [30, 20, 10], ([0, 0, 0], -8), ([30, 20, 10], -68)),
    ] {
        for (policy, (taken, left)) in
            [(NegativeBalance::Floor, floor), (NegativeBalance::Debt, debt)]
        {
            let programme = compiled(&Rules { negative_balance: policy, ..Rules::default() });
            let mut account = Account::new(256, State::Enrolled);
            account.lots.add(EntryKind::Adjust, balance.max(0), lot, &mut Vec::new());
            account.lots.take(EntryKind::Adjust, (-balance).max(0), None, &mut Vec::new());
            let mut swipe = basket(&[sold(1, bought * 100, 1_000); 1], SATURDAY);
            for points in back {
                let mut line = basket(&[sold(1, points * 100, 1_000)], SATURDAY).lines.remove(0);
                line.kind = LineKind::Return { sold_on: None };
                swipe.lines.push(line);
            }
            let returned = [None, known(back[0]), known(back[1]), None];
            let decision = decided(&programme, &account, &swipe, &returned);
            assert_eq!(decision.line_points[1..], taken, "{balance} {policy:?}");
            assert_eq!(decision.reversed, taken.iter().sum::<i64>());
            assert_eq!(decision.account.lots.total(), left, "{balance} {policy:?}");
        }
    }
}

#[test]
fn a_return_whose_sale_is_not_known_takes_back_the_base_rate() {
    let programme = compiled(&Rules { rules: vec![times("a", 3_000)], ..Rules::default() });
    let mut swipe = basket(&[sold(1, 900, 1_000)], SATURDAY);
    let account = Account::new(256, State::Enrolled);
    assert_eq!(decided(&programme, &account, &swipe, &[None]).earned, 27);
    swipe.lines[0].kind = LineKind::Return { sold_on: None };
    assert_eq!(decided(&programme, &account, &swipe, &[None]).reversed, 9);
}

fn basket(lines: &[Sold], business_date: Date) -> Swipe {
    let name = crate::domain::name::SwipeName {
        business_date,
        .."0367/03/2026-03-14/1".parse().expect("a name")
    };
    let line = |(line, sold): (u16, &Sold)| Line {
        line,
        kind: LineKind::Sale,
        sku: sold.product.product_no.to_string(),
        quantity: sold.quantity,
        amount_minor: sold.net_minor,
        discount_minor: 0,
    };
    super::swipe_of(name, (1..).zip(lines).map(line).collect(), Vec::new())
}

fn decided(
    programme: &Programme,
    account: &Account,
    swipe: &Swipe,
    returned: &[Option<SoldLine>],
) -> crate::domain::swipe::Decision {
    let products: Vec<Product> =
        swipe.lines.iter().map(|line| article(line.sku.parse().expect("its number"))).collect();
    let place = Place::default();
    decide(account, swipe, &Facts { programme, products: &products, returned, place })
}
