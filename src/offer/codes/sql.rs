//! Statements about pools of codes. The codes themselves are stored by `commit`.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::{CodePool, New, Seeded};
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::error::Error;
use crate::office::{Trace, audit_in};

const ADD: &str = "
-- offer::codes::add
INSERT INTO code_pool (pool_id, made_at, offer_no, codes, valid_from, valid_until, actor, seed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING";

const FIND: &str = "
-- offer::codes::find
SELECT p.pool_no, p.pool_id, p.codes, p.valid_from, p.valid_until, p.seed, p.revoked_at, o.offer_id
FROM code_pool AS p JOIN offer AS o USING (offer_no)
WHERE p.pool_id = $2 AND o.offer_id = $1";

/// Waits for what is at hand: redemptions of the pool's codes, and pages of its file, hold the row
/// until they are committed. None comes after.
const REVOKE: &str = "
-- offer::codes::revoke
UPDATE code_pool SET revoked_at = $2, revoked_by = $3 WHERE pool_no = $1 AND revoked_at IS NULL";

/// Stores a pool with its line in the audit trail, unless it is there.
pub(super) async fn add(pool: &Pool, new: &New<'_>, trace: &Trace<'_>) -> Result<(), Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let New { wanted, offer_no, seed, validity, now } = new;
    let codes = i32::try_from(wanted.codes).expect("at most a million");
    let added = change
        .execute(
            ADD,
            &[
                &wanted.pool,  // $1
                now,           // $2
                offer_no,      // $3
                &codes,        // $4
                &validity.0,   // $5
                &validity.1,   // $6
                &wanted.actor, // $7
                &&seed[..],    // $8
            ],
        )
        .await;
    if added.map_err(DbError::from)? == 1 {
        audit_in(&*change, trace, *now).await?;
    }
    change.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// A pool of an offer, if there is one.
pub(super) async fn find(
    pool: &Pool,
    offer_id: &str,
    pool_id: &str,
) -> Result<Option<Seeded>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let row = client.query_opt(FIND, &[&offer_id, &pool_id]).await.map_err(DbError::from)?;
    row.as_ref().map(seeded).transpose()
}

/// See [`REVOKE`]. The pool as it is then; what changes nothing leaves no line.
pub(super) async fn revoke(
    pool: &Pool,
    of: &Seeded,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<CodePool, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let changed = change.execute(REVOKE, &[&of.pool_no, &now, &trace.user_no]).await;
    if changed.map_err(DbError::from)? > 0 {
        audit_in(&*change, trace, now).await?;
    }
    let row = change.query_one(FIND, &[&of.shown.offer, &of.shown.pool]).await;
    let after = seeded(&row.map_err(DbError::from)?)?;
    change.commit().await.map_err(DbError::from)?;
    Ok(after.shown)
}

fn seeded(row: &Row) -> Result<Seeded, Error> {
    let pool: String = row.get("pool_id");
    let damaged = || Error::Damaged(format!("pool of codes {pool}"));
    let seed = <[u8; 32]>::try_from(row.get::<_, &[u8]>("seed")).map_err(|_| damaged())?;
    let codes = u32::try_from(row.get::<_, i32>("codes")).map_err(|_| damaged())?;
    let shown = CodePool {
        pool,
        offer: row.get("offer_id"),
        codes,
        valid_from: row.get("valid_from"),
        valid_until: row.get("valid_until"),
        revoked_at: row.get("revoked_at"),
    };
    Ok(Seeded { shown, pool_no: row.get("pool_no"), seed })
}
