//! Expiries as they fall due, on accounts that nobody visits.
//!
//! A swipe writes off what has run out before it does anything else; this walk does it for the
//! accounts that no swipe comes to, so that the points outstanding are what somebody can still
//! spend. It finds and paces; the desk of `commit` decides and writes. Any number of replicas
//! may walk: whoever comes second finds nothing due. Must never hold up a till.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Span, Timestamp};

use crate::app::App;
use crate::catalogue::Snapshot;
use crate::commit::{Desk, give_way};
use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;

/// Most accounts that are looked at in one statement.
const PAGE_MAX: i64 = 1_024;
/// Most accounts that are written, and locked, at a time.
const ACCOUNTS_MAX: usize = 64;
/// How often those that somebody held locked are looked at again at the end of a walk, and after
/// which pause: as long as a till holds an account, and not as long as a forgotten console.
const LOOKS: u32 = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Most accounts that are remembered for that; the next walk finds the others.
const HELD_MAX: usize = 1_024;
/// Most damaged accounts that a walk names in the log; the others are counted.
const NAMED_MAX: u64 = 20;
/// How often it is looked whether another day has begun, or a walk that failed is due again.
const WALK_INTERVAL: Duration = Duration::from_secs(300);

/// What a walk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Accounts of which something was written off.
    pub accounts: u64,
    /// The points that were.
    pub points: i64,
    /// Accounts that were left for another walk, because somebody held them locked.
    pub held_up: u64,
    /// Accounts that were left out, because what is stored of them is damaged.
    pub damaged: u64,
}

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
    desk: &mut Desk,
    snapshot: &Snapshot,
    on: Date,
    metrics: &Metrics,
) -> Result<Expired, Error> {
    let mut walk = Walk { desk, snapshot, on, metrics, expired: Expired::default() };
    let mut held = Vec::new();
    for bucket in 0..=u8::MAX {
        let mut after = 0;
        while let Some(page) = walk.desk.page(bucket, after, on, PAGE_MAX).await? {
            after = page.last;
            held.extend(walk.expire(&page.due).await?);
            walk.expired.held_up += u64::try_from(held.len().saturating_sub(HELD_MAX)).unwrap_or(0);
            held.truncate(HELD_MAX);
        }
    }
    for _ in 0..LOOKS {
        if held.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        held = walk.expire(&held).await?;
    }
    walk.expired.held_up += u64::try_from(held.len()).unwrap_or(0);
    Ok(walk.expired)
}

/// A walk on its way.
struct Walk<'a> {
    desk: &'a mut Desk,
    snapshot: &'a Snapshot,
    on: Date,
    metrics: &'a Metrics,
    expired: Expired,
}

impl Walk<'_> {
    /// Writes off what is due on these accounts, a handful at a time. Returns those that somebody
    /// holds locked.
    async fn expire(&mut self, due: &[i64]) -> Result<Vec<i64>, Error> {
        let Self { snapshot, on, metrics, .. } = *self;
        let mut held = Vec::new();
        for handful in due.chunks(ACCOUNTS_MAX) {
            give_way(metrics).await;
            let written = self.desk.expire(snapshot, handful, on, Timestamp::now()).await?;
            metrics.expired_accounts.inc_by(written.accounts);
            metrics.expired_points.inc_by(written.points.unsigned_abs());
            self.expired.accounts += written.accounts;
            self.expired.points += written.points;
            held.extend(written.held);
            for (account_id, error) in written.damaged {
                metrics.expiry_damaged.inc();
                self.expired.damaged += 1;
                if self.expired.damaged <= NAMED_MAX {
                    tracing::error!(account_id, %error, "an account is left out of expiry");
                }
            }
        }
        Ok(held)
    }
}

/// Walks once a day, and again after a walk that failed or was held up.
pub async fn keep_walking(app: Arc<App>) {
    let mut desk = Desk::new(&app.config.commit, &app.config.database);
    let mut done = None;
    loop {
        let on = due_before(&app.config, Timestamp::now());
        if done != Some(on) {
            let snapshot = app.catalogue.current();
            match walk(&mut desk, &snapshot, on, &app.metrics).await {
                Ok(expired) => {
                    if expired != Expired::default() {
                        let Expired { accounts, points, held_up, damaged } = expired;
                        let what = "points have run out";
                        tracing::info!(%on, accounts, points, held_up, damaged, "{what}");
                    }
                    done = (expired.held_up == 0).then_some(on);
                }
                Err(error) => tracing::warn!(%error, "expiries could not be written"),
            }
        }
        tokio::time::sleep(WALK_INTERVAL).await;
    }
}
