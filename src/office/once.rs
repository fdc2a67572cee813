//! Creations happen once for each `Idempotency-Key` of a user: a repetition gets what the first
//! was answered, other content under the same key is refused, and so is what comes while the
//! first is under way. Answers are kept for a bounded time; failures are not kept at all. What a
//! creation of many parts sets out to do is kept from before its first part on, so that another
//! attempt under the same key goes on with it.

use jiff::{Span, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{Actor, sql};
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::error::Error;
use crate::http::problem::{Problem, Slug};

/// Longest key.
const KEY_MAX: usize = 128;
/// A request that has not ended after so many seconds was cut off; its key can be used again. No
/// request may work for as long.
const CUT_OFF_S: i64 = 60;

/// A key that is held for the request under way.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose key it is.
    pub(super) user_no: i32,
    /// What stands for it.
    pub(super) key_hash: Vec<u8>,
}

/// Whether a creation is to be done.
#[derive(Debug)]
pub enum Once {
    /// It comes for the first time.
    First(Claim),
    /// It was done before, and answered like this.
    Again(u16, Vec<u8>),
}

/// What a creation asks for, as far as repetitions are told by it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The header's value, if there was one.
    pub key: Option<&'a str>,
    /// The path, its parameters filled in.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl Claim {
    /// A short name for what is created under this key, the same for every repetition.
    pub fn id(&self) -> String {
        let digits = self.key_hash.iter().take(12).map(|byte| format!("{byte:02x}"));
        format!("u{}-{}", self.user_no, digits.collect::<String>())
    }
}

/// Looks whether a creation was done, and claims its key when it was not.
///
/// # Errors
/// `idempotency-key-invalid`, `idempotency-key-reused`, `idempotency-key-in-use`, and what the
/// database says.
pub async fn begin(
    pool: &Pool,
    actor: &Actor,
    asked: &Asked<'_>,
    kept_for_hours: i64,
    now: Timestamp,
) -> Result<Once, Problem> {
    // The draft has a structured field, a text in quotes; many clients leave the quotes out.
    let bare = |key: &&str| key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).is_none();
    let key = asked.key.map(|key| if bare(&key) { key } else { &key[1..key.len() - 1] });
    let sound = |key: &&str| {
        (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let key = key.filter(sound).ok_or(Slug::IdempotencyKeyInvalid)?;
    let claim = Claim { user_no: actor.user_no, key_hash: Sha256::digest(key).to_vec() };
    let content = Sha256::new().chain_update(asked.path).chain_update([0]).chain_update(asked.body);
    let content = content.finalize();
    let forget = now.saturating_sub(Span::new().hours(kept_for_hours)).unwrap_or(now);
    let cut_off = now.saturating_sub(Span::new().seconds(CUT_OFF_S)).unwrap_or(now);
    match sql::claim(pool, &claim, &content, now, forget, cut_off).await.map_err(Error::from)? {
        None => Ok(Once::First(claim)),
        Some((before, _)) if *before != *content => Err(Slug::IdempotencyKeyReused.into()),
        Some((_, None)) => Err(Slug::IdempotencyKeyInUse.into()),
        Some((_, Some((status, answer)))) => Ok(Once::Again(status, answer)),
    }
}

/// Keeps the answer to a creation that could not keep it in its own transaction.
///
/// # Errors
/// When the database cannot.
pub async fn settle(pool: &Pool, claim: &Claim, status: u16, answer: &[u8]) -> Result<(), DbError> {
    sql::settle(pool, claim, status, answer).await
}

/// The plan of a creation of many parts, which every attempt at it shares: the one that an
/// earlier attempt has left, or else `new`, if there is one. Nothing may be done by a plan that
/// this has not answered.
///
/// # Errors
/// When the database cannot.
pub async fn plan(
    pool: &Pool,
    claim: &Claim,
    new: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, DbError> {
    sql::plan(pool, claim, new).await
}

/// Gives a key back whose request was refused or failed: it may be sent again at once. Where
/// there is a plan, the next attempt goes on with it.
pub async fn give_up(pool: &Pool, claim: &Claim) {
    let ended = Timestamp::now().saturating_sub(Span::new().seconds(CUT_OFF_S + 1));
    if let Err(error) = sql::unclaim(pool, claim, ended.unwrap_or(Timestamp::MIN)).await {
        tracing::warn!(%error, "an idempotency key stays in use for a minute");
    }
}
