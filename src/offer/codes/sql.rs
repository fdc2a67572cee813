//! Statements about pools of codes. The codes themselves are stored by `commit`.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::{CodePool, Seeded};
use crate::commit::PoolOf;
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
SELECT p.pool_id, p.made_at, p.offer_no, p.codes, p.valid_from, p.valid_until, p.actor, p.seed,
       o.offer_id
FROM code_pool AS p JOIN offer AS o USING (offer_no)
WHERE p.pool_id = $2 AND o.offer_id = $1";

/// Stores a pool with its line in the audit trail, unless it is there.
pub(super) async fn add(
    pool: &Pool,
    new: &Seeded,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let Seeded { shown, of, seed } = new;
    let codes = i32::try_from(shown.codes).expect("at most a million");
    let added = change
        .execute(
            ADD,
            &[
                &shown.pool,     // $1
                &of.made_at,     // $2
                &of.offer_no,    // $3
                &codes,          // $4
                &of.valid_from,  // $5
                &of.valid_until, // $6
                &of.actor,       // $7
                &&seed[..],      // $8
            ],
        )
        .await;
    if added.map_err(DbError::from)? == 1 {
        audit_in(&*change, trace, now).await?;
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

fn seeded(row: &Row) -> Result<Seeded, Error> {
    let pool: String = row.get("pool_id");
    let damaged = || Error::Damaged(format!("pool of codes {pool}"));
    let seed = <[u8; 32]>::try_from(row.get::<_, &[u8]>("seed")).map_err(|_| damaged())?;
    let codes = u32::try_from(row.get::<_, i32>("codes")).map_err(|_| damaged())?;
    let (valid_from, valid_until) = (row.get("valid_from"), row.get("valid_until"));
    let of = PoolOf {
        offer_no: row.get("offer_no"),
        made_at: row.get("made_at"),
        valid_from,
        valid_until,
        actor: row.get("actor"),
    };
    let offer = row.get("offer_id");
    let shown = CodePool { pool, offer, codes, valid_from, valid_until };
    Ok(Seeded { shown, of, seed })
}
