//! Terminals: the workstations that may sign, and their keys.
//!
//! At most two keys of a workstation are alive at a time: a rotation adds the next one and says
//! when the older one ends. A secret is shown once, when it is made; in the database it is
//! sealed under the key-encryption key.

mod sql;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::name::is_place_id;
use crate::sealing::Sealer;

/// How long the older key may still sign after a rotation, unless told otherwise.
pub const OVERLAP_HOURS: i64 = 7 * 24;

/// A key that was just made. The only time its secret is seen.
#[derive(Clone)]
pub struct NewKey {
    /// What it signs under: store/workstation.number.
    pub keyid: String,
    /// 32 random bytes.
    pub secret: Zeroizing<[u8; 32]>,
}

/// A key as it is listed: without its secret.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeyStatus {
    /// What it signs under.
    pub keyid: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it was rotated out.
    pub retires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// Why a key could not be made or ended.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// An id that no store or workstation can have.
    #[error("ids of stores and workstations are 1 to 16 of A-Z a-z 0-9 . _ -")]
    NotAnId,
    /// The store is not there.
    #[error("there is no store {0}; bring it in with `tillside import stores`")]
    UnknownStore(String),
    /// The workstation has no key that could be rotated or revoked.
    #[error("{0} has no key that is alive; make one with `tillside terminal add`")]
    NoKey(String),
    /// The workstation has a key already.
    #[error("{0} has a key already; replace it with `tillside terminal rotate`")]
    HasKey(String),
    /// Two keys are alive.
    #[error("{0} has two keys that are alive; revoke one first, or wait for the older one to end")]
    TwoKeys(String),
    /// There is no such key.
    #[error("there is no key {0} that is alive")]
    UnknownKey(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Gives a workstation its first key; creates the workstation where its store exists.
///
/// # Errors
/// [`TerminalError`], whose message says what to do.
pub async fn add(
    pool: &Pool,
    sealer: &Sealer,
    store_id: &str,
    workstation_id: &str,
    now: Timestamp,
) -> Result<NewKey, TerminalError> {
    if !is_place_id(store_id) || !is_place_id(workstation_id) {
        return Err(TerminalError::NotAnId);
    }
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, store_id, workstation_id).await?;
    if !change.store_exists().await? {
        return Err(TerminalError::UnknownStore(store_id.to_owned()));
    }
    change.ensure_workstation().await?;
    let keys = change.keys().await?;
    if keys.iter().any(|key| key.is_alive(now)) {
        return Err(TerminalError::HasKey(format!("{store_id}/{workstation_id}")));
    }
    let number = keys.iter().map(|key| key.key_no).max().unwrap_or(0) + 1;
    let key = generate(store_id, workstation_id, number);
    change.insert_key(number, &sealer.seal(&key.keyid, &*key.secret), now).await?;
    change.commit().await?;
    Ok(key)
}

/// Gives a workstation its next key; the present one ends at `older_until`.
///
/// # Errors
/// [`TerminalError`], whose message says what to do.
pub async fn rotate(
    pool: &Pool,
    sealer: &Sealer,
    store_id: &str,
    workstation_id: &str,
    older_until: Timestamp,
    now: Timestamp,
) -> Result<NewKey, TerminalError> {
    let name = format!("{store_id}/{workstation_id}");
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, store_id, workstation_id).await?;
    let keys = change.keys().await?;
    let alive: Vec<i32> =
        keys.iter().filter(|key| key.is_alive(now)).map(|key| key.key_no).collect();
    match alive.len() {
        0 => return Err(TerminalError::NoKey(name)),
        1 => {}
        _ => return Err(TerminalError::TwoKeys(name)),
    }
    let number = keys.iter().map(|key| key.key_no).max().unwrap_or(0) + 1;
    let key = generate(store_id, workstation_id, number);
    change.retire_key(alive[0], older_until).await?;
    change.insert_key(number, &sealer.seal(&key.keyid, &*key.secret), now).await?;
    change.commit().await?;
    Ok(key)
}

/// Ends keys at once: one of them, or all that are alive. Every replica refuses them within
/// seconds.
///
/// # Errors
/// [`TerminalError`], whose message says what to do.
pub async fn revoke(
    pool: &Pool,
    store_id: &str,
    workstation_id: &str,
    key_no: Option<i32>,
    now: Timestamp,
) -> Result<Vec<String>, TerminalError> {
    let name = format!("{store_id}/{workstation_id}");
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, store_id, workstation_id).await?;
    let mut revoked = Vec::new();
    for key in change.keys().await?.into_iter().filter(|key| key.is_alive(now)) {
        if key_no.is_none_or(|key_no| key_no == key.key_no) {
            change.revoke_key(key.key_no, now).await?;
            revoked.push(format!("{name}.{}", key.key_no));
        }
    }
    match (revoked.is_empty(), key_no) {
        (true, Some(key_no)) => return Err(TerminalError::UnknownKey(format!("{name}.{key_no}"))),
        (true, None) => return Err(TerminalError::NoKey(name)),
        (false, _) => {}
    }
    change.commit().await?;
    Ok(revoked)
}

/// All keys of a store's workstations, or of all stores, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(pool: &Pool, store_id: Option<&str>) -> Result<Vec<KeyStatus>, DbError> {
    sql::list(pool, store_id).await
}

fn generate(store_id: &str, workstation_id: &str, key_no: i32) -> NewKey {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).expect("the kernel gives random bytes once it has booted");
    NewKey { keyid: format!("{store_id}/{workstation_id}.{key_no}"), secret }
}
