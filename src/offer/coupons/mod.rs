//! Coupons for a list of accounts, once. What is to be done is planned before anything is: which
//! accounts, and secret bits from which the codes follow. The plan is kept under the request's
//! key, so that whoever attempts it again, on any replica and after any crash, makes the same
//! codes for the same accounts and finds those that were issued before.
//!
//! | phase | round trips |
//! |---|---|
//! | cards, accounts, and as often as accounts were merged: once for the list | 2 or more |
//! | the plan | 2 |
//! | each account, by the desk of `commit`: a transaction of its own | 6 |
//!
//! Must never issue by a plan that is not kept, nor issue anything itself: `commit` does that.

pub mod http;
mod sql;

use std::collections::{HashMap, HashSet};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use self::sql::Known;
use crate::db::pool::Pool;
use crate::domain::account::State;
use crate::error::Error;
use crate::receipt::account_id;

/// Most cards and accounts of one list.
pub const LIST_MAX: usize = 1_000;

/// What is to be done for one item of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Coupons for this account.
    Account(i64),
    /// Nothing: an earlier item has led to the same account, at this place in the list.
    Duplicate(u16),
    /// Nothing: nobody has used the card, or there is no such account.
    Unknown,
    /// Nothing: it belongs to a workstation.
    NoCustomer,
    /// Nothing: neither a card of the chain nor an account.
    Invalid,
    /// Nothing: the card has been blocked.
    Blocked,
}

impl Item {
    /// What becomes of it, as far as the plan says.
    fn outcome(self) -> &'static str {
        match self {
            Self::Account(_) => "issued",
            Self::Duplicate(_) => "duplicate",
            Self::Unknown => "unknown",
            Self::NoCustomer => "no-customer",
            Self::Invalid => "invalid",
            Self::Blocked => "blocked",
        }
    }
}

/// What a request has set out to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    seed: [u8; 32],
    /// In the order of the list.
    items: Vec<Item>,
}

impl Plan {
    /// Plans a list as it is now. `is_card` says what a card looks like.
    async fn make(
        pool: &Pool,
        list: &[String],
        is_card: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the kernel gives random bytes once it has booted");
        let items = items(pool, list, is_card).await?;
        Ok(Self { seed, items })
    }

    /// What the codes of an account's coupons are made of: as good as drawn at random for
    /// whoever does not know the seed, and the same at every attempt.
    fn random(&self, account_id: i64, count: u16) -> Vec<u64> {
        let drawn = |number: u16| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes a key of any length");
            mac.update(&account_id.to_be_bytes());
            mac.update(&number.to_be_bytes());
            let mac = mac.finalize().into_bytes();
            u64::from_be_bytes(*mac.first_chunk().expect("it has 32 bytes"))
        };
        (0..count).map(drawn).collect()
    }

    /// The seed, and nine bytes for each item: what it is, and a number.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.seed.to_vec();
        for item in &self.items {
            let (kind, number) = match *item {
                Item::Account(account_id) => (0, account_id),
                Item::Duplicate(first) => (1, i64::from(first)),
                Item::Unknown => (2, 0),
                Item::NoCustomer => (3, 0),
                Item::Invalid => (4, 0),
                Item::Blocked => (5, 0),
            };
            bytes.push(kind);
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Damaged("the plan of a request".to_owned());
        let (seed, rest) = bytes.split_first_chunk::<32>().ok_or_else(damaged)?;
        let item = |bytes: &[u8]| {
            let (kind, number) = bytes.split_first()?;
            let number = i64::from_be_bytes(number.try_into().ok()?);
            Some(match kind {
                0 => Item::Account(number),
                1 => Item::Duplicate(u16::try_from(number).ok()?),
                2 => Item::Unknown,
                3 => Item::NoCustomer,
                4 => Item::Invalid,
                5 => Item::Blocked,
                _ => return None,
            })
        };
        let items = rest.chunks(9).map(|bytes| item(bytes).ok_or_else(damaged));
        Ok(Self { seed: *seed, items: items.collect::<Result<_, Error>>()? })
    }
}

/// What is to be done for each item of a list, as it is now. `is_card` says what a card looks like.
pub(super) async fn items(
    pool: &Pool,
    list: &[String],
    is_card: impl Fn(&str) -> bool,
) -> Result<Vec<Item>, Error> {
    let cards: Vec<&str> = list.iter().map(String::as_str).filter(|text| is_card(text)).collect();
    let linked = sql::accounts_of(pool, &cards).await?;
    let meant = list.iter().map(|text| account_id(text).or_else(|| linked.get(text).copied()));
    let meant: Vec<Option<i64>> = meant.collect();
    let known = known(pool, meant.iter().flatten().copied().collect()).await?;
    let mut places = HashMap::new();
    let item = |(at, (text, account_id)): (u16, (&String, &Option<i64>))| {
        let Some(mut account_id) = *account_id else {
            return if is_card(text) { Item::Unknown } else { Item::Invalid };
        };
        while let Some(Known { merged_into: Some(heir), .. }) = known.get(&account_id) {
            account_id = *heir;
        }
        match known.get(&account_id) {
            None => Item::Unknown,
            Some(Known { state: State::House, .. }) => Item::NoCustomer,
            Some(Known { state: State::Blocked, .. }) => Item::Blocked,
            Some(_) => match *places.entry(account_id).or_insert(at) {
                first if first != at => Item::Duplicate(first),
                _ => Item::Account(account_id),
            },
        }
    };
    Ok((0..).zip(list.iter().zip(&meant)).map(item).collect())
}

/// These accounts and all that they were merged into.
async fn known(pool: &Pool, mut wanted: HashSet<i64>) -> Result<HashMap<i64, Known>, Error> {
    let mut known: HashMap<i64, Known> = HashMap::new();
    while !wanted.is_empty() {
        let found = sql::known(pool, &wanted.iter().copied().collect::<Vec<_>>()).await?;
        wanted = found.values().filter_map(|account| account.merged_into).collect();
        known.extend(found);
        wanted.retain(|account_id| !known.contains_key(account_id));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written_and_gives_each_account_codes_of_its_own() {
        let kinds = [Item::Duplicate(7), Item::Unknown, Item::NoCustomer];
        let kinds = [&kinds[..], &[Item::Invalid, Item::Blocked]].concat();
        let items = [&[Item::Account(1 << 40), Item::Account(-1)][..], &kinds].concat();
        let plan = Plan { seed: [7; 32], items };
        assert_eq!(Plan::decode(&plan.encode()).expect("just written"), plan);
        for damaged in [&[0; 31][..], &[0; 33], &[9; 41]] {
            assert!(Plan::decode(damaged).is_err());
        }
        let drawn: HashSet<u64> =
            (0..50).flat_map(|account_id| plan.random(account_id, 20)).collect();
        assert_eq!(drawn.len(), 1_000);
        assert_eq!(plan.random(3, 2), plan.random(3, 2));
        let other = Plan { seed: [8; 32], ..plan.clone() };
        assert_ne!(other.random(3, 2), plan.random(3, 2));
    }
}
