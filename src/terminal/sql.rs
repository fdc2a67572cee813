//! Statements about workstations and their keys. One change is one transaction, which raises
//! the reference version, so that every replica hears of it.

use deadpool_postgres::{Object, Pool, Transaction};
use jiff::Timestamp;

use super::KeyStatus;
use crate::db::DbError;
use crate::domain::account::CLOCK_START;
use crate::domain::bucket;
use crate::domain::ledger::Lots;

/// Keys of a workstation change one after another: this row is locked for the whole change.
const LOCK_CHAIN: &str = "
-- terminal::lock_chain
UPDATE chain SET reference_version = reference_version + 1";

const STORE_EXISTS: &str = "
-- terminal::store_exists
SELECT EXISTS (SELECT 1 FROM store WHERE store_id = $1)";

/// A workstation with its house account, where it is not there yet.
const ENSURE_WORKSTATION: &str = "
-- terminal::ensure_workstation
WITH opened AS (
    INSERT INTO workstation (store_id, workstation_id, house_account)
    SELECT $1, $2, (nextval('account_number_block') * 256 << 8) | $3::bigint
    WHERE NOT EXISTS (SELECT 1 FROM workstation WHERE store_id = $1 AND workstation_id = $2)
    RETURNING house_account
)
INSERT INTO account (bucket, account_id, version, total_points, sales_minor, baskets, clock, state,
                     lots, next_expiry)
SELECT (house_account & 255)::smallint, house_account, 0, 0, 0, 0, $4, 2, $5, NULL FROM opened";

const KEYS: &str = "
-- terminal::keys
SELECT k.key_no, k.retires_at, k.revoked_at
FROM terminal_key AS k JOIN workstation AS w USING (workstation_no)
WHERE w.store_id = $1 AND w.workstation_id = $2
ORDER BY k.key_no";

const INSERT_KEY: &str = "
-- terminal::insert_key
INSERT INTO terminal_key (workstation_no, key_no, sealed_secret, created_at)
SELECT workstation_no, $3, $4, $5 FROM workstation WHERE store_id = $1 AND workstation_id = $2";

const RETIRE_KEY: &str = "
-- terminal::retire_key
UPDATE terminal_key AS k SET retires_at = $4
FROM workstation AS w
WHERE w.workstation_no = k.workstation_no AND w.store_id = $1 AND w.workstation_id = $2
  AND k.key_no = $3";

const REVOKE_KEY: &str = "
-- terminal::revoke_key
UPDATE terminal_key AS k SET revoked_at = $4
FROM workstation AS w
WHERE w.workstation_no = k.workstation_no AND w.store_id = $1 AND w.workstation_id = $2
  AND k.key_no = $3";

const LIST: &str = "
-- terminal::list
SELECT w.store_id || '/' || w.workstation_id || '.' || k.key_no AS keyid,
       k.created_at, k.retires_at, k.revoked_at
FROM terminal_key AS k JOIN workstation AS w USING (workstation_no)
WHERE $1::text IS NULL OR w.store_id = $1
ORDER BY w.store_id, w.workstation_id, k.key_no";

/// A key of a workstation.
pub(super) struct Key {
    pub(super) key_no: i32,
    retires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl Key {
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.retires_at.is_none_or(|retires_at| now < retires_at)
    }
}

/// A change of one workstation's keys under way. Dropped without `commit` it did not happen.
pub(super) struct Change<'a> {
    transaction: Transaction<'a>,
    store_id: &'a str,
    workstation_id: &'a str,
}

impl<'a> Change<'a> {
    pub(super) async fn begin(
        client: &'a mut Object,
        store_id: &'a str,
        workstation_id: &'a str,
    ) -> Result<Self, DbError> {
        let transaction = client.transaction().await?;
        transaction.execute(LOCK_CHAIN, &[]).await?;
        Ok(Self { transaction, store_id, workstation_id })
    }

    pub(super) async fn store_exists(&self) -> Result<bool, DbError> {
        Ok(self.transaction.query_one(STORE_EXISTS, &[&self.store_id]).await?.get(0))
    }

    pub(super) async fn ensure_workstation(&self) -> Result<(), DbError> {
        let bucket = i64::from(bucket::of_workstation(self.store_id, self.workstation_id));
        let lots = Lots::default().encode();
        self.transaction
            .execute(
                ENSURE_WORKSTATION,
                &[&self.store_id, &self.workstation_id, &bucket, &CLOCK_START, &lots],
            )
            .await?;
        Ok(())
    }

    pub(super) async fn keys(&self) -> Result<Vec<Key>, DbError> {
        let rows = self.transaction.query(KEYS, &[&self.store_id, &self.workstation_id]).await?;
        let key = |row: &tokio_postgres::Row| Key {
            key_no: row.get("key_no"),
            retires_at: row.get("retires_at"),
            revoked_at: row.get("revoked_at"),
        };
        Ok(rows.iter().map(key).collect())
    }

    pub(super) async fn insert_key(
        &self,
        key_no: i32,
        sealed_secret: &[u8],
        now: Timestamp,
    ) -> Result<(), DbError> {
        self.transaction
            .execute(
                INSERT_KEY,
                &[&self.store_id, &self.workstation_id, &key_no, &sealed_secret, &now],
            )
            .await?;
        Ok(())
    }

    pub(super) async fn retire_key(
        &self,
        key_no: i32,
        retires_at: Timestamp,
    ) -> Result<(), DbError> {
        let (store_id, workstation_id) = (self.store_id, self.workstation_id);
        self.transaction
            .execute(RETIRE_KEY, &[&store_id, &workstation_id, &key_no, &retires_at])
            .await?;
        Ok(())
    }

    pub(super) async fn revoke_key(&self, key_no: i32, now: Timestamp) -> Result<(), DbError> {
        let (store_id, workstation_id) = (self.store_id, self.workstation_id);
        self.transaction.execute(REVOKE_KEY, &[&store_id, &workstation_id, &key_no, &now]).await?;
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), DbError> {
        Ok(self.transaction.commit().await?)
    }
}

pub(super) async fn list(pool: &Pool, store_id: Option<&str>) -> Result<Vec<KeyStatus>, DbError> {
    let client = pool.get().await?;
    let rows = client.query(LIST, &[&store_id]).await?;
    let status = |row: &tokio_postgres::Row| KeyStatus {
        keyid: row.get("keyid"),
        created_at: row.get("created_at"),
        retires_at: row.get("retires_at"),
        revoked_at: row.get("revoked_at"),
    };
    Ok(rows.iter().map(status).collect())
}
