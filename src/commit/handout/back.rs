//! What a handout has issued, taken back: a handful of coupons at a time, along their index.
//!
//! | round trip | what                                                               |
//! |------------|--------------------------------------------------------------------|
//! | 1          | the next coupons of the handout                                    |
//! | 2          | BEGIN, locks on the accounts of those that are open, in order;     |
//! |            | only on what is free                                               |
//! | 3          | accounts and coupons under the locks                               |
//! | 4          | the statement of the committers: accounts and coupons; and a line  |
//! |            | of the audit trail for each coupon                                 |
//! | 5          | COMMIT                                                             |
//!
//! What somebody holds locked, or an account that was merged holds, is taken back by itself, as
//! people take back a single coupon. What is told of each coupon is how it stands afterwards, so
//! a handful that is gone through again is told the same. Must never change a coupon without the
//! version of its account, nor wait for one account while it holds another.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::super::batch::{Batch, CouponChange};
use super::super::committer::Connection;
use super::super::coupon_facts;
use super::super::coupons::{Order, Ordered, end, trace};
use super::super::desk::{Desk, load, write};
use super::super::facts;
use super::super::leases::Spending;
use super::sql;
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::account;
use crate::domain::bucket;
use crate::domain::coupon::{Code, State};
use crate::error::Error;

/// Coupons of one handful.
const HANDFUL: i64 = 64;

/// Whose coupons are taken back, and from where on.
#[derive(Clone, Debug)]
pub struct TakeBack {
    /// The name under which they were issued: that of a handout.
    pub name: String,
    /// Those after this one; none: from the first on.
    pub after: Option<Code>,
    /// What counted until before this day has run out, and is left as it is.
    pub today: Date,
    /// The user of the back office who asked; none at the command line.
    pub by: Option<i32>,
}

/// What became of a handful.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// The last one that was gone through; none when there are no more.
    pub last: Option<Code>,
    /// How many were gone through.
    pub gone_through: i32,
    /// How many of them are taken back, those included that were before.
    pub revoked: i32,
    /// How many a till has taken.
    pub redeemed: i32,
    /// How many had expired.
    pub expired: i32,
}

/// A coupon of a handout.
struct Issued {
    code: Code,
    account_id: i64,
    state: State,
    valid_until: Date,
    is_merged: bool,
}

impl Desk {
    /// Goes through the next handful of coupons of a handout. Fewer are done when something fails;
    /// those that are done are the first.
    ///
    /// # Errors
    /// What the database says, when it fails at the first of them. Asking again is safe.
    pub async fn take_back(
        &mut self,
        snapshot: &Snapshot,
        wanted: &TakeBack,
        now: Timestamp,
    ) -> Result<TakenBack, Error> {
        let connection = self.take_connection().await?;
        let looking = coupons_of(&connection, wanted);
        let outcome = timeout(self.connector.silence_max(), looking).await;
        let handful = self.put_back(connection, outcome).await?;
        let is_open = |it: &&Issued| it.state == State::Issued && it.valid_until >= wanted.today;
        let open: Vec<&Issued> = handful.iter().filter(is_open).collect();
        let settled = match self.take_back_at_once(snapshot, &open, wanted.by, now).await {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!(%error, "coupons are taken back one by one");
                HashMap::new()
            }
        };
        let mut done = TakenBack::default();
        for it in &handful {
            let state = match settled.get(&it.code) {
                Some(state) => Some(*state),
                None if !is_open(&it) => Some(it.state),
                None => match self.take_one_back(snapshot, it, wanted.by, now).await {
                    Ok(state) => state,
                    Err(error) if done.last.is_none() => return Err(error),
                    Err(_) => return Ok(done),
                },
            };
            done.last = Some(it.code);
            done.gone_through += 1;
            match state {
                Some(State::Revoked) => done.revoked += 1,
                Some(State::Redeemed) => done.redeemed += 1,
                Some(State::Issued) => done.expired += 1,
                None => {}
            }
        }
        Ok(done)
    }

    /// What can be done in one transaction: how those coupons stand after it.
    async fn take_back_at_once(
        &mut self,
        snapshot: &Snapshot,
        open: &[&Issued],
        by: Option<i32>,
        now: Timestamp,
    ) -> Result<HashMap<Code, State>, Error> {
        if open.is_empty() {
            return Ok(HashMap::new());
        }
        let connection = self.take_connection().await?;
        let attempt = take_back_at_once(&connection, snapshot, open, by, now);
        let outcome = timeout(self.connector.silence_max(), attempt).await;
        self.put_back(connection, outcome).await
    }

    /// A single one; none when it is nobody's whose account can be read.
    async fn take_one_back(
        &mut self,
        snapshot: &Snapshot,
        it: &Issued,
        by: Option<i32>,
        now: Timestamp,
    ) -> Result<Option<State>, Error> {
        let account_id = it.account_id;
        match self.order_by(snapshot, &Order::Revoke(it.code), by, now).await {
            Ok(Ordered::Revoked) => Ok(Some(State::Revoked)),
            Ok(Ordered::Redeemed) => Ok(Some(State::Redeemed)),
            Ok(other) => {
                tracing::error!(account_id, ?other, "a coupon cannot be taken back");
                Ok(None)
            }
            Err(error @ Error::Damaged(_)) => {
                tracing::error!(account_id, %error, "a coupon cannot be taken back");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

async fn take_back_at_once(
    connection: &Connection,
    snapshot: &Snapshot,
    open: &[&Issued],
    by: Option<i32>,
    now: Timestamp,
) -> Result<HashMap<Code, State>, Error> {
    let client = connection.dedicated.client();
    let mut of_account: BTreeMap<(u8, i64), Vec<Code>> = BTreeMap::new();
    for it in open.iter().filter(|it| !it.is_merged) {
        let place = (bucket::of_account(it.account_id), it.account_id);
        of_account.entry(place).or_default().push(it.code);
    }
    let account_ids: Vec<i64> = of_account.keys().map(|(_, account_id)| *account_id).collect();
    let codes: Vec<Code> = of_account.values().flatten().copied().collect();
    let (begun, locked) = tokio::join!(
        client.batch_execute("BEGIN"),
        facts::lock_free_accounts(connection, &account_ids),
    );
    begun.map_err(DbError::from)?;
    let locked = locked?;
    let (accounts, coupons) = tokio::try_join!(
        load(connection, snapshot, &account_ids),
        coupon_facts::find_coupons(connection, &codes),
    )?;

    let (mut batch, mut settled, mut changed) = (Batch::new(now), HashMap::new(), Vec::new());
    for ((_, account_id), codes) in &of_account {
        let account = accounts.get(account_id).filter(|_| locked.contains(account_id));
        let Some(account) = account.filter(|it| it.state != account::State::Merged) else {
            continue;
        };
        let mut after = account.clone();
        after.version += 1;
        let before = changed.len();
        for coupon in codes.iter().filter_map(|code| coupons.get(code)) {
            if coupon.state != State::Issued {
                settled.insert(coupon.code, coupon.state);
                continue;
            }
            batch.change_coupon(&CouponChange {
                code: coupon.code,
                version: after.version,
                state: State::Revoked,
                redeemed_on: None,
                over_value: false,
                value_minor: None,
                over_budget: false,
                over_limit: false,
                was: None,
                pool_no: None,
                spending: Spending::default(),
            });
            settled.insert(coupon.code, State::Revoked);
            changed.push(coupon.code);
        }
        if changed.len() > before {
            batch.account(account.version, &after, None, None);
        }
    }
    if changed.is_empty() {
        end(connection, "ROLLBACK").await?;
        return Ok(settled);
    }
    // Should the first be refused, so is the second, which cannot say why.
    let (written, traced) = tokio::join!(
        write(connection, &batch),
        trace(connection, "coupon.revoke", &changed, by, now)
    );
    written.and(traced)?;
    end(connection, "COMMIT").await?;
    Ok(settled)
}

/// The next coupons of a handout, in their order.
async fn coupons_of(connection: &Connection, wanted: &TakeBack) -> Result<Vec<Issued>, Error> {
    let after = wanted.after.map_or((-1, 0), |code| (i16::from(code.bucket()), code.number()));
    let client = connection.dedicated.client();
    let rows = client
        .query(
            sql::COUPONS_OF,
            &[
                &wanted.name, // $1
                &after.0,     // $2
                &after.1,     // $3
                &HANDFUL,     // $4
            ],
        )
        .await;
    rows.map_err(DbError::from)?.iter().map(issued).collect()
}

fn issued(row: &Row) -> Result<Issued, Error> {
    let (code, state) = (Code::from_number(row.get("code")), row.get("state"));
    let damaged = || Error::Damaged(format!("the state of coupon {code}"));
    Ok(Issued {
        code,
        account_id: row.get("account_id"),
        state: State::from_code(state).ok_or_else(damaged)?,
        valid_until: row.get("valid_until"),
        is_merged: row.get::<_, Option<i64>>("merged_into").is_some(),
    })
}
