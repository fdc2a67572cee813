//! Reading the coupons of an account. Reads the primary.

use jiff::Timestamp;
use jiff::civil::Date;

use super::http::CouponState;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::bucket;
use crate::error::Error;
use crate::offer::{self, Life};
use crate::office::page::PairPage;

/// Whether there is such an account of customers; the others are the house's.
const IS_KNOWN: &str = "
-- offer::held::is_known
SELECT EXISTS (SELECT FROM account WHERE bucket = $1 AND account_id = $2 AND state <> 2)";

/// A page of the coupons of an account and of those that were merged into it: all of theirs are
/// read along two indexes, of which a customer has hundreds, and the newest kept. A use of
/// something that is everybody's lies on `domain::coupon::USE_DAY`, or, of long ago, on other days.
const LIST: &str = "
-- offer::held::list
WITH RECURSIVE theirs (account_id) AS (
    SELECT $1::bigint
    UNION
    SELECT a.account_id FROM theirs AS t JOIN account AS a ON a.merged_into = t.account_id
),
held AS (
    SELECT c.*, NULL AS pool_id, c.state AS stands
    FROM theirs AS t JOIN coupon AS c
         ON c.account_id = t.account_id AND c.bucket = (t.account_id & 255)
    WHERE c.valid_until > '1970-01-01' AND c.actor <> 'shared-code'
    UNION ALL
    SELECT c.*, p.pool_id,
           CASE WHEN c.state = 0 AND p.revoked_at IS NOT NULL THEN 2 ELSE c.state END::smallint
    FROM theirs AS t JOIN coupon AS c ON c.changed_account = t.account_id
    LEFT JOIN code_pool AS p ON p.offer_no = c.offer_no AND p.made_at = c.issued_at
    WHERE c.account_id < 256
),
page AS (
    SELECT * FROM held
    WHERE (issued_at, code) < ($2::timestamptz, $3::bigint)
      AND CASE $4::text
          WHEN 'issued' THEN stands = 0 AND valid_until >= $5::date
          WHEN 'expired' THEN stands = 0 AND valid_until < $5::date
          WHEN 'redeemed' THEN stands = 1
          WHEN 'revoked' THEN stands = 2
          ELSE true END
    ORDER BY issued_at DESC, code DESC LIMIT $6
)
SELECT c.code, CASE WHEN c.account_id >= 256 THEN c.account_id ELSE c.changed_account END
           AS account_id,
       o.offer_id, c.pool_id, c.stands AS state, c.issued_at, c.actor, c.valid_from, c.valid_until,
       c.over_value, c.over_budget, c.over_limit,
       c.reason, c.slot, c.propensity, c.evidence,
       (SELECT w.store_id || '/' || w.workstation_id || '/' || s.business_date || '/'
               || s.sequence_number
        FROM swipe AS s JOIN workstation AS w USING (workstation_no)
        WHERE s.bucket = (coalesce(c.changed_account, c.account_id) & 255)::smallint
          AND s.account_id = coalesce(c.changed_account, c.account_id)
          AND s.version = c.changed_version AND s.business_date = c.redeemed_on) AS redeemed_by
FROM page AS c JOIN offer AS o USING (offer_no)
ORDER BY c.issued_at DESC, c.code DESC";

/// See [`IS_KNOWN`].
pub(super) async fn is_known(pool: &Pool, account_id: i64) -> Result<bool, DbError> {
    let bucket = i16::from(bucket::of_account(account_id));
    let client = pool.get().await?;
    let row = client.query_one(IS_KNOWN, &[&bucket, &account_id]).await?;
    Ok(row.get(0))
}

/// See [`LIST`]. Each with the number of its code.
pub(super) async fn list(
    pool: &Pool,
    account_id: i64,
    page: &PairPage,
    state: Option<CouponState>,
    today: Date,
) -> Result<Vec<(Life, i64)>, Error> {
    let state = state.map(|state| match state {
        CouponState::Issued => "issued",
        CouponState::Redeemed => "redeemed",
        CouponState::Revoked => "revoked",
        CouponState::Expired => "expired",
    });
    let (instant, code) = page.before;
    let before = Timestamp::from_microsecond(instant).unwrap_or(Timestamp::MAX);
    let client = pool.get().await.map_err(DbError::from)?;
    let rows = client
        .query(
            LIST,
            &[
                &account_id,    // $1
                &before,        // $2
                &code,          // $3
                &state,         // $4
                &today,         // $5
                &page.wanted(), // $6
            ],
        )
        .await
        .map_err(DbError::from)?;
    rows.iter().map(|row| Ok((offer::life_in(row)?, row.get("code")))).collect()
}
