//! The desk, third part: coupons that people issue and take back.
//!
//! | round trip | what                                                               |
//! |------------|--------------------------------------------------------------------|
//! | 1 to 2     | which account: its card, and whom it was merged into; or the       |
//! |            | coupon's own                                                       |
//! | 3          | BEGIN, lock                                                        |
//! | 4          | the account and the coupons as they are under the lock             |
//! | 5          | the statement of the committers: account and coupons; and a line   |
//! |            | of the audit trail for each coupon                                 |
//! | 6          | COMMIT                                                             |
//!
//! Before an offer with a budget is issued a lease is taken of it, 1 more, where none is in hand.
//!
//! The random bits of codes are drawn once for an order, here or by whoever gives it, and before
//! its first attempt: so an order that is tried again finds the coupons that it has issued
//! already, also when the account has been merged into another meanwhile. Must never change a
//! coupon without the version of its account.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::{Instant, timeout};

use super::batch::{Batch, CouponChange, CouponIssue};
use super::committer::Connection;
use super::coupon_facts;
use super::desk::{Desk, PATIENCE, PAUSE, Whose, account_of, load, settled, write};
use super::leases::{self, Purse, Spending};
use super::{facts, sql};
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::account::State;
use crate::domain::bucket;
use crate::domain::budget::Counts;
use crate::domain::coupon::{self, Code};
use crate::domain::offer::{Delivery, Offer};
use crate::domain::selection::showcase::Why;
use crate::error::Error;
use crate::sabotage;

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
    /// The same, once: the order can be given again, by anybody and at any time.
    IssueOnce {
        /// Whose they will be; its heir's when it has been merged.
        account_id: i64,
        /// What people call the offer.
        offer: String,
        /// What their codes are made of: 64 bits each, which nobody can guess and which mean
        /// this order and no other. 1 to [`ORDER_COUPONS_MAX`].
        random: Vec<u64>,
        /// Who does it.
        actor: String,
        /// The first day on which they count.
        on: Date,
    },
    /// Take a coupon back.
    Revoke(Code),
}

/// [`Order::Issue`] and [`Order::IssueOnce`], alike.
struct Issue<'a> {
    whose: Whose,
    offer: &'a str,
    random: Vec<u64>,
    actor: &'a str,
    on: Date,
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
    /// Nothing is left of the offer's budget, or nothing that is not in the hands of tills.
    BudgetSpent,
    /// No such coupon was issued.
    NoSuchCoupon,
    /// The offer has codes, and is issued to nobody.
    NotPersonal,
}

impl Desk {
    /// Carries an order out that is given at the command line.
    ///
    /// # Errors
    /// As [`Desk::order_by`].
    pub async fn order(
        &mut self,
        snapshot: &Snapshot,
        order: &Order,
        now: Timestamp,
    ) -> Result<Ordered, Error> {
        self.order_by(snapshot, order, None, now).await
    }

    /// Carries an order of a user of the back office out. Tries again while others hold the
    /// account, and when the connection is lost.
    ///
    /// # Errors
    /// What the database says, in the end. It is not known then whether coupons were issued.
    pub async fn order_by(
        &mut self,
        snapshot: &Snapshot,
        order: &Order,
        user_no: Option<i32>,
        now: Timestamp,
    ) -> Result<Ordered, Error> {
        let deadline = Instant::now() + PATIENCE;
        let issue = match order {
            Order::Revoke(_) => None,
            Order::Issue { whose, offer, count, actor, on } => Some(Issue {
                whose: whose.clone(),
                offer,
                random: (0..*count).flat_map(|_| random_bits::<1>()).collect(),
                actor,
                on: *on,
            }),
            Order::IssueOnce { account_id, offer, random, actor, on } => Some(Issue {
                whose: Whose::Account(*account_id),
                offer,
                random: random.clone(),
                actor,
                on: *on,
            }),
        };
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let attempt = async {
                        match (order, &issue) {
                            (Order::Revoke(code), _) => {
                                revoke(&connection, snapshot, *code, user_no, now).await
                            }
                            (_, Some(order)) => {
                                let purse = &mut self.purse;
                                issue_all(&connection, snapshot, order, user_no, now, purse).await
                            }
                            (_, None) => Ok(None),
                        }
                    };
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

    /// Lets go of what it holds of budgets. Where it is not done, that is there again when the
    /// leases run out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn give_back(&mut self) -> Result<(), Error> {
        self.purse.empty();
        let closing = self.purse.all_closing();
        if closing.is_empty() {
            return Ok(());
        }
        let connection = self.take_connection().await?;
        let client = connection.dedicated.client();
        let giving = async {
            for (key, lease_nos) in &closing {
                leases::close(client, *key, lease_nos).await?;
            }
            Ok(())
        };
        let outcome = timeout(self.connector.silence_max(), giving).await;
        self.put_back(connection, outcome).await
    }
}

/// A coupon that people give, for these days.
pub(super) fn given(
    code: Code,
    version: i64,
    offer: &Offer,
    (valid_from, valid_until): (Date, Date),
    actor: &str,
    spending: Spending,
) -> CouponIssue {
    let (offer_no, actor) = (offer.offer_no, actor.to_owned());
    let why = Why::GIVEN;
    CouponIssue {
        code,
        version,
        offer_no,
        valid_from,
        valid_until,
        actor,
        why,
        spending,
        used: None,
    }
}

/// 64 bits for each, so that nobody can guess a code from others. The thread's generator is seeded
/// by the kernel, again after every 64 kB; asking the kernel each time cost a swipe two calls.
pub(super) fn random_bits<const N: usize>() -> [u64; N] {
    rand::random()
}

/// One attempt; `None` when a card or an account moved between looking and locking.
async fn issue_all(
    connection: &Connection,
    snapshot: &Snapshot,
    order: &Issue<'_>,
    user_no: Option<i32>,
    now: Timestamp,
    purse: &mut Purse,
) -> Result<Option<Ordered>, Error> {
    let line = line_of(connection, &order.whose).await?;
    let Some(account_id) = line.last().copied() else { return Ok(Some(Ordered::NoSuchAccount)) };
    let offer = snapshot.offer_named(order.offer);
    let validity = offer.and_then(|offer| offer.validity(order.on));
    let spendings = match offer.filter(|_| validity.is_some()) {
        Some(offer) => {
            let count = order.random.len();
            purse.begin(Instant::now());
            leases::stock(connection.dedicated.client(), purse, offer, count, count).await?;
            let budgets = offer.budgets.of(offer.offer_no, None, Counts::Coupons);
            // None when nothing is left.
            (0..count).map(|_| purse.plan(&budgets, 1, None)).collect::<Option<Vec<Spending>>>()
        }
        None => None,
    };
    let account_ids = [account_id];
    begin_with_lock(connection, &account_ids).await?;
    let random = sabotage::bits(&order.random);
    let codes_of = |account_id: i64| {
        let bucket = bucket::of_account(account_id);
        random.iter().map(move |random| Code::new(bucket, *random))
    };
    // An earlier attempt may have met any account of the line as the last one.
    let earlier: Vec<Code> = line.iter().flat_map(|account_id| codes_of(*account_id)).collect();
    let (under_lock, loaded, before) = tokio::try_join!(
        account_of(connection, &order.whose),
        load(connection, snapshot, &account_ids),
        coupon_facts::find_coupons(connection, &earlier),
    )?;
    let before = before.values().find(|coupon| line.contains(&coupon.holder));
    let refused = match (loaded.get(&account_id), before, offer, validity) {
        _ if under_lock != Some(account_id) => None,
        // The answer to an earlier attempt was lost, and the attempt had succeeded.
        (_, Some(before), ..) => Some(Ordered::Issued {
            codes: codes_of(before.holder).collect(),
            account_id: before.holder,
            valid_from: before.valid_from,
            valid_until: before.valid_until,
        }),
        (None, ..) => Some(Ordered::NoSuchAccount),
        (Some(account), ..) if account.state == State::House => Some(Ordered::NoCustomer),
        (_, _, None, _) => Some(Ordered::NoSuchOffer),
        (_, _, Some(it), _) if it.definition.delivery != Delivery::Personal => {
            Some(Ordered::NotPersonal)
        }
        (_, _, _, None) => Some(Ordered::OfferNotLive),
        _ if spendings.is_none() => Some(Ordered::BudgetSpent),
        (Some(account), None, Some(offer), Some((valid_from, valid_until))) => {
            let mut after = account.clone();
            after.version += 1;
            let mut batch = Batch::new(now);
            let codes: Vec<Code> = codes_of(account_id).collect();
            for (code, spending) in codes.iter().zip(spendings.into_iter().flatten()) {
                let days = (valid_from, valid_until);
                let issue = given(*code, after.version, offer, days, order.actor, spending);
                batch.issue_coupon(issue);
            }
            batch.account(account.version, &after, None, None);
            // Should the first be refused, so is the second, which cannot say why.
            let (written, traced) = tokio::join!(
                write(connection, &batch),
                trace(connection, "coupon.issue", &codes, user_no, now)
            );
            written.and(traced)?;
            end(connection, "COMMIT").await?;
            purse.spent(&batch.drawn(&HashSet::from([account_id])));
            return Ok(Some(Ordered::Issued { codes, account_id, valid_from, valid_until }));
        }
    };
    end(connection, "ROLLBACK").await?;
    Ok(refused)
}

/// The account that is meant and those that it was merged into, one after another; none when
/// nobody has used the card.
async fn line_of(connection: &Connection, whose: &Whose) -> Result<Vec<i64>, Error> {
    let first = match whose {
        Whose::Account(account_id) => Some(*account_id),
        Whose::Card(_) => account_of(connection, whose).await?,
    };
    let mut line: Vec<i64> = first.into_iter().collect();
    while let Some(last) = line.last() {
        let heirs = facts::find_heirs(connection, &[*last]).await?;
        let Some(heir) = heirs.get(last) else { break };
        line.push(*heir);
    }
    Ok(line)
}

/// A line of the audit trail for each coupon.
pub(super) async fn trace(
    connection: &Connection,
    action: &str,
    codes: &[Code],
    user_no: Option<i32>,
    now: Timestamp,
) -> Result<(), Error> {
    let objects: Vec<String> = codes.iter().map(|code| format!("coupon:{code}")).collect();
    let client = connection.dedicated.client();
    let traced = client.execute(sql::AUDIT_COUPONS, &[&now, &user_no, &action, &objects]).await;
    traced.map_err(DbError::from)?;
    Ok(())
}

async fn revoke(
    connection: &Connection,
    snapshot: &Snapshot,
    code: Code,
    user_no: Option<i32>,
    now: Timestamp,
) -> Result<Option<Ordered>, Error> {
    let found = coupon_facts::find_coupons(connection, &[code]).await?;
    let Some(coupon) = found.get(&code) else { return Ok(Some(Ordered::NoSuchCoupon)) };
    if coupon.is_unbound() {
        return revoke_unbound(connection, code, coupon.state, user_no, now).await;
    }
    let whose = Whose::Account(coupon.holder);
    let Some(account_id) = account_of(connection, &whose).await? else {
        return Ok(Some(Ordered::NoSuchAccount));
    };
    let (account_ids, codes) = ([account_id], [code]);
    begin_with_lock(connection, &account_ids).await?;
    let (under_lock, loaded, found) = tokio::try_join!(
        account_of(connection, &whose),
        load(connection, snapshot, &account_ids),
        coupon_facts::find_coupons(connection, &codes),
    )?;
    if under_lock != Some(account_id) {
        end(connection, "ROLLBACK").await?;
        return Ok(None);
    }
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
                value_minor: None,
                over_budget: false,
                over_limit: false,
                was: None,
                pool_no: None,
                spending: Spending::default(),
            });
            batch.account(account.version, &after, None, None);
            // Should the first be refused, so is the second, which cannot say why.
            let (written, traced) = tokio::join!(
                write(connection, &batch),
                trace(connection, "coupon.revoke", &codes, user_no, now)
            );
            written.and(traced)?;
            end(connection, "COMMIT").await?;
            return Ok(Some(Ordered::Revoked));
        }
    };
    end(connection, "ROLLBACK").await?;
    Ok(Some(refused))
}

/// Takes back a code that nobody has used; `None` when somebody did at this moment.
async fn revoke_unbound(
    connection: &Connection,
    code: Code,
    state: coupon::State,
    user_no: Option<i32>,
    now: Timestamp,
) -> Result<Option<Ordered>, Error> {
    if state == coupon::State::Revoked {
        return Ok(Some(Ordered::Revoked));
    }
    let client = connection.dedicated.client();
    client.batch_execute("BEGIN").await.map_err(DbError::from)?;
    let (bucket, number) = (i16::from(code.bucket()), code.number());
    let revoked = client.execute(sql::REVOKE_UNBOUND, &[&bucket, &number]).await;
    if revoked.map_err(DbError::from)? == 0 {
        end(connection, "ROLLBACK").await?;
        return Ok(None);
    }
    trace(connection, "coupon.revoke", &[code], user_no, now).await?;
    end(connection, "COMMIT").await?;
    Ok(Some(Ordered::Revoked))
}

/// Opens a transaction that holds the account.
pub(super) async fn begin_with_lock(
    connection: &Connection,
    account_ids: &[i64],
) -> Result<(), Error> {
    let client = connection.dedicated.client();
    let (begun, locked) =
        tokio::join!(client.batch_execute("BEGIN"), facts::lock_accounts(connection, account_ids));
    begun.map_err(DbError::from)?;
    locked
}

pub(super) async fn end(connection: &Connection, how: &str) -> Result<(), Error> {
    let ended = connection.dedicated.client().batch_execute(how).await;
    Ok(ended.map_err(DbError::from)?)
}
