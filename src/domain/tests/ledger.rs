//! The points ledger under any sequence of what can be done to it.

use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{a_date, a_lot_key};
use crate::domain::ledger::{DEBT, Entry, EntryKind, Lot, LotKey, Lots, NEVER};

#[derive(Clone, Debug)]
enum Step {
    Add(i64, LotKey),
    Take(i64, Option<LotKey>),
    Spend(i64, Date),
    Expire(Date),
    Empty,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few keys, so that lots are met again.
    vec(a_lot_key(), 1..6).prop_flat_map(|keys| {
        let key = proptest::sample::select(keys);
        let step = prop_oneof![
            4 => (0_i64..300, key.clone()).prop_map(|(points, key)| Step::Add(points, key)),
            4 => (0_i64..400, option::of(key)).prop_map(|(points, key)| Step::Take(points, key)),
            2 => (0_i64..400, a_date()).prop_map(|(points, on)| Step::Spend(points, on)),
            2 => a_date().prop_map(Step::Expire),
            1 => Just(Step::Empty),
        ];
        vec(step, 0..40)
    })
}

fn run(lots: &mut Lots, step: &Step, entries: &mut Vec<Entry>) {
    match step {
        Step::Add(points, key) => lots.add(EntryKind::Earn, *points, *key, entries),
        Step::Take(points, key) => lots.take(EntryKind::Redeem, *points, *key, entries),
        Step::Spend(points, on) => {
            lots.spend(*points, *on, entries);
        }
        Step::Expire(on) => lots.expire(*on, entries),
        Step::Empty => {
            lots.empty(EntryKind::Transfer, entries);
        }
    }
}

fn sum(entries: &[Entry]) -> i64 {
    entries.iter().map(|entry| entry.points).sum()
}

proptest! {
    #[test]
    fn entries_lots_and_total_agree_after_every_step(steps in steps(), on in a_date()) {
        let (mut lots, mut entries) = (Lots::default(), Vec::new());
        for step in &steps {
            let (before, written) = (lots.total(), entries.len());
            run(&mut lots, step, &mut entries);
            let of_step = &entries[written..];
            prop_assert_eq!(sum(&entries), lots.total());
            prop_assert_eq!(lots.iter().map(|lot| lot.points).sum::<i64>(), lots.total());
            prop_assert_eq!(
                &Lots::replay(entries.iter().map(|entry| (entry.points, entry.lot))),
                &lots
            );
            prop_assert!(of_step.iter().all(|entry| entry.points != 0));
            match step {
                Step::Add(points, _) => prop_assert_eq!(lots.total() - before, *points),
                Step::Take(points, _) | Step::Spend(points, _) => {
                    prop_assert_eq!(before - lots.total(), *points);
                }
                Step::Expire(on) => {
                    prop_assert!(lots.iter().all(|lot| lot.key.expires_on >= *on));
                    prop_assert!(of_step.iter().all(|entry| entry.lot.expires_on < *on));
                }
                Step::Empty => prop_assert_eq!(&lots, &Lots::default()),
            }

            // One lot for each key, in order; none empty; a debt is alone, unless somebody paid
            // while there were points that could not.
            let all: Vec<Lot> = lots.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].key < pair[1].key));
            prop_assert!(all.iter().all(|lot| (lot.key == DEBT) == (lot.points < 0)));
            let paid = steps.iter().any(|step| matches!(step, Step::Spend(..)));
            prop_assert!(lots.debt() == 0 || all.len() == 1 || paid);
            let first = all.iter().map(|lot| lot.key.expires_on).find(|day| *day != NEVER);
            prop_assert_eq!(lots.first_expiry(), first);
            prop_assert!((0..=lots.total() + lots.debt()).contains(&lots.spendable(on)));
            prop_assert_eq!(Lots::decode(&lots.encode()), Ok(lots.clone()));
        }
    }

    #[test]
    fn points_are_taken_from_the_preferred_lot_then_by_expiry_then_owed(
        adds in vec((1_i64..100, a_lot_key()), 0..8),
        at in any::<prop::sample::Index>(),
        points in 1_i64..900,
    ) {
        let (mut lots, mut entries) = (Lots::default(), Vec::new());
        for (points, key) in &adds {
            lots.add(EntryKind::Earn, *points, *key, &mut Vec::new());
        }
        let preferred = (!adds.is_empty()).then(|| at.get(&adds).1);
        let before = lots.clone();
        lots.take(EntryKind::ReverseEarn, points, preferred, &mut entries);
        let mut order: Vec<LotKey> = preferred.into_iter().collect();
        order.extend(before.iter().map(|lot| lot.key).filter(|key| Some(*key) != preferred));
        order.push(DEBT);
        let taken: Vec<LotKey> = entries.iter().map(|entry| entry.lot).collect();
        let all_of_them = taken.len() == order.len();
        prop_assert!(order.starts_with(&taken) || taken == [DEBT] || all_of_them, "{taken:?}");
        // Every lot but the last is used up before the next is touched.
        for entry in entries.iter().rev().skip(1) {
            prop_assert!(lots.iter().all(|lot| lot.key != entry.lot));
        }
        prop_assert_eq!(lots.debt(), (points - before.total()).max(0));
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_put_aside(
        owed in 1_i64..200, points in 1_i64..400, key in a_lot_key(),
    ) {
        let (mut lots, mut entries) = (Lots::default(), Vec::new());
        lots.take(EntryKind::ReverseEarn, owed, None, &mut Vec::new());
        lots.add(EntryKind::Earn, points, key, &mut entries);
        let paid = points.min(owed);
        prop_assert_eq!(entries[0], Entry { kind: EntryKind::Earn, points: paid, lot: DEBT });
        prop_assert_eq!(lots.debt(), owed - paid);
        let put_aside = lots.iter().filter(|lot| lot.key == key).count();
        prop_assert_eq!(put_aside, usize::from(points > owed));
    }

    #[test]
    fn stored_lots_that_are_none_are_refused_and_never_panic(
        mut bytes in vec(any::<u8>(), 0..60), right in any::<bool>(),
    ) {
        if let (true, Some(first)) = (right, bytes.first_mut()) {
            *first = 1;
        }
        let _ = Lots::decode(&bytes);
    }
}

#[test]
fn what_can_be_spent_follows_from_the_day() {
    let key = |from, until| LotKey { available_from: from, expires_on: until };
    let (march, june) = (date(2026, 3, 1), date(2026, 6, 30));
    let mut lots = Lots::default();
    lots.add(EntryKind::Earn, 100, key(date(2026, 1, 1), june), &mut Vec::new());
    lots.add(EntryKind::Earn, 20, key(march, NEVER), &mut Vec::new());
    for (on, spendable, pending, next_expiry) in [
        (date(2025, 12, 31), 0, 120, Some((100, june))),
        (date(2026, 1, 1), 100, 20, Some((100, june))),
        (march, 120, 0, Some((100, june))),
        (june, 120, 0, Some((100, june))),
        (date(2026, 7, 1), 20, 0, None),
    ] {
        assert_eq!(lots.spendable(on), spendable, "{on}");
        assert_eq!(lots.pending(on), pending, "{on}");
        assert_eq!(lots.next_expiry(on), next_expiry, "{on}");
        // The last day still counts; what is left are the points that can ever be spent.
        let mut left = lots.clone();
        left.expire(on, &mut Vec::new());
        assert_eq!(left.total(), spendable + pending, "{on}");
    }
}
