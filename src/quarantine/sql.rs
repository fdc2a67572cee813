//! Statements of the quarantine.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{KEPT_MAX, Kept, Refused};
use crate::db::DbError;
use crate::db::pool::Pool;

/// Adds a request, or counts one that is there; drops what is beyond the bound. The deletion
/// sees the table as it was before: without the row that has just come, if one has.
const KEEP: &str = "
-- quarantine::keep
WITH kept AS (
    INSERT INTO quarantine AS q (workstation_no, body_hash, first_at, last_at, attempts,
                                 request_id, route, problem, errors, body)
    VALUES ($1, $2, $3, $3, 1, $4, $5, $6, $7, $8)
    ON CONFLICT (workstation_no, body_hash) DO UPDATE
    SET last_at = excluded.last_at, attempts = q.attempts + 1
    RETURNING attempts = 1 AS came
)
DELETE FROM quarantine
WHERE workstation_no = $1
  AND quarantine_no <= (SELECT quarantine_no FROM quarantine WHERE workstation_no = $1
                        ORDER BY quarantine_no DESC
                        OFFSET $9::bigint - (SELECT came::integer FROM kept) LIMIT 1)";

const LIST: &str = "
-- quarantine::list
SELECT q.request_id, q.first_at, q.last_at, q.attempts, q.route, q.problem, q.errors, q.body
FROM quarantine AS q JOIN workstation AS w USING (workstation_no)
WHERE w.store_id = $1 AND w.workstation_id = $2
ORDER BY q.quarantine_no DESC";

pub(super) async fn keep(
    pool: &Pool,
    refused: &Refused<'_>,
    now: Timestamp,
) -> Result<(), DbError> {
    let workstation_no = refused.workstation_no;
    let [request_id, route, problem, errors] =
        [refused.request_id, refused.route, refused.problem, refused.errors].map(str::to_owned);
    let body = refused.body.to_vec();
    pool.ask(move |client| {
        Box::pin(async move {
            let statement = client.prepare_cached(KEEP).await?;
            let body_hash = Sha256::digest(&body);
            client
                .execute(
                    &statement,
                    &[
                        &workstation_no,       // $1
                        &body_hash.as_slice(), // $2
                        &now,                  // $3
                        &request_id,           // $4
                        &route,                // $5
                        &problem,              // $6
                        &errors,               // $7
                        &body,                 // $8
                        &KEPT_MAX,             // $9
                    ],
                )
                .await?;
            Ok(())
        })
    })
    .await
}

pub(super) async fn list(
    pool: &Pool,
    store_id: &str,
    workstation_id: &str,
) -> Result<Vec<Kept>, DbError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(LIST).await?;
    let rows = client.query(&statement, &[&store_id, &workstation_id]).await?;
    Ok(rows
        .iter()
        .map(|row| Kept {
            request_id: row.get("request_id"),
            first_at: row.get("first_at"),
            last_at: row.get("last_at"),
            attempts: row.get("attempts"),
            route: row.get("route"),
            problem: row.get("problem"),
            errors: row.get("errors"),
            body: String::from_utf8_lossy(row.get("body")).into_owned(),
        })
        .collect())
}
