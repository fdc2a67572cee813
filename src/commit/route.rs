//! Which account each job of a pass is for, and what is recorded under its name already.
//!
//! By what is in memory, or by what the database says, before locks and under them. Answers what
//! is recorded; must never decide anything else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::civil::Date;

use super::facts::{self, NameFact};
use super::pass::{Footing, Pass, Route};
use super::{Command, Job, NameKey, Outcome, first_of_each_open_name};
use crate::accounts::Hot;
use crate::db::DbError;
use crate::domain::account::{Account, State};
use crate::domain::consent::Profiling;
use crate::domain::{bucket, content};
use crate::error::Error;
use crate::{receipt, sabotage};

impl Pass<'_> {
    /// Routes swipes by what is in memory; cards that are not are found or opened.
    pub(super) async fn route_by_cache(&self, jobs: &[Job]) -> Result<Vec<Route>, Error> {
        let accounts = &self.shared.accounts;
        let mut routes = Vec::with_capacity(jobs.len());
        let mut without_account = Vec::new();
        for job in first_of_each_open_name(jobs) {
            // A void is decided under locks.
            let Command::Record(swipe) = &jobs[job].command else { continue };
            match swipe.customer_card() {
                None => {
                    let account_id = jobs[job].workstation.house_account;
                    routes.push(Route { job, account_id, recorded: None });
                }
                // What was found when it was admitted will do: the account says whose card it is.
                Some(card) => match jobs[job].account_id.or_else(|| accounts.account_of(card)) {
                    Some(account_id) => routes.push(Route { job, account_id, recorded: None }),
                    None => without_account.push(job),
                },
            }
        }
        self.shared.metrics.cards.add(routes.len(), without_account.len());
        if !without_account.is_empty() {
            let (recorded, found) = self.look_up(jobs, &without_account).await?;
            for (job, recorded) in without_account.into_iter().zip(recorded) {
                let card = jobs[job].command.customer_card();
                let account_id = card.and_then(|card| found.get(card)).copied();
                if let (None, Some(account_id)) = (recorded, account_id) {
                    routes.push(Route { job, account_id, recorded: None });
                }
            }
        }
        Ok(routes)
    }

    /// What is recorded under the names of these jobs, and the accounts of their cards. A card
    /// that nobody has seen gets one, unless its name is recorded: then nothing comes of it.
    async fn look_up(
        &self,
        jobs: &[Job],
        wanted: &[usize],
    ) -> Result<(Vec<Option<NameFact>>, HashMap<String, i64>), Error> {
        let names: Vec<&NameKey> = wanted.iter().map(|job| &jobs[*job].name).collect();
        let card_of = |job: &usize| jobs[*job].command.customer_card();
        let mut cards: Vec<&str> = wanted.iter().filter_map(card_of).collect();
        cards.sort_unstable();
        cards.dedup();
        let (recorded, mut found) = tokio::try_join!(
            facts::find_names(self.connection, &names),
            facts::find_cards(self.connection, &cards),
        )?;
        for (card, account_id) in &found {
            self.shared.accounts.link(card, *account_id);
        }
        let new = wanted.iter().zip(&recorded).filter(|(_, recorded)| recorded.is_none());
        let unseen = new.filter_map(|(job, _)| card_of(job));
        let unseen: Vec<&str> = unseen.filter(|card| !found.contains_key(*card)).collect();
        if !unseen.is_empty() {
            found.extend(self.resolve(&unseen).await?);
        }
        Ok((recorded, found))
    }

    /// Accounts of cards, opened where nobody has seen the card. Fresh accounts need no loading.
    async fn resolve(&self, cards: &[&str]) -> Result<HashMap<String, i64>, Error> {
        let Self { connection, shared, now, .. } = self;
        let resolved = facts::resolve_cards(connection, shared, cards, *now).await?;
        for (card, (account_id, opened)) in &resolved {
            shared.accounts.link(card, *account_id);
            if *opened {
                let account = Account::new(*account_id, State::Provisional);
                let cards = Arc::new([Box::from(card.as_str())]);
                shared.accounts.put(Arc::new(Hot {
                    account,
                    cards,
                    profile: Arc::default(),
                    open: Arc::default(),
                    profiling: Profiling::Unsaid,
                    tail_since: Date::MAX,
                }));
            }
        }
        Ok(resolved.into_iter().map(|(card, (account_id, _))| (card, account_id)).collect())
    }

    /// Routes jobs by what the database says now, and answers those that are recorded.
    pub(super) async fn route_by_database(&self, jobs: &mut [Job]) -> Result<Vec<Route>, Error> {
        let open: Vec<usize> = (0..jobs.len()).filter(|job| jobs[*job].is_open()).collect();
        let (recorded, found) = self.look_up(jobs, &open).await?;
        let mut routes = Vec::with_capacity(open.len());
        let mut replays: Vec<(usize, facts::Place, bool)> = Vec::new();
        let first: HashSet<usize> = first_of_each_open_name(jobs).into_iter().collect();
        for (job, recorded) in open.into_iter().zip(recorded) {
            let Job { command, name, workstation, .. } = &jobs[job];
            let house = workstation.house_account;
            match (command, recorded) {
                (Command::Record(swipe), Some(fact)) if fact.version > 0 => {
                    if content::matches(&fact.content, swipe) {
                        let place = (fact.account_id, fact.version, name.business_date);
                        replays.push((job, place, fact.void_version > 0));
                    } else {
                        jobs[job].answer(Ok(Outcome::NameReused));
                    }
                }
                (Command::Void(_), Some(fact)) if fact.void_version > 0 => {
                    let place = (fact.account_id, fact.void_version, name.business_date);
                    replays.push((job, place, true));
                }
                // A name that stands twice in a batch: the others wait for the first.
                _ if !first.contains(&job) => {}
                (_, Some(fact)) => {
                    routes.push(Route { job, account_id: fact.account_id, recorded: Some(fact) });
                }
                (Command::Void(_), None) => {
                    routes.push(Route { job, account_id: house, recorded: None });
                }
                (Command::Record(swipe), None) => {
                    let account_id = match swipe.customer_card() {
                        None => Some(house),
                        Some(card) => found.get(card).copied(),
                    };
                    routes.extend(account_id.map(|account_id| Route {
                        job,
                        account_id,
                        recorded: None,
                    }));
                }
            }
        }
        let places: Vec<facts::Place> = replays.iter().map(|(_, place, _)| *place).collect();
        if !places.is_empty() {
            let stored = facts::load_swipes(self.connection, &places).await?;
            for ((job, place, voided), stored) in replays.into_iter().zip(stored) {
                let outcome = stored
                    .ok_or_else(|| Error::Damaged(format!("no swipe stored at {place:?}")))
                    .and_then(|stored| receipt::decompress(&stored.receipt))
                    .map(|answer| sabotage::replayed(answer, self.now))
                    .map(|answer| Outcome::Recorded { answer, replayed: true, voided });
                jobs[job].answer(outcome);
            }
        }
        Ok(routes)
    }

    /// Begins a transaction, locks the accounts of the routes in order, and routes again by
    /// what is true under the locks. A job whose account turns out to be another is left out.
    /// Where a void is for an account that has been merged, its heir is locked with it.
    ///
    /// On [`Footing::Free`] nothing is waited for: jobs whose account somebody else holds are
    /// marked as held up.
    pub(super) async fn lock(
        &self,
        jobs: &mut [Job],
        routes: Vec<Route>,
    ) -> Result<(Vec<Route>, HashMap<i64, i64>), Error> {
        let mut heirs = self.heirs_of_voided(jobs, &routes).await?;
        // One statement moves an account once: a second one to inherit from waits for its turn.
        let mut inheriting = HashSet::new();
        heirs.retain(|_, heir| inheriting.insert(*heir));
        let mut account_ids: Vec<i64> = routes.iter().map(|route| route.account_id).collect();
        account_ids.extend(heirs.values());
        account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));
        account_ids.dedup();
        let client = self.connection.dedicated.client();
        let locking = async {
            if self.footing == Footing::Free {
                return facts::lock_free_accounts(self.connection, &account_ids).await;
            }
            facts::lock_accounts(self.connection, &account_ids).await?;
            Ok(account_ids.iter().copied().collect())
        };
        let (begun, locked) = tokio::join!(client.batch_execute("BEGIN"), locking);
        begun.map_err(DbError::from)?;
        let locked: HashSet<i64> = locked?;
        for Route { job, account_id, .. } in routes {
            let heir = heirs.get(&account_id).copied();
            let held =
                [Some(account_id), heir].into_iter().flatten().find(|it| !locked.contains(it));
            jobs[job].account_id = Some(held.unwrap_or(account_id));
            jobs[job].held_up = held.is_some();
        }
        let mut routes = self.route_by_database(jobs).await?;
        // A merge may have had the locks before us: then its heir is not among ours.
        let mut unlocked = self.heirs_of_voided(jobs, &routes).await?;
        unlocked.retain(|account_id, heir| heirs.get(account_id) != Some(heir));
        // An heir moves with the account that it inherits from; its own jobs come after that.
        routes.retain(|Route { job, account_id, .. }| {
            locked.contains(account_id)
                && !jobs[*job].held_up
                && !inheriting.contains(account_id)
                && !unlocked.contains_key(account_id)
        });
        Ok((routes, heirs))
    }

    /// Where the accounts of voids have been merged: which account each was merged into.
    async fn heirs_of_voided(
        &self,
        jobs: &[Job],
        routes: &[Route],
    ) -> Result<HashMap<i64, i64>, Error> {
        let voids =
            routes.iter().filter(|route| matches!(jobs[route.job].command, Command::Void(_)));
        let voided: Vec<i64> = voids.map(|route| route.account_id).collect();
        match voided.is_empty() {
            true => Ok(HashMap::new()),
            false => facts::find_heirs(self.connection, &voided).await,
        }
    }
}
