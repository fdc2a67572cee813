//! The desk, third part: coupons that people issue and take back.
//!
//! | round trip | what                                                               |
//! |------------|--------------------------------------------------------------------|
//! | 1 to 2     | which account: its card, and whom it was merged into; or the       |
//! |            | coupon's own                                                       |
//! | 3          | BEGIN, lock                                                        |
//! | 4          | the account and the coupons as they are under the lock             |
//! | 5          | the statement of the committers: account and coupons               |
//! | 6          | COMMIT                                                             |
//!
//! Draws the random bits of codes, once for an order and before its first attempt: so an order
//! that is tried again finds the coupons that it has issued already. Must never change a coupon
//! without the version of its account.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::{Instant, timeout};

use super::batch::{Batch, CouponChange, CouponIssue};
use super::committer::Connection;
use super::desk::{Desk, PATIENCE, PAUSE, Whose, account_of, load, settled, write};
use super::facts;
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::account::State;
use crate::domain::bucket;
use crate::domain::coupon::{self, Code};
use crate::error::Error;

/// Most coupons of one order.
pub const ORDER_COUPONS_MAX: u16 = 100;

/// What people do with coupons.
#[derive(Clone, Debug)]
pub enum Order {
    /// Give an account coupons of an offer.
    Issue {
        /// Whose they will be.
        whose: Whose,
        /// What people call the offer.
        offer: String,
        /// How many, 1 to [`ORDER_COUPONS_MAX`].
        count: u16,
        /// Who does it.
        actor: String,
        /// The first day on which they count.
        on: Date,
    },
    /// Take a coupon back.
    Revoke(Code),
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// The account has these coupons, for these days.
    Issued {
        /// Their codes.
        codes: Vec<Code>,
        /// The account.
        account_id: i64,
        /// The first day on which they count.
        valid_from: Date,
        /// The last one.
        valid_until: Date,
    },
    /// The coupon has been taken back, now or before.
    Revoked,
    /// A till has taken the coupon; nothing changed.
    Redeemed,
    /// There is no such account, or nobody has used the card.
    NoSuchAccount,
    /// It is a workstation's own, which has no coupons.
    NoCustomer,
    /// No offer is called so.
    NoSuchOffer,
    /// The offer is over, or has not begun.
    OfferNotLive,
    /// No such coupon was issued.
    NoSuchCoupon,
}

impl Desk {
    /// Carries an order out. Tries again while others hold the account, and when the connection
    /// is lost.
    ///
    /// # Errors
    /// What the database says, in the end. It is not known then whether coupons were issued.
    pub async fn order(
        &mut self,
        snapshot: &Snapshot,
        order: &Order,
        now: Timestamp,
    ) -> Result<Ordered, Error> {
        let random: Vec<u64> = match order {
            Order::Issue { count, .. } => (0..*count).map(|_| random_bits()).collect(),
            Order::Revoke(_) => Vec::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let attempt = attempt(&connection, snapshot, order, &random, now);
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
}

/// 64 bits of the system's generator, so that nobody can guess a code from others.
fn random_bits() -> u64 {
    getrandom::u64().expect("the kernel gives random bytes once it has booted")
}

/// One attempt; `None` when a card moved between looking and locking.
async fn attempt(
    connection: &Connection,
    snapshot: &Snapshot,
    order: &Order,
    random: &[u64],
    now: Timestamp,
) -> Result<Option<Ordered>, Error> {
    match order {
        Order::Revoke(code) => revoke(connection, snapshot, *code, now).await,
        Order::Issue { .. } => issue(connection, snapshot, order, random, now).await,
    }
}

async fn issue(
    connection: &Connection,
    snapshot: &Snapshot,
    order: &Order,
    random: &[u64],
    now: Timestamp,
) -> Result<Option<Ordered>, Error> {
    let Order::Issue { whose, offer, actor, on, .. } = order else { return Ok(None) };
    let Some(offer) = snapshot.offer_named(offer) else { return Ok(Some(Ordered::NoSuchOffer)) };
    let Some((valid_from, valid_until)) = offer.validity(*on) else {
        return Ok(Some(Ordered::OfferNotLive));
    };
    let Some(account_id) = account_of(connection, whose).await? else {
        return Ok(Some(Ordered::NoSuchAccount));
    };
    let account_ids = [account_id];
    begin_with_lock(connection, &account_ids).await?;
    let bucket = bucket::of_account(account_id);
    let codes: Vec<Code> = random.iter().map(|random| Code::new(bucket, *random)).collect();
    let (under_lock, loaded, before) = tokio::try_join!(
        account_of(connection, whose),
        load(connection, snapshot, &account_ids),
        facts::find_coupons(connection, &codes),
    )?;
    let issued = Ordered::Issued { codes: codes.clone(), account_id, valid_from, valid_until };
    let refused = match loaded.get(&account_id) {
        _ if under_lock != Some(account_id) => None,
        // The answer to an earlier attempt was lost, and the attempt had succeeded.
        _ if before.values().any(|coupon| coupon.account_id == account_id) => Some(issued),
        None => Some(Ordered::NoSuchAccount),
        Some(account) if account.state == State::House => Some(Ordered::NoCustomer),
        Some(account) => {
            let mut after = account.clone();
            after.version += 1;
            let mut batch = Batch::new(now);
            for code in &codes {
                batch.issue_coupon(CouponIssue {
                    code: *code,
                    version: after.version,
                    offer_no: offer.offer_no,
                    valid_from,
                    valid_until,
                    actor: actor.clone(),
                });
            }
            batch.account(account.version, &after, None, None);
            write(connection, &batch).await?;
            end(connection, "COMMIT").await?;
            return Ok(Some(issued));
        }
    };
    end(connection, "ROLLBACK").await?;
    Ok(refused)
}

async fn revoke(
    connection: &Connection,
    snapshot: &Snapshot,
    code: Code,
    now: Timestamp,
) -> Result<Option<Ordered>, Error> {
    let found = facts::find_coupons(connection, &[code]).await?;
    let Some(coupon) = found.get(&code) else { return Ok(Some(Ordered::NoSuchCoupon)) };
    let account_id = coupon.account_id;
    let (account_ids, codes) = ([account_id], [code]);
    begin_with_lock(connection, &account_ids).await?;
    let (loaded, found) = tokio::try_join!(
        load(connection, snapshot, &account_ids),
        facts::find_coupons(connection, &codes),
    )?;
    let refused = match (loaded.get(&account_id), found.get(&code)) {
        (None, _) => Ordered::NoSuchAccount,
        (_, None) => Ordered::NoSuchCoupon,
        (_, Some(coupon)) if coupon.state == coupon::State::Revoked => Ordered::Revoked,
        (_, Some(coupon)) if coupon.state == coupon::State::Redeemed => Ordered::Redeemed,
        (Some(account), Some(_)) => {
            let mut after = account.clone();
            after.version += 1;
            let mut batch = Batch::new(now);
            batch.change_coupon(&CouponChange {
                code,
                version: after.version,
                state: coupon::State::Revoked,
                redeemed_on: None,
                over_value: false,
            });
            batch.account(account.version, &after, None, None);
            write(connection, &batch).await?;
            end(connection, "COMMIT").await?;
            return Ok(Some(Ordered::Revoked));
        }
    };
    end(connection, "ROLLBACK").await?;
    Ok(Some(refused))
}

/// Opens a transaction that holds the account.
async fn begin_with_lock(connection: &Connection, account_ids: &[i64]) -> Result<(), Error> {
    let client = connection.dedicated.client();
    let (begun, locked) =
        tokio::join!(client.batch_execute("BEGIN"), facts::lock_accounts(connection, account_ids));
    begun.map_err(DbError::from)?;
    locked
}

async fn end(connection: &Connection, how: &str) -> Result<(), Error> {
    let ended = connection.dedicated.client().batch_execute(how).await;
    Ok(ended.map_err(DbError::from)?)
}
