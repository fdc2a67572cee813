//! The desk: what people and the calendar write. Here its connection, and adjustments, each once
//! by its id; `expiries` and `coupons` have the other parts.
//!
//! | round trip | what                                                            |
//! |------------|-----------------------------------------------------------------|
//! | 1 to 2     | which account: its card, and whom it was merged into            |
//! | 3          | BEGIN, lock the user, lock the account                          |
//! | 4          | the account as it is under the lock, and what was made before   |
//! | 5          | the statement of the committers: account and entries            |
//! | 6 to 7     | the adjustment, and its line in the audit trail                 |
//! | 8          | COMMIT                                                          |
//!
//! Has one connection and does one thing at a time, so that tills come first. Knows no cache:
//! a replica that remembers an older version finds out as it does about other replicas. Must
//! never refuse a version that an account has, nor write without its lock, nor wait for one
//! account while it holds another.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::batch::Batch;
use super::committer::{Connection, Connector, is_locked, is_lost, is_lost_race};
use super::facts::{self, Wanted};
use super::leases::{Purse, is_overdrawn};
use super::sql;
use crate::catalogue::Snapshot;
use crate::config;
use crate::db::DbError;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::desk::decide_adjustment;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::receipt::account_text;

/// How long an adjustment is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Before it is tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether tills still wait.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// And how many times at most.
const LOOKS_MAX: u32 = 100;

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
    /// The user of the back office that it is; none at the command line.
    pub user: Option<ByUser>,
}

/// A user who adjusts, and how much that user may do.
#[derive(Clone, Copy, Debug)]
pub struct ByUser {
    /// The user.
    pub user_no: i32,
    /// Most points that the user gives and takes, added up, since `since`.
    pub points_max: i64,
    /// When the user's day began.
    pub since: Timestamp,
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
    /// With it the user would have given and taken too much in a day. Nothing changed.
    OverCap,
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

/// Waits while tills wait, but not for ever: what many accounts get is to be done some day too.
pub async fn give_way(metrics: &Metrics) {
    for _ in 0..LOOKS_MAX {
        if metrics.queue_depth.get() == 0 {
            break;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A connection of its own, made when it is needed.
pub struct Desk {
    pub(super) connector: Connector,
    connection: Option<Connection>,
    /// Leases of budgets.
    pub(super) purse: Purse,
}

impl Desk {
    /// A desk that has not connected yet.
    pub fn new(settings: &config::Commit, database: &config::Database) -> Self {
        let connector = Connector::new(settings, database);
        Self { connector, connection: None, purse: Purse::default() }
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
        // As finely as PostgreSQL keeps it, so that the first answer says what the next will.
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let attempt = adjust(&connection, snapshot, adjustment, now);
                    let outcome = timeout(self.connector.silence_max(), attempt).await;
                    self.put_back(connection, outcome).await
                }
                Err(error) => Err(error),
            };
            if let Some(settled) = settled(outcome, deadline) {
                return settled;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Taken out while it is used: a caller that goes away costs the connection, and with it
    /// the locks.
    pub(super) async fn take_connection(&mut self) -> Result<Connection, Error> {
        match self.connection.take().filter(|connection| !connection.dedicated.is_lost()) {
            Some(connection) => Ok(connection),
            None => Ok(self.connector.connect().await?),
        }
    }

    /// Puts it back with no transaction open. A line that has fallen silent is closed, so that
    /// neither the desk nor the locks wait for an answer that somebody has swallowed.
    pub(super) async fn put_back<T>(
        &mut self,
        connection: Connection,
        outcome: Result<Result<T, Error>, Elapsed>,
    ) -> Result<T, Error> {
        let Ok(outcome) = outcome else {
            connection.dedicated.abandon();
            return Err(DbError::silent().into());
        };
        if outcome.is_err() {
            let undoing = connection.dedicated.client().batch_execute("ROLLBACK");
            if timeout(self.connector.silence_max(), undoing).await.is_err() {
                connection.dedicated.abandon();
                return outcome;
            }
            // Should it have failed, the connection is lost, which the next use finds out.
        }
        self.connection = Some(connection);
        outcome
    }
}

/// What an attempt has settled; none when it is to be made again, because a card or an account
/// moved between looking and locking, somebody else holds the account, or the connection is lost.
pub(super) fn settled<T>(
    outcome: Result<Option<T>, Error>,
    deadline: Instant,
) -> Option<Result<T, Error>> {
    let is_late = Instant::now() >= deadline;
    match outcome {
        Ok(Some(done)) => Some(Ok(done)),
        Ok(None) => is_late.then_some(Err(Error::DeadlineExceeded)),
        Err(error) => {
            let passes = is_lost(&error)
                || is_locked(&error)
                || is_lost_race(&error)
                || is_overdrawn(&error);
            (is_late || !passes).then_some(Err(error))
        }
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
    // The user first: who waits for another adjustment of the same user holds no account.
    let user_no = adjustment.user.map(|user| user.user_no);
    let parameters: [&(dyn ToSql + Sync); 1] = [&user_no];
    let (begun, user, locked) = tokio::join!(
        client.batch_execute("BEGIN"),
        client.query(sql::LOCK_USER, &parameters),
        facts::lock_accounts(connection, &account_ids)
    );
    begun.map_err(DbError::from)?;
    user.map_err(DbError::from)?;
    locked?;
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
    let lot = epoch.programme.lot_at_once(business_date);
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
        (Some(_), None) if over_cap(connection, adjustment).await? => Err(Adjusted::OverCap),
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
    batch.account(after.version - 1, &after, None, None);
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
    let object = account_text(account_id);
    client
        .execute(sql::AUDIT_ADJUSTMENT, &[&now, &user_no, &object])
        .await
        .map_err(DbError::from)?;
    client.batch_execute("COMMIT").await.map_err(DbError::from)?;
    Ok(Some(Adjusted::Now(Made { account: after, business_date, made_at: now })))
}

/// Whether the user, whose row is locked, has done as much as may be done in a day.
async fn over_cap(connection: &Connection, adjustment: &Adjustment) -> Result<bool, Error> {
    let Some(ByUser { points_max, since, .. }) = adjustment.user else { return Ok(false) };
    let client = connection.dedicated.client();
    let row = client.query_one(sql::POINTS_ADJUSTED, &[&adjustment.actor, &since]).await;
    let so_far: i64 = row.map_err(DbError::from)?.get(0);
    Ok(so_far.saturating_add(adjustment.points.saturating_abs()) > points_max)
}

/// The account that is meant, as of now; its heir when it has been merged.
pub(super) async fn account_of(
    connection: &Connection,
    whose: &Whose,
) -> Result<Option<i64>, Error> {
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

/// Accounts as they are; those that do not exist are left out.
pub(super) async fn load(
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
pub(super) async fn write(connection: &Connection, batch: &Batch) -> Result<(), Error> {
    if connection.move_accounts(batch).await?.len() == batch.accounts() {
        return Ok(());
    }
    Err(Error::Damaged("an account moved under a lock".to_owned()))
}
