//! What an audit reads: streams of rows in the order of accounts and versions, all of them
//! from one snapshot of the database.
//!
//! Each stream has a connection of its own and is read only as fast as it is asked for, so
//! that the memory needed does not depend on how much there is. Everything that lies in the
//! order of its primary key is read along it; only names and cards, which lie in another
//! order, are sorted, and the server does that on its disk. Writes nothing, ever.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::{Row, RowStream};

use super::coupons::sql::{
    BudgetRow, COUPONS, CouponRow, PoolRow, UsedRow, coupon_row, load_budgets, load_pools,
    load_used,
};
use crate::catalogue::{self, Snapshot};
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::ledger::LotKey;
use crate::error::Error;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

const EXPORT: &str = "
-- verify::sql::export
SELECT pg_export_snapshot()";

const COUNT_ACCOUNTS: &str = "
-- verify::sql::count_accounts
SELECT count(*) FROM account WHERE bucket BETWEEN $1 AND $2";

const ACCOUNTS: &str = "
-- verify::sql::accounts
SELECT a.bucket, a.account_id, a.version, a.total_points, a.sales_minor, a.baskets, a.clock,
       a.state, a.lots, a.next_expiry, a.tail_since, a.tail_version, a.tally, a.merged_into,
       t.state AS target_state, t.tally AS target_tally
FROM account AS a
LEFT JOIN account AS t
       ON t.bucket = (a.merged_into & 255)::smallint AND t.account_id = a.merged_into
WHERE a.bucket BETWEEN $1 AND $2
ORDER BY a.bucket, a.account_id";

const MEMBERS: &str = "
-- verify::sql::members
SELECT bucket, account_id FROM member WHERE bucket BETWEEN $1 AND $2 ORDER BY 1, 2";

/// Cards; and without a card what people did to one, which explains versions of its account.
const CARDS: &str = "
-- verify::sql::cards
SELECT (account_id & 255)::smallint AS bucket, account_id, bucket AS card_bucket, card
FROM card WHERE (account_id & 255) BETWEEN $1::smallint AND $2::smallint
UNION ALL SELECT bucket, account_id, (1 - cards)::smallint, NULL
FROM card_change WHERE bucket BETWEEN $1 AND $2
ORDER BY 1, 2";

const PROFILES: &str = "
-- verify::sql::profiles
SELECT bucket, account_id, version, encoding, data FROM profile
WHERE bucket BETWEEN $1 AND $2 ORDER BY bucket, account_id";

/// Each name once for its sale and once for its void. One that has neither comes as a sale.
const NAMES: &str = "
-- verify::sql::names
SELECT (account_id & 255)::smallint AS bucket, account_id, version AS at, false AS is_void,
       version, void_version, workstation_no, business_date, sequence_number, content_hash,
       bucket AS name_bucket
FROM swipe_key
WHERE (version <> 0 OR void_version = 0)
  AND (account_id & 255) BETWEEN $1::smallint AND $2::smallint
UNION ALL
SELECT (account_id & 255)::smallint, account_id, void_version, true, version, void_version,
       workstation_no, business_date, sequence_number, content_hash, bucket
FROM swipe_key
WHERE void_version <> 0 AND (account_id & 255) BETWEEN $1::smallint AND $2::smallint
ORDER BY 1, 2, 3";

const SWIPES: &str = "
-- verify::sql::swipes
SELECT bucket, account_id, version, business_date, workstation_no, sequence_number, kind, epoch,
       occurred_at, recorded_at, total_minor, earned_points, reversed_points, spent_points, record,
       receipt, decision
FROM swipe
WHERE bucket BETWEEN $1 AND $2
ORDER BY bucket, account_id, version";

const ENTRIES: &str = "
-- verify::sql::entries
SELECT bucket, account_id, version, entry_no, kind, points, lot_available, lot_expires,
       business_date
FROM entry
WHERE bucket BETWEEN $1 AND $2
ORDER BY bucket, account_id, version, entry_no";

const ADJUSTMENTS: &str = "
-- verify::sql::adjustments
SELECT bucket, account_id, version, points, business_date
FROM adjustment
WHERE bucket BETWEEN $1 AND $2
ORDER BY bucket, account_id, version";

/// Where a row belongs: bucket and account.
pub(super) type Account = (i16, i64);

pub(super) struct AccountRow {
    pub(super) version: i64,
    pub(super) total_points: i64,
    pub(super) sales_minor: i64,
    pub(super) baskets: i32,
    pub(super) clock: Date,
    pub(super) state: i16,
    pub(super) lots: Vec<u8>,
    pub(super) next_expiry: Option<Date>,
    /// Where its sales since the checkpoint begin, as of this version.
    pub(super) tail_since: Option<Date>,
    pub(super) tail_version: Option<i64>,
    pub(super) tally: Option<Vec<u8>>,
    /// The account that it was merged into, with what that has counted.
    pub(super) heir: Option<(i64, Option<Vec<u8>>)>,
    /// State of the account that it was merged into.
    pub(super) target_state: Option<i16>,
}

pub(super) struct CardRow {
    /// Of the card; without one, how many versions the change explains.
    pub(super) bucket: i16,
    pub(super) card: Option<String>,
}

pub(super) struct ProfileRow {
    pub(super) version: i64,
    pub(super) encoding: i16,
    pub(super) data: Vec<u8>,
}

/// What identifies a transaction, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) workstation_no: i32,
    pub(super) business_date: Date,
    pub(super) sequence_number: i64,
}

pub(super) struct NameRow {
    pub(super) name: Name,
    pub(super) bucket: i16,
    /// Whether the row comes for its void.
    pub(super) is_void: bool,
    pub(super) version: i64,
    pub(super) void_version: i64,
    pub(super) content_hash: Vec<u8>,
}

pub(super) struct SwipeRow {
    pub(super) name: Name,
    pub(super) kind: i16,
    pub(super) epoch: i32,
    pub(super) occurred_at: Timestamp,
    pub(super) recorded_at: Timestamp,
    pub(super) total_minor: i64,
    pub(super) earned_points: i64,
    pub(super) reversed_points: i64,
    pub(super) spent_points: i64,
    pub(super) record: Vec<u8>,
    pub(super) receipt: Vec<u8>,
    pub(super) decision: Option<Vec<u8>>,
}

pub(super) struct EntryRow {
    pub(super) entry_no: i16,
    pub(super) kind: i16,
    pub(super) points: i64,
    pub(super) lot_available: Date,
    pub(super) lot_expires: Date,
    pub(super) business_date: Date,
}

pub(super) struct AdjustmentRow {
    pub(super) points: i64,
    pub(super) business_date: Date,
}

impl EntryRow {
    /// The lot that it changes.
    pub(super) fn lot(&self) -> LotKey {
        LotKey { available_from: self.lot_available, expires_on: self.lot_expires }
    }
}

/// Everything that is read, from one snapshot.
pub(super) struct Streams {
    pub(super) reference: Snapshot,
    pub(super) accounts_count: u64,
    pub(super) accounts: Rows<AccountRow>,
    pub(super) members: Rows<()>,
    pub(super) cards: Rows<CardRow>,
    pub(super) profiles: Rows<ProfileRow>,
    pub(super) names: Rows<NameRow>,
    pub(super) swipes: Rows<SwipeRow>,
    pub(super) entries: Rows<EntryRow>,
    pub(super) adjustments: Rows<AdjustmentRow>,
    pub(super) coupons: Rows<CouponRow>,
    pub(super) budgets: Vec<BudgetRow>,
    /// Accounts that have redeemed more of an offer than it allows.
    pub(super) beyond: Vec<UsedRow>,
    /// Offers of which more codes are stored than were made.
    pub(super) pools: Vec<PoolRow>,
    /// Holds the snapshot while the others begin.
    _first: Dedicated,
}

/// Along the primary keys: rows come at once, and nothing is sorted.
const BY_KEY: &[(&str, &str)] =
    &[("enable_sort", "off"), ("enable_seqscan", "off"), ("enable_hashjoin", "off"), PATIENT];
/// For what must be sorted.
const SORTED: &[(&str, &str)] = &[("work_mem", "65536"), PATIENT];
/// A stream that has ended waits for the longer ones.
const PATIENT: (&str, &str) = ("idle_in_transaction_session_timeout", "0");

impl Streams {
    /// Begins all streams on one snapshot, each with what belongs to accounts of these buckets.
    pub(super) async fn open(
        settings: &Database,
        buckets: &RangeInclusive<u8>,
    ) -> Result<Self, Error> {
        let first = connect(settings, SORTED).await?;
        let client = first.client();
        client.batch_execute(BEGIN).await.map_err(DbError::from)?;
        let row = client.query_one(EXPORT, &[]).await.map_err(DbError::from)?;
        let buckets = [i16::from(*buckets.start()), i16::from(*buckets.end())];
        let from = From { settings, snapshot: row.get(0), buckets };
        let reference = catalogue::load_for_audit(client).await?;
        let budgets = load_budgets(client).await?;
        let (beyond, pools) = tokio::try_join!(load_used(client, &reference), load_pools(client))?;
        let [from_bucket, to_bucket] = &buckets;
        let row = client.query_one(COUNT_ACCOUNTS, &[from_bucket, to_bucket]).await;
        let accounts_count = row.map_err(DbError::from)?.get::<_, i64>(0).unsigned_abs();
        let (accounts, members, cards, profiles, names, swipes) = tokio::try_join!(
            from.rows(ACCOUNTS, BY_KEY, account_row),
            from.rows(MEMBERS, BY_KEY, |_| Ok((0, ()))),
            from.rows(CARDS, SORTED, card_row),
            from.rows(PROFILES, BY_KEY, profile_row),
            from.rows(NAMES, SORTED, name_row),
            from.rows(SWIPES, BY_KEY, swipe_row),
        )?;
        let (entries, adjustments, coupons) = tokio::try_join!(
            from.rows(ENTRIES, BY_KEY, entry_row),
            from.rows(ADJUSTMENTS, BY_KEY, adjustment_row),
            from.rows(COUPONS, SORTED, coupon_row),
        )?;
        Ok(Self {
            reference,
            accounts_count,
            accounts,
            members,
            cards,
            profiles,
            names,
            swipes,
            entries,
            adjustments,
            coupons,
            budgets,
            beyond,
            pools,
            _first: first,
        })
    }

    /// The next account that any stream has rows of.
    pub(super) fn next_account(&self) -> Option<Account> {
        [
            self.accounts.account(),
            self.members.account(),
            self.cards.account(),
            self.profiles.account(),
            self.names.account(),
            self.swipes.account(),
            self.entries.account(),
            self.adjustments.account(),
            self.coupons.account(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next version of an account that any stream has rows of.
    pub(super) fn next_version(&self, account: Account) -> Option<i64> {
        let (names, swipes) = (self.names.version(account), self.swipes.version(account));
        let (entries, coupons) = (self.entries.version(account), self.coupons.version(account));
        let versions = [names, swipes, entries, self.adjustments.version(account), coupons];
        versions.into_iter().flatten().min()
    }
}

/// Rows of one statement, the next of which is in hand.
pub(super) struct Rows<T> {
    stream: Pin<Box<RowStream>>,
    read: Read<T>,
    next: Option<(Account, i64, T)>,
    _connection: Dedicated,
}

/// Reads the version and the value of a row.
type Read<T> = fn(&Row) -> Result<(i64, T), tokio_postgres::Error>;

impl<T> Rows<T> {
    /// The next row, if it belongs to this account.
    pub(super) async fn take(&mut self, account: Account) -> Result<Option<T>, DbError> {
        match &self.next {
            Some((of, _, _)) if *of == account => self.advance().await,
            _ => Ok(None),
        }
    }

    /// The rows of one version of this account.
    pub(super) async fn take_version(
        &mut self,
        account: Account,
        version: i64,
    ) -> Result<Vec<T>, DbError> {
        let mut taken = Vec::new();
        while self.version(account) == Some(version) {
            taken.extend(self.advance().await?);
        }
        Ok(taken)
    }

    fn account(&self) -> Option<Account> {
        self.next.as_ref().map(|(account, _, _)| *account)
    }

    fn version(&self, account: Account) -> Option<i64> {
        let next = self.next.as_ref().filter(|(of, _, _)| *of == account);
        next.map(|(_, version, _)| *version)
    }

    /// Hands out the row in hand and takes the next one.
    async fn advance(&mut self) -> Result<Option<T>, DbError> {
        let next = match self.stream.next().await.transpose()? {
            None => None,
            Some(row) => {
                let account = (row.try_get("bucket")?, row.try_get("account_id")?);
                let (version, value) = (self.read)(&row)?;
                Some((account, version, value))
            }
        };
        let before = std::mem::replace(&mut self.next, next);
        Ok(before.map(|(_, _, value)| value))
    }
}

/// Where the streams come from.
struct From<'a> {
    settings: &'a Database,
    snapshot: String,
    /// The first and the last that are read.
    buckets: [i16; 2],
}

impl From<'_> {
    async fn rows<T>(
        &self,
        sql: &str,
        planner: &[(&str, &str)],
        read: Read<T>,
    ) -> Result<Rows<T>, DbError> {
        let connection = connect(self.settings, planner).await?;
        let client = connection.client();
        let begin = format!("{BEGIN}; SET TRANSACTION SNAPSHOT '{}'", self.snapshot);
        client.batch_execute(&begin).await?;
        let stream = Box::pin(client.query_raw(sql, self.buckets).await?);
        let mut rows = Rows { stream, read, next: None, _connection: connection };
        rows.advance().await?;
        Ok(rows)
    }
}

async fn connect(settings: &Database, planner: &[(&str, &str)]) -> Result<Dedicated, DbError> {
    let session = Session {
        application_name: "tillside verify",
        // An audit takes as long as it takes; it waits for nobody, and nobody for it.
        statement_timeout: Duration::ZERO,
        lock_timeout: Duration::from_secs(10),
        settings: planner,
    };
    let timeout = Duration::from_millis(settings.connect_timeout_ms);
    connect_dedicated(&settings.url, timeout, &session).await
}

fn account_row(row: &Row) -> Result<(i64, AccountRow), tokio_postgres::Error> {
    let heir: Option<i64> = row.try_get("merged_into")?;
    let value = AccountRow {
        version: row.try_get("version")?,
        total_points: row.try_get("total_points")?,
        sales_minor: row.try_get("sales_minor")?,
        baskets: row.try_get("baskets")?,
        clock: row.try_get("clock")?,
        state: row.try_get("state")?,
        lots: row.try_get("lots")?,
        next_expiry: row.try_get("next_expiry")?,
        tail_since: row.try_get("tail_since")?,
        tail_version: row.try_get("tail_version")?,
        tally: row.try_get("tally")?,
        heir: heir.map(|heir| Ok((heir, row.try_get("target_tally")?))).transpose()?,
        target_state: row.try_get("target_state")?,
    };
    Ok((0, value))
}

fn card_row(row: &Row) -> Result<(i64, CardRow), tokio_postgres::Error> {
    Ok((0, CardRow { bucket: row.try_get("card_bucket")?, card: row.try_get("card")? }))
}

fn profile_row(row: &Row) -> Result<(i64, ProfileRow), tokio_postgres::Error> {
    let (version, encoding) = (row.try_get("version")?, row.try_get("encoding")?);
    Ok((0, ProfileRow { version, encoding, data: row.try_get("data")? }))
}

fn name_of(row: &Row) -> Result<Name, tokio_postgres::Error> {
    Ok(Name {
        workstation_no: row.try_get("workstation_no")?,
        business_date: row.try_get("business_date")?,
        sequence_number: row.try_get("sequence_number")?,
    })
}

fn name_row(row: &Row) -> Result<(i64, NameRow), tokio_postgres::Error> {
    let value = NameRow {
        name: name_of(row)?,
        bucket: row.try_get("name_bucket")?,
        is_void: row.try_get("is_void")?,
        version: row.try_get("version")?,
        void_version: row.try_get("void_version")?,
        content_hash: row.try_get("content_hash")?,
    };
    Ok((row.try_get("at")?, value))
}

fn swipe_row(row: &Row) -> Result<(i64, SwipeRow), tokio_postgres::Error> {
    let value = SwipeRow {
        name: name_of(row)?,
        kind: row.try_get("kind")?,
        epoch: row.try_get("epoch")?,
        occurred_at: row.try_get("occurred_at")?,
        recorded_at: row.try_get("recorded_at")?,
        total_minor: row.try_get("total_minor")?,
        earned_points: row.try_get("earned_points")?,
        reversed_points: row.try_get("reversed_points")?,
        spent_points: row.try_get("spent_points")?,
        record: row.try_get("record")?,
        receipt: row.try_get("receipt")?,
        decision: row.try_get("decision")?,
    };
    Ok((row.try_get("version")?, value))
}

fn adjustment_row(row: &Row) -> Result<(i64, AdjustmentRow), tokio_postgres::Error> {
    let (points, business_date) = (row.try_get("points")?, row.try_get("business_date")?);
    Ok((row.try_get("version")?, AdjustmentRow { points, business_date }))
}

fn entry_row(row: &Row) -> Result<(i64, EntryRow), tokio_postgres::Error> {
    let value = EntryRow {
        entry_no: row.try_get("entry_no")?,
        kind: row.try_get("kind")?,
        points: row.try_get("points")?,
        lot_available: row.try_get("lot_available")?,
        lot_expires: row.try_get("lot_expires")?,
        business_date: row.try_get("business_date")?,
    };
    Ok((row.try_get("version")?, value))
}
