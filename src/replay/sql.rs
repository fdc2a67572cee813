//! The statements of a replay: what it remembers, and the keys that it signs with. Both are
//! administration; baskets never come this way.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::keys::{KeysError, Terminal, TerminalFile};
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::journey::transactions::Fingerprint;
use crate::sealing::Sealer;

const REMEMBER_SHIFT: &str = "\
-- replay::ShiftMemory::remember
WITH remembered AS (
    INSERT INTO replay (source, shift_weeks, remembered_at)
    VALUES ($1::bytea /* source */, $2::integer /* shift_weeks */,
            $3::timestamptz /* remembered_at */)
    ON CONFLICT (source) DO NOTHING
    RETURNING shift_weeks
)
SELECT shift_weeks FROM remembered
UNION ALL
SELECT shift_weeks FROM replay WHERE source = $1::bytea";

const RECALL_SHIFT: &str = "\
-- replay::ShiftMemory::recall
SELECT shift_weeks FROM replay WHERE source = $1::bytea /* source */";

const LOCK_WORKSTATIONS: &str = "\
-- replay::issue_keys
SELECT w.store_id, w.workstation_no, 1 + coalesce((
    SELECT max(k.key_no) FROM terminal_key k WHERE k.workstation_no = w.workstation_no), 0) AS key_no
FROM workstation w JOIN unnest($1::text[] /* store_id */) i (store_id) USING (store_id)
WHERE w.workstation_id = $2::text /* workstation_id */
ORDER BY w.store_id
FOR UPDATE OF w";

const RETIRE_KEYS: &str = "\
-- replay::issue_keys
UPDATE terminal_key SET retires_at = $2::timestamptz /* now */
WHERE workstation_no = ANY ($1::integer[] /* workstation_no */)
  AND revoked_at IS NULL AND (retires_at IS NULL OR retires_at > $2::timestamptz)";

const WRITE_KEYS: &str = "\
-- replay::issue_keys
INSERT INTO terminal_key (workstation_no, key_no, sealed_secret, created_at)
SELECT workstation_no, key_no, sealed_secret, $4::timestamptz /* created_at */
FROM unnest(
    $1::integer[] /* workstation_no */, $2::integer[] /* key_no */, $3::bytea[] /* sealed_secret */
) i (workstation_no, key_no, sealed_secret)";

const BUMP_REFERENCE_VERSION: &str = "\
-- replay::issue_keys
UPDATE chain SET reference_version = reference_version + 1";

/// By how many weeks the baskets of some data were moved when they were first replayed.
#[derive(Debug)]
pub struct ShiftMemory(Dedicated);

impl ShiftMemory {
    /// Connects to the database.
    ///
    /// # Errors
    /// When no connection comes about.
    pub async fn connect(settings: &Database) -> Result<Self, DbError> {
        Ok(Self(connect(settings).await?))
    }

    /// What was remembered, if anything was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall(&self, source: &Fingerprint) -> Result<Option<i32>, DbError> {
        let row = self
            .0
            .client()
            .query_typed_opt(RECALL_SHIFT, &[(&source.as_slice(), Type::BYTEA)])
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Remembers a shift, unless there is one already; returns the one that holds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember(
        &self,
        source: &Fingerprint,
        shift_weeks: i32,
        now: Timestamp,
    ) -> Result<i32, DbError> {
        let row = self
            .0
            .client()
            .query_typed_one(
                REMEMBER_SHIFT,
                &[
                    (&source.as_slice(), Type::BYTEA),
                    (&shift_weeks, Type::INT4),
                    (&now, Type::TIMESTAMPTZ),
                ],
            )
            .await?;
        Ok(row.try_get(0)?)
    }
}

/// Gives the workstation of each store a new key, and ends the ones before.
pub(super) async fn issue_keys(
    settings: &Database,
    sealer: &Sealer,
    store_ids: &[String],
    workstation_id: &str,
    now: Timestamp,
) -> Result<TerminalFile, KeysError> {
    let mut connection = connect(settings).await?;
    let transaction = connection.client_mut().transaction().await.map_err(DbError::from)?;
    let rows = transaction
        .query_typed(
            LOCK_WORKSTATIONS,
            &[(&store_ids, Type::TEXT_ARRAY), (&workstation_id, Type::TEXT)],
        )
        .await
        .map_err(DbError::from)?;
    if rows.len() != store_ids.len() {
        return Err(KeysError::NoWorkstation);
    }
    let mut file = TerminalFile::default();
    let (mut workstations, mut numbers, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let store_id: String = row.try_get("store_id").map_err(DbError::from)?;
        let key_no: i32 = row.try_get("key_no").map_err(DbError::from)?;
        let terminal = Terminal::generate(&store_id, workstation_id, key_no);
        sealed.push(sealer.seal(&terminal.keyid, terminal.secret.as_slice()));
        workstations.push(row.try_get::<_, i32>("workstation_no").map_err(DbError::from)?);
        numbers.push(key_no);
        file.add(terminal);
    }
    transaction
        .execute_typed(RETIRE_KEYS, &[(&workstations, Type::INT4_ARRAY), (&now, Type::TIMESTAMPTZ)])
        .await
        .map_err(DbError::from)?;
    let written = transaction
        .execute_typed(
            WRITE_KEYS,
            &[
                (&workstations, Type::INT4_ARRAY),
                (&numbers, Type::INT4_ARRAY),
                (&sealed, Type::BYTEA_ARRAY),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await
        .map_err(DbError::from)?;
    assert_eq!(written, rows.len() as u64, "a plain insert writes every row");
    let bumped =
        transaction.execute_typed(BUMP_REFERENCE_VERSION, &[]).await.map_err(DbError::from)?;
    assert_eq!(bumped, 1, "a store implies the chain's one row");
    transaction.commit().await.map_err(DbError::from)?;
    Ok(file)
}

async fn connect(settings: &Database) -> Result<Dedicated, DbError> {
    let session = Session {
        application_name: "tillside replay",
        statement_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(10),
        settings: &[],
    };
    let timeout = Duration::from_millis(settings.connect_timeout_ms);
    connect_dedicated(&settings.url, timeout, &session).await
}
