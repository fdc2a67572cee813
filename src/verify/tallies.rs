//! What accounts count beside their points, added up again from their transactions.
//!
//! A count is a sum over an account's transactions and over those of accounts that were merged
//! into it, so it can be proved whatever the order was in which they came. What was merged is
//! kept until all accounts are read: the months of one account are a few numbers. In a part of
//! the buckets an heir is not held against its sums, since what it inherits may lie elsewhere.

use std::collections::{BTreeMap, HashMap};

use super::accounts::{At, History};
use super::findings::{Findings, Kind};
use super::sql::AccountRow;
use crate::domain::account::State;
use crate::domain::tally::{Counted, Ring, Tally};

/// Sums by month, none of them zero.
type Sums = BTreeMap<i32, i64>;

/// What one account's transactions count, voided ones left out.
#[derive(Default)]
pub(super) struct Counting(Sums);

impl Counting {
    pub(super) fn add(&mut self, counted: &Counted) {
        for (month, minor) in &counted.qualifying {
            add(&mut self.0, *month, *minor);
        }
    }
}

/// What is to be settled between accounts.
#[derive(Default)]
pub(super) struct Tallies {
    /// What accounts have beyond the counts of their own transactions.
    beyond: HashMap<i64, Sums>,
    /// What accounts must have inherited.
    inherited: HashMap<i64, Sums>,
}

fn add(sums: &mut Sums, at: i32, value: i64) {
    let sum = sums.entry(at).or_default();
    *sum = sum.wrapping_add(value);
    if *sum == 0 {
        sums.remove(&at);
    }
}

/// Those that a ring keeps.
fn kept(sums: &Sums, ring: &Ring) -> Sums {
    let since = ring.since().unwrap_or(i32::MIN);
    sums.range(since..).map(|(at, value)| (*at, *value)).collect()
}

impl History<'_> {
    /// Compares what is stored with what the transactions count.
    pub(super) fn tally(&mut self, row: &AccountRow) {
        let read = |bytes: &Option<Vec<u8>>| Tally::decode(bytes.as_deref());
        let stored = match read(&row.tally) {
            Ok(stored) => stored,
            Err(error) => return self.require(false, Kind::TallyDamaged, None, error),
        };
        let own = std::mem::take(&mut self.counting).0;
        if self.is_house() || self.state == Some(State::Merged) {
            let empty = stored == Tally::default();
            self.require(empty, Kind::TallyDiffers, None, "it should have nothing");
        }
        if self.is_house() {
            return;
        }
        let tallies = &mut self.ledger.tallies;
        if let Some((heir, tally)) = row.heir.as_ref().filter(|_| !own.is_empty()) {
            // One that is damaged is a finding of its own.
            let inherited = read(tally).map(|tally| kept(&own, tally.qualifying()));
            for (at, value) in inherited.unwrap_or_default() {
                add(tallies.inherited.entry(*heir).or_default(), at, value);
            }
            return;
        }
        let mut beyond: Sums = stored.qualifying().iter().collect();
        for (at, value) in kept(&own, stored.qualifying()) {
            add(&mut beyond, at, value.wrapping_neg());
        }
        if !beyond.is_empty() && self.state != Some(State::Merged) {
            tallies.beyond.insert(self.account_id, beyond);
        }
    }
}

impl Tallies {
    /// Notes every account that has not what it should have. In a part of the buckets only what
    /// needs no other account.
    pub(super) fn finish(mut self, findings: &mut Findings, is_whole: bool) {
        if !is_whole {
            return;
        }
        for (account_id, sums) in std::mem::take(&mut self.inherited) {
            for (at, value) in sums {
                add(self.beyond.entry(account_id).or_default(), at, value.wrapping_neg());
            }
        }
        let mut differing: Vec<(i64, Sums)> = self.beyond.into_iter().collect();
        differing.retain(|(_, sums)| !sums.is_empty());
        differing.sort_unstable_by_key(|(account_id, _)| *account_id);
        for (account_id, sums) in differing {
            let (month, value) = sums.first_key_value().expect("not empty");
            let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
            let at = At { account_id, version: None };
            let detail =
                format_args!("for {year}-{month:02} it has {value} too much, and perhaps more");
            findings.add(Kind::TallyDiffers, at, detail);
        }
    }
}
