//! Takes back what a handout has issued, all that is still open: in the background, a handful at a
//! time, and how far it has come is kept with every step. What a crash cut off goes on by itself.
//! Must never begin while coupons are being issued, nor take one back itself: `commit` does that.

pub mod http;
mod sql;

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::work::Worker;
use super::{Handout, State};
use crate::catalogue;
use crate::commit::{TakeBack, give_way};
use crate::db::pool::Pool;
use crate::domain::coupon::Code;
use crate::error::Error;
use crate::office::Trace;

/// How far taking the coupons of a handout back has come.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HandoutRevocation)]
pub struct Revocation {
    /// When people asked for it last.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Whether every coupon of the handout has been gone through.
    pub done: bool,
    /// How many have been. Of these:
    #[schema(example = 12034)]
    pub coupons: i32,
    /// those that are taken back, now or before.
    pub revoked: i32,
    /// those that a till had taken, which stay redeemed.
    pub redeemed: i32,
    /// those that had expired, which stay as they are.
    pub expired: i32,
    /// those that could not be taken back, since their account is damaged.
    pub failed: i32,
    #[serde(skip)]
    pub(super) after: Option<Code>,
    #[serde(skip)]
    pub(super) by: Option<i32>,
}

/// Has the coupons of a handout taken back, which ends it for good. Where that is under way it
/// goes on, and where it is done they are gone through once more: a void may have opened some
/// since. None, and nothing changes, while it is being issued.
///
/// # Errors
/// What the database says.
pub async fn revoke(
    pool: &Pool,
    handout: &Handout,
    by: Option<i32>,
    now: Timestamp,
) -> Result<Option<Handout>, Error> {
    let object = format!("handout:{}", handout.handout);
    let action = "handout.revoke";
    let trace = Trace { user_no: by, action, object: &object, fields: &["revocation"] };
    let after = sql::revoke(pool, handout.handout_no, &trace, now).await?;
    Ok(Some(after).filter(|it| it.state != State::Issuing))
}

impl Worker {
    /// Goes through the coupons of a handout, from where it was cut off.
    pub(super) async fn revoke(
        &mut self,
        mut handout: Handout,
        catalogue: impl Fn() -> Arc<catalogue::Snapshot>,
        progress: &mut impl FnMut(&Handout),
    ) -> Result<(), Error> {
        let (name, began) = (handout.actor(), Instant::now());
        while let Some(revocation) = handout.revocation.as_mut().filter(|it| !it.done) {
            give_way(&self.metrics).await;
            let now = Timestamp::now();
            let (after, by) = (revocation.after, revocation.by);
            let today = self.time_zone.to_datetime(now).date();
            let wanted = TakeBack { name: name.clone(), after, today, by };
            let step = self.desk.take_back(&catalogue(), &wanted, now).await?;
            if !sql::revoked(&self.pool, self.number, handout.handout_no, &step).await? {
                return Ok(());
            }
            revocation.done = step.last.is_none();
            revocation.after = step.last.or(after);
            revocation.coupons += step.gone_through;
            revocation.revoked += step.revoked;
            revocation.redeemed += step.redeemed;
            revocation.expired += step.expired;
            if revocation.done {
                let Revocation { revoked, redeemed, expired, .. } = *revocation;
                let handout = &handout.handout;
                tracing::info!(handout, revoked, redeemed, expired, "coupons were taken back");
            }
            progress(&handout);
            if began.elapsed() > self.turn {
                break;
            }
        }
        Ok(())
    }
}
