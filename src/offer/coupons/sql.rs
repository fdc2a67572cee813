//! Statements that find the accounts of a list. Straight from the primary; nothing is locked.

use std::collections::HashMap;

use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::account::State;
use crate::domain::bucket;
use crate::error::Error;

const ACCOUNTS_OF: &str = "
-- offer::accounts_of
SELECT i.card, c.account_id
FROM unnest($1::smallint[], $2::text[]) AS i (bucket, card)
CROSS JOIN LATERAL (
    SELECT c.account_id FROM card AS c WHERE c.bucket = i.bucket AND c.card = i.card LIMIT 1
) AS c";

const KNOWN: &str = "
-- offer::known
SELECT a.account_id, a.state, a.merged_into
FROM unnest($1::smallint[], $2::bigint[]) AS i (bucket, account_id)
CROSS JOIN LATERAL (
    SELECT * FROM account AS a WHERE a.bucket = i.bucket AND a.account_id = i.account_id LIMIT 1
) AS a";

/// What a list must know of an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) state: State,
    pub(super) merged_into: Option<i64>,
}

/// Cards as they point now; those that nobody has seen are left out.
pub(super) async fn accounts_of(
    pool: &Pool,
    cards: &[&str],
) -> Result<HashMap<String, i64>, DbError> {
    let buckets: Vec<i16> = cards.iter().map(|card| i16::from(bucket::of_card(card))).collect();
    let rows = pool.get().await?.query(ACCOUNTS_OF, &[&buckets, &cards]).await?;
    Ok(rows.iter().map(|row| (row.get("card"), row.get("account_id"))).collect())
}

/// Accounts; those that do not exist are left out.
pub(super) async fn known(pool: &Pool, ids: &[i64]) -> Result<HashMap<i64, Known>, Error> {
    let buckets: Vec<i16> = ids.iter().map(|id| i16::from(bucket::of_account(*id))).collect();
    let client = pool.get().await.map_err(DbError::from)?;
    let rows = client.query(KNOWN, &[&buckets, &ids]).await.map_err(DbError::from)?;
    let known = |row: &tokio_postgres::Row| {
        let (account_id, code): (i64, i16) = (row.get("account_id"), row.get("state"));
        let damaged = || Error::Damaged(format!("account {account_id}: state {code}"));
        let state = State::from_code(code).ok_or_else(damaged)?;
        Ok((account_id, Known { state, merged_into: row.get("merged_into") }))
    };
    rows.iter().map(known).collect()
}
