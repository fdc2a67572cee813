//! Statements about taking coupons of handouts back. As all others a worker's proves its claim.

use jiff::Timestamp;

use super::super::Handout;
use super::super::sql::{FIND, FORGET_PAGES, handout};
use crate::commit::TakenBack;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::coupon::Code;
use crate::error::Error;
use crate::office::{Trace, audit_in};

/// Waits for the coupons at hand, if it has been stopped this moment: those that are issued hold
/// the row until they are.
const REVOKE: &str = "
-- offer::handouts::revoke
UPDATE handout
SET state = 5, stopped_why = CASE WHEN state = 5 THEN stopped_why ELSE 'people' END,
    worker = NULL, worked_until = '-infinity', revoking = true, revoke_at = $2, revoke_by = $3,
    revoke_after = NULL, gone_through = 0, revoked = 0, redeemed = 0, expired = 0
WHERE handout_no = $1 AND state <> 3 AND NOT revoking";

const REVOKED: &str = "
-- offer::handouts::revoked
UPDATE handout
SET worked_until = now() + interval '60 seconds', revoking = $3::bigint IS NOT NULL,
    revoke_after = coalesce($3, revoke_after), gone_through = gone_through + $4::integer,
    revoked = revoked + $5::integer, redeemed = redeemed + $6::integer,
    expired = expired + $7::integer
WHERE handout_no = $1 AND worker = $2 AND revoking";

/// See [`REVOKE`]. The handout as it is then, changed or not; what changes nothing leaves no line.
pub(super) async fn revoke(
    pool: &Pool,
    handout_no: i32,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Handout, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let changed = change.execute(REVOKE, &[&handout_no, &now, &trace.user_no]).await;
    if changed.map_err(DbError::from)? > 0 {
        audit_in(&*change, trace, now).await?;
        // By a statement of its own: who has written some meanwhile was waited for by the first.
        change.execute(FORGET_PAGES, &[&handout_no]).await.map_err(DbError::from)?;
    }
    let name = trace.object.trim_start_matches("handout:");
    let row = change.query_one(FIND, &[&name]).await.map_err(DbError::from)?;
    let handout = handout(&row)?;
    change.commit().await.map_err(DbError::from)?;
    Ok(handout)
}

/// A handful more has been gone through; whether the claim holds.
pub(super) async fn revoked(
    pool: &Pool,
    worker: i64,
    handout_no: i32,
    step: &TakenBack,
) -> Result<bool, DbError> {
    let last = step.last.map(Code::number);
    let client = pool.get().await?;
    let changed = client
        .execute(
            REVOKED,
            &[
                &handout_no,        // $1
                &worker,            // $2
                &last,              // $3
                &step.gone_through, // $4
                &step.revoked,      // $5
                &step.redeemed,     // $6
                &step.expired,      // $7
            ],
        )
        .await?;
    Ok(changed > 0)
}
