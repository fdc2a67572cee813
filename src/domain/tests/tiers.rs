//! Tiers: when they are earned, how long they are held, and that nothing but what was bought and
//! not brought back decides about them.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::prelude::*;

use super::programme::{article, compiled, sold};
use crate::domain::account::{Account, State};
use crate::domain::basket::{Line, LineKind, SoldOn, Swipe};
use crate::domain::ledger::{Entry, EntryKind};
use crate::domain::name::SwipeName;
use crate::domain::product::Product;
use crate::domain::programme::earning::Place;
use crate::domain::programme::tiers::{Downgrade, Tier, TierPolicy};
use crate::domain::programme::{Programme, Rules};
use crate::domain::record::{decode, encode};
use crate::domain::swipe::{
    Decision, Facts, SaleToVoid, SoldLine, counted_by, decide, decide_void,
};
use crate::domain::tally::{Counted, Month, Tally, month_of};

/// The first month of the tables and of the generated histories.
const START: Date = date(2024, 1, 1);

fn policy(window_months: u8, grace_months: u8, downgrade: Downgrade) -> TierPolicy {
    TierPolicy { window_months, grace_months, downgrade }
}

/// Three tiers: from 100.00, 300.00 and 600.00.
fn rules(policy: TierPolicy) -> Rules {
    let tier = |(name, threshold_minor): (&str, i64)| Tier { name: name.into(), threshold_minor };
    Rules {
        tier_policy: Some(policy),
        tiers: [("silver", 10_000), ("gold", 30_000), ("platinum", 60_000)].map(tier).into(),
        ..Rules::default()
    }
}

fn spent(by_month: &[i64]) -> Tally {
    let mut tally = Tally::default();
    let months = (month_of(START)..).zip(by_month).map(|(month, minor)| (month, *minor));
    tally.count(&Counted { qualifying: months.collect(), ..Counted::default() });
    tally
}

fn held(rules: &Rules, by_month: &[i64], months: usize) -> Vec<u8> {
    let (programme, tally) = (compiled(rules), spent(by_month));
    let month = |after: usize| START + i64::try_from(after).expect("few").months();
    (0..months).map(|after| programme.tier_no(&tally, month(after))).collect()
}

#[test]
fn a_tier_is_earned_within_the_window_and_held_for_its_grace() {
    use Downgrade::{Step, Straight};
    for (window, grace, downgrade, by_month, expected) in [
        // Spent once, a tier lasts as long as the window.
        (3, 0, Straight, &[0, 30_000][..], &[0, 2, 2, 2, 0, 0][..]),
        (3, 0, Straight, &[9_999], &[0, 0, 0, 0]),
        (3, 0, Straight, &[10_000], &[1, 1, 1, 0]),
        // Little by little.
        (3, 0, Straight, &[5_000, 5_000, 20_000, 5_000], &[0, 1, 2, 2, 1, 0, 0]),
        // Two months longer, and then what was earned meanwhile.
        (1, 2, Straight, &[60_000, 0, 10_000], &[3, 3, 3, 1, 1, 0, 0]),
        (1, 2, Straight, &[60_000], &[3, 3, 3, 0]),
        // Or a step at a time, each with a grace of its own.
        (1, 0, Step, &[60_000], &[3, 2, 1, 0]),
        (1, 1, Step, &[60_000], &[3, 3, 2, 2, 1, 1, 0]),
        (1, 1, Step, &[60_000, 0, 0, 10_000, 10_000, 10_000], &[3, 3, 2, 2, 1, 1, 1, 0]),
        (1, 1, Step, &[60_000, 0, 0, 0, 30_000], &[3, 3, 2, 2, 2, 2, 1, 1, 0]),
        // What was brought back is as if it had never been bought.
        (12, 2, Straight, &[-5_000, 0, 12_000], &[0, 0, 0, 0]),
    ] {
        let rules = rules(policy(window, grace, downgrade));
        assert_eq!(rules.findings(), [], "{window} {grace} {downgrade:?}");
        let held = held(&rules, by_month, expected.len());
        assert_eq!(held, expected, "{window} {grace} {downgrade:?} {by_month:?}");
    }
}

#[test]
fn the_lowest_tier_may_be_everybodys_and_the_next_one_says_how_far_it_is() {
    let mut rules = rules(policy(2, 1, Downgrade::Straight));
    rules.tiers[0].threshold_minor = 0;
    let programme = compiled(&rules);
    let standing = |by_month: &[i64], on: Date| {
        let tally = spent(by_month);
        programme.tier_standing(&tally, on).map(|it| (it.name.map(str::to_owned), it.to_next_minor))
    };
    let silver = |minor| Some((Some("silver".to_owned()), Some(minor)));
    assert_eq!(standing(&[], START), silver(30_000));
    assert_eq!(standing(&[-500], START), silver(30_000));
    assert_eq!(standing(&[12_000], START), silver(18_000));
    let gold = |minor| Some((Some("gold".to_owned()), minor));
    assert_eq!(standing(&[30_000], START), gold(Some(30_000)));
    // Held for another month, in which nothing of it counts any more.
    assert_eq!(standing(&[30_000], date(2024, 3, 1)), gold(Some(60_000)));
    let top = standing(&[90_000], START).and_then(|(_, to_next)| to_next);
    assert_eq!(top, None);
    let without = compiled(&Rules::default());
    assert_eq!(without.tier_standing(&spent(&[9_000]), START), None);
}

#[test]
fn what_is_wrong_with_tiers_is_found_where_it_stands() {
    let good = rules(policy(12, 2, Downgrade::Step));
    let pointers = |change: &dyn Fn(&mut Rules)| {
        let mut rules = good.clone();
        change(&mut rules);
        rules.findings().into_iter().map(|finding| finding.pointer).collect::<Vec<_>>()
    };
    let policy = |it: &mut Rules, change: fn(&mut TierPolicy)| {
        change(it.tier_policy.as_mut().expect("it has one"));
    };
    assert_eq!(pointers(&|_| ()), [""; 0]);
    assert_eq!(pointers(&|it| it.tiers.clear()), ["/tier_policy"]);
    assert_eq!(pointers(&|it| it.tiers[1].name = "silver".into()), ["/tiers/1/name"]);
    assert_eq!(pointers(&|it| it.tiers[1].name.clear()), ["/tiers/1/name"]);
    assert_eq!(pointers(&|it| it.tiers.swap(0, 2)).len(), 2);
    assert_eq!(pointers(&|it| it.tiers[0].threshold_minor = -1), ["/tiers/0/threshold_minor"]);
    let none = pointers(&|it| policy(it, |it| it.window_months = 0));
    assert_eq!(none, ["/tier_policy/window_months"]);
    let far = pointers(&|it| policy(it, |it| it.grace_months = 24));
    assert_eq!(far, ["/tier_policy"], "three tiers, each kept for 25 months");
    let unknown = super::programme::fixed("gold only", 5);
    let unknown = crate::domain::programme::EarnRule {
        tiers: super::programme::names(&["gold", "bronze"]),
        ..unknown
    };
    assert_eq!(pointers(&|it| it.rules.push(unknown.clone())), ["/rules/0/tiers/1"]);
}

/// The same as a retailer would count on paper, month after month.
fn slowly_held(rules: &Rules, by_month: &BTreeMap<Month, i64>, first: Month, at: Month) -> usize {
    let policy = rules.tier_policy.unwrap_or_default();
    let earned = |month: Month| {
        let window = month - i32::from(policy.window_months)..month;
        let spent: i64 = by_month
            .iter()
            .filter(|(of, _)| window.start < **of && **of <= month)
            .map(|(_, minor)| *minor)
            .sum();
        rules.tiers.iter().filter(|tier| spent.max(0) >= tier.threshold_minor).count()
    };
    let grace = i32::from(policy.grace_months);
    if policy.downgrade == Downgrade::Straight {
        let kept = |tier: &usize| (at - grace..=at).any(|month| earned(month) >= *tier);
        return (1..=rules.tiers.len()).filter(kept).count();
    }
    let (mut held, mut until) = (0, first);
    for month in first..=at {
        if month > until && held > 0 {
            (held, until) = (held - 1, month + grace);
        }
        if earned(month) >= held {
            (held, until) = (earned(month), month + grace);
        }
    }
    held
}

fn a_policy() -> impl Strategy<Value = TierPolicy> {
    let downgrade = prop_oneof![Just(Downgrade::Straight), Just(Downgrade::Step)];
    (1_u8..6, 0_u8..5, downgrade)
        .prop_map(|(window, grace, downgrade)| policy(window, grace, downgrade))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn a_tier_is_what_counting_month_after_month_makes_it(
        policy in a_policy(),
        by_month in vec(prop_oneof![2 => Just(0), 3 => -2_000_i64..40_000], 24),
    ) {
        let rules = rules(policy);
        let held = held(&rules, &by_month, by_month.len());
        let first = month_of(START);
        let counted: BTreeMap<Month, i64> = (first..).zip(by_month).collect();
        for (month, held) in (first..).zip(held) {
            let slowly = slowly_held(&rules, &counted, first, month);
            prop_assert_eq!(usize::from(held), slowly, "month {}", month - first);
        }
    }
}

// ------------------------------------------------------------------- with transactions

/// A basket on some day: what was paid for each article.
#[derive(Clone, Debug)]
struct Bought {
    day: i64,
    paid: Vec<(u32, i64)>,
}

fn purchases() -> impl Strategy<Value = Vec<Bought>> {
    let paid = vec((1_u32..20, 0_i64..30_000), 1..4);
    vec((0_i64..400, paid).prop_map(|(day, paid)| Bought { day, paid }), 1..12)
}

fn basket_of(bought: &Bought, number: i64, sold_on: Option<&Swipe>) -> (Swipe, Vec<Product>) {
    let name = SwipeName {
        business_date: START + bought.day.days(),
        sequence_number: number,
        .."0367/03/2026-03-14/1".parse().expect("a name")
    };
    let line = |(line, (product_no, minor)): (u16, &(u32, i64))| Line {
        line,
        kind: match sold_on {
            None => LineKind::Sale,
            Some(sale) => {
                LineKind::Return { sold_on: Some(SoldOn { swipe: sale.name.clone(), line }) }
            }
        },
        sku: product_no.to_string(),
        quantity: sold(1, 0, 1_000).quantity,
        amount_minor: *minor,
        discount_minor: 0,
    };
    let lines: Vec<Line> = (1..).zip(&bought.paid).map(line).collect();
    let products = bought.paid.iter().map(|(product_no, _)| article(*product_no)).collect();
    (super::swipe_of(name, lines, Vec::new()), products)
}

fn decided(
    programme: &Programme,
    account: &Account,
    (swipe, products): &(Swipe, Vec<Product>),
    returned: &[Option<SoldLine>],
) -> Decision {
    let place = Place::default();
    decide(account, swipe, &Facts { programme, products, returned, place })
}

fn bought(programme: &Programme, account: &Account, basket: &(Swipe, Vec<Product>)) -> Decision {
    decided(programme, account, basket, &vec![None; basket.1.len()])
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
    let sale = SaleToVoid {
        business_date,
        total_minor: swipe.total_minor,
        counted: true,
        entries: &entries,
        lot: programme.lot_of(business_date),
        tallied: &counted_by(&record, business_date, programme),
    };
    decide_void(account, &sale).account
}

fn counts(account: &Account) -> Vec<(i32, i64)> {
    account.tally.qualifying().iter().collect()
}

proptest! {
    #[test]
    fn the_order_in_which_baskets_arrive_changes_no_tier(
        policy in a_policy(), purchases in purchases(), seed in any::<u64>(),
    ) {
        let programme = compiled(&rules(policy));
        let mut baskets: Vec<_> =
            (1..).zip(&purchases).map(|(number, it)| basket_of(it, number, None)).collect();
        // The newest first makes both begin to forget at the same month.
        baskets.sort_by_key(|(swipe, _)| std::cmp::Reverse(swipe.name.business_date));
        let all = |baskets: &[(Swipe, Vec<Product>)]| {
            let account = Account::new(256, State::Enrolled);
            baskets.iter().fold(account, |account, it| bought(&programme, &account, it).account)
        };
        let one = all(&baskets);
        let mut at = seed;
        for index in (2..baskets.len()).rev() {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = usize::try_from((at >> 33) % index as u64).expect("small") + 1;
            baskets.swap(index, other);
        }
        let other = all(&baskets);
        prop_assert_eq!(counts(&one), counts(&other));
        baskets.reverse();
        let other = all(&baskets);
        let clock = one.clock;
        let tier_no = |account: &Account| programme.tier_no(&account.tally, clock);
        prop_assert_eq!(tier_no(&one), tier_no(&other));
    }

    #[test]
    fn voids_of_everything_in_any_order_leave_what_there_was_before(
        policy in a_policy(), purchases in purchases(), from in any::<prop::sample::Index>(),
    ) {
        let programme = compiled(&rules(policy));
        let start = Account { clock: START + 400.days(), ..Account::new(256, State::Enrolled) };
        let before = bought(&programme, &start, &basket_of(&purchases[0], 99, None)).account;
        let (mut account, mut sales) = (before.clone(), Vec::new());
        for (number, bought_then) in (1..).zip(&purchases) {
            let basket = basket_of(bought_then, number, None);
            let decision = bought(&programme, &account, &basket);
            account = decision.account.clone();
            sales.push((basket, decision));
        }
        let first = from.index(sales.len());
        sales.rotate_left(first);
        for (basket, decision) in &sales {
            account = voided(&programme, &account, basket, decision);
        }
        prop_assert_eq!(counts(&account), counts(&before));
    }

    #[test]
    fn what_is_brought_back_takes_back_what_it_counted_and_a_void_of_that_gives_it_again(
        policy in a_policy(), purchases in purchases(), days_later in 0_i64..60,
    ) {
        let programme = compiled(&rules(policy));
        let mut account = Account::new(256, State::Enrolled);
        account.clock = START + 460.days();
        for (number, bought_then) in (1..).zip(&purchases) {
            let basket = basket_of(bought_then, number, None);
            let before = account.clone();
            account = bought(&programme, &account, &basket).account;
            let (swipe, products) = &basket;
            let known = |(line, product): (&Line, &Product)| {
                Some(SoldLine {
                    points: 0,
                    quantity: line.quantity,
                    lot: programme.lot_of(swipe.name.business_date),
                    qualifying_minor: programme.qualifying_minor(product, line.net_minor()),
                    counted_on: programme.counted_on(swipe.name.business_date),
                })
            };
            let returned: Vec<_> = swipe.lines.iter().zip(products).map(known).collect();
            let later = Bought { day: bought_then.day + days_later, ..bought_then.clone() };
            let back = basket_of(&later, 1_000 + number, Some(swipe));
            let decision = decided(&programme, &account, &back, &returned);
            prop_assert_eq!(counts(&decision.account), counts(&before));
            let again = voided(&programme, &decision.account, &back, &decision);
            prop_assert_eq!(counts(&again), counts(&account));
        }
    }
}

#[test]
fn the_tier_that_was_held_before_a_basket_decides_what_it_earns() {
    let double = super::programme::times("silver doubles", 2_000);
    let tiers = super::programme::names(&["silver", "gold"]);
    let rules = Rules {
        rules: vec![crate::domain::programme::EarnRule { tiers, ..double }],
        ..rules(policy(2, 0, Downgrade::Straight))
    };
    let programme = compiled(&rules);
    let mut account = Account::new(256, State::Enrolled);
    let mut buy = |day, minor| {
        let basket = basket_of(&Bought { day, paid: vec![(1, minor)] }, day, None);
        let decision = bought(&programme, &account, &basket);
        account = decision.account.clone();
        (decision.before.tier_no, decision.earned)
    };
    assert_eq!(buy(0, 10_000), (0, 100));
    assert_eq!(buy(1, 1_000), (1, 20));
    // Platinum is not named.
    assert_eq!(buy(2, 49_000), (1, 980));
    assert_eq!(buy(3, 1_000), (3, 10));
    // In March January no longer counts; a basket that comes late counts by the account's clock.
    assert_eq!(buy(60, 1_000), (0, 10));
    assert_eq!(buy(3, 1_000), (0, 10));
}
