//! Statements about offers, and the one that reads a coupon. One change of an offer is one
//! transaction with its line in the audit trail, and raises the reference version, so that every
//! replica hears of it.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::Row;

use super::{BudgetError, Life, Standing, State, Stored};
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::budget::{Counts, Key};
use crate::domain::coupon::{self, Code};
use crate::domain::offer::Definition;
use crate::domain::selection::showcase::Why;
use crate::error::Error;
use crate::office::page::Page;
use crate::office::{Settle, Trace, audit_in, settle_in};
use crate::receipt::account_text;

const ADD: &str = "
-- offer::add
INSERT INTO offer (offer_id, definition, created_at) VALUES ($1, $2::text::jsonb, $3)
ON CONFLICT DO NOTHING
RETURNING offer_no, definition::text AS definition, created_at";

/// Locked, so that two who change it do so one after the other.
const HOLD: &str = "
-- offer::hold
SELECT offer_no, definition::text AS definition, created_at FROM offer
WHERE offer_id = $1 FOR UPDATE";

const CHANGE: &str = "
-- offer::change
UPDATE offer SET definition = $2::text::jsonb WHERE offer_no = $1";

const RAISE: &str = "
-- offer::raise
UPDATE chain SET reference_version = reference_version + 1";

const FIND: &str = "
-- offer::find
SELECT offer_no, definition::text AS definition, created_at FROM offer WHERE offer_id = $1";

const LIST: &str = "
-- offer::list
SELECT offer_no, definition::text AS definition, created_at FROM offer
WHERE offer_no < $1::bigint
  AND ($3::text[] IS NULL OR NOT definition ? 'stores' OR definition->'stores' ?| $3)
  AND CASE $4::text
      WHEN 'ended' THEN (definition->>'until')::date < $5::date
      WHEN 'coming' THEN (definition->>'since')::date > $5::date
      WHEN 'live' THEN coalesce((definition->>'since')::date <= $5::date, true)
                       AND coalesce((definition->>'until')::date >= $5::date, true)
      ELSE true END
ORDER BY offer_no DESC LIMIT $2";

const LIFE: &str = "
-- offer::life
SELECT c.code, CASE WHEN c.account_id >= 256 THEN c.account_id ELSE c.changed_account END
           AS account_id,
       o.offer_id, p.pool_id, c.issued_at,
       CASE WHEN c.state = 0 AND p.revoked_at IS NOT NULL THEN 2 ELSE c.state END::smallint
           AS state, c.actor, c.valid_from, c.valid_until,
       c.over_value, c.over_budget, c.over_limit,
       c.reason, c.slot, c.propensity, c.evidence,
       (SELECT w.store_id || '/' || w.workstation_id || '/' || s.business_date || '/'
               || s.sequence_number
        FROM swipe AS s JOIN workstation AS w USING (workstation_no)
        WHERE s.bucket = (coalesce(c.changed_account, c.account_id) & 255)::smallint
          AND s.account_id = coalesce(c.changed_account, c.account_id)
          AND s.version = c.changed_version AND s.business_date = c.redeemed_on) AS redeemed_by
FROM coupon AS c
JOIN offer AS o USING (offer_no)
LEFT JOIN code_pool AS p
     ON c.account_id < 256 AND p.offer_no = c.offer_no AND p.made_at = c.issued_at
WHERE c.bucket = $1 AND c.code = $2";

/// The budgets of an offer with what is held of them.
const BUDGETS: &str = "
-- offer::budgets
SELECT s.store_id, b.counts, b.amount, (b.spent + coalesce(sum(l.spent), 0))::bigint AS spent,
       (b.leased - coalesce(sum(l.spent), 0))::bigint AS leased
FROM budget AS b
LEFT JOIN store AS s ON s.store_no = b.store_no
LEFT JOIN lease AS l USING (budget_no)
WHERE b.offer_no = $1
GROUP BY b.budget_no, s.store_id";

/// Amounts of budgets, made where nobody has drawn on them. Those that would be less than was
/// spent and leased are left as they are.
const SET_AMOUNTS: &str = "
-- offer::set_amounts
INSERT INTO budget AS b (offer_no, store_no, counts, amount)
SELECT $1, i.store_no, i.counts, i.amount
FROM unnest($2::integer[], $3::smallint[], $4::bigint[]) AS i (store_no, counts, amount)
ORDER BY i.store_no, i.counts
ON CONFLICT (offer_no, store_no, counts) DO UPDATE SET amount = excluded.amount
WHERE b.spent + b.leased <= excluded.amount";

/// See [`ADD`]. None when the name is taken.
pub(super) async fn add(
    pool: &Pool,
    definition: &Definition,
    by: Option<i32>,
    settle: Option<Settle<'_, Stored>>,
    now: Timestamp,
) -> Result<Option<Stored>, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let text = serde_json::to_string(definition).expect("definitions are texts and numbers");
    let added = change.query_opt(ADD, &[&definition.offer, &text, &now]).await;
    let Some(row) = added.map_err(DbError::from)? else { return Ok(None) };
    let stored = stored(&row)?;
    change.execute(RAISE, &[]).await.map_err(DbError::from)?;
    let object = format!("offer:{}", definition.offer);
    let trace =
        Trace { user_no: by, action: "offer.add", object: &object, fields: &["definition"] };
    audit_in(&*change, &trace, now).await?;
    if let Some((claim, status, answer)) = settle {
        settle_in(&*change, claim, status, &answer(&stored)).await?;
    }
    change.commit().await.map_err(DbError::from)?;
    Ok(Some(stored))
}

/// Changes an offer as `changed` says. None when there is none.
pub(super) async fn change(
    pool: &Pool,
    offer_id: &str,
    changed: impl FnOnce(&mut Definition),
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Option<Stored>, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let held = change.query_opt(HOLD, &[&offer_id]).await.map_err(DbError::from)?;
    let Some(row) = held else { return Ok(None) };
    let mut stored = stored(&row)?;
    changed(&mut stored.definition);
    let text = serde_json::to_string(&stored.definition).expect("it was just read");
    change.execute(CHANGE, &[&stored.offer_no, &text]).await.map_err(DbError::from)?;
    change.execute(RAISE, &[]).await.map_err(DbError::from)?;
    audit_in(&*change, trace, now).await?;
    change.commit().await.map_err(DbError::from)?;
    Ok(Some(stored))
}

/// Changes the budgets of an offer as `changed` says, which also says their whole amounts, by
/// store and by what they count. None when there is no such offer.
pub(super) async fn change_budgets(
    pool: &Pool,
    offer_id: &str,
    changed: impl FnOnce(&mut Stored) -> Result<Vec<(Key, i64)>, BudgetError>,
    settle: Settle<'_, Stored>,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Option<Stored>, BudgetError> {
    let mut client = pool.get().await.map_err(failed)?;
    let change = client.transaction().await.map_err(failed)?;
    let held = change.query_opt(HOLD, &[&offer_id]).await.map_err(failed)?;
    let Some(row) = held else { return Ok(None) };
    let mut stored = stored(&row)?;
    let amounts = changed(&mut stored)?;
    let text = serde_json::to_string(&stored.definition).expect("it was just read");
    change.execute(CHANGE, &[&stored.offer_no, &text]).await.map_err(failed)?;
    let stores: Vec<i32> = amounts.iter().map(|(key, _)| key.store_no.cast_signed()).collect();
    let counts: Vec<i16> = amounts.iter().map(|(key, _)| key.counts as i16).collect();
    let values: Vec<i64> = amounts.iter().map(|(_, amount)| *amount).collect();
    let set = change
        .execute(
            SET_AMOUNTS,
            &[
                &stored.offer_no, // $1
                &stores,          // $2
                &counts,          // $3
                &values,          // $4
            ],
        )
        .await
        .map_err(failed)?;
    if set < amounts.len() as u64 {
        return Err(BudgetError::Spent);
    }
    change.execute(RAISE, &[]).await.map_err(failed)?;
    audit_in(&*change, trace, now).await.map_err(Error::from)?;
    let (claim, status, answer) = settle;
    settle_in(&*change, claim, status, &answer(&stored)).await.map_err(Error::from)?;
    change.commit().await.map_err(failed)?;
    Ok(Some(stored))
}

fn failed(error: impl Into<DbError>) -> BudgetError {
    BudgetError::Failed(error.into().into())
}

/// See [`FIND`].
pub(super) async fn find(pool: &Pool, offer_id: &str) -> Result<Option<Stored>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let row = client.query_opt(FIND, &[&offer_id]).await.map_err(DbError::from)?;
    row.as_ref().map(stored).transpose()
}

/// Offers, the newest first: those that count in one of these stores, when some are named, and
/// that stand so on a day, when that is asked.
pub(super) async fn list(
    pool: &Pool,
    page: &Page,
    stores: Option<&[String]>,
    state: Option<State>,
    today: Date,
) -> Result<Vec<Stored>, Error> {
    let state = state.map(State::name);
    let client = pool.get().await.map_err(DbError::from)?;
    let rows = client
        .query(LIST, &[&page.before, &page.wanted(), &stores, &state, &today])
        .await
        .map_err(DbError::from)?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<Stored, Error> {
    let offer_no: i32 = row.get("offer_no");
    let definition = serde_json::from_str(row.get("definition"))
        .map_err(|error| Error::Damaged(format!("offer {offer_no}: {error}")))?;
    Ok(Stored { offer_no, definition, created_at: row.get("created_at") })
}

/// See [`LIFE`].
pub(super) async fn life(pool: &Pool, code: Code) -> Result<Option<Life>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let bucket = i16::from(code.bucket());
    let row = client.query_opt(LIFE, &[&bucket, &code.number()]).await.map_err(DbError::from)?;
    row.as_ref().map(life_in).transpose()
}

/// A coupon as [`LIFE`] and the list of an account's coupons select it.
///
/// # Errors
/// When the row holds what cannot be.
pub fn life_in(row: &Row) -> Result<Life, Error> {
    let code = Code::from_number(row.get("code"));
    let state = coupon::State::from_code(row.get("state"))
        .ok_or_else(|| Error::Damaged(format!("the state of coupon {code}")))?;
    let (propensity, evidence) = (row.get("propensity"), row.get("evidence"));
    let why = Why::of_stored(row.get("reason"), row.get("slot"), propensity, evidence)
        .ok_or_else(|| Error::Damaged(format!("the reason of coupon {code}")))?;
    Ok(Life {
        coupon: code.to_string(),
        account: row.get::<_, Option<i64>>("account_id").map(account_text),
        offer: row.get("offer_id"),
        pool: row.get("pool_id"),
        state: state.name(),
        issued_at: row.get("issued_at"),
        actor: row.get("actor"),
        valid_from: row.get("valid_from"),
        valid_until: row.get("valid_until"),
        redeemed_by: row.get("redeemed_by"),
        over_value: row.get("over_value"),
        over_budget: row.get("over_budget"),
        over_limit: row.get("over_limit"),
        reason: why.reason.name(),
        slot: why.slot.name(),
        why: why.sentence(),
    })
}

/// See [`BUDGETS`].
pub(super) async fn budgets(pool: &Pool, offer_no: i32) -> Result<Vec<Standing>, DbError> {
    let client = pool.get().await?;
    let rows = client.query(BUDGETS, &[&offer_no]).await?;
    let standing = |row: &tokio_postgres::Row| {
        let counts: i16 = row.get("counts");
        Some(Standing {
            store: row.get("store_id"),
            counts: Counts::ALL.into_iter().find(|it| *it as i16 == counts)?.name(),
            amount: row.get("amount"),
            spent: row.get("spent"),
            leased: row.get("leased"),
            by_today: None,
        })
    };
    Ok(rows.iter().filter_map(standing).collect())
}
