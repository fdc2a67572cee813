//! What an audit reads of coupons and of the budgets that they draw on.

use jiff::civil::Date;
use tokio_postgres::{Client, Row};

use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::budget::{Counts, Key};
use crate::domain::offer::Limits;

/// Each coupon for the version that issued it, and again for the one that changed it last.
pub(in crate::verify) const COUPONS: &str = "
-- verify::sql::coupons
SELECT (v.account_id & 255)::smallint AS bucket, v.account_id, v.at, v.is_issue, c.code, c.state,
       c.redeemed_on, c.offer_no, c.valid_from, c.valid_until,
       c.value_minor, c.over_budget, c.over_limit, c.over_value,
       o.offer_no IS NOT NULL AS has_offer,
       CASE WHEN c.changed_account IS NULL
            THEN c.changed_version > c.issued_version OR c.changed_version = 0 AND c.state = 0
                 -- One use of what is everybody's.
                 OR c.changed_version = c.issued_version AND c.state = 1
            -- Of an account that was merged, or a code of a pool.
            ELSE a.merged_into IS NOT NULL OR c.account_id < 256 END AS in_order
FROM coupon AS c
LEFT JOIN offer AS o USING (offer_no)
LEFT JOIN account AS a ON a.bucket = c.bucket AND a.account_id = c.account_id
CROSS JOIN LATERAL (VALUES (true, c.account_id, c.issued_version),
                           (false, coalesce(c.changed_account, c.account_id), c.changed_version))
    AS v (is_issue, account_id, at)
WHERE (v.is_issue AND c.account_id >= 256 OR NOT v.is_issue AND v.at <> 0)
  AND (v.account_id & 255) BETWEEN $1::smallint AND $2::smallint
ORDER BY 1, 2, 3";

/// Budgets with what their open leases add up to.
const BUDGETS: &str = "
-- verify::sql::budgets
SELECT b.offer_no, b.store_no, b.counts, b.amount, b.leased,
       (b.spent + coalesce(sum(l.spent), 0))::bigint AS spent,
       coalesce(sum(l.amount), 0)::bigint AS in_leases
FROM budget AS b LEFT JOIN lease AS l USING (budget_no)
GROUP BY b.budget_no";

/// Offers with a pool of which more codes are stored than were made, or with codes that lead to no
/// pool: nobody could take those back.
const ASTRAY: &str = "
-- verify::sql::astray
SELECT c.offer_no, c.stored, coalesce(p.codes, 0)::bigint AS made
FROM (
    SELECT offer_no, issued_at AS made_at, count(*) AS stored
    FROM coupon WHERE account_id < 256 GROUP BY 1, 2
) AS c
LEFT JOIN code_pool AS p USING (offer_no, made_at)
WHERE c.stored > coalesce(p.codes, 0)";

/// Of offers with limits by account or day, accounts for which more counted than that. What was
/// redeemed while a replica did not know the offer counts for nothing: it is marked otherwise.
const BEYOND: &str = "
-- verify::sql::beyond
SELECT i.offer_no, d.account_id, max(d.on_day) AS on_day, sum(d.on_day)::bigint AS in_all
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS i (offer_no, per_account, per_day)
JOIN (
    SELECT c.offer_no, coalesce(c.changed_account, c.account_id) AS account_id, c.redeemed_on,
           count(*) AS on_day
    FROM coupon AS c
    WHERE c.state = 1 AND NOT c.over_limit AND NOT c.over_value AND c.offer_no = ANY($1)
    GROUP BY 1, 2, 3
) AS d USING (offer_no)
GROUP BY i.offer_no, d.account_id, i.per_account, i.per_day
HAVING max(d.on_day) > i.per_day OR sum(d.on_day) > i.per_account";

/// See [`ASTRAY`].
pub(in crate::verify) struct PoolRow {
    pub(super) offer_no: i32,
    pub(super) stored: i64,
    pub(super) made: i64,
}

/// An account that has redeemed more of an offer than it allows.
pub(in crate::verify) struct UsedRow {
    pub(super) offer_no: i32,
    pub(super) account_id: i64,
    pub(super) on_day: i64,
    pub(super) in_all: i64,
}

pub(in crate::verify) struct CouponRow {
    pub(super) is_issue: bool,
    pub(super) code: i64,
    pub(super) state: i16,
    pub(super) in_order: bool,
    pub(super) redeemed_on: Option<Date>,
    pub(super) offer_no: i32,
    pub(super) has_offer: bool,
    pub(super) valid_from: Date,
    pub(super) valid_until: Date,
    pub(super) value_minor: Option<i64>,
    pub(super) over_budget: bool,
    pub(super) over_limit: bool,
    pub(super) over_value: bool,
}

pub(in crate::verify) struct BudgetRow {
    /// None when it counts what this version does not know.
    pub(super) key: Option<Key>,
    pub(super) amount: i64,
    /// By leases that are closed, and by those that are open.
    pub(super) spent: i64,
    pub(super) leased: i64,
    /// What the leases add up to that are open.
    pub(super) in_leases: i64,
}

pub(in crate::verify) fn coupon_row(row: &Row) -> Result<(i64, CouponRow), tokio_postgres::Error> {
    let value = CouponRow {
        is_issue: row.try_get("is_issue")?,
        code: row.try_get("code")?,
        state: row.try_get("state")?,
        in_order: row.try_get("in_order")?,
        redeemed_on: row.try_get("redeemed_on")?,
        offer_no: row.try_get("offer_no")?,
        has_offer: row.try_get("has_offer")?,
        valid_from: row.try_get("valid_from")?,
        valid_until: row.try_get("valid_until")?,
        value_minor: row.try_get("value_minor")?,
        over_budget: row.try_get("over_budget")?,
        over_limit: row.try_get("over_limit")?,
        over_value: row.try_get("over_value")?,
    };
    Ok((row.try_get("at")?, value))
}

/// All budgets that were drawn on.
pub(in crate::verify) async fn load_budgets(client: &Client) -> Result<Vec<BudgetRow>, DbError> {
    let rows = client.query(BUDGETS, &[]).await?;
    let budget = |row: &Row| {
        let (store_no, counts): (i32, i16) = (row.get("store_no"), row.get("counts"));
        let counts = Counts::ALL.into_iter().find(|it| *it as i16 == counts);
        let store_no = u32::try_from(store_no).ok();
        let key = counts.zip(store_no).map(|(counts, store_no)| Key {
            offer_no: row.get("offer_no"),
            store_no,
            counts,
        });
        BudgetRow {
            key,
            amount: row.get("amount"),
            spent: row.get("spent"),
            leased: row.get("leased"),
            in_leases: row.get("in_leases"),
        }
    };
    Ok(rows.iter().map(budget).collect())
}

/// See [`BEYOND`].
pub(in crate::verify) async fn load_used(
    client: &Client,
    snapshot: &Snapshot,
) -> Result<Vec<UsedRow>, DbError> {
    let most = |most: Option<u16>| most.map_or(i64::MAX, i64::from);
    let limited = snapshot.limited_offers();
    let limits: Vec<Limits> = limited
        .iter()
        .filter_map(|offer_no| Some(snapshot.offer(*offer_no)?.definition.limits))
        .collect();
    let per_account: Vec<i64> = limits.iter().map(|limits| most(limits.per_account)).collect();
    let per_day: Vec<i64> = limits.iter().map(|limits| most(limits.per_day)).collect();
    let rows = client.query(BEYOND, &[&limited, &per_account, &per_day]).await?;
    let used = |row: &Row| UsedRow {
        offer_no: row.get("offer_no"),
        account_id: row.get("account_id"),
        on_day: row.get("on_day"),
        in_all: row.get("in_all"),
    };
    Ok(rows.iter().map(used).collect())
}

/// See [`ASTRAY`].
pub(in crate::verify) async fn load_pools(client: &Client) -> Result<Vec<PoolRow>, DbError> {
    let pool = |row: &Row| PoolRow {
        offer_no: row.get("offer_no"),
        stored: row.get("stored"),
        made: row.get("made"),
    };
    Ok(client.query(ASTRAY, &[]).await?.iter().map(pool).collect())
}
