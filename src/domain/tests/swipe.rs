//! Decisions: what holds for every transaction, on every account, under every programme.

use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{a_date, a_kind, a_lot_key, a_name, a_product, a_programme, lines, swipe_of};
use crate::domain::account::{Account, State};
use crate::domain::basket::{Line, LineKind, Swipe};
use crate::domain::ledger::{DEBT, Entry, EntryKind, LotKey, Lots};
use crate::domain::product::Product;
use crate::domain::programme::earning::Place;
use crate::domain::programme::{Programme, Rules};
use crate::domain::quantity::Quantity;
use crate::domain::swipe::{
    Decision, Facts, SaleToVoid, SoldLine, decide, decide_for_house, decide_tombstone, decide_void,
};
use crate::domain::tally::{Counted, CountedOn};

/// A line with its article and, for a return, what is known of the line that it returns.
type Known = (Line, Product, Option<SoldLine>);

#[derive(Clone, Debug)]
struct Case {
    account: Account,
    programme: Programme,
    name: crate::domain::name::SwipeName,
    lines: Vec<Known>,
    points_spent: i64,
}

impl Case {
    fn swipe(&self) -> Swipe {
        let lines = self.lines.iter().map(|(line, _, _)| line.clone()).collect();
        let points_spent = self.points_spent;
        Swipe { points_spent, ..swipe_of(self.name.clone(), lines, Vec::new()) }
    }

    fn decide(&self) -> Decision {
        let products: Vec<Product> = self.lines.iter().map(|(_, product, _)| *product).collect();
        let returned: Vec<_> = self.lines.iter().map(|(_, _, sold)| *sold).collect();
        let programme = &self.programme;
        let facts =
            Facts { programme, products: &products, returned: &returned, place: Place::default() };
        decide(&self.account, &self.swipe(), &facts)
    }

    /// The account after the expiries that are due, which every decision writes first.
    fn lots_before(&self) -> Lots {
        let mut lots = self.account.lots.clone();
        let clock = self.account.clock.max(self.name.business_date);
        lots.expire(clock, &mut Vec::new());
        lots
    }
}

/// Points that are there, or a debt.
fn lots() -> impl Strategy<Value = Lots> {
    let points = vec((1_i64..300, a_lot_key()), 0..5);
    (points, option::weighted(0.3, 1_i64..2_000)).prop_map(|(adds, taken)| {
        let mut lots = Lots::default();
        for (points, key) in adds {
            lots.add(EntryKind::Earn, points, key, &mut Vec::new());
        }
        lots.take(EntryKind::Redeem, taken.unwrap_or(0), None, &mut Vec::new());
        lots
    })
}

fn a_sold_line() -> impl Strategy<Value = SoldLine> {
    (0_i64..200, super::a_quantity(), a_lot_key()).prop_map(|(points, quantity, lot)| SoldLine {
        points,
        quantity,
        lot,
        qualifying_minor: points * 100,
        counted_on: CountedOn::default(),
    })
}

fn case_of(kind: impl Strategy<Value = LineKind>) -> impl Strategy<Value = Case> {
    let lines = lines(kind).prop_flat_map(move |lines| {
        let count = lines.len();
        (Just(lines), vec(a_product(), count), vec(option::of(a_sold_line()), count))
            .prop_map(|(lines, products, sold)| lines.into_iter().zip(products).zip(sold))
            .prop_map(|known| known.map(|((line, product), sold)| (line, product, sold)).collect())
    });
    let points_spent = prop_oneof![2 => Just(0), 1 => 0_i64..900];
    (lots(), a_date(), a_programme(), a_name(), lines, points_spent).prop_map(
        |(lots, clock, programme, name, lines, points_spent)| {
            let mut account = Account::new(256, State::Enrolled);
            account.lots = lots;
            account.clock = clock;
            account.lots.expire(clock, &mut Vec::new());
            Case { account, programme, name, lines, points_spent }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    case_of(a_kind())
}

/// On a day that the account has not passed, so that what is earned does not run out at once.
fn current(mut case: Case) -> Case {
    case.account.clock = case.account.clock.min(case.name.business_date);
    case
}

fn sum_of(entries: &[Entry], kind: EntryKind) -> i64 {
    entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.points).sum()
}

proptest! {
    #[test]
    fn every_decision_is_what_its_entries_say(case in case()) {
        let decision = case.decide();
        let Decision { account, entries, line_points, earned, reversed, spent, .. } = decision;
        let before = &case.account;
        prop_assert_eq!(account.version, before.version + 1);
        prop_assert_eq!(account.baskets, before.baskets + 1);
        prop_assert_eq!(account.sales_minor, before.sales_minor + case.swipe().total_minor);
        prop_assert_eq!(account.clock, before.clock.max(case.name.business_date));
        prop_assert!(account.lots.iter().all(|lot| lot.key.expires_on >= account.clock));

        let mut replayed = before.lots.clone();
        for entry in &entries {
            replayed.replay_entry(entry.points, entry.lot);
        }
        prop_assert_eq!(&replayed, &account.lots);
        prop_assert_eq!(sum_of(&entries, EntryKind::Earn), earned);
        prop_assert_eq!(sum_of(&entries, EntryKind::ReverseEarn), -reversed);
        prop_assert_eq!(sum_of(&entries, EntryKind::Redeem), -spent);
        prop_assert_eq!(spent, case.points_spent);

        let of = |sale: bool| -> i64 {
            let lines = case.lines.iter().zip(&line_points);
            let lines = lines.filter(|((line, _, _), _)| (line.kind == LineKind::Sale) == sale);
            lines.map(|(_, points)| points).sum()
        };
        prop_assert_eq!((of(true), of(false)), (earned, reversed));
        prop_assert!(line_points.iter().all(|points| *points >= 0));
    }

    #[test]
    fn due_expiries_are_written_before_anything_else(case in case()) {
        let decision = case.decide();
        let mut due = Vec::new();
        case.account.lots.clone().expire(decision.account.clock, &mut due);
        prop_assert!(decision.entries.starts_with(&due));
        let void = decide_tombstone(&case.account, case.name.business_date);
        prop_assert_eq!(void.entries, due);
    }

    #[test]
    fn the_order_of_lines_does_not_change_the_totals(
        (case, lines) in case().prop_flat_map(|case| {
            let lines = Just(case.lines.clone()).prop_shuffle();
            (Just(case), lines)
        }),
    ) {
        let one = case.decide();
        let other = Case { lines, ..case }.decide();
        prop_assert_eq!((one.earned, one.reversed), (other.earned, other.reversed));
        prop_assert_eq!(one.account.lots.total(), other.account.lots.total());
    }

    #[test]
    fn a_line_split_in_two_earns_the_same(
        case in case_of(Just(LineKind::Sale)),
        at in any::<prop::sample::Index>(),
        share in 0_i64..=100,
    ) {
        let mut split = case.clone();
        let at = at.index(split.lines.len());
        let (line, product, _) = &mut split.lines[at];
        // A coupon above the worth of its line is not shared: the line earns nothing anyhow.
        prop_assume!(line.net_minor() >= 0);
        let part = line.net_minor() * share / 100;
        let amount_minor = line.net_minor() - part;
        let here = line.quantity.thousandths() * share / 100;
        let quantity = |value| Quantity::from_thousandths(value).expect("a part");
        let there = quantity(line.quantity.thousandths() - here);
        let rest = Line { amount_minor, discount_minor: 0, quantity: there, ..line.clone() };
        (line.amount_minor, line.discount_minor, line.quantity) = (part, 0, quantity(here));
        let further = (rest, *product, None);
        split.lines.push(further);
        prop_assert_eq!(split.decide().earned, case.decide().earned);
    }

    #[test]
    fn whoever_brings_everything_back_gives_back_what_it_earned(
        case in case_of(Just(LineKind::Sale)).prop_map(current),
    ) {
        let case = Case { points_spent: 0, ..case };
        let sold = case.decide();
        let lot = case.programme.lot_of(case.name.business_date);
        let lines = case.lines.iter().zip(&sold.line_points).map(|((line, product, _), points)| {
            let kind = LineKind::Return { sold_on: None };
            let qualifying_minor = case.programme.qualifying_minor(product, line.net_minor());
            let (points, quantity) = (*points, line.quantity);
            let counted_on = case.programme.counted_on(case.name.business_date);
            let known = SoldLine { points, quantity, lot, qualifying_minor, counted_on };
            (Line { kind, ..line.clone() }, *product, Some(known))
        });
        let back = Case { account: sold.account.clone(), lines: lines.collect(), ..case.clone() };
        let back = back.decide();
        prop_assert_eq!(back.reversed, sold.earned);
        prop_assert_eq!(back.account.lots, case.lots_before());
        prop_assert_eq!(back.account.sales_minor, case.account.sales_minor);
    }

    #[test]
    fn a_void_right_after_its_sale_restores_the_account(case in case().prop_map(current)) {
        let sold = case.decide();
        // Points that are pending do not pay, but are there to be taken: what a purchase paid of
        // a debt that it had made itself is taken from them.
        let pending = case.lots_before().pending(sold.account.clock);
        prop_assume!(sold.short == 0 || pending == 0);
        let entries: Vec<Entry> =
            sold.entries.iter().copied().filter(|it| it.kind != EntryKind::Expire).collect();
        let sale = SaleToVoid {
            business_date: case.name.business_date,
            total_minor: case.swipe().total_minor,
            counted: true,
            entries: &entries,
            lot: case.programme.lot_of(case.name.business_date),
            tallied: &Counted::default(),
        };
        let void = decide_void(&sold.account, &sale);
        prop_assert_eq!(&void.account.lots, &case.lots_before());
        prop_assert_eq!((void.earned, void.reversed), (sold.reversed, sold.earned));
        prop_assert_eq!((void.spent, void.short), (-sold.spent, 0));
        prop_assert_eq!(void.account.version, sold.account.version + 1);
        let counters = |account: &Account| (account.sales_minor, account.baskets);
        prop_assert_eq!(counters(&void.account), counters(&case.account));
        let uncounted = decide_void(&sold.account, &SaleToVoid { counted: false, ..sale });
        prop_assert_eq!(counters(&uncounted.account), counters(&sold.account));
    }

    #[test]
    fn a_void_later_on_takes_exactly_what_was_given(
        case in case().prop_map(current),
        spent in 0_i64..500,
        (put, key) in (0_i64..500, a_lot_key()),
    ) {
        let sold = case.decide();
        let mut account = sold.account.clone();
        account.lots.take(EntryKind::Redeem, spent, None, &mut Vec::new());
        account.lots.add(EntryKind::Adjust, put, key, &mut Vec::new());
        let before = account.lots.total();
        let entries: Vec<Entry> =
            sold.entries.iter().copied().filter(|it| it.kind != EntryKind::Expire).collect();
        let sale = SaleToVoid {
            business_date: case.name.business_date,
            total_minor: 0,
            counted: true,
            entries: &entries,
            lot: case.programme.lot_of(case.name.business_date),
            tallied: &Counted::default(),
        };
        let void = decide_void(&account, &sale);
        let expired = sum_of(&void.entries, EntryKind::Expire);
        let undone = sold.reversed - sold.earned + sold.spent;
        prop_assert_eq!(void.account.lots.total() - expired, before + undone);
        prop_assert_eq!(sum_of(&void.entries, EntryKind::ReverseRedeem), sold.spent);
        // What was owed has been paid by others since: nothing is given back into the debt.
        let mut lots = void.account.lots.iter();
        prop_assert!(lots.all(|lot| (lot.points < 0) == (lot.key == DEBT)));
    }

    #[test]
    fn what_belongs_to_nobody_earns_nothing(case in case(), counts in any::<bool>()) {
        let house = Account::new(256, State::House);
        let swipe = case.swipe();
        let decision = decide_for_house(&house, &swipe, counts);
        prop_assert_eq!((decision.earned, decision.reversed), (0, 0));
        prop_assert!(decision.entries.is_empty());
        prop_assert_eq!(decision.line_points, vec![0; swipe.lines.len()]);
        prop_assert_eq!(decision.account.baskets, i32::from(counts));
        prop_assert_eq!(decision.account.sales_minor, i64::from(counts) * swipe.total_minor);
    }
}

fn default_case(account: Account, business_date: Date, lines: Vec<Known>) -> Case {
    let programme = Programme::compile(&Rules::default(), |_, _| None).expect("valid");
    let name = "0367/03/2026-03-14/1".parse().expect("a name");
    let name = crate::domain::name::SwipeName { business_date, ..name };
    Case { account, programme, name, lines, points_spent: 0 }
}

fn line(kind: LineKind, amount_minor: i64, thousandths: i64) -> Line {
    let quantity = Quantity::from_thousandths(thousandths).expect("in range");
    Line { line: 1, kind, sku: "1".into(), quantity, amount_minor, discount_minor: 0 }
}

#[test]
fn a_late_swipe_is_counted_but_its_points_have_run_out() {
    let mut account = Account::new(256, State::Enrolled);
    account.clock = date(2026, 3, 14);
    for (business_date, total) in
        [(date(2026, 3, 14), 9), (date(2024, 3, 1), 9), (date(2024, 2, 28), 0)]
    {
        let lines = vec![(line(LineKind::Sale, 900, 1_000), Product::default(), None)];
        let decision = default_case(account.clone(), business_date, lines).decide();
        assert_eq!(decision.earned, 9, "{business_date}");
        assert_eq!(decision.account.clock, date(2026, 3, 14), "{business_date}");
        assert_eq!(decision.account.lots.total(), total, "{business_date}");
        assert_eq!(decision.account.baskets, 1);
    }
}

#[test]
fn a_part_that_comes_back_takes_its_share_rounded_down() {
    let lot = LotKey { available_from: date(2026, 3, 1), expires_on: date(2028, 3, 31) };
    for (points, sold, returned, share) in [
        (10, 3_000, 1_000, 3),
        (10, 3_000, 2_000, 6),
        (10, 3_000, 3_000, 10),
        (10, 3_000, 5_000, 10),
        (10, 0, 0, 10),
        (10, 0, 1_000, 10),
        (10, 420, 0, 0),
        (0, 1_000, 1_000, 0),
    ] {
        let quantity = Quantity::from_thousandths(sold).expect("in range");
        let counted_on = CountedOn::default();
        let known = SoldLine { points, quantity, lot, qualifying_minor: 0, counted_on };
        let back = line(LineKind::Return { sold_on: None }, 5_000, returned);
        let lines = vec![(back, Product::default(), Some(known))];
        let account = Account::new(256, State::Enrolled);
        let decision = default_case(account, date(2026, 3, 14), lines).decide();
        assert_eq!(decision.reversed, share, "{returned} of {sold} for {points}");
        assert_eq!(decision.account.lots.debt(), share);
    }
}
