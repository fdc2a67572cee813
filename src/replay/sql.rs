//! The statements of a replay: what it remembers, and the codes of coupons that tills take. Baskets
//! never come this way.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;

use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::coupon::Code;
use crate::journey::transactions::Fingerprint;

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

// What was issued twice under one name would be taken with the lower code, always.
const COUPONS: &str = "\
-- replay::ShiftMemory::coupons
SELECT k.card, o.offer_id, min(c.code) AS code
FROM coupon AS c
JOIN offer AS o USING (offer_no)
JOIN card AS k ON k.account_id = c.account_id
WHERE c.actor = $1::text /* actor */
GROUP BY k.card, o.offer_id";

/// By how many weeks the baskets of some data were moved when they were first replayed.
#[derive(Debug)]
pub struct ShiftMemory(Dedicated);

impl ShiftMemory {
    /// Connects to the database.
    ///
    /// # Errors
    /// When no connection comes about.
    pub async fn connect(settings: &Database) -> Result<Self, DbError> {
        let session = Session {
            application_name: "tillside replay",
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            settings: &[],
        };
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        Ok(Self(connect_dedicated(&settings.url, timeout, &session).await?))
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

    /// The codes of the coupons that were handed out under a name, by card and offer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn coupons(&self, name: &str) -> Result<HashMap<(String, String), Code>, DbError> {
        let rows = self.0.client().query_typed(COUPONS, &[(&name, Type::TEXT)]).await?;
        rows.iter()
            .map(|row| {
                let key = (row.try_get("card")?, row.try_get("offer_id")?);
                Ok((key, Code::from_number(row.try_get("code")?)))
            })
            .collect()
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
