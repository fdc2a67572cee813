//! What the oracle asks the database. Reads only, and only after the run.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::error::HarnessError;

/// Every row of a transaction or a void under its name, with the sum of all entries of its
/// account up to its version. Entries that belong to no transaction count as well. Of those that
/// do, points that ran out in the same moment, or were handed on to an heir, are not the
/// transaction's own.
const ROWS: &str = "\
-- oracle::sql::rows
WITH booked AS (
    SELECT account_id, version, sum(points)::bigint AS points,
           sum(points) FILTER (WHERE kind NOT IN (5, 7))::bigint AS own
    FROM entry GROUP BY account_id, version
)
SELECT t.store_id || '/' || w.workstation_id || '/' || s.business_date || '/'
           || s.sequence_number AS name,
       s.kind, s.receipt, coalesce(b.own, 0) AS points, a.state = 3 AS is_merged,
       sum(coalesce(b.points, 0)) OVER (PARTITION BY account_id ORDER BY version)::bigint AS balance
FROM swipe AS s
FULL JOIN booked AS b USING (account_id, version)
LEFT JOIN (SELECT account_id, state FROM account) AS a USING (account_id)
LEFT JOIN workstation AS w USING (workstation_no)
LEFT JOIN store AS t USING (store_id)
ORDER BY account_id, version";

const NAMES: &str = "\
-- oracle::sql::names
SELECT w.store_id || '/' || w.workstation_id || '/' || k.business_date || '/'
           || k.sequence_number AS name,
       k.version > 0 AS is_recorded, k.void_version > 0 AS is_voided
FROM swipe_key AS k JOIN workstation AS w USING (workstation_no)";

const CARDS: &str = "\
-- oracle::sql::cards
SELECT c.card, c.account_id, a.state FROM card AS c JOIN account AS a USING (account_id)";

/// Accounts of customers, each with those that were merged into it.
const ACCOUNTS: &str = "\
-- oracle::sql::accounts
WITH booked AS (
    SELECT account_id, sum(points)::bigint AS points,
           sum(points) FILTER (WHERE kind = 5)::bigint AS expired
    FROM entry GROUP BY account_id
)
SELECT r.account_id, r.state, count(*) FILTER (WHERE a.state = 3) AS merged,
       coalesce(sum(abs(a.total_points)) FILTER (WHERE a.state = 3), 0)::bigint AS left_behind,
       sum(a.total_points)::bigint AS total_points, sum(a.sales_minor)::bigint AS sales_minor,
       sum(a.baskets)::bigint AS baskets, coalesce(sum(b.points), 0)::bigint AS booked,
       coalesce(sum(b.expired), 0)::bigint AS expired,
       (SELECT count(*) FROM member AS m WHERE m.account_id = r.account_id) AS members
FROM account AS r
JOIN account AS a ON coalesce(a.merged_into, a.account_id) = r.account_id
LEFT JOIN booked AS b ON b.account_id = a.account_id
WHERE r.state <> 2
GROUP BY r.account_id, r.state";

/// Corrections, under the account that they count for by now.
const ADJUSTMENTS: &str = "\
-- oracle::sql::adjustments
SELECT d.adjustment_id, d.points, coalesce(a.merged_into, a.account_id) AS account_id,
       (SELECT coalesce(sum(e.points), 0)::bigint FROM entry AS e
        WHERE e.bucket = d.bucket AND e.account_id = d.account_id AND e.version = d.version
          AND e.kind <> 5) AS booked
FROM adjustment AS d JOIN account AS a USING (bucket, account_id)";

/// One row of a transaction or a void.
pub(super) struct Recorded {
    pub(super) name: String,
    /// 0 sale, 1 training, 2 sale after its void, 3 void, 4 void before its sale.
    pub(super) kind: i16,
    pub(super) receipt: Vec<u8>,
    /// What was booked with it.
    pub(super) points: i64,
    /// Whether its account has been merged into another one.
    pub(super) is_merged: bool,
    /// What the account then had, by its entries.
    pub(super) balance: i64,
}

/// One name.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_recorded: bool,
    pub(super) is_voided: bool,
}

/// Where a card points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Card {
    pub(super) account_id: i64,
    /// 0 provisional, 1 enrolled, 3 merged.
    pub(super) state: i16,
}

/// The account of a customer, added up with those that were merged into it.
pub(super) struct Account {
    pub(super) account_id: i64,
    pub(super) state: i16,
    /// How many were merged into it.
    pub(super) merged: i64,
    /// Points that those still have.
    pub(super) left_behind: i64,
    pub(super) total_points: i64,
    pub(super) sales_minor: i64,
    pub(super) baskets: i64,
    /// The sum of all entries.
    pub(super) booked: i64,
    /// The sum of those that wrote points off; negative.
    pub(super) expired: i64,
    pub(super) members: i64,
}

/// A correction of points.
pub(super) struct Adjusted {
    pub(super) adjustment_id: String,
    pub(super) points: i64,
    pub(super) account_id: i64,
    /// What was booked with it.
    pub(super) booked: i64,
}

/// Hands over every row of transactions and voids.
pub(super) async fn rows(
    client: &Client,
    mut each: impl FnMut(Recorded),
) -> Result<(), HarnessError> {
    let mut rows = stream(client, ROWS).await?;
    while let Some(row) = next(&mut rows).await? {
        // Entries without a transaction have no name; they count in the sums of later rows.
        if let Some(name) = row.get::<_, Option<String>>("name") {
            let (kind, receipt) = (row.get("kind"), row.get("receipt"));
            let (points, balance) = (row.get("points"), row.get("balance"));
            let is_merged = row.get("is_merged");
            each(Recorded { name, kind, receipt, points, is_merged, balance });
        }
    }
    Ok(())
}

/// Hands over every name.
pub(super) async fn names(
    client: &Client,
    mut each: impl FnMut(Named),
) -> Result<(), HarnessError> {
    let mut rows = stream(client, NAMES).await?;
    while let Some(row) = next(&mut rows).await? {
        let (is_recorded, is_voided) = (row.get("is_recorded"), row.get("is_voided"));
        each(Named { name: row.get("name"), is_recorded, is_voided });
    }
    Ok(())
}

/// Hands over every card.
pub(super) async fn cards(
    client: &Client,
    mut each: impl FnMut(String, Card),
) -> Result<(), HarnessError> {
    let mut rows = stream(client, CARDS).await?;
    while let Some(row) = next(&mut rows).await? {
        let (account_id, state) = (row.get("account_id"), row.get("state"));
        each(row.get("card"), Card { account_id, state });
    }
    Ok(())
}

/// Hands over every account of a customer.
pub(super) async fn accounts(
    client: &Client,
    mut each: impl FnMut(Account),
) -> Result<(), HarnessError> {
    let mut rows = stream(client, ACCOUNTS).await?;
    while let Some(row) = next(&mut rows).await? {
        each(Account {
            account_id: row.get("account_id"),
            state: row.get("state"),
            merged: row.get("merged"),
            left_behind: row.get("left_behind"),
            total_points: row.get("total_points"),
            sales_minor: row.get("sales_minor"),
            baskets: row.get("baskets"),
            booked: row.get("booked"),
            expired: row.get("expired"),
            members: row.get("members"),
        });
    }
    Ok(())
}

/// Hands over every correction of points.
pub(super) async fn adjustments(
    client: &Client,
    mut each: impl FnMut(Adjusted),
) -> Result<(), HarnessError> {
    let mut rows = stream(client, ADJUSTMENTS).await?;
    while let Some(row) = next(&mut rows).await? {
        each(Adjusted {
            adjustment_id: row.get("adjustment_id"),
            points: row.get("points"),
            account_id: row.get("account_id"),
            booked: row.get("booked"),
        });
    }
    Ok(())
}

type Rows = Pin<Box<dyn Stream<Item = Result<Row, tokio_postgres::Error>> + Send>>;

async fn stream(client: &Client, sql: &str) -> Result<Rows, HarnessError> {
    let none: [&(dyn ToSql + Sync); 0] = [];
    let rows = client.query_raw(sql, none).await;
    Ok(Box::pin(rows.map_err(HarnessError::doing("asking the database"))?))
}

async fn next(rows: &mut Rows) -> Result<Option<Row>, HarnessError> {
    rows.next().await.transpose().map_err(HarnessError::doing("reading from the database"))
}
