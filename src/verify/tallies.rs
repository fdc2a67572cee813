//! What accounts count beside their points, added up again from their transactions.
//!
//! A count is a sum over an account's transactions and over those of accounts that were merged
//! into it, so it can be proved whatever the order was in which they came. What was merged is
//! kept until all accounts are read: the months of one account are a few numbers. In a part of
//! the buckets an heir is not held against its sums, since what it inherits may lie elsewhere.

use std::collections::{BTreeMap, HashMap};

use super::accounts::{At as Where, History};
use super::findings::{Findings, Kind};
use super::sql::AccountRow;
use crate::domain::account::State;
use crate::domain::codec::date_of;
use crate::domain::tally::{Counted, Tally};

/// Which of [`Tally::rings`], and at what.
type At = (usize, i32);
/// Sums, none of them zero.
type Sums = BTreeMap<At, i64>;

/// What one account's transactions count, voided ones left out.
#[derive(Default)]
pub(super) struct Counting(Sums);

impl Counting {
    pub(super) fn add(&mut self, counted: &Counted) {
        for (ring, list) in counted.lists().into_iter().enumerate() {
            list.iter().for_each(|(at, value)| add(&mut self.0, (ring, *at), *value));
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

fn add(sums: &mut Sums, at: At, value: i64) {
    let sum = sums.entry(at).or_default();
    *sum = sum.wrapping_add(value);
    if *sum == 0 {
        sums.remove(&at);
    }
}

/// Those that the rings of a tally keep.
fn kept(sums: &Sums, tally: &Tally) -> Sums {
    let rings = tally.rings();
    let is_kept = |(ring, at): At| rings[ring].since().is_none_or(|since| since <= at);
    sums.iter().filter(|(at, _)| is_kept(**at)).map(|(at, value)| (*at, *value)).collect()
}

/// In words, and for what it holds too much.
fn in_words((ring, at): At) -> String {
    let day = || date_of(at).map_or_else(|| at.to_string(), |date| date.to_string());
    match ring {
        0 => format!("{}-{:02}", at.div_euclid(12), at.rem_euclid(12) + 1),
        1 => format!("the points of {}", day()),
        _ => format!("the points of the period from {} on", day()),
    }
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
            let inherited = read(tally).map(|tally| kept(&own, &tally));
            for (at, value) in inherited.unwrap_or_default() {
                add(tallies.inherited.entry(*heir).or_default(), at, value);
            }
            return;
        }
        let mut beyond = Sums::new();
        for (ring, sums) in stored.rings().into_iter().enumerate() {
            beyond.extend(sums.iter().map(|(at, value)| ((ring, at), value)));
        }
        for (at, value) in kept(&own, &stored) {
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
            let (place, value) = sums.first_key_value().expect("not empty");
            let at = Where { account_id, version: None };
            let what = in_words(*place);
            let detail = format_args!("for {what} it has {value} too much, and perhaps more");
            findings.add(Kind::TallyDiffers, at, detail);
        }
    }
}
