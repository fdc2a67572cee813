//! A card that was lost: people block it, another one may take its place, or it is found again.
//!
//! | round trip | what                                                            |
//! |------------|-----------------------------------------------------------------|
//! | 1          | find or open the account of the new card                        |
//! | 2          | BEGIN, lock the accounts in order                               |
//! | 3          | cards and accounts as they are under the locks                  |
//! | 4          | accounts, links, the line in the audit trail, and COMMIT        |
//!
//! A blocked card points at an account of its own from then on. Nothing of its customer's can be
//! spent, redeemed or seen with it; what is bought with it all the same is recorded, and what
//! that earns waits there, and moves to the customer should the block have been a mistake. To
//! tills it is a card like any other, so a blocked card costs a swipe nothing. As with every
//! change of a link, the version of the account that the card leaves is raised: no replica can
//! decide on what it remembers.

mod sql;

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::Instant;

use super::cards::{Change, transfer, write_account};
use super::facts::Wanted;
use super::sql::LINK_CARD;
use super::{Committers, Connection, Shared, facts};
use crate::db::DbError;
use crate::domain::account::{Account, CLOCK_START, State};
use crate::domain::bucket;
use crate::domain::ledger::Lots;
use crate::error::Error;
use crate::receipt::account_text;

/// What people do with a card that was lost.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The account.
    pub account_id: i64,
    /// A card of it, which is blocked unless it has been.
    pub card: String,
    /// The card that takes its place; none: it is only blocked; the card itself: it is found
    /// again, and no longer blocked. Well-formed.
    pub by: Option<String>,
    /// The user of the back office who does it.
    pub user_no: Option<i32>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is done, now or before.
    Done,
    /// The card is none of this account's, or there is no such account.
    NoSuchCard,
    /// Nobody has enrolled the account, or it was merged into another.
    NotEnrolled,
    /// The new card belongs to another account.
    OfAnotherAccount,
    /// The new card has been blocked.
    Blocked,
}

impl Committers {
    /// Blocks a card, and puts another one in its place. `today` dates what moves with it.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] at the deadline, and what the database says; asking again is safe.
    pub async fn replace(
        &self,
        replacement: Replacement,
        today: Date,
        deadline: Instant,
    ) -> Result<Replaced, Error> {
        self.at_desk(deadline, move |connection, shared| {
            let replacement = replacement.clone();
            Box::pin(async move { replace(connection, shared, &replacement, today).await })
        })
        .await
    }
}

/// One attempt; `None` when a card moved between looking and locking.
async fn replace(
    connection: &Connection,
    shared: &Shared,
    replacement: &Replacement,
    today: Date,
) -> Result<Option<Replaced>, Error> {
    let Replacement { account_id, card, by, .. } = replacement;
    let client = connection.dedicated.client();
    let now = Timestamp::now();

    // ---- which accounts; then locks, and what is true under them
    let found = facts::find_cards(connection, &[card]).await?;
    if found.is_empty() {
        return Ok(Some(Replaced::NoSuchCard));
    }
    let source = match by.as_deref() {
        None => None,
        Some(by) => Some(facts::resolve_cards(connection, shared, &[by], now).await?[by].0),
    };
    let source = source.filter(|source| source != account_id);
    let mut account_ids = vec![*account_id];
    account_ids.extend(source);
    account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));
    let (begun, locked) = tokio::join!(
        client.batch_execute("BEGIN"),
        facts::lock_accounts(connection, &account_ids),
    );
    begun.map_err(DbError::from)?;
    locked?;
    let snapshot = shared.catalogue.current();
    let mut cards = vec![card.as_str()];
    cards.extend(by.as_deref());
    let wanted = |account_id: &i64| Wanted { account_id: *account_id, cards: Vec::new() };
    let wanted: Vec<Wanted> = account_ids.iter().map(wanted).collect();
    let bucket = i16::from(bucket::of_card(card));
    let (links, loaded, blocked) = tokio::try_join!(
        facts::find_cards(connection, &cards),
        facts::load_accounts(connection, &snapshot, &wanted),
        async {
            let row = client.query_opt(sql::BLOCKED_FROM, &[&bucket, card]).await;
            let row = row.map_err(DbError::from)?;
            Ok::<Option<i64>, Error>(row.and_then(|row| row.get(0)))
        },
    )?;
    let accounts: HashMap<i64, Account> =
        loaded.iter().map(|hot| (hot.account.account_id, hot.account.clone())).collect();

    // ---- decide
    let is_linked = links.get(card) == Some(account_id);
    let unblocks = by.as_ref() == Some(card);
    let change_of = |account: &Account| {
        let mut account = account.clone();
        account.version += 1;
        Change { account, booked: Vec::new(), left: None, enrols: false }
    };
    let moved = by.as_ref().is_some_and(|by| links.get(by) != Some(&source.unwrap_or(*account_id)));
    let left = source.and_then(|source| accounts.get(&source));
    let decided = match (accounts.get(account_id), left) {
        _ if moved => Err(None),
        (None, _) => Err(Some(Replaced::NoSuchCard)),
        (Some(_), _) if !is_linked && blocked != Some(*account_id) => {
            Err(Some(Replaced::NoSuchCard))
        }
        (Some(account), _) if account.state != State::Enrolled => Err(Some(Replaced::NotEnrolled)),
        (Some(account), Some(left)) => match left.state {
            State::Provisional => Ok(transfer(left, account, today)),
            State::Blocked if unblocks => Ok(transfer(left, account, today)),
            State::Blocked => Err(Some(Replaced::Blocked)),
            _ => Err(Some(Replaced::OfAnotherAccount)),
        },
        (Some(account), None) if is_linked && !unblocks => Ok(change_of(account)),
        (Some(_), None) => Err(Some(Replaced::Done)),
    };
    let change = match decided {
        Ok(change) => change,
        Err(outcome) => {
            client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
            return Ok(outcome);
        }
    };

    let blocks = is_linked && !unblocks;
    write(connection, shared, replacement, &change, blocks, today, now).await?;
    client.batch_execute("COMMIT").await.map_err(DbError::from)?;
    for account_id in account_ids {
        shared.accounts.forget(account_id);
    }
    Ok(Some(Replaced::Done))
}

/// Writes a change inside the transaction that holds the locks; every statement is read to its
/// end before COMMIT is sent.
async fn write(
    connection: &Connection,
    shared: &Shared,
    replacement: &Replacement,
    change: &Change,
    blocks: bool,
    today: Date,
    now: Timestamp,
) -> Result<(), Error> {
    let client = connection.dedicated.client();
    let Replacement { account_id, card, by, user_no } = replacement;
    write_account(client, &change.account, &change.booked, None, today).await?;
    if let (Some((left, gone)), Some(by)) = (&change.left, by) {
        write_account(client, left, gone, Some(*account_id), today).await?;
        let bucket = i16::from(bucket::of_card(by));
        let linked = client.execute(LINK_CARD, &[&bucket, by, account_id, &now]).await;
        linked.map_err(DbError::from)?;
    }
    if blocks {
        let waiting = facts::new_account_id(connection, shared).await?;
        let bucket = i16::from(bucket::of_account(waiting));
        let (state, lots) = (State::Blocked as i16, Lots::default().encode());
        client
            .execute(sql::OPEN_ACCOUNT, &[&bucket, &waiting, &CLOCK_START, &state, &lots])
            .await
            .map_err(DbError::from)?;
        let bucket = i16::from(bucket::of_card(card));
        client
            .execute(sql::BLOCK_CARD, &[&bucket, card, &waiting, &now, account_id])
            .await
            .map_err(DbError::from)?;
    }
    let bucket = i16::from(bucket::of_account(*account_id));
    let cards = i16::from(change.left.is_some()) - i16::from(blocks);
    client
        .execute(
            sql::INSERT_CARD_CHANGE,
            &[&bucket, account_id, &change.account.version, &now, &cards],
        )
        .await
        .map_err(DbError::from)?;
    // Cards are not shown whole where they serve nobody.
    let end = card.get(card.len().saturating_sub(4)..).unwrap_or_default();
    let object = format!("{} card …{end}", account_text(*account_id));
    let action = match by {
        None => "card.block",
        Some(by) if by == card => "card.unblock",
        Some(_) => "card.replace",
    };
    let traced = client.execute(sql::AUDIT_CARD, &[&now, user_no, &action, &object]).await;
    traced.map_err(DbError::from)?;
    Ok(())
}
