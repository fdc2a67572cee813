//! Holds a committer up, so that a test decides what meets in one batch: no luck, no sleeping.

use serde_json::Value;
use tillside::till::Till;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::flow::{at, until};
use super::service::{Replica, TestService, post, swipe};
use tillside::till::Answer;

/// A closed gate: the one committer of a replica waits inside a statement, and what is posted
/// meanwhile queues behind it and forms one batch. Needs `commit.committers = 1`.
pub(crate) struct Gate<'a> {
    replica: &'a Replica,
    /// Holds the account that the committer waits for.
    rogue: Client,
    plug: JoinHandle<Answer>,
}

impl<'a> Gate<'a> {
    /// Closes the gate of a replica. `number` tells one closing from another.
    pub(crate) async fn close(service: &TestService, replica: &'a Replica, number: i64) -> Self {
        let rogue = service.sql().await;
        let lock = "BEGIN; SELECT 1 FROM account AS a JOIN workstation AS w
                           ON w.house_account = a.account_id
                    WHERE w.store_id = '0406' AND w.workstation_id = '03' FOR UPDATE OF a";
        rogue.batch_execute(lock).await.expect("nobody else holds it");
        let till = replica.till("0406", "03");
        let plug = at(swipe(number, None, 100), "0406", "03");
        let plug = spawn_post(&till, plug);
        let gate = Self { replica, rogue, plug };
        until("the committer waits", async || gate.lock_waiters().await == 1).await;
        gate
    }

    /// Waits until so many commands stand in the queue.
    pub(crate) async fn queued(&self, commands: i64) {
        let depth = &self.replica.app.metrics.queue_depth;
        until("the commands are queued", async || depth.get() == commands).await;
    }

    /// Lets the committer go on; returns when the swipe that it was held up with is answered.
    pub(crate) async fn open(self) -> Answer {
        self.rogue.batch_execute("COMMIT").await.expect("let go");
        self.plug.await.expect("the plug is answered")
    }

    async fn lock_waiters(&self) -> i64 {
        // A transaction sees the sessions that there were when it first looked; the committer
        // may have connected since.
        let clear = self.rogue.batch_execute("SELECT pg_stat_clear_snapshot()").await;
        clear.expect("the session is alive");
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.rogue.query_one(sql, &[]).await.expect(sql).get(0)
    }
}

/// Posts a swipe from a task of its own.
pub(crate) fn spawn_post(till: &Till, swipe: Value) -> JoinHandle<Answer> {
    let till = till.clone();
    tokio::spawn(async move { post(&till, &swipe).await })
}

/// Waits for answers, in order.
pub(crate) async fn answers(posted: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(posted.len());
    for posting in posted {
        answers.push(posting.await.expect("the service answers"));
    }
    answers
}
