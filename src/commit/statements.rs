//! The statements of a committer's connection, prepared once.

use tokio_postgres::{Client, Statement};

use super::sql;
use crate::db::DbError;
use crate::sabotage;

/// The statements of one connection, prepared.
pub(super) struct Statements {
    pub(super) commit_batch: Statement,
    pub(super) rekey: Statement,
    pub(super) resolve_cards: Statement,
    pub(super) find_cards: Statement,
    pub(super) load_accounts: Statement,
    pub(super) lock_accounts: Statement,
    pub(super) lock_free_accounts: Statement,
    pub(super) find_heirs: Statement,
    pub(super) find_names: Statement,
    pub(super) load_swipes: Statement,
    pub(super) load_entries: Statement,
    pub(super) find_coupons: Statement,
    pub(super) find_uses: Statement,
    pub(super) next_numbers: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, DbError> {
        Ok(Self {
            commit_batch: client.prepare(&sabotage::commit_batch(sql::COMMIT_BATCH)).await?,
            rekey: client.prepare(sql::REKEY).await?,
            resolve_cards: client.prepare(sql::RESOLVE_CARDS).await?,
            find_cards: client.prepare(sql::FIND_CARDS).await?,
            load_accounts: client.prepare(sql::LOAD_ACCOUNTS).await?,
            lock_accounts: client.prepare(sql::LOCK_ACCOUNTS).await?,
            lock_free_accounts: client.prepare(sql::LOCK_FREE_ACCOUNTS).await?,
            find_heirs: client.prepare(sql::FIND_HEIRS).await?,
            find_names: client.prepare(sql::FIND_NAMES).await?,
            load_swipes: client.prepare(sql::LOAD_SWIPES).await?,
            load_entries: client.prepare(sql::LOAD_ENTRIES).await?,
            find_coupons: client.prepare(sql::FIND_COUPONS).await?,
            find_uses: client.prepare(sql::FIND_USES).await?,
            next_numbers: client.prepare(sql::NEXT_NUMBERS).await?,
        })
    }
}
