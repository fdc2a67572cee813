//! Leases: slices of offers' budgets, each in the hands of one committer or desk, which spends it
//! in the statement that books what it is spent on. So a budget is never waited for by tills, and
//! never overspent: what is leased is taken off the budget before, and a lease that was closed
//! meanwhile fails the statement.
//!
//! | step    | who                | what                                                       |
//! |---------|--------------------|------------------------------------------------------------|
//! | take    | treasury, desk     | the budget's row gives a slice to a new lease              |
//! | plan    | purse              | a decision is set against what is left of leases in hand   |
//! | spend   | the commit         | what moved with its account; fails when a lease is gone    |
//! | close   | treasury, desk     | spent is the budget's for good, the rest is there again    |
//! | reclaim | anybody's treasury | the same for leases that have run out                      |
//!
//! Where an offer is spread over its days, tills take no lease that would bring what was spent and
//! leased beyond the part of the budget that its pace allows by the business date of the sale
//! that needs it: so the pace holds over all replicas, by the same row that holds the budget.
//!
//! A lease is never renewed: a new one is taken, ahead of need. Owns what a lease is, how large,
//! and for how long; must never decide what is worth spending on, nor touch an account.

mod purse;
mod sql;
mod treasury;

use std::time::Duration;

use jiff::civil::Date;
use tokio::time::Instant;
use tokio_postgres::Client;

pub(super) use self::purse::{Purse, Spending};
pub(super) use self::treasury::Treasury;
use crate::db::DbError;
use crate::domain::budget::{Counts, Key, Pace};
use crate::domain::offer::Offer;
use crate::error::Error;
use crate::sabotage::{self, Fault};

/// After so long without being closed, by the clock of the database, anybody may close it.
const LEASE: Duration = Duration::from_secs(60);
/// Its holder stops drawing on it earlier, so that it is seldom closed under a statement.
const IN_HAND: Duration = Duration::from_secs(45);
/// The part of what is left of a budget that a lease gets when less is needed: so slices shrink
/// to 1 as the budget ends, and what a crash keeps from others for a minute is a small part.
const PART: i64 = 32;

/// A slice of a budget.
#[derive(Debug)]
pub(super) struct Lease {
    lease_no: i64,
    key: Key,
    amount: i64,
    /// Of its amount, what no statement has spent that is known to have moved anything.
    left: i64,
    /// When its holder stops drawing on it.
    until: Instant,
}

/// What is wanted of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) key: Key,
    /// The whole amount of the budget, for when it is drawn on for the first time.
    pub(super) whole: i64,
    /// What it shall do for.
    pub(super) need: i64,
    /// What is of use all the same; 0: any lease, to give something back to.
    pub(super) at_least: i64,
    /// How far the offer has come, where its coupons are spread over its days.
    pub(super) pace: Option<Pace>,
}

impl Want {
    /// What may be spent of the budget and leased by now, at most.
    fn allowed(&self) -> i64 {
        self.pace.map_or(i64::MAX, |pace| sabotage::allowed(pace.part_of(self.whole)))
    }
}

/// Why a lease was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing is left, or nothing that is not in the hands of others.
    Spent,
    /// Something is, but not for this business date and those before it.
    Paced(Date),
}

/// Takes what is lacking in hand of the budgets of an offer, for so many coupons that people issue;
/// `at_least` of them are of use all the same. Where less is left nothing is in hand after it, and
/// nothing is planned on it.
pub(super) async fn stock(
    client: &Client,
    purse: &mut Purse,
    offer: &Offer,
    need: usize,
    at_least: usize,
) -> Result<(), Error> {
    let amount = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    // People are in no store, and know what they do: they are not held to a pace.
    for (key, whole) in offer.budgets.of(offer.offer_no, None, Counts::Coupons) {
        let (need, at_least) = (amount(need), amount(at_least));
        let want = Want { key, whole, need, at_least, pace: None };
        if purse.lacks(&want) {
            purse.put_away(key);
            let closing = purse.closing(key);
            let lease = take(client, &want, &closing).await?;
            lease.into_iter().for_each(|lease| purse.put(lease));
        }
    }
    Ok(())
}

/// Takes a lease, after closing those of `closing`. None when less than is of use is left; then
/// those that have run out were reclaimed before. One statement, up to five when there is nothing.
pub(super) async fn take(
    client: &Client,
    want: &Want,
    closing: &[i64],
) -> Result<Option<Lease>, Error> {
    let Want { key, whole, .. } = *want;
    if !closing.is_empty() {
        close(client, key, closing).await?;
    }
    let taken_at = Instant::now();
    if sabotage::is(Fault::BudgetInMemoryOnly) {
        let until = taken_at + IN_HAND;
        return Ok(Some(Lease { lease_no: 0, key, amount: whole, left: whole, until }));
    }
    let mut taken = try_take(client, want).await?;
    if taken.is_none() {
        let (store_no, counts) = (store_of(key), key.counts as i16);
        client
            .execute(
                sql::ENSURE,
                &[
                    &key.offer_no, // $1
                    &store_no,     // $2
                    &counts,       // $3
                    &whole,        // $4
                ],
            )
            .await
            .map_err(DbError::from)?;
        close(client, key, &[]).await?;
        taken = try_take(client, want).await?;
    }
    let lease = |(lease_no, amount)| {
        let until = taken_at + IN_HAND;
        Lease { lease_no, key, amount, left: amount, until }
    };
    Ok(taken.map(lease))
}

async fn try_take(client: &Client, want: &Want) -> Result<Option<(i64, i64)>, Error> {
    let Want { key, need, at_least, .. } = *want;
    let (allowed, lifetime_s) = (want.allowed(), LEASE.as_secs_f64());
    let (store_no, counts) = (store_of(key), key.counts as i16);
    let row = client
        .query_opt(
            sql::TAKE,
            &[
                &key.offer_no, // $1
                &store_no,     // $2
                &counts,       // $3
                &need,         // $4
                &at_least,     // $5
                &PART,         // $6
                &lifetime_s,   // $7
                &allowed,      // $8
            ],
        )
        .await
        .map_err(DbError::from)?;
    Ok(row.map(|row| (row.get("lease_no"), row.get("amount"))))
}

/// Why [`take`] brought nothing. One statement where the offer has a pace.
async fn refusal(client: &Client, want: &Want) -> Result<Refusal, Error> {
    let Some(pace) = want.pace else { return Ok(Refusal::Spent) };
    let (store_no, counts) = (store_of(want.key), want.key.counts as i16);
    let row = client
        .query_opt(
            sql::LEFT,
            &[
                &want.key.offer_no, // $1
                &store_no,          // $2
                &counts,            // $3
            ],
        )
        .await
        .map_err(DbError::from)?;
    let left = row.map_or(0, |row| row.get::<_, i64>("left_over"));
    Ok(if left >= want.at_least { Refusal::Paced(pace.on()) } else { Refusal::Spent })
}

/// Closes these leases of a budget, and all of it that have run out. Whatever is being spent at
/// this moment is left alone.
pub(super) async fn close(client: &Client, key: Key, lease_nos: &[i64]) -> Result<u64, Error> {
    let (store_no, counts) = (store_of(key), key.counts as i16);
    let row = client
        .query_one(
            sql::CLOSE,
            &[
                &key.offer_no, // $1
                &store_no,     // $2
                &counts,       // $3
                &lease_nos,    // $4
            ],
        )
        .await
        .map_err(DbError::from)?;
    Ok(row.get::<_, i64>("closed").unsigned_abs())
}

fn store_of(key: Key) -> i32 {
    i32::try_from(key.store_no).expect("numbers of stores are those of the database")
}

/// A lease was closed, or has less than was planned on: everything of the statement was undone.
pub(super) fn is_overdrawn(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    error.sqlstate() == Some("22012")
}
