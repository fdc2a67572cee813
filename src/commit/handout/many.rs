//! One coupon of one offer for each of a handful of accounts, in one transaction.
//!
//! | round trip | what                                                               |
//! |------------|--------------------------------------------------------------------|
//! | 1          | BEGIN, locks on what is free, in order                             |
//! | 2          | accounts under the locks, and who has a coupon under the name      |
//! | 3          | the statement of the committers: accounts and coupons; and a line  |
//! |            | of the audit trail for each coupon                                 |
//! | 4          | COMMIT                                                             |
//!
//! All of them or none: where somebody holds one of the accounts, one was merged or blocked, the
//! budget has not as much, or people have stopped it, nothing is written, and whoever asks goes
//! through them one by one.
//! Must never wait for one account while it holds another.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::{Instant, timeout};

use super::super::batch::Batch;
use super::super::committer::Connection;
use super::super::coupons::{end, given, random_bits, trace};
use super::super::desk::{Desk, Whose, load, write};
use super::super::facts;
use super::super::leases::{self, Purse};
use super::{Given, Handout, is_issued, live, sql};
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::account::State;
use crate::domain::bucket;
use crate::domain::budget::Counts;
use crate::domain::coupon::Code;
use crate::error::Error;
use crate::sabotage;

/// A coupon of an offer, for many accounts.
#[derive(Clone, Debug)]
pub struct Mailing {
    /// What people call the offer.
    pub offer: String,
    /// The first day on which its coupons count.
    pub on: Date,
    /// Under this name an account gets one coupon; shown to auditors as who did it.
    pub name: String,
    /// The user of the back office who began it; none at the command line.
    pub by: Option<i32>,
    /// The handout that must still be issued when the coupons are, by its number.
    pub while_issued: Option<i32>,
}

impl Mailing {
    /// The same for one account alone.
    pub fn to(&self, account_id: i64) -> Handout {
        Handout {
            whose: Whose::Account(account_id),
            coupons: vec![(self.offer.clone(), self.on)],
            name: self.name.clone(),
            by: self.by,
            while_issued: self.while_issued,
        }
    }
}

impl Desk {
    /// Gives each of a handful of accounts its coupon; none when not all of it could be done at
    /// once, and then nothing was. What an attempt before this one has given is told as such.
    ///
    /// # Errors
    /// What the database says. It may have been done then: asking again is safe.
    pub async fn hand_out_many(
        &mut self,
        snapshot: &Snapshot,
        account_ids: &[i64],
        mailing: &Mailing,
        now: Timestamp,
    ) -> Result<Option<Given>, Error> {
        let connection = self.take_connection().await?;
        let purse = &mut self.purse;
        let attempt = hand_out_many(&connection, snapshot, account_ids, mailing, now, purse);
        let outcome = timeout(self.connector.silence_max(), attempt).await;
        if !matches!(&outcome, Ok(Ok(_))) {
            self.purse.failed();
        }
        self.put_back(connection, outcome).await
    }
}

async fn hand_out_many(
    connection: &Connection,
    snapshot: &Snapshot,
    account_ids: &[i64],
    mailing: &Mailing,
    now: Timestamp,
    purse: &mut Purse,
) -> Result<Option<Given>, Error> {
    let client = connection.dedicated.client();
    let Some((offer, days)) = live(snapshot, &mailing.offer, mailing.on) else { return Ok(None) };
    let count = account_ids.len();
    purse.begin(Instant::now());
    leases::stock(client, purse, offer, count, count).await?;
    let budgets = offer.budgets.of(offer.offer_no, None, Counts::Coupons);
    if !purse.covers(&budgets, i64::try_from(count).unwrap_or(i64::MAX)) {
        return Ok(None);
    }

    let mut account_ids = account_ids.to_vec();
    account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));
    let (begun, locked) = tokio::join!(
        client.batch_execute("BEGIN"),
        facts::lock_free_accounts(connection, &account_ids),
    );
    begun.map_err(DbError::from)?;
    let is_locked = locked?.len() == count;
    let (loaded, before, is_issued) = tokio::try_join!(
        load(connection, snapshot, &account_ids),
        have_one(connection, &account_ids, offer.offer_no, &mailing.name),
        is_issued(connection, mailing.while_issued),
    )?;
    let is_customer = |id: &i64| {
        let state = loaded.get(id).map(|account| account.state);
        matches!(state, Some(State::Provisional | State::Enrolled))
    };
    if !is_issued || !is_locked || !account_ids.iter().all(is_customer) {
        end(connection, "ROLLBACK").await?;
        return Ok(None);
    }
    let (mut batch, mut codes) = (Batch::new(now), Vec::new());
    for account in account_ids.iter().filter(|id| !before.contains(id)).map(|id| &loaded[id]) {
        let [random] = random_bits();
        let code = Code::new(bucket::of_account(account.account_id), random);
        let spending = purse.plan(&budgets, 1, None).expect("as much is in hand");
        let mut after = account.clone();
        after.version += 1;
        batch.issue_coupon(given(code, after.version, offer, days, &mailing.name, spending));
        batch.account(account.version, &after, None, None);
        codes.push(code);
    }
    if codes.is_empty() {
        end(connection, "ROLLBACK").await?;
    } else {
        // Should the first be refused, so is the second, which cannot say why.
        let (written, traced) = tokio::join!(
            write(connection, &batch),
            trace(connection, "coupon.issue", &codes, mailing.by, now)
        );
        written.and(traced)?;
        end(connection, "COMMIT").await?;
        purse.spent(&batch.drawn(&account_ids.iter().copied().collect()));
    }
    Ok(Some(Given { issued: codes.len(), before: before.len(), ..Given::default() }))
}

/// Which accounts have a coupon of an offer under a name.
async fn have_one(
    connection: &Connection,
    account_ids: &[i64],
    offer_no: i32,
    name: &str,
) -> Result<HashSet<i64>, Error> {
    let client = connection.dedicated.client();
    let rows = client.query(sql::HAVE_ONE, &[&account_ids, &offer_no, &name]).await;
    let found = rows.map_err(DbError::from)?.iter().map(|row| row.get("account_id")).collect();
    Ok(sabotage::brought_before(found))
}
