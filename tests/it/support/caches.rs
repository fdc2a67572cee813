//! What the caches of two replicas are like in a race: a cache decides speed and never value, so
//! whatever is wrong with it must not be seen.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tillside::accounts::Hot;
use tokio::task::JoinHandle;

use super::flow::{account_of, at};
use super::service::{Replica, TestService, post, swipe};

/// What the caches of two replicas are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Caches {
    /// Nobody knows anything when the race begins.
    Cold,
    /// There are none.
    Off,
    /// The second replica believes in versions that the first one has left behind.
    Stale,
    /// Both begin so, and a [`Spoiler`] keeps them in error.
    Wrong,
}

/// Each race begins with all of these.
pub(crate) const ALL: [Caches; 3] = [Caches::Cold, Caches::Off, Caches::Stale];

/// Two replicas whose caches of these cards are as asked for.
pub(crate) async fn replicas(caches: Caches, cards: &[String]) -> (TestService, Replica) {
    let service = TestService::start_with(|config| {
        // Waiting for each other on a busy machine shall not look like a stranger's lock.
        config.commit.lock_timeout_ms = 5_000;
        if caches == Caches::Off {
            config.cache.accounts_max = 0;
            config.cache.cards_max = 0;
        }
    })
    .await;
    let replica = service.replica().await;
    if matches!(caches, Caches::Cold | Caches::Off) {
        return (service, replica);
    }
    for (card, sequence) in cards.iter().zip(0..) {
        for (replica, workstation) in [(&replica, "03"), (&service.replica, "01")] {
            let nothing = at(swipe(sequence, Some(card), 0), "0406", workstation);
            let answer = post(&replica.till("0406", workstation), &nothing).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        }
    }
    (service, replica)
}

/// Keeps two replicas in error for as long as it lives: they remember accounts as they once
/// were, and look for each card where another one is.
pub(crate) struct Spoiler(JoinHandle<()>);

impl Spoiler {
    /// Begins to spoil what two replicas with [`Caches::Wrong`] remember of these cards.
    pub(crate) async fn begin(service: &TestService, replica: &Replica, cards: &[String]) -> Self {
        let sql = service.sql().await;
        let mut account_ids = Vec::new();
        for card in cards {
            account_ids.push(account_of(&sql, card).await);
        }
        let apps = [Arc::clone(&service.replica.app), Arc::clone(&replica.app)];
        let old: Vec<Vec<Arc<Hot>>> = apps
            .iter()
            .map(|app| account_ids.iter().filter_map(|id| app.accounts.get(*id)).collect())
            .collect();
        assert!(old.iter().all(|old| old.len() == cards.len()), "each is remembered");
        let elsewhere: Vec<i64> =
            account_ids.iter().cycle().skip(1).take(cards.len()).copied().collect();
        let cards = cards.to_vec();
        Self(tokio::spawn(async move {
            loop {
                for (app, old) in apps.iter().zip(&old) {
                    for hot in old {
                        // Only a newer one would take the place of one that is held.
                        app.accounts.forget(hot.account.account_id);
                        app.accounts.put(Arc::clone(hot));
                    }
                    for (card, account_id) in cards.iter().zip(&elsewhere) {
                        app.accounts.link(card, *account_id);
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }))
    }
}

impl Drop for Spoiler {
    fn drop(&mut self) {
        self.0.abort();
    }
}
