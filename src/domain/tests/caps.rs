//! Caps over days and accounts: which one counts, what counts against them, and that what comes
//! back gives room.

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::programme::{SATURDAY, When, article, compiled, earned, sold, times};
use crate::domain::account::{Account, State};
use crate::domain::basket::{Line, LineKind, SoldOn, Swipe};
use crate::domain::ledger::{Entry, EntryKind};
use crate::domain::name::SwipeName;
use crate::domain::product::Product;
use crate::domain::programme::caps::{AccountCap, Cap, EarnedBefore};
use crate::domain::programme::earning::{Occasion, Place, Sold};
use crate::domain::programme::{Programme, Rules};
use crate::domain::record::{decode, encode};
use crate::domain::swipe::{
    Decision, Facts, SaleToVoid, SoldLine, counted_by, decide, decide_from, decide_void,
};
use crate::domain::tally::Counted;

/// A week of March, of which an account may have 500 points.
const WEEK: AccountCap =
    AccountCap { points: 500, from: date(2026, 3, 9), until: Some(date(2026, 3, 15)) };

fn rules(per_swipe: Option<u32>, per_day: Option<u32>, account: Option<AccountCap>) -> Rules {
    Rules {
        cap_per_swipe: per_swipe,
        cap_per_day: per_day,
        cap_per_account: account,
        ..Rules::default()
    }
}

#[test]
fn the_lowest_of_the_caps_counts_and_is_told() {
    // 70 and 30 points.
    let lines = [sold(1, 7_000, 1_000), sold(2, 3_000, 1_000)];
    let numbered = || lines.iter().enumerate().map(|(at, line)| Sold { at, ..*line });
    for (rules, on_day, in_period, sum, line_points, cap) in [
        (rules(None, Some(100), None), 0, 0, 100, [70, 30], None),
        (rules(None, Some(100), None), 1, 0, 99, [69, 30], Some(Cap::Day)),
        (rules(None, Some(100), None), 60, 900, 40, [28, 12], Some(Cap::Day)),
        (rules(None, Some(100), None), 100, 0, 0, [0, 0], Some(Cap::Day)),
        // More than the cap was earned while it was higher: nothing is taken away.
        (rules(None, Some(100), None), 400, 0, 0, [0, 0], Some(Cap::Day)),
        (rules(None, None, Some(WEEK)), 0, 400, 100, [70, 30], None),
        (rules(None, None, Some(WEEK)), 900, 410, 90, [63, 27], Some(Cap::Account)),
        (rules(Some(50), Some(100), Some(WEEK)), 40, 440, 50, [35, 15], Some(Cap::Swipe)),
        (rules(Some(50), Some(100), Some(WEEK)), 60, 440, 40, [28, 12], Some(Cap::Day)),
        (rules(Some(50), Some(100), Some(WEEK)), 60, 490, 10, [7, 3], Some(Cap::Account)),
        // Of equal ones the first.
        (rules(Some(40), Some(100), Some(WEEK)), 60, 460, 40, [28, 12], Some(Cap::Swipe)),
    ] {
        let before = EarnedBefore { on_day, in_period };
        let when = When { earned: before, ..When::at(SATURDAY, 600, 1) };
        assert_eq!(earned(&rules, when, &lines), (sum, line_points.to_vec()), "{before:?}");
        let occasion = Occasion {
            business_date: when.business_date,
            occurred_at: when.occurred_at,
            place: Place::default(),
            tier_no: 0,
            earned: before,
        };
        let programme = compiled(&rules);
        let cut = programme.explain(&occasion, numbered(), &mut [0; 2]).cut;
        assert_eq!(cut.map(|cut| (cut.cap, cut.due)), cap.map(|cap| (cap, 100)), "{before:?}");
    }
}

#[test]
fn a_period_begins_and_ends_with_its_days() {
    let rules = rules(None, None, Some(WEEK));
    let full = EarnedBefore { on_day: 0, in_period: 500 };
    for (day, sum) in [(8, 100), (9, 0), (15, 0), (16, 100)] {
        let when = When { earned: full, ..When::at(date(2026, 3, day), 600, 1) };
        assert_eq!(earned(&rules, when, &[sold(1, 10_000, 1_000)]).0, sum, "{day}");
    }
    let open = AccountCap { until: None, ..WEEK };
    let rules = Rules { cap_per_account: Some(open), ..rules };
    let when = When { earned: full, ..When::at(date(2031, 1, 1), 600, 1) };
    assert_eq!(earned(&rules, when, &[sold(1, 10_000, 1_000)]).0, 0);
}

// ------------------------------------------------------------------ accounts

/// A basket of these amounts; of returns of a sale's lines where one is given.
fn basket_of(day: Date, number: i64, paid: &[i64], of: Option<&Swipe>) -> (Swipe, Vec<Product>) {
    let name = SwipeName {
        business_date: day,
        sequence_number: number,
        .."0367/03/2026-03-14/1".parse().expect("a name")
    };
    let line = |(line, minor): (u16, &i64)| Line {
        line,
        kind: match of {
            None => LineKind::Sale,
            Some(sale) => {
                LineKind::Return { sold_on: Some(SoldOn { swipe: sale.name.clone(), line }) }
            }
        },
        sku: "1".into(),
        quantity: sold(1, 0, 1_000).quantity,
        amount_minor: *minor,
        discount_minor: 0,
    };
    let lines = (1..).zip(paid).map(line).collect();
    (super::swipe_of(name, lines, Vec::new()), vec![article(1); paid.len()])
}

fn decided(
    programme: &Programme,
    account: &Account,
    (swipe, products): &(Swipe, Vec<Product>),
    returned: &[Option<SoldLine>],
) -> Decision {
    let facts = Facts { programme, products, returned, place: Place::default() };
    let decision = decide(account, swipe, &facts);
    // What is remembered of a transaction is enough to decide it again, and to count it again.
    let record = decode(&encode(swipe, products, &decision)).expect("just written");
    assert_eq!(decide_from(account, record.before, swipe, &facts, &[]), decision);
    let mut tally = account.tally.clone();
    let counted = counted_by(&record, swipe.name.business_date, programme);
    if let Some(since) = programme.days_since(decision.account.clock)
        && swipe.name.business_date == decision.account.clock
    {
        tally.keep_days(since);
    }
    tally.count(&counted);
    assert_eq!(tally, decision.account.tally);
    decision
}

fn bought(programme: &Programme, account: &Account, basket: &(Swipe, Vec<Product>)) -> Decision {
    decided(programme, account, basket, &vec![None; basket.1.len()])
}

/// Brings everything of a sale back on a day.
fn brought_back(
    programme: &Programme,
    account: &Account,
    (day, number): (Date, i64),
    of_sale: &Programme,
    (sale, decision): (&Swipe, &Decision),
) -> Decision {
    let paid: Vec<i64> = sale.lines.iter().map(|line| line.amount_minor).collect();
    let known = |(line, points): (&Line, &i64)| {
        Some(SoldLine {
            points: *points,
            quantity: line.quantity,
            lot: of_sale.lot_of(sale.name.business_date),
            qualifying_minor: 0,
            counted_on: of_sale.counted_on(sale.name.business_date),
        })
    };
    let returned: Vec<_> = sale.lines.iter().zip(&decision.line_points).map(known).collect();
    decided(programme, account, &basket_of(day, number, &paid, Some(sale)), &returned)
}

fn voided(
    programme: &Programme,
    account: &Account,
    (swipe, products): &(Swipe, Vec<Product>),
    sale: &Decision,
) -> Account {
    let record = decode(&encode(swipe, products, sale)).expect("just written");
    let business_date = swipe.name.business_date;
    let entries: Vec<Entry> =
        sale.entries.iter().copied().filter(|it| it.kind != EntryKind::Expire).collect();
    let tallied: &Counted = &counted_by(&record, business_date, programme);
    let (lot, total_minor) = (programme.lot_of(business_date), swipe.total_minor);
    let entries = entries.as_slice();
    let sale = SaleToVoid { business_date, total_minor, counted: true, entries, lot, tallied };
    decide_void(account, &sale).account
}

#[test]
fn a_day_and_a_period_fill_up_and_what_comes_back_gives_room() {
    let programme = compiled(&rules(None, Some(200), Some(WEEK)));
    let mut account = Account::new(256, State::Enrolled);
    let mut number = 0;
    let mut buy = |account: &mut Account, day, minor| {
        number += 1;
        let basket = basket_of(day, number, &[minor], None);
        let decision = bought(&programme, account, &basket);
        *account = decision.account.clone();
        (basket, decision)
    };
    let [monday, tuesday, wednesday] = [9, 10, 11].map(|day| date(2026, 3, day));
    let (first, of_first) = buy(&mut account, monday, 15_000);
    assert_eq!(of_first.earned, 150);
    let (second, of_second) = buy(&mut account, monday, 15_000);
    assert_eq!(of_second.earned, 50);
    assert_eq!(buy(&mut account, monday, 100).1.earned, 0, "the day is full");
    assert_eq!(buy(&mut account, tuesday, 30_000).1.earned, 200);
    assert_eq!(buy(&mut account, wednesday, 30_000).1.earned, 100, "the week is full");
    assert_eq!(account.lots.total(), 500);

    // What is brought back on Wednesday gives room on Monday, when it was bought, and in the week.
    let back =
        brought_back(&programme, &account, (wednesday, 90), &programme, (&first.0, &of_first));
    account = back.account.clone();
    assert_eq!((back.reversed, account.lots.total()), (150, 350));
    assert_eq!(buy(&mut account, monday, 10_000).1.earned, 100, "a till sends it late");
    assert_eq!(buy(&mut account, wednesday, 30_000).1.earned, 50);
    assert_eq!(account.lots.total(), 500);
    // The void of a sale gives as much as it had earned; not what its cap had kept from it.
    account = voided(&programme, &account, &second, &of_second);
    assert_eq!(buy(&mut account, monday, 15_000).1.earned, 50);
    // After the week there are days alone.
    assert_eq!(buy(&mut account, date(2026, 3, 16), 30_000).1.earned, 200);
}

#[test]
fn what_was_earned_without_a_cap_gives_no_room_under_one() {
    let before = compiled(&Rules::default());
    let programme = compiled(&rules(None, Some(200), Some(WEEK)));
    let (day, account) = (date(2026, 3, 10), Account::new(256, State::Enrolled));
    let sale = basket_of(day, 1, &[90_000], None);
    let of_sale = bought(&before, &account, &sale);
    let full = bought(&programme, &of_sale.account, &basket_of(day, 2, &[20_000], None));
    assert_eq!(full.earned, 200, "what came before the cap does not fill it");
    let back = brought_back(&programme, &full.account, (day, 3), &before, (&sale.0, &of_sale));
    assert_eq!(back.reversed, 900);
    let again = bought(&programme, &back.account, &basket_of(day, 4, &[20_000], None));
    assert_eq!(again.earned, 0);
    // A period that goes on under other rules goes on counting; another one begins anew.
    let longer = AccountCap { points: 600, until: None, ..WEEK };
    let another = AccountCap { from: date(2026, 3, 10), ..longer };
    for (account_cap, due) in [(longer, 400), (another, 500)] {
        let next = compiled(&rules(None, None, Some(account_cap)));
        let later = basket_of(day, 5, &[50_000], None);
        assert_eq!(bought(&next, &again.account, &later).earned, due, "{account_cap:?}");
    }
}

#[test]
fn days_that_lie_far_back_are_forgotten_and_a_late_basket_is_capped_by_itself() {
    let programme = compiled(&rules(None, Some(200), None));
    let mut account = Account::new(256, State::Enrolled);
    let mut buy = |number, day| {
        let decision = bought(&programme, &account, &basket_of(day, number, &[15_000], None));
        account = decision.account.clone();
        (decision.earned, account.tally.by_day().iter().count())
    };
    assert_eq!(buy(1, SATURDAY), (150, 1));
    assert_eq!(buy(2, SATURDAY + 30.days()), (150, 2));
    assert_eq!(buy(3, SATURDAY), (50, 2), "thirty days later it is remembered");
    assert_eq!(buy(4, SATURDAY + 31.days()), (150, 2));
    assert_eq!(buy(5, SATURDAY), (150, 2), "and then no more");
    assert_eq!(buy(6, SATURDAY), (150, 2));
}

/// What happens to an account.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So much is bought on a day.
    Buy(i64, i64),
    /// One of the sales so far is brought back as a whole, on a day.
    Return(prop::sample::Index, i64),
    /// One of them is voided.
    Void(prop::sample::Index),
}

fn a_step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0_i64..9, 0_i64..30_000).prop_map(|(day, minor)| Step::Buy(day, minor)),
        1 => (index(), 0_i64..9).prop_map(|(sale, day)| Step::Return(sale, day)),
        1 => index().prop_map(Step::Void),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_nobody_has_more_of_a_day_or_a_period_than_the_caps_give(
        steps in prop::collection::vec(a_step(), 1..30),
        (per_day, of_week) in (1_u32..300, 1_u32..900),
        doubled in any::<bool>(),
    ) {
        let cap = AccountCap { points: of_week, ..WEEK };
        let mut rules = rules(None, Some(per_day), Some(cap));
        if doubled {
            rules.rules.push(times("double", 2_000));
        }
        let (programme, uncapped) = (compiled(&rules), compiled(&Rules { cap_per_day: None,
            cap_per_account: None, ..rules.clone() }));
        let mut account = Account::new(256, State::Enrolled);
        // Sales that stand, with what they earned; those that were brought back have nothing left.
        let mut sales: Vec<((Swipe, Vec<Product>), Decision, i64)> = Vec::new();
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Buy(day, minor) => {
                    let basket = basket_of(WEEK.from + day.days(), number, &[minor], None);
                    let decision = bought(&programme, &account, &basket);
                    let due = bought(&uncapped, &account, &basket).earned;
                    let date = basket.0.name.business_date;
                    let left = |most: u32, holds: &dyn Fn(Date) -> bool| {
                        let of = |it: &&((Swipe, _), _, _)| holds(it.0.0.name.business_date);
                        i64::from(most) - sales.iter().filter(of).map(|it| it.2).sum::<i64>()
                    };
                    let in_week = |date: Date| WEEK.from <= date && Some(date) <= WEEK.until;
                    let mut most = due.min(left(per_day, &|it| it == date));
                    if in_week(date) {
                        most = most.min(left(of_week, &in_week));
                    }
                    prop_assert_eq!(decision.earned, most);
                    account = decision.account.clone();
                    let earned = decision.earned;
                    sales.push((basket, decision, earned));
                }
                Step::Return(at, day) if !sales.is_empty() => {
                    let at = at.index(sales.len());
                    let (basket, decision, left) = &mut sales[at];
                    if *left == 0 { continue }
                    let when = (WEEK.from + day.days(), 1_000 + number);
                    let sale = (&basket.0, &*decision);
                    let back = brought_back(&programme, &account, when, &programme, sale);
                    prop_assert_eq!(back.reversed, *left);
                    (account, *left) = (back.account, 0);
                }
                Step::Void(at) if !sales.is_empty() => {
                    let (basket, decision, left) = sales.swap_remove(at.index(sales.len()));
                    if left != decision.earned { continue }
                    account = voided(&programme, &account, &basket, &decision);
                }
                Step::Return(..) | Step::Void(_) => {}
            }
        }
    }
}
