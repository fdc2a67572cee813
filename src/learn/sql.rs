//! Every statement of learning. What it reads comes from one snapshot of the database, in the
//! order of the primary key; what it changes runs in one transaction under the lock of the row in
//! `chain`, like a programme: replicas see the new reference version with the epoch, and the audit
//! trail has a line. Models and epochs that are there are never changed.

use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, RowStream, Transaction};

use super::{By, LearnError, Published, Start, Stored, Version};
use crate::catalogue::{self, Snapshot};
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::selection::offers::{OfferWeights, SIGNS_VERSION};
use crate::error::Error;
use crate::office::{Trace, audit_in, settle_in};
use crate::receipt::to_bytes;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Coupons that have ended and were given to somebody: codes of a pool and uses of what is
/// everybody's are left out, which are only there as they are used. So are those of accounts that
/// must not be profiled. Of more than fit the latest.
const COUPONS: &str = "
-- learn::coupons
SELECT code, account_id, issued_version, offer_no, valid_from, valid_until,
       state = 1 AS redeemed
FROM coupon
WHERE valid_until < $1::date AND state <> 2 AND account_id >= 256
  AND (changed_version <> issued_version OR changed_account IS NOT NULL)
  AND NOT EXISTS (SELECT FROM member AS m
                  WHERE m.bucket = (coupon.account_id & 255)::smallint
                    AND m.account_id = coupon.account_id AND 'no-profiling' = ANY (m.consents))
ORDER BY valid_from DESC, code
LIMIT $2::bigint";

const SALES: &str = "
-- learn::sales
SELECT account_id, version, business_date, workstation_no, occurred_at, total_minor, record
FROM swipe
WHERE kind = 0 AND business_date < $1::date
ORDER BY bucket, account_id, version";

const LOCK_CHAIN: &str = "
-- learn::begin
SELECT 1 FROM chain FOR UPDATE";

const LATEST: &str = "
-- learn::latest
SELECT starts_on FROM epoch ORDER BY epoch DESC LIMIT 1";

/// What counted before the newest start: a model, or what is built in. None where no model ever
/// was published.
const PREVIOUS: &str = "
-- learn::previous
SELECT (SELECT p.model_no FROM model_since AS p
        WHERE p.model_no IS DISTINCT FROM m.model_no ORDER BY p.epoch DESC LIMIT 1) AS model_no
FROM model_since AS m ORDER BY m.epoch DESC LIMIT 1";

const CREATE_MODEL: &str = "
-- learn::create_model
INSERT INTO selection_model (model_no, signs, learned_at, until, weights, sold, sources)
SELECT coalesce(max(model_no), 0) + 1, $1::smallint, $2::timestamptz, $3::date, $4::real[],
       $5::bytea, $6::text::jsonb
FROM selection_model
RETURNING model_no";

/// A further epoch under the programme of the newest one.
const CREATE_EPOCH: &str = "
-- learn::create_epoch
INSERT INTO epoch (epoch, starts_on, programme_no, created_at, note, user_no)
SELECT epoch + 1, $1::date, programme_no, $2::timestamptz, $3::text, $4::integer
FROM epoch ORDER BY epoch DESC LIMIT 1
RETURNING epoch";

const CREATE_SINCE: &str = "
-- learn::create_since
INSERT INTO model_since (epoch, model_no) VALUES ($1::integer, $2::integer)";

const BUMP_REFERENCE_VERSION: &str = "
-- learn::bump_reference_version
UPDATE chain SET reference_version = reference_version + 1";

const VERSIONS: &str = "
-- learn::versions
SELECT s.model_no, s.epoch, e.starts_on, e.created_at, e.note, m.until, m.sources::text AS sources,
       e.user_no, u.email
FROM model_since AS s
JOIN epoch AS e USING (epoch)
LEFT JOIN selection_model AS m USING (model_no)
LEFT JOIN app_user AS u USING (user_no)
ORDER BY s.epoch";

/// Coupons that are learned from, at most: their signs are in memory.
const COUPONS_MAX: i64 = 500_000;

/// A coupon that has ended.
#[derive(Clone, Debug)]
pub(super) struct CouponRow {
    pub(super) code: i64,
    pub(super) account_id: i64,
    pub(super) issued_version: i64,
    pub(super) offer_no: i32,
    pub(super) valid_from: Date,
    pub(super) valid_until: Date,
    pub(super) redeemed: bool,
}

/// A sale.
#[derive(Clone, Debug)]
pub(super) struct SaleRow {
    pub(super) account_id: i64,
    pub(super) version: i64,
    pub(super) business_date: Date,
    pub(super) workstation_no: i32,
    pub(super) occurred_at: Timestamp,
    pub(super) total_minor: i64,
    pub(super) record: Vec<u8>,
}

/// Sales, as fast as they are asked for.
pub(super) struct Sales(Pin<Box<RowStream>>);

impl Sales {
    /// The next one; accounts in the order of their buckets, each by versions.
    pub(super) async fn next(&mut self) -> Result<Option<SaleRow>, DbError> {
        let Some(row) = self.0.next().await.transpose()? else { return Ok(None) };
        Ok(Some(SaleRow {
            account_id: row.get("account_id"),
            version: row.get("version"),
            business_date: row.get("business_date"),
            workstation_no: row.get("workstation_no"),
            occurred_at: row.get("occurred_at"),
            total_minor: row.get("total_minor"),
            record: row.get("record"),
        }))
    }
}

/// What statements of learning go over.
#[derive(Debug)]
pub(super) enum Connection {
    /// Of a command.
    Own(Dedicated),
    /// Of the service.
    Pooled(Object),
}

impl Connection {
    pub(super) async fn open(settings: &Database) -> Result<Self, DbError> {
        let session = Session {
            application_name: "tillside learn",
            // Reading takes as long as it takes; it waits for nobody, and nobody for it.
            statement_timeout: Duration::ZERO,
            lock_timeout: Duration::from_secs(30),
            // Along the primary keys: sales come at once, and are not sorted.
            settings: &[("enable_seqscan", "off"), ("idle_in_transaction_session_timeout", "0")],
        };
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        Ok(Self::Own(connect_dedicated(&settings.url, timeout, &session).await?))
    }

    fn client(&self) -> &Client {
        match self {
            Self::Own(dedicated) => dedicated.client(),
            Self::Pooled(object) => object,
        }
    }

    fn client_mut(&mut self) -> &mut Client {
        match self {
            Self::Own(dedicated) => dedicated.client_mut(),
            Self::Pooled(object) => object,
        }
    }

    /// From here on everything that is read is of one moment.
    pub(super) async fn begin_reading(&self) -> Result<(), DbError> {
        Ok(self.client().batch_execute(BEGIN).await?)
    }

    pub(super) async fn end_reading(&self) -> Result<(), DbError> {
        Ok(self.client().batch_execute("COMMIT").await?)
    }

    /// Offers, articles and models.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Error> {
        catalogue::load_for_audit(self.client()).await
    }

    /// See [`COUPONS`].
    pub(super) async fn coupons(&self, until: Date) -> Result<Vec<CouponRow>, DbError> {
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&until, Type::DATE), (&COUPONS_MAX, Type::INT8)];
        let rows = self.client().query_typed(COUPONS, &parameters).await?;
        let coupon = |row: &Row| CouponRow {
            code: row.get("code"),
            account_id: row.get("account_id"),
            issued_version: row.get("issued_version"),
            offer_no: row.get("offer_no"),
            valid_from: row.get("valid_from"),
            valid_until: row.get("valid_until"),
            redeemed: row.get("redeemed"),
        };
        Ok(rows.iter().map(coupon).collect())
    }

    /// Every sale before a business date.
    pub(super) async fn sales(&self, until: Date) -> Result<Sales, DbError> {
        Ok(Sales(Box::pin(self.client().query_raw(SALES, [until]).await?)))
    }

    /// Every start of a model, oldest first.
    pub(super) async fn versions(&self) -> Result<Vec<Version>, LearnError> {
        let rows = self.client().query_typed(VERSIONS, &[]).await.map_err(DbError::from)?;
        let version = |row: &Row| {
            let epoch: i32 = row.get("epoch");
            let sources: Option<&str> = row.get("sources");
            let stored = sources.map(serde_json::from_str::<Stored>).transpose();
            let damaged = |error| Error::Damaged(format!("the model of epoch {epoch}: {error}"));
            let stored = stored.map_err(damaged)?;
            Ok(Version {
                model_no: row.get("model_no"),
                epoch,
                starts_on: row.get("starts_on"),
                created_at: row.get("created_at"),
                until: row.get("until"),
                sources: stored.map(|stored| stored.sources),
                judged: stored.and_then(|stored| stored.judged),
                note: row.get("note"),
                user: row.get("user_no"),
                email: row.get("email"),
            })
        };
        rows.iter().map(version).collect()
    }
}

/// A change under way. Dropped without [`Change::finish`] it leaves nothing behind.
pub(super) struct Change<'a> {
    transaction: Transaction<'a>,
    by: &'a By,
}

impl<'a> Change<'a> {
    /// Begins, alone.
    pub(super) async fn begin(
        connection: &'a mut Connection,
        by: &'a By,
    ) -> Result<Self, LearnError> {
        let client = connection.client_mut();
        let transaction = client.transaction().await.map_err(DbError::from)?;
        let chain = transaction.query_typed_opt(LOCK_CHAIN, &[]).await.map_err(DbError::from)?;
        chain.map(|_| Self { transaction, by }).ok_or(LearnError::NotMigrated)
    }

    /// The first business date of a further epoch, if it may begin then.
    pub(super) async fn start(&self, start: &Start<'_>) -> Result<Date, LearnError> {
        let row = self.transaction.query_typed_opt(LATEST, &[]).await.map_err(DbError::from)?;
        let latest: Option<Date> = row.ok_or(LearnError::NotMigrated)?.get("starts_on");
        let today = start.today;
        let earliest = latest.map_or(today, |latest| latest.max(today));
        let asked = start.from.unwrap_or(earliest);
        match latest {
            _ if asked < today => Err(LearnError::Past { asked, today }),
            Some(latest) if asked < latest => Err(LearnError::StartsTooEarly { latest, asked }),
            _ => Ok(asked),
        }
    }

    /// See [`PREVIOUS`]: the inner one is none for what is built in.
    pub(super) async fn previous(&self) -> Result<Option<Option<i32>>, DbError> {
        let row = self.transaction.query_typed_opt(PREVIOUS, &[]).await?;
        Ok(row.map(|row| row.get("model_no")))
    }

    /// Stores a further model.
    pub(super) async fn create_model(
        &self,
        weights: &OfferWeights,
        sold: &[u8],
        until: Date,
        stored: &Stored,
    ) -> Result<i32, DbError> {
        let stored = serde_json::to_string(stored).expect("counts and numbers");
        let row = self
            .transaction
            .query_typed_one(
                CREATE_MODEL,
                &[
                    (&SIGNS_VERSION, Type::INT2),
                    (&self.by.now, Type::TIMESTAMPTZ),
                    (&until, Type::DATE),
                    (&weights.as_slice(), Type::FLOAT4_ARRAY),
                    (&sold, Type::BYTEA),
                    (&stored, Type::TEXT),
                ],
            )
            .await?;
        Ok(row.get("model_no"))
    }

    /// A further epoch from which a model counts; tells every replica, leaves a line in the audit
    /// trail, and makes it last.
    pub(super) async fn finish(
        self,
        action: &str,
        model_no: Option<i32>,
        starts_on: Date,
        note: &str,
    ) -> Result<Published, LearnError> {
        Ok(self.try_finish(action, model_no, starts_on, note).await?)
    }

    async fn try_finish(
        self,
        action: &str,
        model_no: Option<i32>,
        starts_on: Date,
        note: &str,
    ) -> Result<Published, DbError> {
        let Self { transaction, by: By { user, now } } = self;
        let user_no = user.as_ref().map(|(user_no, _)| *user_no);
        let row = transaction
            .query_typed_one(
                CREATE_EPOCH,
                &[
                    (&starts_on, Type::DATE),
                    (now, Type::TIMESTAMPTZ),
                    (&note, Type::TEXT),
                    (&user_no, Type::INT4),
                ],
            )
            .await?;
        let published = Published { model_no, epoch: row.get("epoch"), starts_on };
        let since: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&published.epoch, Type::INT4), (&model_no, Type::INT4)];
        transaction.execute_typed(CREATE_SINCE, &since).await?;
        transaction.execute_typed(BUMP_REFERENCE_VERSION, &[]).await?;
        let object = model_no.map_or("model:built-in".to_owned(), |no| format!("model:{no}"));
        let trace = Trace { user_no, action, object: &object, fields: &["starts_on", "note"] };
        audit_in(&transaction, &trace, *now).await?;
        if let Some((_, claim)) = user {
            settle_in(&transaction, claim, 201, &to_bytes(&published)).await?;
        }
        transaction.commit().await?;
        Ok(published)
    }
}
