//! What the service writes for a swipe, as literals: of every value that varies in length the
//! one that is nearest to the average.

use tokio_postgres::Client;

use super::ledger::Side;
use crate::error::HarnessError;

/// Literals, each as SQL.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Today, in quotes.
    pub business_date: String,
    pub(super) content_hash: String,
    pub(super) epoch: i32,
    pub(super) total_minor: i64,
    pub(super) earned_points: i64,
    pub(super) record: String,
    pub(super) receipt: String,
    pub(super) decision: String,
    pub(super) lot_available: String,
    pub(super) lot_expires: String,
    pub(super) lots: String,
    pub(super) next_expiry: String,
    pub(super) tally: String,
    pub(super) encoding: i16,
    pub(super) profile: String,
    pub(super) coupon: Coupon,
}

/// A coupon that a till gave.
#[derive(Clone, Debug)]
pub(super) struct Coupon {
    pub(super) offer_no: i32,
    pub(super) valid_until: String,
    pub(super) actor: String,
    pub(super) reason: i16,
    pub(super) value_minor: i64,
    pub(super) slot: i16,
    pub(super) propensity: i32,
    pub(super) evidence: String,
    /// Of a swipe that redeems one and gives one.
    pub(super) record: String,
    pub(super) receipt: String,
    pub(super) decision: String,
}

/// `$1` and `$2` bound the accounts, `$3` is today. Swipes without coupons, and the latest: what is
/// noted of a choice grows until customers hold as many coupons as they may.
const SWIPE: &str = "
WITH s AS MATERIALIZED (
    SELECT * FROM swipe AS s WHERE business_date = $3 AND account_id >= $1 AND account_id < $2
        AND NOT EXISTS (SELECT FROM coupon AS c WHERE c.account_id = s.account_id
                        AND s.version IN (c.issued_version, c.changed_version))
    ORDER BY recorded_at DESC LIMIT 20000
), mean AS (
    SELECT avg(pg_column_size(record)) AS record, avg(pg_column_size(receipt)) AS receipt,
           avg(coalesce(pg_column_size(decision), 0)) AS decision,
           avg(total_minor)::bigint AS total_minor, avg(earned_points)::bigint AS earned_points
    FROM s
)
SELECT (SELECT max(epoch) FROM s), mean.total_minor, mean.earned_points,
       (SELECT quote_literal(record::text) FROM s
        ORDER BY abs(pg_column_size(s.record) - mean.record) LIMIT 1),
       (SELECT quote_literal(receipt::text) FROM s
        ORDER BY abs(pg_column_size(s.receipt) - mean.receipt) LIMIT 1),
       (SELECT quote_literal(k.content_hash::text) FROM swipe_key k
        WHERE k.business_date = $3 AND k.account_id >= $1 AND k.account_id < $2 LIMIT 1),
       (SELECT quote_nullable(decision::text) FROM s
        ORDER BY abs(coalesce(pg_column_size(s.decision), 0) - mean.decision) LIMIT 1)
FROM mean WHERE mean.total_minor IS NOT NULL";

/// Swipes that redeem a coupon and give another.
const WITH_COUPONS: &str = "
WITH s AS MATERIALIZED (
    SELECT record, receipt, decision FROM swipe AS s
    WHERE business_date = $3 AND account_id >= $1 AND account_id < $2
        AND EXISTS (SELECT FROM coupon AS c WHERE c.account_id = s.account_id
                    AND c.changed_version = s.version AND c.state = 1)
        AND EXISTS (SELECT FROM coupon AS c WHERE c.account_id = s.account_id
                    AND c.issued_version = s.version)
    ORDER BY recorded_at DESC LIMIT 20000
), mean AS (
    SELECT avg(pg_column_size(record)) AS record, avg(pg_column_size(receipt)) AS receipt,
           avg(pg_column_size(decision)) AS decision
    FROM s
)
SELECT (SELECT quote_literal(record::text) FROM s
        ORDER BY abs(pg_column_size(s.record) - mean.record) LIMIT 1),
       (SELECT quote_literal(receipt::text) FROM s
        ORDER BY abs(pg_column_size(s.receipt) - mean.receipt) LIMIT 1),
       (SELECT quote_literal(decision::text) FROM s
        ORDER BY abs(pg_column_size(s.decision) - mean.decision) LIMIT 1)
FROM mean WHERE mean.record IS NOT NULL";

const ENTRY: &str = "
SELECT quote_literal(lot_available::text), quote_literal(lot_expires::text) FROM entry
WHERE business_date = $3 AND account_id >= $1 AND account_id < $2 AND kind = 1 LIMIT 1";

/// All of one account.
const ACCOUNT: &str = "
WITH a AS MATERIALIZED (
    SELECT lots, next_expiry, tally FROM account
    WHERE account_id >= $1 AND account_id < $2 AND clock = $3
)
SELECT quote_literal(lots::text), quote_literal(next_expiry::text), quote_nullable(tally::text)
FROM a
ORDER BY abs(pg_column_size(lots) - (SELECT avg(pg_column_size(lots)) FROM a)) LIMIT 1";

const PROFILE: &str = "
WITH p AS MATERIALIZED (
    SELECT encoding, data FROM profile WHERE account_id >= $1 AND account_id < $2
)
SELECT encoding, quote_literal(data::text) FROM p
ORDER BY abs(pg_column_size(data) - (SELECT avg(pg_column_size(data)) FROM p)) LIMIT 1";

const COUPON: &str = "
SELECT offer_no, quote_literal(valid_until::text), quote_literal(actor), reason, value_minor,
       slot, propensity, quote_literal(evidence::text)
FROM coupon WHERE account_id >= $1 AND account_id < $2 AND valid_from = $3 AND state = 1 LIMIT 1";

impl Sample {
    /// Reads what the service has written for a side's accounts today.
    ///
    /// # Errors
    /// When it has not yet written each kind of row at least once.
    pub async fn read(client: &Client, side: &Side) -> Result<Self, HarnessError> {
        let one = async |sql: &str| {
            let (from, to) = (side.accounts.start, side.accounts.end);
            let today = side.today;
            let row = match sql.contains("$3") {
                true => client.query_opt(sql, &[&from, &to, &today]).await,
                false => client.query_opt(sql, &[&from, &to]).await,
            };
            let row = row.map_err(HarnessError::doing("reading sample rows"))?;
            row.ok_or_else(|| {
                let what = "the service has not written every kind of row: drive it for longer";
                HarnessError::doing("reading sample rows")(what)
            })
        };
        let (swipe, entry) = (one(SWIPE).await?, one(ENTRY).await?);
        let (account, profile) = (one(ACCOUNT).await?, one(PROFILE).await?);
        let (coupon, with_coupons) = (one(COUPON).await?, one(WITH_COUPONS).await?);
        Ok(Self {
            business_date: format!("'{}'", side.today),
            content_hash: swipe.get(5),
            epoch: swipe.get(0),
            total_minor: swipe.get(1),
            earned_points: swipe.get(2),
            record: swipe.get(3),
            receipt: swipe.get(4),
            decision: swipe.get(6),
            lot_available: entry.get(0),
            lot_expires: entry.get(1),
            lots: account.get(0),
            next_expiry: account.get(1),
            tally: account.get(2),
            encoding: profile.get(0),
            profile: profile.get(1),
            coupon: Coupon {
                offer_no: coupon.get(0),
                valid_until: coupon.get(1),
                actor: coupon.get(2),
                reason: coupon.get(3),
                value_minor: coupon.get(4),
                slot: coupon.get(5),
                propensity: coupon.get(6),
                evidence: coupon.get(7),
                record: with_coupons.get(0),
                receipt: with_coupons.get(1),
                decision: with_coupons.get(2),
            },
        })
    }
}
