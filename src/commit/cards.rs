//! Enrolment: who an account belongs to, and which card points at it.
//!
//! | round trip | what                                                            |
//! |------------|-----------------------------------------------------------------|
//! | 1 to 2     | find or open the accounts of the cards                          |
//! | 3          | BEGIN, lock both accounts in order                              |
//! | 4          | cards and accounts as they are under the locks                  |
//! | 5          | one statement and COMMIT                                        |
//!
//! Every change of a card's link raises the version of the old and of the new account, so that
//! no replica can decide on what it remembers of either. Points that gathered on a provisional
//! account move as transfer entries, lot by lot, and with them what it has counted towards tiers;
//! its history stays where it is.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::facts::Wanted;
use super::{Committers, Connection, Shared, facts, sql};
use crate::accounts::Hot;
use crate::db::DbError;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::consent::Profiling;
use crate::domain::ledger::Entry;
use crate::error::Error;

/// What a till asks for at the service desk.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The card in the customer's hand; well-formed.
    pub card: String,
    /// A card of the account that it shall belong to.
    pub link_to: Option<String>,
    /// Who the account belongs to.
    pub member: MemberDetails,
}

/// A person on an account. The only values that stand in the table of personal data.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "the names are what everybody calls these")]
pub struct MemberDetails {
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub birthday: Option<Date>,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// What the person has agreed to.
    pub consents: Vec<String>,
}

impl std::fmt::Debug for MemberDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(personal data)")
    }
}

/// What became of an enrolment.
#[derive(Clone, Debug)]
pub enum Enrolled {
    /// It was done.
    Now(Account),
    /// It was so before; nothing changed.
    Before(Account),
    /// Nobody has used or enrolled the card in `link_to`.
    NoSuchTarget,
    /// The card belongs to another enrolled account.
    OfAnotherAccount,
    /// The card, or the one in `link_to`, has been blocked.
    Blocked,
}

/// What an enrolment changes.
pub(super) struct Change {
    /// The account that the card will belong to, and the entries that lead there.
    pub(super) account: Account,
    pub(super) booked: Vec<Entry>,
    /// The provisional account that the card leaves, emptied.
    pub(super) left: Option<(Account, Vec<Entry>)>,
    /// Whether the account becomes enrolled by this.
    pub(super) enrols: bool,
}

impl Committers {
    /// Enrols or links a card. `today` dates what moves.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] at the deadline, and what the database says; asking again is safe.
    pub async fn enrol(
        &self,
        enrolment: Enrolment,
        today: Date,
        deadline: Instant,
    ) -> Result<Enrolled, Error> {
        self.at_desk(deadline, move |connection, shared| {
            let enrolment = enrolment.clone();
            Box::pin(async move { enrol(connection, shared, &enrolment, today).await })
        })
        .await
    }

    /// Tries something about cards until it is settled. One thing at a time: the desk is not a
    /// till, and the connection is kept from tills' load.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] at the deadline, and what the database says.
    pub(super) async fn at_desk<T, F>(&self, deadline: Instant, attempt: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Connection, &'a Shared) -> Attempt<'a, T> + Send + Sync + 'static,
    {
        let desk = Arc::clone(&self.desk).lock_owned();
        let Ok(mut desk) = tokio::time::timeout_at(deadline, desk).await else {
            return Err(Error::DeadlineExceeded);
        };
        // A task of its own, so that a caller who goes away does not leave accounts locked in a
        // transaction that nobody ends. The desk is free again when it has ended.
        let (shared, connector) = (Arc::clone(&self.shared), Arc::clone(&self.connector));
        let work = tokio::spawn(async move {
            // Taken out meanwhile: a panic costs the connection and nothing else.
            let held = desk.take().filter(|connection| !connection.dedicated.is_lost());
            let connection = match held {
                Some(connection) => connection,
                None => connector.connect().await?,
            };
            let attempts = attempts(&connection, &shared, deadline, &attempt);
            // A connection that has fallen silent is not put back.
            let patience = deadline + connector.silence_max();
            let Ok(outcome) = tokio::time::timeout_at(patience, attempts).await else {
                connection.dedicated.abandon();
                return Err(Error::OutcomeUnknown);
            };
            *desk = Some(connection);
            outcome
        });
        match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown),
        }
    }
}

/// One attempt at something about cards; `None` when it is to be made again, because a card moved
/// between looking and locking.
pub(super) type Attempt<'a, T> = BoxFuture<'a, Result<Option<T>, Error>>;

/// Tries until no card moves meanwhile and nobody holds the accounts for longer than a committer
/// would wait: the deadline ends it, not one busy moment. Leaves no transaction open.
async fn attempts<T>(
    connection: &Connection,
    shared: &Shared,
    deadline: Instant,
    attempt: &(impl for<'a> Fn(&'a Connection, &'a Shared) -> Attempt<'a, T> + Sync),
) -> Result<T, Error> {
    while Instant::now() < deadline {
        let outcome = attempt(connection, shared).await;
        if outcome.is_err() {
            // Should this fail too, the connection is lost, which the next caller finds out.
            let _ = connection.dedicated.client().batch_execute("ROLLBACK").await;
        }
        match outcome {
            Ok(Some(done)) => return Ok(done),
            Ok(None) | Err(Error::Database(DbError::Timeout(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::DeadlineExceeded)
}

/// One attempt; `None` when a card moved between looking and locking.
async fn enrol(
    connection: &Connection,
    shared: &Shared,
    enrolment: &Enrolment,
    today: Date,
) -> Result<Option<Enrolled>, Error> {
    let client = connection.dedicated.client();
    let now = Timestamp::now();

    // ---- which accounts
    let target = match &enrolment.link_to {
        None => None,
        Some(card) => match facts::find_cards(connection, &[card]).await?.get(card) {
            Some(account_id) => Some(*account_id),
            None => return Ok(Some(Enrolled::NoSuchTarget)),
        },
    };
    let card = enrolment.card.as_str();
    let resolved = facts::resolve_cards(connection, shared, &[card], now).await?;
    let (source, _) = resolved[card];
    let mut account_ids = vec![source];
    account_ids.extend(target.filter(|target| *target != source));
    account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));

    // ---- locks, then what is true under them
    let (begun, locked) = tokio::join!(
        client.batch_execute("BEGIN"),
        facts::lock_accounts(connection, &account_ids),
    );
    begun.map_err(DbError::from)?;
    locked?;
    let snapshot = shared.catalogue.current();
    let mut cards = vec![card];
    cards.extend(enrolment.link_to.as_deref());
    let wanted: Vec<Wanted> = account_ids
        .iter()
        .map(|account_id| Wanted { account_id: *account_id, cards: Vec::new() })
        .collect();
    let (links, loaded) = tokio::try_join!(
        facts::find_cards(connection, &cards),
        facts::load_accounts(connection, &snapshot, &wanted),
    )?;
    let moved = links.get(card) != Some(&source)
        || enrolment.link_to.as_ref().is_some_and(|card| links.get(card) != target.as_ref());
    if moved {
        client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
        return Ok(None);
    }
    let accounts: HashMap<i64, Arc<Hot>> =
        loaded.into_iter().map(|hot| (hot.account.account_id, hot)).collect();
    let held = |account_id: i64| {
        let damaged =
            || Error::Damaged(format!("a card points at account {account_id}, which is not there"));
        accounts.get(&account_id).ok_or_else(damaged)
    };

    // ---- decide
    let target = target.filter(|target| *target != source);
    let target = target.map(held).transpose()?;
    let source = held(source)?;
    let is_blocked = |hot: &Arc<Hot>| hot.account.state == State::Blocked;
    if is_blocked(source) || target.is_some_and(is_blocked) {
        client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
        return Ok(Some(Enrolled::Blocked));
    }
    let change = match (&source.account, target.map(|hot| &hot.account)) {
        (source, None) if source.state == State::Enrolled => {
            client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
            return Ok(Some(Enrolled::Before(source.clone())));
        }
        (source, None) => {
            let mut account = source.clone();
            account.version += 1;
            account.state = State::Enrolled;
            Change { account, booked: Vec::new(), left: None, enrols: true }
        }
        (source, Some(_)) if source.state == State::Enrolled => {
            client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
            return Ok(Some(Enrolled::OfAnotherAccount));
        }
        (source, Some(target)) => transfer(source, target, today),
    };

    // ---- write
    write(client, &change, enrolment, today, now).await?;
    client.batch_execute("COMMIT").await.map_err(DbError::from)?;

    // ---- remember
    let hot = target.unwrap_or(source);
    let profile = Arc::clone(&hot.profile);
    let cards = Arc::new([Box::from(card)]);
    let (account, open, tail_since) =
        (change.account.clone(), Arc::clone(&hot.open), hot.tail_since);
    let profiling = match change.enrols {
        true => Profiling::of_member(&enrolment.member.consents),
        false => hot.profiling,
    };
    let hot = Hot { account, cards, profile, open, profiling, tail_since };
    shared.accounts.put(Arc::new(hot));
    shared.accounts.link(card, change.account.account_id);
    if let Some((left, _)) = &change.left {
        shared.accounts.forget(left.account_id);
    }
    Ok(Some(Enrolled::Now(change.account)))
}

/// Moves all points of a provisional account to another one, lot by lot.
pub(super) fn transfer(source: &Account, target: &Account, today: Date) -> Change {
    let (mut left, mut account) = (source.clone(), target.clone());
    let (mut gone, mut booked) = (Vec::new(), Vec::new());
    left.version += 1;
    left.clock = left.clock.max(today);
    left.lots.expire(left.clock, &mut gone);
    account.version += 1;
    account.clock = account.clock.max(today);
    account.lots.expire(account.clock, &mut booked);
    left.lots.move_to(&mut account.lots, &mut gone, &mut booked);
    left.tally.move_to(&mut account.tally);
    // The heir may have lived on past the last day of what it inherits.
    account.lots.expire(account.clock, &mut booked);
    left.state = State::Merged;
    let enrols = account.state == State::Provisional;
    account.state = State::Enrolled;
    Change { account, booked, left: Some((left, gone)), enrols }
}

/// Writes a change inside the transaction that holds the locks. Every statement is read to its
/// end before COMMIT is sent, so that a COMMIT that is answered is a COMMIT that happened.
async fn write(
    client: &Client,
    change: &Change,
    enrolment: &Enrolment,
    today: Date,
    now: Timestamp,
) -> Result<(), Error> {
    let account_id = change.account.account_id;
    let mut changed = vec![(&change.account, &change.booked, None)];
    changed.extend(change.left.iter().map(|(left, gone)| (left, gone, Some(account_id))));
    for (account, entries, merged_into) in changed {
        write_account(client, account, entries, merged_into, today).await?;
    }
    let bucket = i16::from(bucket::of_account(account_id));
    if change.enrols {
        let member = &enrolment.member;
        client
            .execute(
                sql::INSERT_MEMBER,
                &[
                    &bucket,             // $1
                    &account_id,         // $2
                    &member.given_name,  // $3
                    &member.family_name, // $4
                    &member.birthday,    // $5
                    &member.email,       // $6
                    &member.phone,       // $7
                    &member.consents,    // $8
                    &today,              // $9
                ],
            )
            .await
            .map_err(DbError::from)?;
    }
    if change.left.is_some() {
        let card_bucket = i16::from(bucket::of_card(&enrolment.card));
        client
            .execute(
                sql::LINK_CARD,
                &[
                    &card_bucket,    // $1
                    &enrolment.card, // $2
                    &account_id,     // $3
                    &now,            // $4
                ],
            )
            .await
            .map_err(DbError::from)?;
    }
    Ok(())
}

/// One account and the entries that lead to its version.
pub(super) async fn write_account(
    client: &Client,
    account: &Account,
    entries: &[Entry],
    merged_into: Option<i64>,
    today: Date,
) -> Result<(), Error> {
    let bucket = i16::from(bucket::of_account(account.account_id));
    let (expected, state) = (account.version - 1, account.state as i16);
    let (total, lots) = (account.lots.total(), account.lots.encode());
    let (next_expiry, tally) = (account.lots.first_expiry(), account.tally.encode());
    let moved = client
        .execute(
            sql::UPDATE_ACCOUNT,
            &[
                &bucket,             // $1
                &account.account_id, // $2
                &expected,           // $3
                &account.version,    // $4
                &total,              // $5
                &account.clock,      // $6
                &state,              // $7
                &merged_into,        // $8
                &lots,               // $9
                &next_expiry,        // $10
                &tally,              // $11
            ],
        )
        .await
        .map_err(DbError::from)?;
    if moved != 1 {
        return Err(Error::Damaged(format!("account {} moved under a lock", account.account_id)));
    }
    let numbers: Vec<i16> = entries.iter().zip(0..).map(|(_, number)| number).collect();
    let kinds: Vec<i16> = entries.iter().map(|entry| entry.kind as i16).collect();
    let points: Vec<i64> = entries.iter().map(|entry| entry.points).collect();
    let available: Vec<Date> = entries.iter().map(|entry| entry.lot.available_from).collect();
    let expires: Vec<Date> = entries.iter().map(|entry| entry.lot.expires_on).collect();
    client
        .execute(
            sql::INSERT_ENTRIES,
            &[
                &bucket,             // $1
                &account.account_id, // $2
                &account.version,    // $3
                &today,              // $4
                &numbers,            // $5
                &kinds,              // $6
                &points,             // $7
                &available,          // $8
                &expires,            // $9
            ],
        )
        .await
        .map_err(DbError::from)?;
    Ok(())
}
