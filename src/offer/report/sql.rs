//! Counting what offers have cost: one statement on a connection of its own, so that nobody who
//! looks something up waits for it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::Row;

use super::Cost;
use crate::config;
use crate::db::DbError;
use crate::db::pool::{Session, connect_dedicated};

/// One core is enough for a report, and tills have the others.
const SESSION: &[(&str, &str)] = &[("max_parallel_workers_per_gather", "0"), ("jit", "off")];

/// The longest that the statement may take while somebody waits.
const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// Coupons by their offers. Those that have days are found by `coupon_valid_from`; the uses of what
/// is everybody's by `coupon_issued_at`, since they lie on `domain::coupon::USE_DAY` or, those of
/// long ago, on the days of their offer. Both indexes are small, and tell only where not to look.
/// `redeemed_on` has no index, since it changes when a coupon is redeemed.
const COUNT: &str = "
-- offer::report::count
SELECT offer_no, count(*) FILTER (WHERE began BETWEEN $1 AND $2) AS issued,
       count(*) FILTER (WHERE taken) AS redeemed,
       coalesce(sum(value_minor) FILTER (WHERE taken), 0)::bigint AS value_minor,
       count(*) FILTER (WHERE taken AND over_value) AS over_value,
       count(*) FILTER (WHERE taken AND over_budget) AS over_budget,
       coalesce(sum(value_minor) FILTER (WHERE taken AND over_budget), 0)::bigint
           AS over_budget_minor,
       count(*) FILTER (WHERE taken AND over_limit) AS over_limit,
       coalesce(sum(value_minor) FILTER (WHERE taken AND over_limit), 0)::bigint
           AS over_limit_minor
FROM (
    SELECT *, coalesce(state = 1 AND redeemed_on BETWEEN $1 AND $2, false) AS taken,
           CASE WHEN actor IN ('shared-code', 'automatic') THEN redeemed_on
                ELSE valid_from END AS began
    FROM coupon
    WHERE (valid_from BETWEEN $3::date AND $2::date
           OR actor IN ('shared-code', 'automatic') AND issued_at >= $4::timestamptz)
      AND offer_no = ANY($5::integer[])
) AS c
WHERE taken OR began BETWEEN $1 AND $2
GROUP BY offer_no";

/// What is counted, and where it lies.
pub(super) struct Bounds {
    /// The first and the last business date.
    pub(super) days: (Date, Date),
    /// No coupon that began before this is redeemed on them.
    pub(super) valid_since: Date,
    /// No use of them was recorded before this.
    pub(super) recorded_since: Timestamp,
}

/// See [`COUNT`]. What offers say themselves is left empty.
pub(super) async fn count(
    database: &config::Database,
    bounds: &Bounds,
    offers: &[i32],
    hurry: bool,
) -> Result<HashMap<i32, Cost>, DbError> {
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
    let Bounds { days: (from, until), valid_since, recorded_since } = bounds;
    let rows = dedicated
        .client()
        .query(
            COUNT,
            &[
                from,           // $1
                until,          // $2
                valid_since,    // $3
                recorded_since, // $4
                &offers,        // $5
            ],
        )
        .await?;
    let cost = |row: &Row| Cost {
        issued: row.get("issued"),
        redeemed: row.get("redeemed"),
        value_minor: row.get("value_minor"),
        over_value: row.get("over_value"),
        over_budget: row.get("over_budget"),
        over_budget_minor: row.get("over_budget_minor"),
        over_limit: row.get("over_limit"),
        over_limit_minor: row.get("over_limit_minor"),
        ..Cost::default()
    };
    Ok(rows.iter().map(|row| (row.get("offer_no"), cost(row))).collect())
}
