//! The treasury of a replica: takes and closes leases for its committers over a connection of its
//! own, which is made when an offer with a budget first needs it. While a committer works on,
//! what it will need next is taken beside it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::purse::Arrival;
use super::{Lease, Purse, Refusal, Want, close, refusal, sql, take};
use crate::commit::Shared;
use crate::commit::committer::{Connection, Connector, is_lost};
use crate::db::DbError;
use crate::domain::budget::{Counts, Key};
use crate::error::Error;
use crate::metrics::Metrics;

/// How long a batch waits for a lease that it needs at once: the till has given the money, and it
/// is only to be known whether within the budget.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How often leases that have run out are looked for.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(10);

/// A connection for leases, used by one at a time.
pub(in crate::commit) struct Treasury {
    connector: Arc<Connector>,
    connection: tokio::sync::Mutex<Option<Connection>>,
    metrics: Arc<Metrics>,
}

/// What is done over the connection.
enum Errand<'a> {
    Take(&'a Want, &'a [i64]),
    Close(Key, &'a [i64]),
    RunOut,
}

/// What came of it.
enum Brought {
    Lease(Result<Lease, Refusal>),
    Closed(u64),
    Budgets(Vec<Key>),
}

impl Treasury {
    pub(in crate::commit) fn new(connector: Arc<Connector>, metrics: Arc<Metrics>) -> Self {
        Self { connector, connection: tokio::sync::Mutex::default(), metrics }
    }

    /// Takes leases for what is lacking, and waits for them, but not for long. Those of the same
    /// budgets in hand are closed before, so that what is left is in one piece.
    pub(in crate::commit) async fn fetch(&self, purse: &mut Purse, wants: &[Want]) {
        let deadline = Instant::now() + WAIT_MAX;
        for want in wants {
            // What takes back is always to be had.
            let was_refused = purse.was_refused(want.key, Instant::now());
            if !purse.lacks(want) || want.at_least > 0 && was_refused {
                continue;
            }
            purse.put_away(want.key);
            let closing = purse.closing(want.key);
            let errand = self.take(want, &closing);
            match tokio::time::timeout_at(deadline, errand).await {
                Ok(Some(Ok(lease))) => purse.put(lease),
                Ok(Some(Err(why))) => purse.refused(want.key, why, Instant::now()),
                // Where nobody could be asked, not with every batch either.
                Ok(None) => purse.refused(want.key, Refusal::Spent, Instant::now()),
                Err(_elapsed) => {}
            }
        }
    }

    /// Has leases taken that will be needed, and closed that are not needed any more, while the
    /// committer goes on.
    pub(in crate::commit) fn keep_up(shared: &Arc<Shared>, purse: &mut Purse) {
        let (wants, closing) = (purse.take_wants(Instant::now()), purse.all_closing());
        if wants.is_empty() && closing.is_empty() {
            return;
        }
        let (shared, inbox) = (Arc::clone(shared), purse.inbox());
        tokio::spawn(async move {
            for (key, lease_nos) in closing {
                shared.treasury.close(key, &lease_nos).await;
            }
            for want in wants {
                let arrival = match shared.treasury.take(&want, &[]).await {
                    Some(Ok(lease)) => Arrival::Lease(lease),
                    Some(Err(why)) => Arrival::Refused(want.key, why),
                    None => continue,
                };
                inbox.lock().expect("nothing panics with it").push(arrival);
            }
        });
    }

    /// Closes everything that a committer holds, which ends.
    pub(in crate::commit) async fn give_back(&self, purse: &mut Purse) {
        purse.empty();
        for (key, lease_nos) in purse.all_closing() {
            self.close(key, &lease_nos).await;
        }
    }

    /// Closes leases that have run out, whoever held them, for as long as there are committers.
    pub(in crate::commit) async fn reclaim(shared: Weak<Shared>) {
        loop {
            tokio::time::sleep(RECLAIM_INTERVAL).await;
            let Some(shared) = shared.upgrade() else { return };
            let snapshot = shared.catalogue.current();
            let limits = |counts| snapshot.offers().any(|offer| offer.budgets.limits(counts));
            if !Counts::ALL.into_iter().any(limits) {
                continue;
            }
            match shared.treasury.run(Errand::RunOut).await {
                Ok(Brought::Budgets(keys)) => {
                    for key in keys {
                        shared.treasury.close(key, &[]).await;
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "leases could not be looked for"),
            }
        }
    }

    /// None when it is not known what became of it.
    async fn take(&self, want: &Want, closing: &[i64]) -> Option<Result<Lease, Refusal>> {
        match self.run(Errand::Take(want, closing)).await {
            Ok(Brought::Lease(lease)) => {
                let event = match lease {
                    Ok(_) => "taken",
                    Err(Refusal::Spent) => "refused",
                    Err(Refusal::Paced(_)) => "paced",
                };
                self.metrics.leases.with_label_values(&[event]).inc();
                Some(lease)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "a lease could not be taken");
                None
            }
        }
    }

    async fn close(&self, key: Key, lease_nos: &[i64]) {
        match self.run(Errand::Close(key, lease_nos)).await {
            Ok(Brought::Closed(closed)) => {
                let own = closed.min(lease_nos.len() as u64);
                self.metrics.leases.with_label_values(&["returned"]).inc_by(own);
                self.metrics.leases.with_label_values(&["reclaimed"]).inc_by(closed - own);
            }
            Ok(_) => {}
            // They run out by themselves, and whoever looks next closes them.
            Err(error) => tracing::warn!(%error, "leases could not be closed"),
        }
    }

    async fn run(&self, errand: Errand<'_>) -> Result<Brought, Error> {
        let mut held = self.connection.lock().await;
        // Taken out meanwhile: a caller who goes away costs the connection and nothing else.
        let connection = match held.take().filter(|connection| !connection.dedicated.is_lost()) {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        let client = connection.dedicated.client();
        let working = async {
            Ok(match errand {
                Errand::Take(want, closing) => match take(client, want, closing).await? {
                    Some(lease) => Brought::Lease(Ok(lease)),
                    None => Brought::Lease(Err(refusal(client, want).await?)),
                },
                Errand::Close(key, lease_nos) => {
                    Brought::Closed(close(client, key, lease_nos).await?)
                }
                Errand::RunOut => {
                    let rows = client.query(sql::RUN_OUT, &[]).await.map_err(DbError::from)?;
                    Brought::Budgets(rows.iter().filter_map(sql::key_of).collect())
                }
            })
        };
        let Ok(outcome) = timeout(self.connector.silence_max(), working).await else {
            connection.dedicated.abandon();
            return Err(DbError::silent().into());
        };
        if !outcome.as_ref().err().is_some_and(is_lost) {
            *held = Some(connection);
        }
        outcome
    }
}
