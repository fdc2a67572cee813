//! What one committer or desk holds of budgets. No I/O: leases are put in, decisions are planned
//! on what is left of them, and what a commit has moved is taken off.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::Date;
use tokio::time::Instant;

use super::{Lease, Refusal, Want};
use crate::domain::budget::{Counts, Key, Pace};

/// For so long a budget is not asked again that was asked ahead of need, or had nothing.
const AGAIN: Duration = Duration::from_secs(1);
/// The same for one whose pace allows no more by a business date. Nothing is there again on that
/// date but what others have leased and not spent; and many offers of a chain may wait so at once.
const PACED_AGAIN: Duration = Duration::from_secs(30);
/// The same for coupons of a budget that has nothing left. Whoever comes next loses that place on
/// the receipt to find out whether there is more, and so do those of the same batch.
const SPENT_AGAIN: Duration = Duration::from_secs(10);
/// Most refusals that are kept in mind; whoever was refused beyond that is asked again.
const REFUSED_MAX: usize = 4_096;

/// What a coupon draws on leases: as much on each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::commit) struct Spending {
    pub(in crate::commit) leases: [Option<i64>; 2],
    /// Given back when negative.
    pub(in crate::commit) amount: i64,
}

/// Leases in hand.
#[derive(Default)]
pub(in crate::commit) struct Purse {
    held: Vec<Held>,
    /// What was lacking, or will be soon, since the batch began.
    wanted: Vec<Want>,
    /// Leases to be closed.
    closing: Vec<(Key, i64)>,
    /// When a budget was last asked ahead of need.
    asked: HashMap<Key, Instant>,
    /// When one last had nothing, and why.
    refused: HashMap<Key, (Instant, Refusal)>,
    /// Of those, as the batch began, coupons that are not in hand: store, offer, and the latest
    /// business date for which it holds; none where nothing is left for any. Sorted.
    held_back: Vec<(u32, i32, Option<Date>)>,
    /// Where leases arrive that were asked for ahead of need.
    inbox: Arc<Mutex<Vec<Arrival>>>,
}

/// Offers that tills leave out for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::commit) struct HeldBack {
    /// All of them. Sorted, each once.
    pub(in crate::commit) offers: Vec<i32>,
    /// Those of which a budget has nothing left. Sorted.
    pub(in crate::commit) spent: Vec<i32>,
}

/// What became of a lease that was asked for.
pub(super) enum Arrival {
    Lease(Lease),
    Refused(Key, Refusal),
}

struct Held {
    lease: Lease,
    /// What the batch at hand draws on it, should all of it move.
    planned: i64,
    is_used: bool,
}

impl Purse {
    /// Begins a batch: nothing is planned, and what has run out or is used up is put away.
    pub(in crate::commit) fn begin(&mut self, now: Instant) {
        self.wanted.clear();
        let arrived = std::mem::take(&mut *self.inbox.lock().expect("nothing panics with it"));
        for arrival in arrived {
            match arrival {
                Arrival::Lease(lease) => self.put(lease),
                Arrival::Refused(key, why) => self.was_told(key, why, now),
            }
        }
        for held in self.held.extract_if(.., |it| it.lease.until <= now || it.lease.left == 0) {
            self.closing.push((held.lease.key, held.lease.lease_no));
        }
        for held in &mut self.held {
            (held.planned, held.is_used) = (0, false);
        }
        self.asked.retain(|_, asked| *asked + AGAIN > now);
        self.refused.retain(|key, (refused, why)| *refused + again(*key, *why) > now);
        self.held_back.clear();
        if !self.refused.is_empty() {
            let in_hand: HashSet<Key> = self.held.iter().map(|held| held.lease.key).collect();
            let coupons = |key: &Key| key.counts == Counts::Coupons && !in_hand.contains(key);
            let held_back = self.refused.iter().filter(|(key, _)| coupons(key));
            self.held_back.extend(held_back.map(|(key, (_, why))| match why {
                Refusal::Paced(on) => (key.store_no, key.offer_no, Some(*on)),
                Refusal::Spent => (key.store_no, key.offer_no, None),
            }));
            self.held_back.sort_unstable();
        }
    }

    /// Whether less of a budget is in hand, in one piece, than is needed.
    pub(in crate::commit) fn lacks(&self, want: &Want) -> bool {
        let does = |held: &Held| held.lease.key == want.key && held.room() >= want.need;
        !self.held.iter().any(does)
    }

    /// Puts away all leases of a budget, to be taken again in one piece. Before anything is
    /// planned on them.
    pub(in crate::commit) fn put_away(&mut self, key: Key) {
        for held in self.held.extract_if(.., |it| it.lease.key == key) {
            self.closing.push((key, held.lease.lease_no));
        }
    }

    /// Leases of a budget that are to be closed; whoever asks closes them.
    pub(in crate::commit) fn closing(&mut self, key: Key) -> Vec<i64> {
        self.closing.extract_if(.., |(of, _)| *of == key).map(|(_, lease_no)| lease_no).collect()
    }

    /// Those of all budgets.
    pub(in crate::commit) fn all_closing(&mut self) -> HashMap<Key, Vec<i64>> {
        let mut closing: HashMap<Key, Vec<i64>> = HashMap::new();
        for (key, lease_no) in self.closing.drain(..) {
            closing.entry(key).or_default().push(lease_no);
        }
        closing
    }

    /// Takes a lease into hand.
    pub(in crate::commit) fn put(&mut self, lease: Lease) {
        self.held.push(lease.into());
    }

    /// Whether an amount of each of these budgets is in hand.
    pub(in crate::commit) fn covers(&self, budgets: &[(Key, i64)], amount: i64) -> bool {
        let of_key = |key: &Key| {
            self.held.iter().any(|held| held.lease.key == *key && held.room() >= amount)
        };
        budgets.iter().all(|(key, _)| of_key(key))
    }

    /// Draws an amount on each of these budgets, given with their whole amounts, or gives it back
    /// when it is negative. None when it is not in hand; then it is wanted, as far as the pace
    /// allows. Nothing is spent before the batch has moved.
    pub(in crate::commit) fn plan(
        &mut self,
        budgets: &[(Key, i64)],
        amount: i64,
        pace: Option<Pace>,
    ) -> Option<Spending> {
        let mut spending = Spending { amount, ..Spending::default() };
        let mut found = Vec::with_capacity(budgets.len());
        let need = amount.max(0);
        for (key, whole) in budgets {
            let of_key = |held: &Held| held.lease.key == *key && held.room() >= need;
            match self.held.iter().enumerate().find(|(_, held)| of_key(held)) {
                Some((at, _)) => found.push(at),
                None => self.want(Want { key: *key, whole: *whole, need, at_least: need, pace }),
            }
        }
        if found.len() < budgets.len() {
            return None;
        }
        for ((at, (key, whole)), lease_no) in
            found.into_iter().zip(budgets).zip(&mut spending.leases)
        {
            let held = &mut self.held[at];
            held.planned += need;
            held.is_used = true;
            *lease_no = Some(held.lease.lease_no);
            if held.room() < held.lease.amount / 2 {
                self.want(Want { key: *key, whole: *whole, need, at_least: need, pace });
            }
        }
        Some(spending)
    }

    /// What a commit has moved.
    pub(in crate::commit) fn spent(&mut self, drawn: &[(i64, i64)]) {
        for (lease_no, amount) in drawn {
            let held = self.held.iter_mut().find(|held| held.lease.lease_no == *lease_no);
            held.into_iter().for_each(|held| held.lease.left -= amount);
        }
    }

    /// After a commit that failed, or whose end was not seen: what it was to draw on is put away,
    /// since nobody here knows any more what is left of it.
    pub(in crate::commit) fn failed(&mut self) {
        for held in self.held.extract_if(.., |held| held.is_used) {
            self.closing.push((held.lease.key, held.lease.lease_no));
        }
    }

    /// Puts everything away.
    pub(in crate::commit) fn empty(&mut self) {
        let arrived = std::mem::take(&mut *self.inbox.lock().expect("nothing panics with it"));
        let arrived = arrived.into_iter().filter_map(|arrival| match arrival {
            Arrival::Lease(lease) => Some(lease),
            Arrival::Refused(..) => None,
        });
        let held = self.held.drain(..).map(|held| held.lease);
        self.closing.extend(held.chain(arrived).map(|lease| (lease.key, lease.lease_no)));
    }

    /// What was wanted in the batch, each budget once and no oftener than makes sense.
    pub(in crate::commit) fn take_wants(&mut self, now: Instant) -> Vec<Want> {
        let mut wants = std::mem::take(&mut self.wanted);
        wants.retain(|want| !self.asked.contains_key(&want.key));
        self.asked.extend(wants.iter().map(|want| (want.key, now)));
        wants
    }

    /// Notes that a budget had nothing, which was asked because something had been given already.
    pub(super) fn refused(&mut self, key: Key, why: Refusal, now: Instant) {
        self.refused.insert(key, (now, why));
    }

    /// The same where it was asked ahead of need. What comes of that is kept for long, so not
    /// everything is.
    fn was_told(&mut self, key: Key, why: Refusal, now: Instant) {
        if self.refused.len() < REFUSED_MAX || self.refused.contains_key(&key) {
            self.refused.insert(key, (now, why));
        }
    }

    /// Whether a budget had nothing a moment ago, so that asking it again is of no use.
    pub(super) fn was_refused(&self, key: Key, now: Instant) -> bool {
        let refused = self.refused.get(&key);
        refused.is_some_and(|(at, why)| *why == Refusal::Spent && *at + AGAIN > now)
    }

    /// Offers of which no coupon was to be had a moment ago in a store, and none is in hand: since
    /// nothing is left of a budget, or since their pace allows no more by a business date.
    pub(in crate::commit) fn held_back(&self, store_no: u32, business_date: Date) -> HeldBack {
        let of_store = |store_no: u32| {
            let from = self.held_back.partition_point(|(store, ..)| *store < store_no);
            self.held_back[from..].iter().take_while(move |(store, ..)| *store == store_no)
        };
        let both = of_store(0).chain(of_store(store_no));
        let still = both.filter(|(.., on)| on.is_none_or(|on| business_date <= on));
        let mut held_back = HeldBack::default();
        for (_, offer_no, on) in still {
            held_back.offers.push(*offer_no);
            if on.is_none() {
                held_back.spent.push(*offer_no);
            }
        }
        held_back.offers.sort_unstable();
        held_back.offers.dedup();
        held_back.spent.sort_unstable();
        held_back
    }

    /// Where leases may be put from elsewhere.
    pub(super) fn inbox(&self) -> Arc<Mutex<Vec<Arrival>>> {
        Arc::clone(&self.inbox)
    }

    /// Coupons are wanted ahead of need. Money is fetched when it is needed, since a till has given
    /// it: what is on its way would be missed by the very batch that needs it.
    fn want(&mut self, want: Want) {
        let ahead = want.key.counts == Counts::Coupons;
        if ahead && !self.wanted.iter().any(|it| it.key == want.key) {
            self.wanted.push(want);
        }
    }
}

/// For how long a budget is not asked again.
fn again(key: Key, why: Refusal) -> Duration {
    match (why, key.counts) {
        (Refusal::Paced(_), _) => PACED_AGAIN,
        (Refusal::Spent, Counts::Coupons) => SPENT_AGAIN,
        (Refusal::Spent, Counts::Value) => AGAIN,
    }
}

impl Held {
    fn room(&self) -> i64 {
        self.lease.left - self.planned
    }
}

impl From<Lease> for Held {
    fn from(lease: Lease) -> Self {
        Self { lease, planned: 0, is_used: false }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const STORE: u32 = 7;
    const TODAY: Date = date(2026, 3, 14);

    fn key(offer_no: i32, store_no: u32) -> Key {
        Key { offer_no, store_no, counts: Counts::Coupons }
    }

    /// Which offers are held back on a day in a store, and of which of them nothing is left.
    fn held_back(purse: &Purse, store_no: u32, on: Date) -> (Vec<i32>, Vec<i32>) {
        let HeldBack { offers, spent } = purse.held_back(store_no, on);
        (offers, spent)
    }

    #[test]
    fn what_is_held_back_is_left_out_in_its_store_till_it_is_in_hand_or_asked_again() {
        let (mut purse, now) = (Purse::default(), Instant::now());
        let tomorrow = date(2026, 3, 15);
        let value = Key { counts: Counts::Value, ..key(6, 0) };
        for (key, why) in [
            (key(1, 0), Refusal::Paced(TODAY)),
            (key(2, STORE), Refusal::Paced(TODAY)),
            (key(2, 0), Refusal::Paced(TODAY)),
            (key(3, STORE + 1), Refusal::Paced(TODAY)),
            (key(4, 0), Refusal::Spent),
            (key(5, 0), Refusal::Paced(TODAY)),
            (key(7, STORE), Refusal::Spent),
            (value, Refusal::Spent),
        ] {
            purse.was_told(key, why, now);
        }
        let until = now + PACED_AGAIN * 2;
        purse.put(Lease { lease_no: 1, key: key(5, 0), amount: 1, left: 1, until });
        assert_eq!(held_back(&purse, STORE, TODAY).0, [0; 0], "it is looked at as a batch begins");
        purse.begin(now);
        let yesterday = date(2026, 3, 13);
        assert_eq!(held_back(&purse, STORE, TODAY), (vec![1, 2, 4, 7], vec![4, 7]), "5 is in hand");
        assert_eq!(held_back(&purse, STORE + 1, TODAY), (vec![1, 2, 3, 4], vec![4]));
        assert_eq!(held_back(&purse, STORE, yesterday).0, [1, 2, 4, 7], "nor on a day before");
        assert_eq!(held_back(&purse, STORE, tomorrow).0, [4, 7], "nothing is left for any day");
        // What a till has given money for is asked about again after a moment.
        assert!(purse.was_refused(key(4, 0), now) && !purse.was_refused(key(1, 0), now));
        assert!(purse.was_refused(value, now) && !purse.was_refused(value, now + AGAIN));
        assert!(!purse.was_refused(key(4, 0), now + AGAIN));
        // There may be more of what was spent soon, and of what was paced when others give back.
        purse.begin(now + SPENT_AGAIN);
        assert_eq!(held_back(&purse, STORE, TODAY).0, [1, 2]);
        purse.begin(now + PACED_AGAIN);
        assert_eq!(held_back(&purse, STORE, TODAY).0, [0; 0]);
        for (why, offers) in [(Refusal::Paced(TODAY), 0..9_000), (Refusal::Spent, 9_000..18_000)] {
            offers.for_each(|offer_no| purse.was_told(key(offer_no, 0), why, now));
            assert_eq!(purse.refused.len(), REFUSED_MAX, "it is bounded");
        }
    }
}
