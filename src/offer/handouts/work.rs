//! Works at handouts: looks for their accounts, has their coupons issued, and taken back. A step
//! at a time, so that tills come first and whatever happens costs no more than the step. An account
//! that somebody holds locked is waited for, and holds up its handout and no other.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::{Instant, sleep};

use super::{Handout, PAGE, State, sql};
use crate::app::App;
use crate::catalogue;
use crate::commit::{Desk, HandedOut, Mailing, give_way};
use crate::config::{self, Config};
use crate::db::pool::Pool;
use crate::domain::selection::showcase::HoldOut;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::sabotage::{self, Fault};
use crate::segment::{AsOf, Detail, Snapshot};

/// Accounts that are looked at in one statement: some of them have come for years.
const LOOK: i64 = 200;
/// Accounts that are written, and locked, at a time.
const HANDFUL: usize = 64;
/// For so long a handout is issued, or taken back, before others get their turn.
const TURN: Duration = Duration::from_secs(10);
/// A claim is renewed at least so often while accounts are looked for and none is found.
const RENEW: Duration = Duration::from_secs(15);
/// After a fault somebody goes on so much later.
const FAULT_PAUSE_S: f64 = 5.0;
/// How often it is looked whether a handout waits that another replica was told of, or was cut
/// off with.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Where the counts of a step stand, and why it is the last one.
#[derive(Default)]
struct Step {
    done: i32,
    issued: i32,
    stopped_why: Option<&'static str>,
}

/// Works at one handout at a time, over a desk of its own.
pub struct Worker {
    pub(super) pool: Pool,
    database: config::Database,
    hold_out: HoldOut,
    pub(super) time_zone: TimeZone,
    pub(super) desk: Desk,
    pub(super) metrics: Arc<Metrics>,
    /// Drawn at random: stands in the claims.
    pub(super) number: i64,
    /// After so long others get their turn.
    pub turn: Duration,
}

/// Works at whatever waits, for as long as the service runs.
pub async fn keep_working(app: Arc<App>) {
    let mut worker = Worker::new(&app.config, app.pool.clone(), Arc::clone(&app.metrics));
    loop {
        match worker.work(None, || app.catalogue.current(), |_| ()).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a handout is gone on with in a moment"),
        }
        tokio::select! {
            () = app.handouts.notified() => {}
            () = sleep(LOOK_INTERVAL) => {}
        }
    }
}

impl Worker {
    /// A worker that has done nothing yet.
    pub fn new(config: &Config, pool: Pool, metrics: Arc<Metrics>) -> Self {
        let mut number = [0; 8];
        getrandom::fill(&mut number).expect("the kernel gives random bytes once it has booted");
        Self {
            pool,
            database: config.database.clone(),
            hold_out: config.coupons.hold_out(),
            time_zone: config.time_zone(),
            desk: Desk::new(&config.commit, &config.database),
            metrics,
            number: i64::from_be_bytes(number),
            turn: TURN,
        }
    }

    /// Claims a handout, this one or any, and works at it for as long as there is something to do
    /// and nobody stops it, or for its turn: whoever looks again takes the one that has waited
    /// longest, so that a large one holds up none that is urgent. `catalogue` says what is known of
    /// offers at each moment; `progress` hears of every step. Whether there was a handout to work
    /// at.
    ///
    /// # Errors
    /// What the database says; what was done until then stays done.
    pub async fn work(
        &mut self,
        which: Option<&Handout>,
        catalogue: impl Fn() -> Arc<catalogue::Snapshot>,
        mut progress: impl FnMut(&Handout),
    ) -> Result<bool, Error> {
        let which = which.map(|handout| handout.handout_no);
        let Some(name) = sql::claim(&self.pool, self.number, which).await? else {
            return Ok(false);
        };
        let Some(handout) = sql::find(&self.pool, &name).await? else { return Ok(false) };
        let handout_no = handout.handout_no;
        let outcome = match handout.state {
            State::Counting => self.count(handout, catalogue(), &mut progress).await,
            State::Issuing => self.issue(handout, catalogue, &mut progress).await,
            _ => self.revoke(handout, catalogue, &mut progress).await,
        };
        // Whatever came of it; and should it fail, the leases and the claim run out by themselves.
        if let Err(error) = self.desk.give_back().await {
            tracing::warn!(%error, "what is left of a lease is there again in a minute");
        }
        let pause_s = if outcome.is_ok() { 0.0 } else { FAULT_PAUSE_S };
        sql::leave(&self.pool, self.number, handout_no, pause_s).await?;
        outcome.map(|()| true)
    }

    /// Looks for the accounts that are meant, and writes them down a page at a time.
    async fn count(
        &mut self,
        mut handout: Handout,
        catalogue: Arc<catalogue::Snapshot>,
        progress: &mut impl FnMut(&Handout),
    ) -> Result<(), Error> {
        let (pool, number, handout_no) = (&self.pool, self.number, handout.handout_no);
        let damaged = || Error::Damaged(format!("handout {}", handout.handout));
        let segment = handout.segment.clone().ok_or_else(damaged)?;
        if !sql::begin_counting(pool, number, handout_no).await? {
            return Ok(());
        }
        let today = self.time_zone.to_datetime(Timestamp::now()).date();
        let as_of = AsOf { today, catalogue };
        let detail = Detail::of(&segment);
        let mut snapshot = Snapshot::open(&self.database, "tillside handout", detail).await?;
        let (mut found, mut held_out, mut page_no) = (Vec::with_capacity(PAGE), 0, 0);
        let mut renewed = Instant::now();
        (handout.accounts, handout.held_out) = (0, 0);
        loop {
            give_way(&self.metrics).await;
            let rows = snapshot.page(LOOK, today).await?;
            let is_last = rows.is_empty();
            for row in rows {
                let account_id = match row {
                    Ok(row) if row.is_in(&segment, &as_of) => row.account.account_id,
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::error!(%error, "an account is left out of a handout");
                        continue;
                    }
                };
                match !handout.held_out_too && self.hold_out.holds(account_id) {
                    true => held_out += 1,
                    false => found.push(account_id),
                }
            }
            while found.len() >= PAGE || is_last || renewed.elapsed() > RENEW {
                let is_page = found.len() >= PAGE || is_last;
                let rest = if is_page { found.split_off(found.len().min(PAGE)) } else { vec![] };
                let page: &[i64] = if is_page { &found } else { &[] };
                let ends = is_last && rest.is_empty();
                let holds =
                    sql::counted(pool, number, handout_no, page_no, page, held_out, ends).await?;
                if !holds {
                    return Ok(());
                }
                handout.accounts += i32::try_from(page.len()).expect("a page");
                handout.held_out += held_out;
                progress(&handout);
                if ends {
                    return Ok(());
                }
                (held_out, renewed) = (0, Instant::now());
                if is_page {
                    page_no += 1;
                    found = rest;
                }
            }
        }
    }

    /// Goes through the accounts that are written down, from where it was cut off.
    async fn issue(
        &mut self,
        mut handout: Handout,
        catalogue: impl Fn() -> Arc<catalogue::Snapshot>,
        progress: &mut impl FnMut(&Handout),
    ) -> Result<(), Error> {
        let (number, handout_no) = (self.number, handout.handout_no);
        let damaged = || Error::Damaged(format!("handout {}", handout.handout));
        let consent = handout.segment.as_ref().and_then(|segment| segment.consent.clone());
        let mut page: Option<(usize, Vec<i64>)> = None;
        let began = Instant::now();
        loop {
            let done = usize::try_from(handout.done).map_err(|_| damaged())?;
            let (page_no, place) = (done / PAGE, done % PAGE);
            if page.as_ref().is_none_or(|(held, _)| *held != page_no) {
                let at = i32::try_from(page_no).expect("fewer than accounts");
                page = Some((page_no, sql::page_at(&self.pool, handout_no, at).await?));
            }
            let accounts = page.as_ref().map_or(&[][..], |(_, accounts)| accounts);
            let rest = accounts.get(place..).unwrap_or_default();
            let handful = &rest[..rest.len().min(HANDFUL)];
            if handful.is_empty() && handout.done < handout.accounts {
                return Err(damaged());
            }
            give_way(&self.metrics).await;
            // Each coupon counts from the day on which it is given, however long that takes.
            let mailing = Mailing {
                offer: handout.offer.clone(),
                on: self.time_zone.to_datetime(Timestamp::now()).date(),
                name: handout.actor(),
                by: handout.issued_by,
                while_issued: Some(handout_no),
            };
            // Asked again: people may have taken it back since they were written down.
            let agreed = match &consent {
                Some(consent) if !sabotage::is(Fault::RetractedConsentIgnored) => {
                    sql::agreed(&self.pool, handful, consent).await?
                }
                _ => handful.to_vec(),
            };
            let snapshot = catalogue();
            // Another replica may have stored the offer this moment.
            snapshot.offer(handout.offer_no).ok_or(Error::DeadlineExceeded)?;
            let agreed = agreed.into_iter().collect();
            let step = self.hand_out(&snapshot, handful, &agreed, &mailing).await?;
            let Step { done, issued, stopped_why } = step;
            if !sql::issued(&self.pool, number, handout_no, done, issued, stopped_why).await? {
                return Ok(());
            }
            handout.done += done;
            handout.issued += issued;
            progress(&handout);
            if stopped_why.is_some() || handout.done == handout.accounts {
                let Handout { handout, done, issued, .. } = &handout;
                tracing::info!(handout, done, issued, stopped_why, "coupons were handed out");
                return Ok(());
            }
            if began.elapsed() > self.turn {
                return Ok(());
            }
        }
    }

    /// Gives a handful of accounts their coupons: at once, or else one by one. Fewer are done when
    /// something fails or nothing is left; those that are done are the first.
    async fn hand_out(
        &mut self,
        snapshot: &catalogue::Snapshot,
        handful: &[i64],
        agreed: &HashSet<i64>,
        mailing: &Mailing,
    ) -> Result<Step, Error> {
        let theirs: Vec<i64> = handful.iter().copied().filter(|id| agreed.contains(id)).collect();
        let mut step = Step::default();
        let now = Timestamp::now();
        match self.desk.hand_out_many(snapshot, &theirs, mailing, now).await {
            Ok(Some(given)) => {
                let count = |count: usize| i32::try_from(count).expect("a handful");
                step.done = count(handful.len());
                step.issued = count(given.issued + given.before);
                return Ok(step);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "accounts get their coupons one by one"),
        }
        for account_id in handful {
            if !agreed.contains(account_id) {
                step.done += 1;
                continue;
            }
            match self.desk.hand_out(snapshot, &mailing.to(*account_id), now).await {
                Ok(HandedOut::Done(given)) if given.budget_spent > 0 => {
                    step.stopped_why = Some("budget-spent");
                    break;
                }
                Ok(HandedOut::Done(given)) if given.not_live > 0 => {
                    step.stopped_why = Some("offer-ended");
                    break;
                }
                Ok(HandedOut::Done(_)) => {
                    step.done += 1;
                    step.issued += 1;
                }
                Ok(HandedOut::NoSuchAccount | HandedOut::NoCustomer | HandedOut::Blocked) => {
                    step.done += 1;
                }
                Ok(HandedOut::Stopped) => break,
                Err(error @ Error::Damaged(_)) => {
                    tracing::error!(account_id, %error, "an account is left out of a handout");
                    step.done += 1;
                }
                Err(error) if step.done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(step)
    }
}
