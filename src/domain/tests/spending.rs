//! Paying with points: which of them pay, what is owed, and what a void gives back.

use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{a_date, a_lot_key, a_programme, lines, swipe_of};
use crate::domain::account::{Account, State};
use crate::domain::basket::{LineKind, Swipe};
use crate::domain::ledger::{DEBT, Entry, EntryKind, Lot, LotKey, Lots, NEVER};
use crate::domain::product::Product;
use crate::domain::programme::earning::Place;
use crate::domain::programme::{Programme, RedemptionRate, Rules};
use crate::domain::swipe::{
    Decision, Facts, SaleToVoid, decide, decide_for_house, decide_tombstone, decide_void,
};
use crate::domain::tally::Counted;

const TODAY: Date = date(2026, 3, 14);

fn key(available_from: Date, expires_on: Date) -> LotKey {
    LotKey { expires_on, available_from }
}

/// Points in the order in which they are spent: the last two cannot be spent today.
fn lots_of(points: [i64; 4]) -> Lots {
    let keys = [
        key(date(2025, 1, 1), TODAY),
        key(date(2026, 3, 14), date(2027, 1, 31)),
        key(date(2026, 3, 15), date(2026, 12, 31)),
        key(date(2026, 6, 1), NEVER),
    ];
    let mut lots = Lots::default();
    for (points, key) in points.into_iter().zip(keys) {
        lots.add(EntryKind::Earn, points, key, &mut Vec::new());
    }
    lots
}

fn account_of(lots: Lots) -> Account {
    Account { lots, clock: TODAY, ..Account::new(256, State::Enrolled) }
}

/// A purchase today of so many points' worth, paid with so many.
fn purchase(earned: i64, points_spent: i64) -> Swipe {
    let name = "0367/03/2026-03-14/1".parse().expect("a name");
    let line = crate::domain::basket::Line {
        line: 1,
        kind: LineKind::Sale,
        sku: "1".into(),
        quantity: crate::domain::quantity::Quantity::default(),
        amount_minor: earned * 100,
        discount_minor: 0,
    };
    Swipe { points_spent, points_value_minor: points_spent, ..swipe_of(name, vec![line], vec![]) }
}

fn programme() -> Programme {
    Programme::compile(&Rules::default(), |_, _| None).expect("valid")
}

fn decided(account: &Account, swipe: &Swipe) -> Decision {
    let (products, returned) = ([Product::default()], [None]);
    let facts = Facts {
        programme: &programme(),
        products: &products,
        returned: &returned,
        place: Place::default(),
    };
    decide(account, swipe, &facts)
}

fn voided(account: &Account, swipe: &Swipe, sold: &Decision) -> Decision {
    let business_date = swipe.name.business_date;
    let lot = programme().lot_of(business_date);
    let (total_minor, entries) = (swipe.total_minor, sold.entries.as_slice());
    let tallied = &Counted::default();
    let sale = SaleToVoid { business_date, total_minor, counted: true, entries, lot, tallied };
    decide_void(account, &sale)
}

fn points_of(entries: &[Entry], kind: EntryKind) -> Vec<i64> {
    entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.points).collect()
}

#[test]
fn points_pay_soonest_expiring_first_and_what_is_not_there_is_owed() {
    for (there, spent, redeemed, short) in [
        ([10, 20, 0, 0], 0, vec![], 0),
        ([10, 20, 0, 0], 7, vec![-7], 0),
        ([10, 20, 0, 0], 10, vec![-10], 0),
        ([10, 20, 0, 0], 30, vec![-10, -20], 0),
        ([10, 20, 0, 0], 31, vec![-10, -20, -1], 1),
        // Pending points are not touched, whatever their last day.
        ([10, 20, 40, 50], 35, vec![-10, -20, -5], 5),
        ([0, 0, 40, 50], 35, vec![-35], 35),
        ([0, 0, 0, 0], 5, vec![-5], 5),
    ] {
        let decision = decided(&account_of(lots_of(there)), &purchase(0, spent));
        let what = format!("{spent} of {there:?}");
        assert_eq!(points_of(&decision.entries, EntryKind::Redeem), redeemed, "{what}");
        assert_eq!((decision.spent, decision.short), (spent, short), "{what}");
        let left = decision.account.lots;
        assert_eq!((left.debt(), left.pending(TODAY)), (short, there[2] + there[3]), "{what}");
        assert_eq!(left.total(), there.iter().sum::<i64>() - spent, "{what}");
    }
}

#[test]
fn points_that_ran_out_yesterday_pay_nothing() {
    let mut account = account_of(Lots::default());
    account.clock = date(2026, 3, 13);
    account.lots.add(EntryKind::Earn, 9, key(date(2024, 3, 1), account.clock), &mut Vec::new());
    let decision = decided(&account, &purchase(0, 9));
    let kinds: Vec<_> = decision.entries.iter().map(|it| (it.kind, it.points, it.lot)).collect();
    let lot = key(date(2024, 3, 1), date(2026, 3, 13));
    assert_eq!(kinds, [(EntryKind::Expire, -9, lot), (EntryKind::Redeem, -9, DEBT)]);
    assert_eq!(decision.short, 9);
}

#[test]
fn a_purchase_pays_before_it_earns_and_earns_as_if_it_had_not_paid() {
    let decision = decided(&account_of(lots_of([5, 0, 0, 0])), &purchase(6, 8));
    assert_eq!((decision.earned, decision.spent, decision.short), (6, 8, 3));
    assert_eq!(points_of(&decision.entries, EntryKind::Redeem), [-5, -3]);
    // What was owed is paid by what was earned.
    assert_eq!(points_of(&decision.entries, EntryKind::Earn), [3, 3]);
    assert_eq!((decision.account.lots.debt(), decision.account.lots.total()), (0, 3));
    assert_eq!(decision.account.sales_minor, 600);
}

#[test]
fn a_value_that_the_programme_does_not_say_is_noted_and_changes_nothing() {
    let rules = Rules { redeem: RedemptionRate { points: 3, value_minor: 2 }, ..Rules::default() };
    let programme = Programme::compile(&rules, |_, _| None).expect("valid");
    let (products, returned) = ([Product::default()], [None]);
    let facts = Facts {
        programme: &programme,
        products: &products,
        returned: &returned,
        place: Place::default(),
    };
    let account = account_of(lots_of([50, 0, 0, 0]));
    for (spent, value_minor, differs) in
        [(0, 0, false), (1, 0, false), (2, 1, false), (3, 2, false), (3, 3, true), (50, 0, true)]
    {
        let swipe = Swipe { points_value_minor: value_minor, ..purchase(1, spent) };
        let decision = decide(&account, &swipe, &facts);
        assert_eq!(decision.value_differs, differs, "{spent} for {value_minor}");
        assert_eq!((decision.spent, decision.earned), (spent, 1));
    }
    for (points, value_minor) in [(0, 1), (1_000_001, 1), (1, 1_000_001)] {
        let redeem = RedemptionRate { points, value_minor };
        let rules = Rules { redeem, ..Rules::default() };
        let compiled = Programme::compile(&rules, |_, _| None);
        let pointer = compiled.expect_err("outside the limits").pointer;
        assert!(pointer.starts_with("/redeem/"), "{pointer}");
    }
}

#[test]
fn rules_that_say_nothing_of_payment_give_a_point_the_value_of_one_minor_unit() {
    let rules: Rules =
        serde_json::from_str(r#"{"earn": {"points": 1, "per_minor": 100}}"#).expect("rules");
    let programme = Programme::compile(&rules, |_, _| None).expect("valid");
    assert_eq!(programme.value_minor_of(250), 250);
}

#[test]
fn a_void_gives_points_back_to_the_lots_that_they_came_from() {
    let before = account_of(lots_of([10, 20, 40, 0]));
    let swipe = purchase(7, 25);
    let sold = decided(&before, &swipe);
    let void = voided(&sold.account, &swipe, &sold);
    assert_eq!(void.account.lots, before.lots);
    assert_eq!(points_of(&void.entries, EntryKind::ReverseRedeem), [15, 10]);
    assert_eq!((void.spent, void.reversed, void.short), (-25, 7, 0));
}

#[test]
fn points_restored_to_a_lot_that_has_run_out_since_are_written_off_at_once() {
    let before = account_of(lots_of([10, 20, 0, 0]));
    let swipe = purchase(0, 25);
    let sold = decided(&before, &swipe);
    let later = decide_tombstone(&sold.account, date(2026, 3, 15)).account;
    let void = voided(&later, &swipe, &sold);
    assert_eq!(points_of(&void.entries, EntryKind::Expire), [-10]);
    // As if the purchase had not been: the first lot would have run out, the second not.
    assert_eq!(void.account.lots, decide_tombstone(&before, date(2026, 3, 15)).account.lots);
}

#[test]
fn a_debt_that_a_payment_left_and_that_was_paid_since_comes_back_as_points_of_its_lot() {
    let before = account_of(lots_of([10, 0, 0, 0]));
    let swipe = purchase(0, 16);
    let sold = decided(&before, &swipe);
    assert_eq!(sold.account.lots.debt(), 6);
    // While the debt stands, it is what the void pays.
    assert_eq!(voided(&sold.account, &swipe, &sold).account.lots, before.lots);
    let paid = decided(&sold.account, &purchase(9, 0)).account;
    assert_eq!((paid.lots.debt(), paid.lots.total()), (0, 3));
    let void = voided(&paid, &swipe, &sold);
    let mut lots = before.lots.clone();
    lots.add(EntryKind::Earn, 9, programme().lot_of(TODAY), &mut Vec::new());
    assert_eq!(void.account.lots, lots);
}

#[test]
fn nobody_pays_with_points_that_belong_to_nobody() {
    let house = Account::new(256, State::House);
    for counts in [true, false] {
        let decision = decide_for_house(&house, &purchase(5, 9), counts);
        assert_eq!((decision.spent, decision.short, decision.value_differs), (0, 0, false));
        assert!(decision.entries.is_empty());
    }
}

proptest! {
    #[test]
    fn what_pays_is_what_was_there_and_could(
        adds in vec((1_i64..100, a_lot_key()), 0..8), points in 0_i64..600, on in a_date(),
    ) {
        let (mut lots, mut entries) = (Lots::default(), Vec::new());
        for (points, key) in adds {
            lots.add(EntryKind::Earn, points, key, &mut Vec::new());
        }
        let before = lots.clone();
        let spendable = before.spendable(on);
        let short = lots.spend(points, on, &mut entries);
        prop_assert_eq!(short, (points - spendable).max(0));
        prop_assert_eq!(lots.debt(), short);
        prop_assert!(entries.is_sorted_by_key(|entry| (entry.lot == DEBT, entry.lot)));
        let could = |key: LotKey| key.available_from <= on && on <= key.expires_on;
        prop_assert!(entries.iter().all(|entry| entry.points < 0 && could(entry.lot)));
        // Every lot but the last one that pays is used up; none that cannot pay is touched.
        for entry in entries.iter().rev().skip(1) {
            prop_assert!(lots.iter().all(|lot| lot.key != entry.lot));
        }
        let kept =
            |lots: &Lots| -> Vec<Lot> { lots.iter().filter(|lot| !could(lot.key)).collect() };
        prop_assert_eq!(kept(&lots), kept(&before));
    }

    #[test]
    fn the_value_of_points_grows_with_them_and_never_rounds_up(
        programme in a_programme(), points in 0_i64..1_000_000, more in 0_i64..1_000,
    ) {
        let value = |points| programme.value_minor_of(points);
        prop_assert!(value(points) + value(more) <= value(points + more));
        prop_assert_eq!(value(-points), 0);
    }

    #[test]
    fn paying_with_points_does_not_change_what_a_basket_earns(
        lines in lines(Just(LineKind::Sale)), points in 0_i64..900,
    ) {
        let products = vec![Product::default(); lines.len()];
        let returned = vec![None; lines.len()];
        let (programme, place) = (programme(), Place::default());
        let facts =
            Facts { programme: &programme, products: &products, returned: &returned, place };
        let name = "0367/03/2026-03-14/1".parse().expect("a name");
        let free = swipe_of(name, lines, vec![]);
        let paid = Swipe { points_spent: points, ..free.clone() };
        let account = account_of(lots_of([100, 200, 300, 400]));
        let (free, paid) = (decide(&account, &free, &facts), decide(&account, &paid, &facts));
        prop_assert_eq!((free.earned, free.line_points), (paid.earned, paid.line_points));
        prop_assert_eq!(free.account.lots.total() - points, paid.account.lots.total());
    }
}
