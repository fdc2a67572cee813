//! Reading what became of coupons, and what accounts bought: one transaction, so one snapshot, on
//! a connection of its own, so that nobody who looks something up waits for it.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::civil::Date;

use super::By;
use crate::config;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::account::State;
use crate::domain::estimate::Weighed;

/// One core is enough for a report, and tills have the others.
const SESSION: &[(&str, &str)] = &[("max_parallel_workers_per_gather", "0"), ("jit", "off")];

/// The longest that a statement may take while somebody waits.
const STATEMENT_MAX: Duration = Duration::from_secs(30);

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Coupons whose first day lies within a range, by offer, reason or slot. Reads what was issued
/// in the range, by `coupon_valid_from`, which is small: it tells only where not to look.
const COUNT: &str = "
-- response::count
SELECT CASE $4::smallint WHEN 0 THEN offer_no WHEN 1 THEN reason ELSE slot END AS key,
       count(*) AS issued,
       count(*) FILTER (WHERE state = 2) AS revoked,
       count(*) FILTER (WHERE state <> 2 AND valid_until >= $5::date) AS running,
       count(*) FILTER (WHERE state = 1 AND valid_until >= $5::date) AS running_redeemed,
       count(*) FILTER (WHERE state = 0 AND valid_until < $5::date) AS expired,
       count(*) FILTER (WHERE state = 1 AND valid_until < $5::date) AS redeemed,
       count(*) FILTER (WHERE drawn) AS drawn,
       count(*) FILTER (WHERE drawn AND state = 1) AS drawn_redeemed,
       coalesce(sum(1e6::float8 / propensity) FILTER (WHERE drawn), 0)::float8 AS weight,
       coalesce(sum(1e6::float8 / propensity) FILTER (WHERE drawn AND state = 1), 0)::float8
           AS weight_redeemed,
       coalesce(sum((1e6::float8 / propensity) ^ 2) FILTER (WHERE drawn), 0)::float8 AS squares
FROM (
    SELECT *, slot = 4 AND propensity > 0 AND state <> 2 AND valid_until < $5::date AS drawn
    FROM coupon
    WHERE valid_from BETWEEN $1::date AND $2::date AND offer_no = ANY($3::integer[])
) AS c
GROUP BY 1";

/// What each enrolled account of some buckets bought within a range: sales that were not voided,
/// and what was paid. Those that bought nothing are there too.
const VISITS: &str = "
-- response::visits
SELECT a.account_id, coalesce(v.visits, 0) AS visits, coalesce(v.spend_minor, 0) AS spend_minor
FROM account AS a
LEFT JOIN (
    SELECT account_id, sum(CASE kind WHEN 0 THEN 1 ELSE -1 END)::bigint AS visits,
           sum(total_minor)::bigint AS spend_minor
    FROM swipe
    WHERE bucket BETWEEN $1::smallint AND $2::smallint
      AND business_date BETWEEN $3::date AND $4::date AND kind IN (0, 3)
    GROUP BY account_id
) AS v USING (account_id)
WHERE a.bucket BETWEEN $1::smallint AND $2::smallint AND a.state = $5::smallint";

/// What became of the coupons of an offer, a reason or a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) issued: i64,
    pub(super) revoked: i64,
    pub(super) running: i64,
    pub(super) running_redeemed: i64,
    pub(super) expired: i64,
    pub(super) redeemed: i64,
    /// Of those whose time is over: of something new, given with a known probability.
    pub(super) drawn: i64,
    pub(super) drawn_redeemed: i64,
    pub(super) weighed: Weighed,
}

/// What an account bought.
pub(super) struct Bought {
    pub(super) account_id: i64,
    pub(super) visits: i64,
    pub(super) spend_minor: i64,
}

/// One snapshot of the database.
pub(super) struct Snapshot(Dedicated);

impl Snapshot {
    /// Takes the snapshot; for somebody in a hurry, or for as long as it takes.
    pub(super) async fn open(database: &config::Database, hurry: bool) -> Result<Self, DbError> {
        let settings = Duration::from_millis(database.statement_timeout_ms);
        // PostgreSQL takes 0 for no limit.
        let statement_timeout = if hurry { settings.max(STATEMENT_MAX) } else { Duration::ZERO };
        let session = Session {
            application_name: "tillside report",
            statement_timeout,
            lock_timeout: settings,
            settings: SESSION,
        };
        let connect_timeout = Duration::from_millis(database.connect_timeout_ms);
        let dedicated = connect_dedicated(&database.url, connect_timeout, &session).await?;
        dedicated.client().batch_execute(BEGIN).await?;
        Ok(Self(dedicated))
    }

    /// See [`COUNT`]. A coupon's time is over when its last day lies before `today`.
    pub(super) async fn count(
        &self,
        (from, until): (Date, Date),
        by: By,
        offers: &[i32],
        today: Date,
    ) -> Result<Vec<(i32, Counted)>, DbError> {
        let by = by as i16;
        let rows = self
            .0
            .client()
            .query(
                COUNT,
                &[
                    &from,   // $1
                    &until,  // $2
                    &offers, // $3
                    &by,     // $4
                    &today,  // $5
                ],
            )
            .await?;
        let counted = |row: &tokio_postgres::Row| {
            let counted = Counted {
                issued: row.get("issued"),
                revoked: row.get("revoked"),
                running: row.get("running"),
                running_redeemed: row.get("running_redeemed"),
                expired: row.get("expired"),
                redeemed: row.get("redeemed"),
                drawn: row.get("drawn"),
                drawn_redeemed: row.get("drawn_redeemed"),
                weighed: Weighed {
                    weight: row.get("weight"),
                    of_successes: row.get("weight_redeemed"),
                    squares: row.get("squares"),
                },
            };
            (row.get("key"), counted)
        };
        Ok(rows.iter().map(counted).collect())
    }

    /// See [`VISITS`]. The accounts of these buckets, one after another.
    pub(super) async fn visits(
        &self,
        (first, last): (i16, i16),
        (from, until): (Date, Date),
        mut each: impl FnMut(Bought),
    ) -> Result<(), DbError> {
        let enrolled = State::Enrolled as i16;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [
            &first,    // $1
            &last,     // $2
            &from,     // $3
            &until,    // $4
            &enrolled, // $5
        ];
        let rows = self.0.client().query_raw(VISITS, parameters).await?;
        let mut rows = pin!(rows);
        while let Some(row) = rows.try_next().await? {
            each(Bought {
                account_id: row.get("account_id"),
                visits: row.get("visits"),
                spend_minor: row.get("spend_minor"),
            });
        }
        Ok(())
    }
}
