//! What an audit reads of coupons and of the budgets that they draw on.

use jiff::civil::Date;
use tokio_postgres::{Client, Row};

use crate::db::DbError;
use crate::domain::budget::{Counts, Key};

/// Each coupon for the version that issued it, and again for the one that changed it last.
pub(in crate::verify) const COUPONS: &str = "
-- verify::sql::coupons
SELECT (v.account_id & 255)::smallint AS bucket, v.account_id, v.at, v.is_issue, c.code, c.state,
       c.redeemed_on, c.offer_no,
       c.value_minor, c.over_budget, o.offer_no IS NOT NULL AS has_offer,
       CASE WHEN c.changed_account IS NULL
            THEN c.changed_version > c.issued_version OR c.changed_version = 0 AND c.state = 0
            ELSE a.merged_into IS NOT NULL END AS in_order
FROM coupon AS c
LEFT JOIN offer AS o USING (offer_no)
LEFT JOIN account AS a ON a.bucket = c.bucket AND a.account_id = c.account_id
CROSS JOIN LATERAL (VALUES (true, c.account_id, c.issued_version),
                           (false, coalesce(c.changed_account, c.account_id), c.changed_version))
    AS v (is_issue, account_id, at)
WHERE (v.is_issue OR v.at <> 0)
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

pub(in crate::verify) struct CouponRow {
    pub(super) is_issue: bool,
    pub(super) code: i64,
    pub(super) state: i16,
    pub(super) in_order: bool,
    pub(super) redeemed_on: Option<Date>,
    pub(super) offer_no: i32,
    pub(super) has_offer: bool,
    pub(super) value_minor: Option<i64>,
    pub(super) over_budget: bool,
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
        value_minor: row.try_get("value_minor")?,
        over_budget: row.try_get("over_budget")?,
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
