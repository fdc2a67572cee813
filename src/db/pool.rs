//! Connections: the pool for reads and administration, and dedicated ones for the committers.
//!
//! Owns how a session is set up and every bound on it. Must never change `search_path`, nor
//! durability: what a role or a database sets is what [`super::schema::Readiness`] judges.

use std::fmt::Write as _;
use std::ops::Deref;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config, NoTls};

use super::DbError;
use crate::config::{Database, Secret};

/// A transaction that its owner left open holds locks and keeps vacuum back: it is ended by then.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// Nobody who reads may queue behind a long lock for the whole of a statement's time.
const POOL_LOCK_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// How much longer than a statement may take somebody may say nothing before they are given up:
/// the server would have ended the statement by then, so something in between has swallowed the
/// answer.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// How sessions are set up. Sent in the startup packet, so that it costs no round trip, holds
/// from the first statement on, and is what `RESET ALL` returns to.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// What `pg_stat_activity` shows.
    pub application_name: &'a str,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// How long a statement may wait for one lock.
    pub lock_timeout: Duration,
    /// Further settings, such as `("enable_mergejoin", "off")`. Values without spaces.
    pub settings: &'a [(&'a str, &'a str)],
}

/// A connection that its owner keeps for itself, with the task that drives it.
///
/// Dropping it ends the session once the statement that is under way has ended.
#[derive(Debug)]
pub struct Dedicated {
    client: Client,
    lost: watch::Receiver<bool>,
    driver: AbortHandle,
}

impl Dedicated {
    /// For statements.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// For transactions, which borrow the client exclusively.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Closes the connection without waiting for what is under way, which may never end: then the
    /// server ends the session, and lets go of its locks.
    pub fn abandon(self) {
        self.driver.abort();
    }

    /// Whether the connection has ended.
    pub fn is_lost(&self) -> bool {
        self.client.is_closed() || *self.lost.borrow()
    }

    /// Waits until the connection has ended, also when nothing is being asked.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error means that the driver task is gone, and the connection with it.
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

/// The connections for reads and administration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    connections: deadpool_postgres::Pool,
    silence_max: Duration,
}

impl Deref for Pool {
    type Target = deadpool_postgres::Pool;

    fn deref(&self) -> &Self::Target {
        &self.connections
    }
}

impl Pool {
    /// Asks one question over a connection of the pool. A line that has swallowed the answer is
    /// closed, and not handed out again. A caller that goes away ends nothing: the connection
    /// comes back when the answer has been heard, and nobody queues behind it.
    ///
    /// # Errors
    /// What the question says, and [`DbError::Lost`] when nothing is heard.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(
            &'a deadpool_postgres::Client,
        ) -> BoxFuture<'a, Result<T, DbError>>
        + Send
        + 'static,
    ) -> Result<T, DbError> {
        let client = self.connections.get().await?;
        let silence_max = self.silence_max;
        let asking = tokio::spawn(async move {
            let answer = tokio::time::timeout(silence_max, question(&client)).await;
            answer.unwrap_or_else(|_elapsed| {
                // Out of the pool; its driver ends with it.
                drop(Object::take(client));
                Err(DbError::silent())
            })
        });
        asking.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(DbError::lost("the service is stopping")),
        })
    }
}

/// The pool for reads and administration. Connects when first needed.
///
/// Recycling is `Fast`: a connection that comes back is handed out again as long as it is open.
/// Our statements leave nothing behind in a session (settings only by `SET LOCAL`), a dropped
/// transaction has its ROLLBACK queued before the next statement, and a test query on each use
/// would cost a round trip and still prove nothing about the next one. A connection whose end was
/// not noticed yet can be handed out once more: a read that is answered [`DbError::Lost`] is worth
/// one more try.
///
/// # Errors
/// [`DbError::Misunderstood`] when `database.url` is not one.
pub fn connect_pool(settings: &Database) -> Result<Pool, DbError> {
    let statement_timeout = Duration::from_millis(settings.statement_timeout_ms);
    let connect_timeout = Duration::from_millis(settings.connect_timeout_ms);
    let session = Session {
        application_name: "tillside",
        statement_timeout,
        lock_timeout: statement_timeout.min(POOL_LOCK_TIMEOUT_MAX),
        settings: &[],
    };
    let config = driver_config(&settings.url, connect_timeout, &session)?;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let connections =
        deadpool_postgres::Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(settings.connections_max)
            .wait_timeout(Some(Duration::from_millis(settings.wait_timeout_ms)))
            .create_timeout(Some(connect_timeout))
            .recycle_timeout(Some(connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is named, which is all that timeouts ask for");
    Ok(Pool { connections, silence_max: statement_timeout + SILENCE })
}

/// One connection outside the pool. Its driver is a task that ends with the connection.
///
/// # Errors
/// [`DbError::Lost`] when no connection comes about within `connect_timeout`,
/// [`DbError::Refused`] when the server does not want this user or database,
/// [`DbError::Misunderstood`] when `url` is not one.
pub async fn connect_dedicated(
    url: &Secret,
    connect_timeout: Duration,
    session: &Session<'_>,
) -> Result<Dedicated, DbError> {
    let config = driver_config(url, connect_timeout, session)?;
    // The driver's own connect_timeout does not cover authentication; this does.
    let (client, connection) = tokio::time::timeout(connect_timeout, config.connect(NoTls))
        .await
        .map_err(|_elapsed| DbError::lost("connecting took too long"))?
        .map_err(DbError::connecting)?;
    let (ended, lost) = watch::channel(false);
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            let error = DbError::from(error);
            tracing::warn!(%error, "a dedicated connection to PostgreSQL ended");
        }
        ended.send_replace(true);
    });
    Ok(Dedicated { client, lost, driver: driver.abort_handle() })
}

fn driver_config(
    url: &Secret,
    connect_timeout: Duration,
    session: &Session<'_>,
) -> Result<Config, DbError> {
    let mut config: Config = url.reveal().parse()?;
    let mut options = config.get_options().unwrap_or_default().to_owned();
    let mut set = |name: &str, value: &dyn std::fmt::Display| {
        write!(options, " -c {name}={value}").expect("writing to a String cannot fail");
    };
    // PostgreSQL reads plain numbers of these settings as milliseconds.
    set("statement_timeout", &session.statement_timeout.as_millis());
    set("lock_timeout", &session.lock_timeout.as_millis());
    set("idle_in_transaction_session_timeout", &IDLE_IN_TRANSACTION.as_millis());
    for (name, value) in session.settings {
        set(name, value);
    }
    config
        .options(options.trim_start())
        .application_name(session.application_name)
        .connect_timeout(connect_timeout)
        // A server that vanished without a word is noticed in 5 + 3 × 2 s while waiting for an
        // answer, and in 8 s while sending.
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(8));
    Ok(config)
}
