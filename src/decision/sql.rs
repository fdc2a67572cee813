//! What a choice is made again from: the swipe, those of its account up to it, and the coupons
//! that it brought. Reads the primary, never the cache.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::{Client, Row};

use crate::commit::NameKey;
use crate::db::DbError;
use crate::domain::bucket;
use crate::domain::coupon::Code;
use crate::domain::selection::showcase::Why;
use crate::error::Error;

const FIND: &str = "
-- decision::find
SELECT k.account_id, k.version, k.void_version, s.kind, s.epoch, s.decision
FROM swipe_key AS k
JOIN swipe AS s ON s.bucket = (k.account_id & 255)::smallint AND s.account_id = k.account_id
    AND s.version = k.version AND s.business_date = k.business_date
WHERE k.bucket = $1::smallint AND k.workstation_no = $2::integer AND k.business_date = $3::date
    AND k.sequence_number = $4::bigint";

/// The sales of an account up to a version, in the order in which its profile has learnt them.
const HISTORY: &str = "
-- decision::history
SELECT business_date, occurred_at, workstation_no, total_minor, record FROM swipe
WHERE bucket = $1 AND account_id = $2 AND version <= $3 AND kind = 0
ORDER BY version";

/// Those that were chosen: the use of a shared code is a row of the version that used it, too.
const BROUGHT: &str = "
-- decision::brought
SELECT code, offer_no, reason, slot, propensity, evidence FROM coupon
WHERE account_id = $2 AND bucket = $1 AND issued_version = $3 AND slot > 0
ORDER BY code";

/// A recorded sale.
pub(super) struct Found {
    pub(super) account_id: i64,
    pub(super) version: i64,
    pub(super) voided: bool,
    pub(super) kind: i16,
    pub(super) epoch: i32,
    pub(super) decision: Option<Vec<u8>>,
}

/// A sale as a profile learns it.
pub(super) struct Sale {
    pub(super) business_date: Date,
    pub(super) occurred_at: Timestamp,
    pub(super) workstation_no: i32,
    pub(super) total_minor: i64,
    pub(super) record: Vec<u8>,
}

/// A coupon that a swipe brought.
pub(super) struct Brought {
    pub(super) code: Code,
    pub(super) offer_no: i32,
    pub(super) why: Why,
}

/// The sale with a name; none when only a void has come, or nothing.
pub(super) async fn find(client: &Client, name: &NameKey) -> Result<Option<Found>, DbError> {
    let bucket = i16::from(name.bucket);
    let row = client
        .query_opt(
            FIND,
            &[&bucket, &name.workstation_no, &name.business_date, &name.sequence_number],
        )
        .await?;
    Ok(row.map(|row| Found {
        account_id: row.get("account_id"),
        version: row.get("version"),
        voided: row.get::<_, i64>("void_version") > 0,
        kind: row.get("kind"),
        epoch: row.get("epoch"),
        decision: row.get("decision"),
    }))
}

/// See [`HISTORY`].
pub(super) async fn history(
    client: &Client,
    account_id: i64,
    version: i64,
) -> Result<Vec<Sale>, DbError> {
    let bucket = i16::from(bucket::of_account(account_id));
    let rows = client.query(HISTORY, &[&bucket, &account_id, &version]).await?;
    let sale = |row: &Row| Sale {
        business_date: row.get("business_date"),
        occurred_at: row.get("occurred_at"),
        workstation_no: row.get("workstation_no"),
        total_minor: row.get("total_minor"),
        record: row.get("record"),
    };
    Ok(rows.iter().map(sale).collect())
}

/// The coupons that a version of an account was given.
pub(super) async fn brought(
    client: &Client,
    account_id: i64,
    version: i64,
) -> Result<Vec<Brought>, Error> {
    let bucket = i16::from(bucket::of_account(account_id));
    let rows = client.query(BROUGHT, &[&bucket, &account_id, &version]).await;
    let brought = |row: &Row| {
        let code = Code::from_number(row.get("code"));
        let why = why_of(row).ok_or_else(|| Error::Damaged(format!("coupon {code}")))?;
        Ok(Brought { code, offer_no: row.get("offer_no"), why })
    };
    rows.map_err(DbError::from)?.iter().map(brought).collect()
}

fn why_of(row: &Row) -> Option<Why> {
    let (propensity, evidence) = (row.get("propensity"), row.get("evidence"));
    Why::of_stored(row.get("reason"), row.get("slot"), propensity, evidence)
}
