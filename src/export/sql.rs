//! Reading accounts for a file: one transaction, so one snapshot, page by page along the key.

use std::collections::HashMap;
use std::time::Duration;

use jiff::civil::Date;
use tokio_postgres::Row;

use crate::config;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::account::{Account, State};
use crate::domain::consent::Profiling;
use crate::domain::ledger::Lots;
use crate::domain::tally::Tally;
use crate::error::Error;

/// Few rows are looked up by their keys; a plan must not depend on what statistics say. A reader
/// who pauses holds the transaction open, for no longer than `READER_PATIENCE` and a bit.
const SESSION: &[(&str, &str)] = &[
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "90000"),
];

/// A page of customers who have come for years takes longer than what the service asks elsewhere.
const PAGE_MAX: Duration = Duration::from_secs(30);

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const CATEGORIES: &str = "
-- export::categories
SELECT taxon_no, name FROM taxon WHERE level = 2";

/// Customers' accounts after a key. Voided sales are told by their names. The records are those
/// of the latest fifty sales of a quarter of a year: bounded, whatever an account has seen.
const PAGE: &str = "
-- export::page
SELECT p.bucket, p.account_id, p.version, p.state, p.clock, p.lots, p.sales_minor, p.baskets,
       p.tally, v.*, m.consents, m.profiling, r.records
FROM (
    SELECT * FROM account
    WHERE (bucket, account_id) > ($1, $2) AND state IN (0, 1)
    ORDER BY bucket, account_id LIMIT $3
) AS p
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.business_date > $4::date - 30) AS visits_30d,
           count(*) FILTER (WHERE s.business_date > $4::date - 90) AS visits_90d,
           count(*) FILTER (WHERE s.business_date > $4::date - 365) AS visits_365d,
           coalesce(sum(s.total_minor) FILTER (WHERE s.business_date > $4::date - 30), 0)::bigint
               AS spend_30d,
           coalesce(sum(s.total_minor) FILTER (WHERE s.business_date > $4::date - 90), 0)::bigint
               AS spend_90d,
           coalesce(sum(s.total_minor) FILTER (WHERE s.business_date > $4::date - 365), 0)::bigint
               AS spend_365d,
           max(s.business_date) AS last_visit
    FROM swipe AS s JOIN workstation AS w USING (workstation_no)
    WHERE s.bucket = p.bucket AND s.account_id = p.account_id AND s.kind = 0
      AND (SELECT k.void_version FROM swipe_key AS k
           WHERE k.bucket = (w.house_account & 255)::smallint
             AND k.workstation_no = s.workstation_no AND k.business_date = s.business_date
             AND k.sequence_number = s.sequence_number) = 0
) AS v
CROSS JOIN LATERAL (
    SELECT ARRAY(SELECT DISTINCT consent FROM member AS m, unnest(m.consents) AS consent
                 WHERE m.bucket = p.bucket AND m.account_id = p.account_id ORDER BY consent)
               AS consents,
           (SELECT CASE WHEN bool_or('no-profiling' = ANY (m.consents)) THEN 2
                        WHEN bool_and('profiling' = ANY (m.consents)) THEN 1 ELSE 0 END::smallint
            FROM member AS m
            WHERE m.bucket = p.bucket AND m.account_id = p.account_id) AS profiling
) AS m
CROSS JOIN LATERAL (
    SELECT ARRAY(SELECT s.record FROM swipe AS s
                 WHERE s.bucket = p.bucket AND s.account_id = p.account_id AND s.kind = 0
                   AND s.business_date > $4::date - 90
                 ORDER BY s.version DESC LIMIT 50) AS records
) AS r
ORDER BY p.bucket, p.account_id";

/// An account as it is read.
pub(super) struct AccountRow {
    pub(super) account: Account,
    /// Of 30, 90 and 365 days.
    pub(super) windows: [Window; 3],
    pub(super) last_visit: Option<Date>,
    pub(super) consents: Vec<String>,
    pub(super) profiling: Profiling,
    pub(super) records: Vec<Vec<u8>>,
}

/// Transactions of some days.
pub(super) struct Window {
    pub(super) visits: i64,
    pub(super) spend_minor: i64,
}

/// One snapshot of the database, and how far it has been read.
pub(super) struct Snapshot {
    dedicated: Dedicated,
    after: (i16, i64),
    /// Names of categories by number.
    pub(super) categories: HashMap<u32, String>,
}

impl Snapshot {
    /// Takes the snapshot, on a connection of its own.
    pub(super) async fn open(database: &config::Database) -> Result<Self, DbError> {
        let settings = Duration::from_millis(database.statement_timeout_ms);
        let session = Session {
            application_name: "tillside export",
            statement_timeout: settings.max(PAGE_MAX),
            lock_timeout: settings,
            settings: SESSION,
        };
        let connect_timeout = Duration::from_millis(database.connect_timeout_ms);
        let dedicated = connect_dedicated(&database.url, connect_timeout, &session).await?;
        let client = dedicated.client();
        client.batch_execute(BEGIN).await?;
        let mut categories = HashMap::new();
        for row in client.query(CATEGORIES, &[]).await? {
            let number: i32 = row.get("taxon_no");
            categories.insert(number.cast_unsigned(), row.get("name"));
        }
        Ok(Self { dedicated, after: (-1, 0), categories })
    }

    /// The next accounts along the key; none at the end.
    pub(super) async fn page(&mut self, limit: i64, today: Date) -> Result<Vec<AccountRow>, Error> {
        let (bucket, account_id) = self.after;
        let client = self.dedicated.client();
        let rows = client.query(PAGE, &[&bucket, &account_id, &limit, &today]).await;
        let rows = rows.map_err(DbError::from)?;
        if let Some(last) = rows.last() {
            self.after = (last.get("bucket"), last.get("account_id"));
        }
        rows.iter().map(account_row).collect()
    }
}

fn account_row(row: &Row) -> Result<AccountRow, Error> {
    let account_id: i64 = row.get("account_id");
    let damaged = |what: String| Error::Damaged(format!("account {account_id}: {what}"));
    let code: i16 = row.get("state");
    let window =
        |visits: &str, spend: &str| Window { visits: row.get(visits), spend_minor: row.get(spend) };
    Ok(AccountRow {
        account: Account {
            account_id,
            version: row.get("version"),
            state: State::from_code(code).ok_or_else(|| damaged(format!("state {code}")))?,
            clock: row.get("clock"),
            lots: Lots::decode(row.get("lots")).map_err(|error| damaged(error.to_string()))?,
            sales_minor: row.get("sales_minor"),
            baskets: row.get("baskets"),
            tally: Tally::decode(row.get("tally")).map_err(|error| damaged(error.to_string()))?,
        },
        windows: [
            window("visits_30d", "spend_30d"),
            window("visits_90d", "spend_90d"),
            window("visits_365d", "spend_365d"),
        ],
        last_visit: row.get("last_visit"),
        consents: row.get("consents"),
        profiling: Profiling::from_code(row.get("profiling")),
        records: row.get("records"),
    })
}
