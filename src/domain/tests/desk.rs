//! What people and the calendar do: for every account, on every day.

use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{a_date, a_lot_key};
use crate::domain::account::{Account, State};
use crate::domain::desk::{decide_adjustment, decide_expiry};
use crate::domain::ledger::{DEBT, Entry, EntryKind, LotKey, Lots};

fn an_account() -> impl Strategy<Value = Account> {
    (vec((1_i64..300, a_lot_key()), 0..5), 0_i64..400, a_date()).prop_map(|(adds, spent, clock)| {
        let mut account = Account::new(256, State::Enrolled);
        for (points, key) in adds {
            account.lots.add(EntryKind::Earn, points, key, &mut Vec::new());
        }
        account.clock = clock;
        account.lots.expire(clock, &mut Vec::new());
        account.lots.spend(spent, clock, &mut Vec::new());
        account
    })
}

fn replayed(before: &Account, entries: &[Entry]) -> Lots {
    let mut lots = before.lots.clone();
    entries.iter().for_each(|entry| lots.replay_entry(entry.points, entry.lot));
    lots
}

fn sum_of(entries: &[Entry], kind: EntryKind) -> i64 {
    entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.points).sum()
}

/// Everything but version, clock and points stays.
fn only_points_changed(before: &Account, after: &Account) -> bool {
    let Account { version, clock, lots, .. } = after.clone();
    Account { version, clock, lots, ..before.clone() } == *after
}

proptest! {
    #[test]
    fn an_adjustment_is_what_its_entries_say(
        account in an_account(), points in -500_i64..500, on in a_date(), lot in a_lot_key(),
    ) {
        prop_assume!(points != 0);
        let (after, entries) = decide_adjustment(&account, points, on, lot);
        prop_assert_eq!((after.version, after.clock), (account.version + 1, account.clock.max(on)));
        prop_assert!(only_points_changed(&account, &after));
        prop_assert_eq!(replayed(&account, &entries), after.lots.clone());
        prop_assert_eq!(sum_of(&entries, EntryKind::Adjust), points);
        let changed = points + sum_of(&entries, EntryKind::Expire);
        prop_assert_eq!(after.lots.total(), account.lots.total() + changed);
        prop_assert!(after.lots.iter().all(|it| it.key.expires_on >= after.clock));
        // What is given goes into the lot, or pays what is owed; never into another one.
        let given = entries.iter().filter(|entry| entry.kind == EntryKind::Adjust);
        let mut given = given.filter(|entry| entry.points > 0);
        prop_assert!(given.all(|entry| entry.lot == lot || entry.lot == DEBT));
    }

    #[test]
    fn an_expiry_writes_off_what_is_due_and_nothing_else(
        account in an_account(), on in a_date(),
    ) {
        let clock = account.clock.max(on);
        let due = account.lots.iter().any(|lot| lot.key.expires_on < clock);
        match decide_expiry(&account, on) {
            None => prop_assert!(!due),
            Some((after, entries)) => {
                prop_assert!(due);
                prop_assert_eq!((after.version, after.clock), (account.version + 1, clock));
                prop_assert!(only_points_changed(&account, &after));
                prop_assert_eq!(replayed(&account, &entries), after.lots.clone());
                prop_assert!(entries.iter().all(|entry| entry.kind == EntryKind::Expire));
                prop_assert!(after.lots.iter().all(|lot| lot.key.expires_on >= clock));
                prop_assert_eq!(decide_expiry(&after, on), None, "it is done");
            }
        }
    }
}

#[test]
fn points_are_given_into_the_lot_of_the_day_and_taken_from_what_expires_first() {
    const TODAY: Date = date(2026, 3, 14);
    let key = |expires_on| LotKey { available_from: date(2026, 1, 1), expires_on };
    let (soon, late) = (key(date(2026, 6, 30)), key(date(2027, 6, 30)));
    for (points, left) in [
        (5, vec![(10, soon), (25, late)]),
        (-4, vec![(6, soon), (20, late)]),
        (-15, vec![(15, late)]),
        (-30, vec![]),
        (-33, vec![(-3, DEBT)]),
    ] {
        let mut account = Account::new(256, State::Provisional);
        account.lots.add(EntryKind::Earn, 20, late, &mut Vec::new());
        account.lots.add(EntryKind::Earn, 10, soon, &mut Vec::new());
        let (after, _) = decide_adjustment(&account, points, TODAY, late);
        let lots: Vec<_> = after.lots.iter().map(|lot| (lot.points, lot.key)).collect();
        assert_eq!(lots, left, "{points}");
    }
    // Points given for a day whose lot has run out are gone at once.
    let account = Account { clock: date(2027, 7, 1), ..Account::new(256, State::Enrolled) };
    let (after, entries) = decide_adjustment(&account, 5, TODAY, late);
    assert_eq!((after.lots.total(), entries.len()), (0, 2));
}
