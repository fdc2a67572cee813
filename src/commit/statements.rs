//! The statements of a committer's connection, prepared once.

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

use super::sql::{self, Parts};
use crate::db::DbError;
use crate::sabotage;

/// The statements of one connection, prepared.
pub(super) struct Statements {
    /// By [`Parts::number`].
    commit_batch: Vec<Statement>,
    pub(super) commit_lone: Statement,
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
        // The whole says of what types the parameters are, also of a form that leaves them out.
        let whole = client.prepare(&sabotage::commit_batch(Parts::WHOLE.statement())).await?;
        let commit_batch = try_join_all(Parts::ALL.map(async |parts| {
            if parts == Parts::WHOLE {
                return Ok(whole.clone());
            }
            let types = &whole.params()[..parts.parameters(whole.params().len())];
            client.prepare_typed(&sabotage::commit_batch(parts.statement()), types).await
        }));
        Ok(Self {
            commit_batch: commit_batch.await?,
            commit_lone: client.prepare(sql::COMMIT_LONE).await?,
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

    /// The form of the statement for a batch of these parts.
    pub(super) fn commit_batch(&self, parts: Parts) -> &Statement {
        &self.commit_batch[parts.number()]
    }
}
