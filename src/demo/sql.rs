//! What the demo asks the database itself. It must never write: data goes in through the
//! importer and the committers.

use crate::db::DbError;
use crate::db::pool::Pool;

const HAS_STORES: &str = "
-- demo::has_stores
SELECT EXISTS (SELECT 1 FROM store)";

/// Whether the database holds a store, whoever brought it in.
pub(super) async fn has_stores(pool: &Pool) -> Result<bool, DbError> {
    let client = pool.get().await?;
    Ok(client.query_one(HAS_STORES, &[]).await?.get(0))
}
