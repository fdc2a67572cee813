//! The desk: what people and the calendar write. Adjustments, each once by its id, and expiries
//! that no swipe has written.
//!
//! | round trip | what                                                            |
//! |------------|-----------------------------------------------------------------|
//! | 1 to 2     | which account: its card, and whom it was merged into            |
//! | 3          | BEGIN, locks in order                                           |
//! | 4          | accounts as they are under the locks, and what was made before  |
//! | 5          | the statement of the committers: accounts and entries           |
//! | 6          | the adjustment, or what there was nothing to do about           |
//! | 7          | COMMIT                                                          |
//!
//! Has one connection and does one thing at a time, so that tills come first. Knows no cache:
//! a replica that remembers an older version finds out as it does about other replicas. Must
//! never refuse a version that an account has, nor write without its lock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::batch::Batch;
use super::committer::{Connection, Connector, is_locked, is_lost, is_lost_race};
use super::facts::{self, Wanted};
use super::sql;
use crate::catalogue::Snapshot;
use crate::config;
use crate::db::DbError;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::desk::{decide_adjustment, decide_expiry};
use crate::domain::ledger::EntryKind;
use crate::error::Error;

/// How long an adjustment is tried.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// What a person corrects.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// Names it among those of its account; it is made once.
    pub id: String,
    /// The account.
    pub whose: Whose,
    /// Given, or taken when negative; not 0.
    pub points: i64,
    /// A code of the chain's own.
    pub reason: String,
    /// Who does it.
    pub actor: String,
    /// The day that it counts for.
    pub business_date: Date,
}

/// Which account is meant.
#[derive(Clone, Debug)]
pub enum Whose {
    /// The one that a card points at.
    Card(String),
    /// This one, or the one that it was merged into.
    Account(i64),
}

/// What became of an adjustment.
#[derive(Clone, Debug)]
pub enum Adjusted {
    /// It was made.
    Now(Made),
    /// It had been made before; nothing changed.
    Before(Made),
    /// An adjustment of other points or for another reason has the id. Nothing changed.
    IdReused,
    /// There is no such account, or nobody has used the card.
    NoSuchAccount,
    /// It is a workstation's own, which holds no points.
    NoCustomer,
}

/// An adjustment that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The account as it is now.
    pub account: Account,
    /// The day that it counts for.
    pub business_date: Date,
    /// When it was made.
    pub made_at: Timestamp,
}

/// What expiries were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Accounts of which something was written off.
    pub accounts: u64,
    /// The points that were.
    pub points: i64,
    /// Accounts that were left for another time, because somebody held them locked.
    pub held_up: u64,
}

/// A connection of its own, made when it is needed.
pub struct Desk {
    connector: Connector,
    connection: Option<Connection>,
}

impl Desk {
    /// A desk that has not connected yet.
    pub fn new(settings: &config::Commit, database: &config::Database) -> Self {
        Self { connector: Connector::new(settings, database), connection: None }
    }

    /// Makes an adjustment, unless it has been made. Tries again while others hold the account,
    /// and when the connection is lost: the id tells whether it was made.
    ///
    /// # Errors
    /// What the database says, in the end. Asking again with the same id is safe.
    pub async fn adjust(
        &mut self,
        snapshot: &Snapshot,
        adjustment: &Adjustment,
        now: Timestamp,
    ) -> Result<Adjusted, Error> {
        let deadline = Instant::now() + PATIENCE;
        // As finely as PostgreSQL keeps it, so that the first answer says what the next will.
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let outcome = adjust(&connection, snapshot, adjustment, now).await;
                    self.put_back(connection, outcome).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Some(adjusted)) => return Ok(adjusted),
                // A card or an account has moved meanwhile.
                Ok(None) if Instant::now() < deadline => {}
                Ok(None) => return Err(Error::DeadlineExceeded),
                Err(error) => {
                    let passes = is_lost(&error) || is_locked(&error) || is_lost_race(&error);
                    if !passes || Instant::now() >= deadline {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes off what has run out before a day on these accounts. One that somebody else holds
    /// locked is left for another time, and the others do not wait for it.
    ///
    /// # Errors
    /// What the database says. Some of the accounts may have been done then.
    pub async fn expire(
        &mut self,
        snapshot: &Snapshot,
        account_ids: &[i64],
        on: Date,
        now: Timestamp,
    ) -> Result<Expired, Error> {
        let mut expired = Expired::default();
        let mut parts = VecDeque::from([account_ids]);
        while let Some(part) = parts.pop_front() {
            let connection = self.take_connection().await?;
            let outcome = expire(&connection, snapshot, part, on, now).await;
            match self.put_back(connection, outcome).await {
                Ok(written) => {
                    expired.accounts += written.accounts;
                    expired.points += written.points;
                }
                Err(error) if !is_locked(&error) && !is_lost_race(&error) => return Err(error),
                Err(_) if part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([left, right]);
                }
                Err(_) => expired.held_up += 1,
            }
        }
        Ok(expired)
    }

    /// Taken out while it is used: a caller that goes away costs the connection, and with it
    /// the locks.
    async fn take_connection(&mut self) -> Result<Connection, Error> {
        match self.connection.take().filter(|connection| !connection.dedicated.is_lost()) {
            Some(connection) => Ok(connection),
            None => Ok(self.connector.connect().await?),
        }
    }

    /// Puts it back with no transaction open.
    async fn put_back<T>(
        &mut self,
        connection: Connection,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if outcome.is_err() {
            // Should this fail too, the connection is lost, which the next use finds out.
            let _ = connection.dedicated.client().batch_execute("ROLLBACK").await;
        }
        self.connection = Some(connection);
        outcome
    }
}

/// One attempt; `None` when a card or an account moved between looking and locking.
async fn adjust(
    connection: &Connection,
    snapshot: &Snapshot,
    adjustment: &Adjustment,
    now: Timestamp,
) -> Result<Option<Adjusted>, Error> {
    let client = connection.dedicated.client();
    let Adjustment { points, business_date, .. } = *adjustment;
    let Some(account_id) = account_of(connection, &adjustment.whose).await? else {
        return Ok(Some(Adjusted::NoSuchAccount));
    };
    let account_ids = [account_id];
    lock(connection, &account_ids).await?;
    let (under_lock, loaded, namesakes) = tokio::try_join!(
        account_of(connection, &adjustment.whose),
        load(connection, snapshot, &account_ids),
        async {
            let rows = client.query(sql::FIND_ADJUSTMENTS, &[&adjustment.id, &account_id]).await;
            Ok::<Vec<Row>, Error>(rows.map_err(DbError::from)?)
        },
    )?;
    let before = made_before(connection, &namesakes, account_id).await?;
    if under_lock != Some(account_id) {
        client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
        return Ok(None);
    }

    let no_rules = || Error::Damaged(format!("no programme is in force on {business_date}"));
    let epoch = snapshot.epoch_on(business_date).ok_or_else(no_rules)?;
    let lot = epoch.programme.lot_of(business_date);
    let decided = match (loaded.get(&account_id), before) {
        (None, _) => Err(Adjusted::NoSuchAccount),
        (Some(account), Some(row)) => {
            let (as_before, why): (i64, &str) = (row.get("points"), row.get("reason"));
            let (business_date, made_at) = (row.get("business_date"), row.get("made_at"));
            let made = Made { account: account.clone(), business_date, made_at };
            let is_same = as_before == points && why == adjustment.reason;
            Err(if is_same { Adjusted::Before(made) } else { Adjusted::IdReused })
        }
        (Some(account), None) if account.state == State::House => Err(Adjusted::NoCustomer),
        (Some(account), None) => Ok(decide_adjustment(account, points, business_date, lot)),
    };
    let (after, entries) = match decided {
        Ok(decided) => decided,
        Err(outcome) => {
            client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
            return Ok(Some(outcome));
        }
    };

    let mut batch = Batch::new(now);
    batch.entries(after.version, business_date, &entries);
    batch.account(after.version - 1, &after, None);
    write(connection, &batch).await?;
    let bucket = i16::from(bucket::of_account(account_id));
    client
        .execute(
            sql::INSERT_ADJUSTMENT,
            &[
                &bucket,            // $1
                &account_id,        // $2
                &after.version,     // $3
                &adjustment.id,     // $4
                &adjustment.reason, // $5
                &adjustment.actor,  // $6
                &points,            // $7
                &business_date,     // $8
                &now,               // $9
            ],
        )
        .await
        .map_err(DbError::from)?;
    client.batch_execute("COMMIT").await.map_err(DbError::from)?;
    Ok(Some(Adjusted::Now(Made { account: after, business_date, made_at: now })))
}

/// Writes off what is due on these accounts, in one transaction.
async fn expire(
    connection: &Connection,
    snapshot: &Snapshot,
    account_ids: &[i64],
    on: Date,
    now: Timestamp,
) -> Result<Expired, Error> {
    let mut account_ids = account_ids.to_vec();
    account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));
    lock(connection, &account_ids).await?;
    let loaded = load(connection, snapshot, &account_ids).await?;
    let mut expired = Expired::default();
    let mut batch = Batch::new(now);
    let mut unchanged = Vec::new();
    for account in account_ids.iter().filter_map(|id| loaded.get(id)) {
        let Some((after, entries)) = decide_expiry(account, on) else {
            unchanged.push(account);
            continue;
        };
        debug_assert!(entries.iter().all(|entry| entry.kind == EntryKind::Expire), "only those");
        expired.accounts += 1;
        expired.points -= entries.iter().map(|entry| entry.points).sum::<i64>();
        batch.entries(after.version, on, &entries);
        batch.account(account.version, &after, None);
    }
    if batch.accounts() > 0 {
        write(connection, &batch).await?;
    }
    let client = connection.dedicated.client();
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
    Ok(expired)
}

/// The account that is meant, as of now; its heir when it has been merged.
async fn account_of(connection: &Connection, whose: &Whose) -> Result<Option<i64>, Error> {
    let account_id = match whose {
        Whose::Account(account_id) => Some(*account_id),
        Whose::Card(card) => {
            facts::find_cards(connection, &[card]).await?.get(card.as_str()).copied()
        }
    };
    match account_id {
        Some(account_id) => Ok(Some(heir_of(connection, account_id).await?)),
        None => Ok(None),
    }
}

/// The account that this one was merged into in the end; itself when it was not.
async fn heir_of(connection: &Connection, mut account_id: i64) -> Result<i64, Error> {
    while let Some(heir) = facts::find_heirs(connection, &[account_id]).await?.get(&account_id) {
        account_id = *heir;
    }
    Ok(account_id)
}

/// The one among adjustments of one id that was made for this account, or for one that has been
/// merged into it since.
async fn made_before<'a>(
    connection: &Connection,
    namesakes: &'a [Row],
    account_id: i64,
) -> Result<Option<&'a Row>, Error> {
    for row in namesakes {
        if heir_of(connection, row.get("account_id")).await? == account_id {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Begins a transaction and locks accounts, which are sorted.
async fn lock(connection: &Connection, account_ids: &[i64]) -> Result<(), Error> {
    let (begun, locked) = tokio::join!(
        connection.dedicated.client().batch_execute("BEGIN"),
        facts::lock_accounts(connection, account_ids),
    );
    begun.map_err(DbError::from)?;
    locked
}

/// Accounts as they are; those that do not exist are left out.
async fn load(
    connection: &Connection,
    snapshot: &Snapshot,
    account_ids: &[i64],
) -> Result<HashMap<i64, Account>, Error> {
    let wanted = |account_id: &i64| Wanted { account_id: *account_id, cards: Vec::new() };
    let wanted: Vec<Wanted> = account_ids.iter().map(wanted).collect();
    let loaded = facts::load_accounts(connection, snapshot, &wanted).await?;
    Ok(loaded.into_iter().map(|hot| (hot.account.account_id, hot.account.clone())).collect())
}

/// Writes accounts under their locks. Read to its end before COMMIT is sent, so that a COMMIT
/// that is answered is a COMMIT that happened.
async fn write(connection: &Connection, batch: &Batch) -> Result<(), Error> {
    let statement = &connection.statements.commit_batch;
    let rows = connection.dedicated.client().query(statement, &batch.parameters()).await;
    if rows.map_err(DbError::from)?.len() == batch.accounts() {
        return Ok(());
    }
    Err(Error::Damaged("an account moved under a lock".to_owned()))
}
