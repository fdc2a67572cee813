//! Reading the coupons of a handout: one transaction, so one snapshot, page by page along their
//! index.

use std::time::Duration;

use jiff::civil::Date;
use tokio_postgres::Row;

use crate::config;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::coupon::{Code, State};
use crate::error::Error;

/// Only indexes are left, so a plan depends on no statistics. A reader who pauses holds the
/// transaction open, for no longer than a file's reader may and a bit.
const SESSION: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "90000"),
];

/// How long a page may take, where the service asks for less elsewhere.
const PAGE_MAX: Duration = Duration::from_secs(30);

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Coupons of a handout after a code, each with the account that has it now: the one that it was
/// issued to, or whom that was merged into in the end. Both ends of the range name the actor, so
/// that only the index of handouts has this order.
const PAGE: &str = "
-- offer::handouts::file::page
SELECT p.code, p.state, p.valid_from, p.valid_until, h.account_id
FROM (
    SELECT * FROM coupon AS c
    WHERE c.actor LIKE 'handout:%' AND (c.actor, c.bucket, c.code) > ($1, $2, $3) AND c.actor <= $1
    ORDER BY c.actor, c.bucket, c.code LIMIT $4
) AS p
CROSS JOIN LATERAL (
    WITH RECURSIVE line AS (
        SELECT a.account_id, a.merged_into FROM account AS a
        WHERE a.bucket = p.bucket AND a.account_id = p.account_id
        UNION ALL
        SELECT a.account_id, a.merged_into FROM line AS l JOIN account AS a
        ON a.bucket = (l.merged_into & 255)::smallint AND a.account_id = l.merged_into
    )
    SELECT l.account_id FROM line AS l WHERE l.merged_into IS NULL
) AS h
ORDER BY p.bucket, p.code";

/// A coupon as it is read.
pub(super) struct Issued {
    pub(super) code: Code,
    pub(super) account_id: i64,
    pub(super) valid_from: Date,
    pub(super) valid_until: Date,
    pub(super) state: State,
}

/// One snapshot of the database, and how far it has been read.
pub(super) struct Snapshot {
    dedicated: Dedicated,
    actor: String,
    after: (i16, i64),
}

impl Snapshot {
    /// Takes the snapshot of what was issued under a name, on a connection of its own.
    pub(super) async fn open(database: &config::Database, actor: String) -> Result<Self, DbError> {
        let settings = Duration::from_millis(database.statement_timeout_ms);
        let session = Session {
            application_name: "tillside handout file",
            statement_timeout: settings.max(PAGE_MAX),
            lock_timeout: settings,
            settings: SESSION,
        };
        let connect_timeout = Duration::from_millis(database.connect_timeout_ms);
        let dedicated = connect_dedicated(&database.url, connect_timeout, &session).await?;
        dedicated.client().batch_execute(BEGIN).await?;
        Ok(Self { dedicated, actor, after: (-1, 0) })
    }

    /// The next coupons; none at the end.
    pub(super) async fn page(&mut self, limit: i64) -> Result<Vec<Issued>, Error> {
        let (bucket, code) = self.after;
        let client = self.dedicated.client();
        let rows = client.query(PAGE, &[&self.actor, &bucket, &code, &limit]).await;
        let coupons: Vec<Issued> =
            rows.map_err(DbError::from)?.iter().map(issued).collect::<Result<_, Error>>()?;
        if let Some(Issued { code, .. }) = coupons.last() {
            self.after = (code.bucket().into(), code.number());
        }
        Ok(coupons)
    }
}

fn issued(row: &Row) -> Result<Issued, Error> {
    let code = Code::from_number(row.get("code"));
    let damaged = || Error::Damaged(format!("the state of coupon {code}"));
    Ok(Issued {
        code,
        account_id: row.get("account_id"),
        valid_from: row.get("valid_from"),
        valid_until: row.get("valid_until"),
        state: State::from_code(row.get("state")).ok_or_else(damaged)?,
    })
}
