//! Expiries as they fall due, on accounts that nobody visits.
//!
//! A swipe writes off what has run out before it does anything else; this walk does it for the
//! accounts that no swipe comes to, so that the points outstanding are what somebody can still
//! spend. It finds and paces; the desk of `commit` decides and writes. Any number of replicas
//! may walk: whoever comes second finds nothing due. Must never hold up a till.

mod sql;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use jiff::civil::Date;
use jiff::{Span, Timestamp};

use crate::app::App;
use crate::catalogue::Snapshot;
use crate::commit::{Desk, Expired};
use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;

/// Most accounts that are written, and locked, at a time.
const ACCOUNTS_MAX: usize = 64;
/// How often it is looked whether tills still wait.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest pause before each handful of accounts: points of a busy chain run out too.
const PAUSES_MAX: u32 = 100;
/// How often it is looked whether another day has begun, or a walk that failed is due again.
const WALK_INTERVAL: Duration = Duration::from_secs(300);

/// The day before which points must have run out to be written off now.
pub fn due_before(config: &Config, now: Timestamp) -> Date {
    let today = config.time_zone().to_datetime(now).date();
    today.saturating_sub(Span::new().days(config.ledger.expire_after_days))
}

/// Walks all accounts once and writes off what ran out before a day. Pauses while tills wait.
///
/// # Errors
/// When the database fails; what was written until then stays written.
pub async fn walk(
    pool: &Pool,
    desk: &mut Desk,
    snapshot: &Snapshot,
    on: Date,
    metrics: &Metrics,
) -> Result<Expired, Error> {
    let mut expired = Expired::default();
    for bucket in 0..=u8::MAX {
        let mut after = 0;
        loop {
            let due = sql::due(pool, bucket, after, on, ACCOUNTS_MAX).await?;
            let Some(last) = due.last() else { break };
            after = *last;
            for _ in 0..PAUSES_MAX {
                if metrics.queue_depth.get() == 0 {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            let written = desk.expire(snapshot, &due, on, Timestamp::now()).await?;
            metrics.expired_accounts.inc_by(written.accounts);
            metrics.expired_points.inc_by(written.points.unsigned_abs());
            expired.accounts += written.accounts;
            expired.points += written.points;
            expired.held_up += written.held_up;
        }
    }
    Ok(expired)
}

/// Walks once a day, and again after a walk that failed or left somebody out.
pub async fn keep_walking(app: Arc<App>) {
    let mut desk = Desk::new(&app.config.commit, &app.config.database);
    let mut done = None;
    loop {
        let on = due_before(&app.config, Timestamp::now());
        if done != Some(on) {
            let snapshot = app.catalogue.current();
            match walk(&app.pool, &mut desk, &snapshot, on, &app.metrics).await {
                Ok(Expired { accounts, points, held_up }) => {
                    if accounts > 0 || held_up > 0 {
                        tracing::info!(%on, accounts, points, held_up, "points have run out");
                    }
                    done = (held_up == 0).then_some(on);
                }
                Err(error) => tracing::warn!(%error, "expiries could not be written"),
            }
        }
        tokio::time::sleep(WALK_INTERVAL).await;
    }
}
