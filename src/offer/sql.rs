//! Statements about offers, and the one that reads a coupon. One change of an offer is one
//! statement, which raises the reference version, so that every replica hears of it.

use jiff::Timestamp;
use jiff::civil::Date;

use super::Life;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::coupon::{Code, State};
use crate::domain::offer::Definition;
use crate::error::Error;
use crate::receipt::account_text;

const ADD: &str = "
-- offer::add
WITH raised AS (
    UPDATE chain SET reference_version = reference_version + 1
)
INSERT INTO offer (offer_id, definition, created_at) VALUES ($1, $2::text::jsonb, $3)
ON CONFLICT DO NOTHING";

const END: &str = "
-- offer::end
WITH raised AS (
    UPDATE chain SET reference_version = reference_version + 1
)
UPDATE offer SET definition = jsonb_set(definition, '{until}', to_jsonb($2::text))
WHERE offer_id = $1";

const LIFE: &str = "
-- offer::life
SELECT c.account_id, o.offer_id, c.state, c.issued_at, c.actor, c.valid_from, c.valid_until,
       c.over_value,
       (SELECT w.store_id || '/' || w.workstation_id || '/' || s.business_date || '/'
               || s.sequence_number
        FROM swipe AS s JOIN workstation AS w USING (workstation_no)
        WHERE s.bucket = c.bucket AND s.account_id = c.account_id
          AND s.version = c.changed_version AND s.business_date = c.redeemed_on) AS redeemed_by
FROM coupon AS c JOIN offer AS o USING (offer_no)
WHERE c.bucket = $1 AND c.code = $2";

/// See [`ADD`]. Whether it was added.
pub(super) async fn add(
    pool: &Pool,
    definition: &Definition,
    now: Timestamp,
) -> Result<bool, DbError> {
    let text = serde_json::to_string(definition).expect("definitions are texts and numbers");
    let client = pool.get().await?;
    Ok(client.execute(ADD, &[&definition.offer, &text, &now]).await? == 1)
}

/// See [`END`]. Whether there is such an offer.
pub(super) async fn end(pool: &Pool, offer_id: &str, until: Date) -> Result<bool, DbError> {
    let client = pool.get().await?;
    Ok(client.execute(END, &[&offer_id, &until.to_string()]).await? == 1)
}

/// See [`LIFE`].
pub(super) async fn life(pool: &Pool, code: Code) -> Result<Option<Life>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let bucket = i16::from(code.bucket());
    let row = client.query_opt(LIFE, &[&bucket, &code.number()]).await.map_err(DbError::from)?;
    let Some(row) = row else { return Ok(None) };
    let state = State::from_code(row.get("state"))
        .ok_or_else(|| Error::Damaged(format!("the state of coupon {code}")))?;
    Ok(Some(Life {
        coupon: code.to_string(),
        account: account_text(row.get("account_id")),
        offer: row.get("offer_id"),
        state: state.name(),
        issued_at: row.get("issued_at"),
        actor: row.get("actor"),
        valid_from: row.get("valid_from"),
        valid_until: row.get("valid_until"),
        redeemed_by: row.get("redeemed_by"),
        over_value: row.get("over_value"),
    }))
}
