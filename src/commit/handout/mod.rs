//! The desk, fifth part: coupons of several offers for one account, as a mailing brings them.
//!
//! | round trip | what                                                               |
//! |------------|--------------------------------------------------------------------|
//! | 1 to 2     | which account: its card, and whom it was merged into               |
//! | 3          | BEGIN, lock                                                        |
//! | 4          | the account under the lock, and what it was handed out before      |
//! | 5          | the statement of the committers: account and coupons; and a line   |
//! |            | of the audit trail for each coupon                                 |
//! | 6          | COMMIT                                                             |
//!
//! Before offers with budgets are issued leases are taken of them where none are in hand.
//!
//! A handout has a name, and an account gets at most one coupon of an offer under it: so whoever
//! was cut off begins again, and an answer that was lost is found. What is asked is the account
//! that the card points at, not those that were merged into it. Must never issue a coupon, nor
//! change one, without the version of its account, nor issue one of a handout that has been
//! stopped.

mod back;
mod many;
mod sql;

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::{Instant, timeout};

pub use self::back::{TakeBack, TakenBack};
pub use self::many::Mailing;
use super::batch::Batch;
use super::committer::Connection;
use super::coupons::{begin_with_lock, end, given, random_bits, trace};
use super::desk::{Desk, PATIENCE, PAUSE, Whose, account_of, load, settled, write};
use super::leases::{self, Purse};
use super::sql::HANDED_OUT;
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::account::State;
use crate::domain::bucket;
use crate::domain::budget::Counts;
use crate::domain::coupon::Code;
use crate::domain::offer::{Delivery, Offer};
use crate::error::Error;
use crate::sabotage;

/// Most coupons of one handout.
pub const HANDOUT_COUPONS_MAX: usize = 100;

/// Coupons for one account.
#[derive(Clone, Debug)]
pub struct Handout {
    /// Whose they will be.
    pub whose: Whose,
    /// What people call the offers, each at most once, and the first day on which their coupons
    /// count. 1 to [`HANDOUT_COUPONS_MAX`].
    pub coupons: Vec<(String, Date)>,
    /// Under this name an account gets one coupon of an offer; shown to auditors as who did it.
    pub name: String,
    /// The user of the back office who began it; none at the command line.
    pub by: Option<i32>,
    /// The handout that must still be issued when the coupons are, by its number; none where there
    /// is none.
    pub while_issued: Option<i32>,
}

/// What became of a handout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOut {
    /// The account has what could be issued.
    Done(Given),
    /// There is no such account, or nobody has used the card.
    NoSuchAccount,
    /// It is a workstation's own, which has no coupons.
    NoCustomer,
    /// The card has been blocked.
    Blocked,
    /// People have stopped it.
    Stopped,
}

/// How many coupons a handout brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Issued now.
    pub issued: usize,
    /// Issued before, under the same name.
    pub before: usize,
    /// Of offers that do not exist, are over, or have not begun on that day.
    pub not_live: usize,
    /// Of offers whose budgets have nothing left, or nothing that tills do not hold.
    pub budget_spent: usize,
}

impl Desk {
    /// Carries a handout out, once. Tries again while others hold the account, and when the
    /// connection is lost.
    ///
    /// # Errors
    /// What the database says, in the end. Asking again is safe.
    pub async fn hand_out(
        &mut self,
        snapshot: &Snapshot,
        handout: &Handout,
        now: Timestamp,
    ) -> Result<HandedOut, Error> {
        let deadline = Instant::now() + PATIENCE;
        // Drawn before the first attempt, so that each makes the same codes.
        let random: Vec<u64> = handout.coupons.iter().flat_map(|_| random_bits::<1>()).collect();
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let purse = &mut self.purse;
                    let attempt = hand_out(&connection, snapshot, handout, &random, now, purse);
                    let outcome = timeout(self.connector.silence_max(), attempt).await;
                    if !matches!(&outcome, Ok(Ok(_))) {
                        self.purse.failed();
                    }
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
}

/// One attempt; `None` when the card or the account moved between looking and locking.
async fn hand_out(
    connection: &Connection,
    snapshot: &Snapshot,
    handout: &Handout,
    random: &[u64],
    now: Timestamp,
    purse: &mut Purse,
) -> Result<Option<HandedOut>, Error> {
    let Handout { whose, coupons, name, by, while_issued } = handout;
    let Some(account_id) = account_of(connection, whose).await? else {
        return Ok(Some(HandedOut::NoSuchAccount));
    };
    let wanted: Vec<Option<(&Offer, (Date, Date))>> =
        coupons.iter().map(|(offer, on)| live(snapshot, offer, *on)).collect();
    purse.begin(Instant::now());
    for (offer, _) in wanted.iter().flatten() {
        leases::stock(connection.dedicated.client(), purse, offer, 1, 1).await?;
    }

    let account_ids = [account_id];
    begin_with_lock(connection, &account_ids).await?;
    let (under_lock, loaded, before, is_issued) = tokio::try_join!(
        account_of(connection, whose),
        load(connection, snapshot, &account_ids),
        handed_out(connection, account_id, name),
        is_issued(connection, *while_issued),
    )?;
    let refused = match loaded.get(&account_id) {
        _ if under_lock != Some(account_id) => None,
        _ if !is_issued => Some(HandedOut::Stopped),
        None => Some(HandedOut::NoSuchAccount),
        Some(account) if account.state == State::House => Some(HandedOut::NoCustomer),
        Some(account) if account.state == State::Blocked => Some(HandedOut::Blocked),
        Some(account) => {
            let mut after = account.clone();
            after.version += 1;
            let (mut batch, mut brought) = (Batch::new(now), Given::default());
            let mut codes = Vec::new();
            for (wanted, random) in wanted.iter().zip(random) {
                let code = Code::new(bucket::of_account(account_id), *random);
                let Some((offer, days)) = *wanted else {
                    brought.not_live += 1;
                    continue;
                };
                match before.get(&offer.offer_no) {
                    // The answer to an earlier attempt was lost, and the attempt had succeeded.
                    Some(earlier) if *earlier == code => brought.issued += 1,
                    Some(_) => brought.before += 1,
                    None => {
                        let budgets = offer.budgets.of(offer.offer_no, None, Counts::Coupons);
                        let Some(spending) = purse.plan(&budgets, 1, None) else {
                            brought.budget_spent += 1;
                            continue;
                        };
                        let version = after.version;
                        batch.issue_coupon(given(code, version, offer, days, name, spending));
                        codes.push(code);
                    }
                }
            }
            brought.issued += codes.len();
            if !codes.is_empty() {
                batch.account(account.version, &after, None, None);
                // Should the first be refused, so is the second, which cannot say why.
                let (written, traced) = tokio::join!(
                    write(connection, &batch),
                    trace(connection, "coupon.issue", &codes, *by, now)
                );
                written.and(traced)?;
                end(connection, "COMMIT").await?;
                purse.spent(&batch.drawn(&account_ids.into()));
                return Ok(Some(HandedOut::Done(brought)));
            }
            Some(HandedOut::Done(brought))
        }
    };
    end(connection, "ROLLBACK").await?;
    Ok(refused)
}

/// An offer of which people issue coupons on a day, with the days on which those count.
fn live<'a>(snapshot: &'a Snapshot, offer: &str, on: Date) -> Option<(&'a Offer, (Date, Date))> {
    let offer = snapshot.offer_named(offer)?;
    let is_personal = offer.definition.delivery == Delivery::Personal;
    Some((offer, offer.validity(on).filter(|_| is_personal)?))
}

/// Whether a handout, where there is one, is still being issued. It cannot be stopped before the
/// transaction ends. Asked under the locks of accounts, so that whoever stops it waits for nobody
/// who waits for an account.
async fn is_issued(connection: &Connection, handout_no: Option<i32>) -> Result<bool, Error> {
    let Some(handout_no) = handout_no else { return Ok(true) };
    let found = connection.dedicated.client().query_opt(sql::IS_ISSUING, &[&handout_no]).await;
    Ok(found.map_err(DbError::from)?.is_some())
}

/// What an account was handed out under a name, by offer.
async fn handed_out(
    connection: &Connection,
    account_id: i64,
    name: &str,
) -> Result<HashMap<i32, Code>, Error> {
    let client = connection.dedicated.client();
    let rows = client.query(HANDED_OUT, &[&account_id, &name]).await.map_err(DbError::from)?;
    let code = |row: &tokio_postgres::Row| Code::from_number(row.get("code"));
    let found = rows.iter().map(|row| (row.get("offer_no"), code(row))).collect();
    Ok(sabotage::brought_before(found))
}
