//! One pass over a batch: route → facts → decide → one statement → answers. Never decides what
//! a swipe does; `fold` does that.
//!
//! | phase  | from the cache                           | under locks                           |
//! |--------|------------------------------------------|---------------------------------------|
//! | route  | 0, 1 when a card is not cached, 1 more   | names and cards, BEGIN, locks, again  |
//! |        | when nobody has seen it                  |                                       |
//! | facts  | 0, 1 when an account is not cached        | 1: accounts                           |
//! |        | 2 when lines return a known sale          | 2 to 3 for returns, voids and replays |
//! |        | 1 when coupons were taken, unless their   | the same for coupons                  |
//! |        | accounts hold them and no limit is asked  |                                       |
//! |        | 1 elsewhere when a lease is lacking       | the same                              |
//! | decide | none                                     | none                                  |
//! | commit | **1**, by itself a transaction            | **1**, and COMMIT in the same breath  |
//!
//! A job that a pass leaves unanswered did not happen: its account was stale, its name was
//! taken or stands twice in the batch, or it is a void, which is never decided on the cache.
//! It is left to the next pass, which works under locks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::batch::Batch;
use super::facts::{self, NameFact, SoldLines, Wanted};
use super::fold::{Decided, Fold, Heir, SalesToVoid, Workbench, name_of, sold_on};
use super::leases::Treasury;
use super::{Command, Connection, Job, NameKey, Outcome, Shared};
use crate::accounts::Hot;
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::bucket;
use crate::error::Error;
use crate::sabotage::{self, Fault};

/// What a pass stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Footing {
    /// Cached accounts; only a row that moves proves them right.
    Cached,
    /// Accounts that are locked before they are read.
    Locked,
    /// The same for accounts that nobody else has locked; jobs of the others are held up.
    Free,
}

/// Which account a job is for, and what is recorded under its name.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) job: usize,
    pub(super) account_id: i64,
    /// A tombstone that a sale comes to, or the sale that a void comes to.
    pub(super) recorded: Option<NameFact>,
}

/// Runs one pass. Jobs that are answered when it returns are done; the others did not happen.
///
/// # Errors
/// When the database fails. Then nothing of this pass happened, unless the connection was lost.
pub(super) async fn run(
    connection: &Connection,
    shared: &Arc<Shared>,
    workbench: &mut Workbench,
    jobs: &mut [Job],
    footing: Footing,
) -> Result<(), Error> {
    // As finely as PostgreSQL keeps it, so that receipt and row say the same.
    let now = Timestamp::now();
    let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let snapshot = shared.catalogue.current();
    let pass = Pass { connection, shared, snapshot: &snapshot, now, footing };
    if footing == Footing::Cached {
        let started = Instant::now();
        let routes = pass.route_by_cache(jobs).await?;
        return pass.write(jobs, routes, &HashMap::new(), workbench, started).await;
    }
    shared.metrics.locked_passes.inc();
    let started = Instant::now();
    let routes = pass.route_by_database(jobs).await?;
    if routes.is_empty() {
        return Ok(());
    }
    let outcome = async {
        let (routes, heirs) = pass.lock(jobs, routes).await?;
        pass.write(jobs, routes, &heirs, workbench, started).await
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        // An aborted transaction would refuse everything after it. Should this fail too, the
        // connection is lost, which the next statement finds out.
        let _ = connection.dedicated.client().batch_execute("ROLLBACK").await;
    }
    outcome
}

/// What a pass works with.
pub(super) struct Pass<'a> {
    pub(super) connection: &'a Connection,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) now: Timestamp,
    pub(super) footing: Footing,
}

impl Pass<'_> {
    /// Decides what was routed, writes it in one statement, and answers what moved.
    async fn write(
        &self,
        jobs: &mut [Job],
        mut routes: Vec<Route>,
        heirs: &HashMap<i64, i64>,
        workbench: &mut Workbench,
        started: Instant,
    ) -> Result<(), Error> {
        // Sorted, so that two replicas lock shared accounts in the same order.
        routes.sort_by_key(|route| (bucket::of_account(route.account_id), route.account_id));
        let accounts = self.accounts(jobs, &mut routes).await?;
        let sold = self.sold_lines(jobs, &routes).await?;
        let sales = self.sales_to_void(jobs, &routes).await?;
        let (coupons, uses) = self.coupons(jobs, &routes, &sales, &accounts).await?;
        let heirs = self.heirs(heirs).await?;
        self.fetch_leases(jobs, &routes, &coupons, &mut workbench.purse).await;
        let metrics = &self.shared.metrics;
        metrics.phases.facts.observe(started.elapsed().as_secs_f64());

        let started = Instant::now();
        let mut fold = Fold {
            snapshot: self.snapshot,
            limits: &self.shared.limits,
            now: self.now,
            workbench: &mut *workbench,
            sold,
            sold_here: None,
            sales,
            coupons,
            uses,
            heirs,
            batch: Batch::new(self.now),
            decided: Vec::with_capacity(routes.len()),
        };
        let mut after: Vec<Arc<Hot>> = Vec::new();
        for chain in routes.chunk_by(|left, right| left.account_id == right.account_id) {
            let account = chain.first().and_then(|route| accounts.get(&route.account_id));
            if let Some(before) = account {
                after.push(Arc::new(fold.account(before, chain, jobs)));
            }
        }
        fold.inheritances();
        let Fold { batch, decided, heirs, .. } = fold;
        after.extend(heirs.into_values().map(|heir| Arc::new(heir.hot)));
        metrics.phases.decide.observe(started.elapsed().as_secs_f64());

        let started = Instant::now();
        if sabotage::is(Fault::AnswerBeforeCommit) {
            decided.iter().for_each(|decided| decided.answer(jobs));
        }
        let moved = self.commit(&batch, jobs, &decided).await;
        let purse = &mut workbench.purse;
        match &moved {
            Ok(moved) => purse.spent(&batch.drawn(moved)),
            Err(_) => purse.failed(),
        }
        Treasury::keep_up(self.shared, purse);
        let moved = moved?;
        metrics.phases.statement.observe(started.elapsed().as_secs_f64());

        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        metrics.batch_swipes.observe(batch.swipes() as f64);
        for hot in after {
            if moved.contains(&hot.account.account_id) {
                self.shared.accounts.put(hot);
            } else if !sabotage::is(Fault::StaleRetryWithoutReload) {
                metrics.stale_accounts.inc();
                self.shared.accounts.forget(hot.account.account_id);
            }
        }
        for decided in decided {
            if moved.contains(&decided.account_id) {
                metrics.count_chosen(&decided.chosen);
                metrics.count_redeemed(&decided.redeemed);
                metrics.points_value_differs.inc_by(decided.value_differs.into());
                metrics.redeemed_over_budget.inc_by(decided.over.budget);
                metrics.redeemed_over_limit.inc_by(decided.over.limit);
                decided.answer(jobs);
            } else if sabotage::is(Fault::CacheTrustedForRefusals) {
                jobs[decided.job].answer(Ok(Outcome::NameReused));
            }
        }
        Ok(())
    }

    /// The accounts of the routes: from the cache where that will do, else from the database.
    ///
    /// A remembered account will do only for cards that are known to point at it at that very
    /// version: a link that was read before the version may have changed in between without the
    /// version telling. A job whose card turns out to point elsewhere is left to the next pass.
    async fn accounts(
        &self,
        jobs: &[Job],
        routes: &mut Vec<Route>,
    ) -> Result<HashMap<i64, Arc<Hot>>, Error> {
        let card_of = |route: &Route| match &route.recorded {
            None => jobs[route.job].command.customer_card(),
            // A void is for the account of its sale, a sale after its void for the house.
            Some(_) => None,
        };
        let mut accounts = HashMap::with_capacity(routes.len());
        let mut missing = Vec::new();
        for chain in routes.chunk_by(|left, right| left.account_id == right.account_id) {
            let Some(Route { account_id, .. }) = chain.first() else { continue };
            let held = self.shared.accounts.get(*account_id);
            let will_do = |hot: &Arc<Hot>| {
                self.footing == Footing::Cached
                    && chain.iter().filter_map(card_of).all(|card| hot.is_of(card))
            };
            match held {
                Some(hot) if will_do(&hot) => {
                    accounts.insert(*account_id, hot);
                }
                held => {
                    // What was known before is asked again, so that the cards of a family do
                    // not push each other out.
                    let mut cards: Vec<Box<str>> =
                        held.iter().flat_map(|hot| hot.cards.iter().cloned()).collect();
                    cards.extend(chain.iter().filter_map(card_of).map(Box::from));
                    cards.sort_unstable();
                    cards.dedup();
                    missing.push(Wanted { account_id: *account_id, cards });
                }
            }
        }
        if self.footing == Footing::Cached {
            self.shared.metrics.accounts.add(accounts.len(), missing.len());
        }
        if !missing.is_empty() {
            for hot in facts::load_accounts(self.connection, self.snapshot, &missing).await? {
                let hot = sabotage::reloaded(hot, &self.shared.accounts);
                accounts.insert(hot.account.account_id, hot);
            }
        }
        routes.retain(|route| match (card_of(route), accounts.get(&route.account_id)) {
            (Some(card), Some(hot)) => hot.is_of(card),
            (None, Some(_)) => true,
            (_, None) => false,
        });
        Ok(accounts)
    }

    /// The heirs of merged accounts, by the account that they inherit from.
    async fn heirs(&self, heirs: &HashMap<i64, i64>) -> Result<HashMap<i64, Heir>, Error> {
        if heirs.is_empty() {
            return Ok(HashMap::new());
        }
        let of = |account_id: &i64| Wanted { account_id: *account_id, cards: Vec::new() };
        let wanted: Vec<Wanted> = heirs.values().map(of).collect();
        let loaded = facts::load_accounts(self.connection, self.snapshot, &wanted).await?;
        let by_id: HashMap<i64, Arc<Hot>> =
            loaded.into_iter().map(|hot| (hot.account.account_id, hot)).collect();
        let heir = |(merged, heir): (&i64, &i64)| {
            let hot = by_id.get(heir)?.as_ref().clone();
            Some((*merged, Heir { expected: hot.account.version, hot, booked: Vec::new() }))
        };
        Ok(heirs.iter().filter_map(heir).collect())
    }

    /// What the lines earned that swipes of these routes return.
    async fn sold_lines(&self, jobs: &[Job], routes: &[Route]) -> Result<SoldLines, Error> {
        let mut wanted: HashSet<NameKey> = HashSet::new();
        for route in routes {
            if let Command::Record(swipe) = &jobs[route.job].command {
                let names = swipe.lines.iter().filter_map(|line| sold_on(&line.kind));
                wanted.extend(names.filter_map(|sold_on| name_of(self.snapshot, sold_on)));
            }
        }
        let wanted: Vec<NameKey> = wanted.into_iter().collect();
        facts::sold_lines(self.connection, self.snapshot, &wanted).await
    }

    /// What the sales did that voids of these routes undo, by job.
    async fn sales_to_void(&self, jobs: &[Job], routes: &[Route]) -> Result<SalesToVoid, Error> {
        let voids: Vec<(usize, facts::Place)> = routes
            .iter()
            .filter(|route| matches!(jobs[route.job].command, Command::Void(_)))
            .filter_map(|route| {
                let fact = route.recorded.as_ref()?;
                let business_date = jobs[route.job].name.business_date;
                Some((route.job, (fact.account_id, fact.version, business_date)))
            })
            .collect();
        if voids.is_empty() {
            return Ok(SalesToVoid::new());
        }
        let places: Vec<facts::Place> = voids.iter().map(|(_, place)| *place).collect();
        let (swipes, entries) = tokio::try_join!(
            facts::load_swipes(self.connection, &places),
            facts::load_entries(self.connection, &places),
        )?;
        let sales = voids.into_iter().zip(swipes).zip(entries);
        sales
            .map(|(((job, place), swipe), entries)| {
                let damaged = || Error::Damaged(format!("no swipe stored at {place:?}"));
                Ok((job, (swipe.ok_or_else(damaged)?, entries)))
            })
            .collect()
    }

    /// Sends the statement; under locks, COMMIT with it. Returns the accounts that moved.
    async fn commit(
        &self,
        batch: &Batch,
        jobs: &mut [Job],
        decided: &[Decided],
    ) -> Result<HashSet<i64>, Error> {
        for Decided { job, .. } in decided {
            jobs[*job].sent = true;
        }
        let client = self.connection.dedicated.client();
        let query = async {
            let rows = self.connection.move_accounts(batch).await?;
            Ok::<HashSet<i64>, Error>(rows.iter().map(|row| row.get("account_id")).collect())
        };
        match self.footing {
            Footing::Cached if batch.accounts() == 0 => Ok(HashSet::new()),
            Footing::Cached => query.await,
            Footing::Locked | Footing::Free if batch.rekeys().is_empty() => {
                // Should the statement fail, the server turns COMMIT into ROLLBACK and says so
                // only in a tag that the client does not look at; the statement's own error
                // is what counts, and it is looked at first.
                let (moved, ended) = tokio::join!(query, client.batch_execute("COMMIT"));
                let moved = moved?;
                ended.map_err(DbError::from)?;
                Ok(moved)
            }
            Footing::Locked | Footing::Free => {
                let moved = query.await?;
                if moved.len() < batch.accounts() {
                    // Another account took one of the names this moment: look again.
                    client.batch_execute("ROLLBACK").await.map_err(DbError::from)?;
                    return Ok(HashSet::new());
                }
                facts::rekey(self.connection, batch.rekeys()).await?;
                client.batch_execute("COMMIT").await.map_err(DbError::from)?;
                Ok(moved)
            }
        }
    }
}
