//! What the oracle asks the database. Reads only, and only after the run.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::error::HarnessError;

/// Every row of a transaction or a void under its name, with the sum of all entries of its
/// account up to its version. Entries that belong to no transaction count as well.
const ROWS: &str = "\
-- oracle::sql::rows
WITH booked AS (
    SELECT account_id, version, sum(points)::bigint AS points
    FROM entry GROUP BY account_id, version
)
SELECT t.store_id || '/' || w.workstation_id || '/' || s.business_date || '/'
           || s.sequence_number AS name,
       s.kind, s.receipt, coalesce(b.points, 0) AS points,
       sum(coalesce(b.points, 0)) OVER (PARTITION BY account_id ORDER BY version)::bigint AS balance
FROM swipe AS s
FULL JOIN booked AS b USING (account_id, version)
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
SELECT c.card, a.total_points, a.sales_minor, a.baskets,
       (SELECT coalesce(sum(e.points), 0)::bigint FROM entry AS e
        WHERE e.bucket = a.bucket AND e.account_id = a.account_id) AS booked
FROM card AS c JOIN account AS a USING (account_id)";

/// One row of a transaction or a void.
pub(super) struct Recorded {
    pub(super) name: String,
    /// 0 sale, 1 training, 2 sale after its void, 3 void, 4 void before its sale.
    pub(super) kind: i16,
    pub(super) receipt: Vec<u8>,
    /// What was booked with it.
    pub(super) points: i64,
    /// What the account then had, by its entries.
    pub(super) balance: i64,
}

/// One name.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_recorded: bool,
    pub(super) is_voided: bool,
}

/// One card's account.
pub(super) struct Card {
    pub(super) card: String,
    pub(super) total_points: i64,
    pub(super) sales_minor: i64,
    pub(super) baskets: i32,
    /// The sum of its entries.
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
            each(Recorded { name, kind, receipt, points, balance });
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

/// Hands over every card's account.
pub(super) async fn cards(client: &Client, mut each: impl FnMut(Card)) -> Result<(), HarnessError> {
    let mut rows = stream(client, CARDS).await?;
    while let Some(row) = next(&mut rows).await? {
        each(Card {
            card: row.get("card"),
            total_points: row.get("total_points"),
            sales_minor: row.get("sales_minor"),
            baskets: row.get("baskets"),
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
