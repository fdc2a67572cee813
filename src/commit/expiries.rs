//! The desk's expiries: points that have run out and that no swipe has written off.
//!
//! | round trip | what                                                            |
//! |------------|-----------------------------------------------------------------|
//! | 1          | BEGIN, locks on what is free, in order                          |
//! | 2          | accounts as they are under the locks                            |
//! | 3          | the statement of the committers: accounts and entries           |
//! | 4          | the day of those of which there was nothing to write off        |
//! | 5          | COMMIT                                                          |
//!
//! Must never wait for one account while it holds another, nor let one that is damaged cost the
//! others anything.

use std::collections::VecDeque;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::timeout;

use super::batch::Batch;
use super::committer::{Connection, is_locked};
use super::desk::{Desk, load, write};
use super::{facts, sql};
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::bucket;
use crate::domain::desk::decide_expiry;
use crate::domain::ledger::EntryKind;
use crate::error::Error;

/// What became of accounts whose points may have run out.
#[derive(Debug, Default)]
pub struct Expiries {
    /// Accounts of which something was written off.
    pub accounts: u64,
    /// The points that were.
    pub points: i64,
    /// Accounts that somebody else holds locked: another look may find them free.
    pub held: Vec<i64>,
    /// Accounts that cannot be read or written until people act, and why.
    pub damaged: Vec<(i64, Error)>,
}

/// A stretch of a bucket's accounts, along their key.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last account that was looked at; the next page begins after it.
    pub last: i64,
    /// Those of which points ran out, or of which nobody has looked.
    pub due: Vec<i64>,
}

impl Desk {
    /// The next accounts of a bucket, after one of them, with those of which points ran out
    /// before a day; none when there are no more. Reads so many rows and no more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn page(
        &mut self,
        bucket: u8,
        after: i64,
        on: Date,
        accounts_max: i64,
    ) -> Result<Option<Page>, Error> {
        let connection = self.take_connection().await?;
        let look = page(&connection, bucket, after, on, accounts_max);
        let outcome = timeout(self.connector.silence_max(), look).await;
        self.put_back(connection, outcome).await
    }

    /// Writes off what has run out before a day on these accounts. Those that somebody else holds
    /// locked are not waited for, and one that is damaged costs the others nothing.
    ///
    /// # Errors
    /// What the database says. Some of the accounts may have been done then.
    pub async fn expire(
        &mut self,
        snapshot: &Snapshot,
        account_ids: &[i64],
        on: Date,
        now: Timestamp,
    ) -> Result<Expiries, Error> {
        let mut expiries = Expiries::default();
        let mut parts = VecDeque::from([account_ids]);
        while let Some(part) = parts.pop_front() {
            let connection = self.take_connection().await?;
            let attempt = expire(&connection, snapshot, part, on, now);
            let outcome = timeout(self.connector.silence_max(), attempt).await;
            match (self.put_back(connection, outcome).await, part) {
                (Ok(written), _) => {
                    expiries.accounts += written.accounts;
                    expiries.points += written.points;
                    expiries.held.extend(written.held);
                }
                (Err(error), _) if !is_held(&error) && !is_damage(&error) => return Err(error),
                (Err(error), [account_id]) if is_damage(&error) => {
                    expiries.damaged.push((*account_id, error));
                }
                (Err(_), [account_id]) => expiries.held.push(*account_id),
                (Err(_), part) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([left, right]);
                }
            }
        }
        Ok(expiries)
    }
}

/// A page of a bucket; see [`Desk::page`].
async fn page(
    connection: &Connection,
    bucket: u8,
    after: i64,
    on: Date,
    accounts_max: i64,
) -> Result<Option<Page>, Error> {
    let client = connection.dedicated.client();
    let row = client
        .query_one(
            sql::DUE,
            &[
                &i16::from(bucket), // $1
                &after,             // $2
                &on,                // $3
                &accounts_max,      // $4
            ],
        )
        .await
        .map_err(DbError::from)?;
    let last: Option<i64> = row.get("last");
    Ok(last.map(|last| Page { last, due: row.get("due") }))
}

/// Writes off what is due on those of these accounts that are free, in one transaction.
async fn expire(
    connection: &Connection,
    snapshot: &Snapshot,
    account_ids: &[i64],
    on: Date,
    now: Timestamp,
) -> Result<Expiries, Error> {
    let client = connection.dedicated.client();
    let mut account_ids = account_ids.to_vec();
    account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));
    let (begun, locked) = tokio::join!(
        client.batch_execute("BEGIN"),
        facts::lock_free_accounts(connection, &account_ids),
    );
    begun.map_err(DbError::from)?;
    let locked = locked?;
    let (free, held): (Vec<i64>, Vec<i64>) =
        account_ids.into_iter().partition(|account_id| locked.contains(account_id));
    let loaded = load(connection, snapshot, &free).await?;
    let mut expiries = Expiries { held, ..Expiries::default() };
    let mut batch = Batch::new(now);
    let mut unchanged = Vec::new();
    for account in free.iter().filter_map(|id| loaded.get(id)) {
        let Some((after, entries)) = decide_expiry(account, on) else {
            unchanged.push(account);
            continue;
        };
        debug_assert!(entries.iter().all(|entry| entry.kind == EntryKind::Expire), "only those");
        expiries.accounts += 1;
        expiries.points -= entries.iter().map(|entry| entry.points).sum::<i64>();
        batch.entries(after.version, on, &entries);
        batch.account(account.version, &after, None, None);
    }
    if batch.accounts() > 0 {
        write(connection, &batch).await?;
    }
    if !unchanged.is_empty() {
        let buckets: Vec<i16> =
            unchanged.iter().map(|it| i16::from(bucket::of_account(it.account_id))).collect();
        let ids: Vec<i64> = unchanged.iter().map(|account| account.account_id).collect();
        let versions: Vec<i64> = unchanged.iter().map(|account| account.version).collect();
        let expiries: Vec<Option<Date>> =
            unchanged.iter().map(|account| account.lots.first_expiry()).collect();
        let noted = client
            .execute(
                sql::NOTE_EXPIRIES,
                &[
                    &buckets,  // $1
                    &ids,      // $2
                    &versions, // $3
                    &expiries, // $4
                ],
            )
            .await;
        noted.map_err(DbError::from)?;
    }
    client.batch_execute("COMMIT").await.map_err(DbError::from)?;
    Ok(expiries)
}

/// Somebody else is at it, or was first: later it may go.
fn is_held(error: &Error) -> bool {
    let Error::Database(database) = error else { return false };
    is_locked(error) || database.sqlstate() == Some("40P01")
}

/// What is stored of an account cannot be read, or what would be written does not fit it: so it
/// stays until people act. Under its lock nobody else can have taken a key of its rows.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged(_) => true,
        Error::Database(error) => {
            error.sqlstate().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
        }
        _ => false,
    }
}
