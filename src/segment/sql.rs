//! Reading accounts: one transaction, so one snapshot, page by page along the key.

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
use crate::domain::segment::Segment;
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
-- segment::categories
SELECT taxon_no, name FROM taxon WHERE level = 2";

/// Customers' accounts after a key, in these states (`$5`) and moved on this day or later (`$6`).
/// Purchases (`$7`) and records (`$8`) are read where they are wanted: what is not wanted is a
/// condition that holds for no row, so nothing is looked up. Voided sales are told by their names.
/// The records are those of the latest fifty sales of a quarter of a year: bounded, whatever an
/// account has seen.
const PAGE: &str = "
-- segment::page
SELECT p.bucket, p.account_id, p.version, p.state, p.clock, p.lots, p.sales_minor, p.baskets,
       p.tally, v.*, m.consents, m.profiling, r.records
FROM (
    SELECT * FROM account
    WHERE (bucket, account_id) > ($1, $2) AND state = ANY($5::smallint[])
      AND ($6::date IS NULL OR clock >= $6)
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
    WHERE $7::boolean AND s.bucket = p.bucket AND s.account_id = p.account_id AND s.kind = 0
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
                 WHERE $8::boolean AND s.bucket = p.bucket AND s.account_id = p.account_id
                   AND s.kind = 0 AND s.business_date > $4::date - 90
                 ORDER BY s.version DESC LIMIT 50) AS records
) AS r
ORDER BY p.bucket, p.account_id";

/// What is read of an account besides its row.
#[derive(Clone, Debug)]
pub struct Detail {
    states: Vec<i16>,
    /// Accounts that have not moved since cannot be meant.
    moved_since: Option<Date>,
    visits: bool,
    records: bool,
}

/// An account as it is read.
pub struct AccountRow {
    /// The account.
    pub account: Account,
    /// Its purchases of 30, 90 and 365 days; 0 where they were not read.
    pub windows: [Window; 3],
    /// The day of its last one; none where they were not read.
    pub last_visit: Option<Date>,
    /// What its people have agreed to, in alphabetical order.
    pub consents: Vec<String>,
    /// Whether it may be told what they buy.
    pub profiling: Profiling,
    /// Its latest purchases as they were recorded; none where they were not read.
    pub records: Vec<Vec<u8>>,
}

/// Purchases of some days.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many.
    pub visits: i64,
    /// What they came to, in minor units.
    pub spend_minor: i64,
}

/// One snapshot of the database, and how far it has been read.
pub struct Snapshot {
    dedicated: Dedicated,
    detail: Detail,
    after: (i16, i64),
    /// Names of categories by number, where records are read.
    pub categories: HashMap<u32, String>,
}

impl Detail {
    /// What it takes to tell whether an account is in a segment.
    pub fn of(segment: &Segment) -> Self {
        let states = match segment.enrolled {
            None => vec![State::Provisional as i16, State::Enrolled as i16],
            Some(true) => vec![State::Enrolled as i16],
            Some(false) => vec![State::Provisional as i16],
        };
        let visits = segment.asks_for_visits();
        Self { states, moved_since: segment.visited_since, visits, records: false }
    }

    /// The same, with all purchases and records.
    pub fn whole(segment: &Segment) -> Self {
        Self { visits: true, records: true, ..Self::of(segment) }
    }
}

impl Snapshot {
    /// Takes the snapshot, on a connection of its own. `by` names it to the database's people.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(
        database: &config::Database,
        by: &str,
        detail: Detail,
    ) -> Result<Self, DbError> {
        let settings = Duration::from_millis(database.statement_timeout_ms);
        let session = Session {
            application_name: by,
            statement_timeout: settings.max(PAGE_MAX),
            lock_timeout: settings,
            settings: SESSION,
        };
        let connect_timeout = Duration::from_millis(database.connect_timeout_ms);
        let dedicated = connect_dedicated(&database.url, connect_timeout, &session).await?;
        let client = dedicated.client();
        client.batch_execute(BEGIN).await?;
        let mut categories = HashMap::new();
        if detail.records {
            for row in client.query(CATEGORIES, &[]).await? {
                let number: i32 = row.get("taxon_no");
                categories.insert(number.cast_unsigned(), row.get("name"));
            }
        }
        Ok(Self { dedicated, detail, after: (-1, 0), categories })
    }

    /// The next accounts along the key, or what is damaged of one; none at the end.
    ///
    /// # Errors
    /// What the database says.
    pub async fn page(
        &mut self,
        limit: i64,
        today: Date,
    ) -> Result<Vec<Result<AccountRow, Error>>, Error> {
        let (bucket, account_id) = self.after;
        let Detail { states, moved_since, visits, records } = &self.detail;
        let client = self.dedicated.client();
        let rows = client
            .query(
                PAGE,
                &[
                    &bucket,     // $1
                    &account_id, // $2
                    &limit,      // $3
                    &today,      // $4
                    states,      // $5
                    moved_since, // $6
                    visits,      // $7
                    records,     // $8
                ],
            )
            .await
            .map_err(DbError::from)?;
        if let Some(last) = rows.last() {
            self.after = (last.get("bucket"), last.get("account_id"));
        }
        Ok(rows.iter().map(account_row).collect())
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
