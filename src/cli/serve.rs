//! `tillside serve`: the service, until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Outcome;
use crate::app::App;
use crate::config::Config;
use crate::db::pool::connect_pool;
use crate::db::schema::Readiness;
use crate::expiry;
use crate::http::admin::{self, Draining};
use crate::http::server;
use crate::metrics::Metrics;
use crate::offer::handouts;
use crate::router::router;
use crate::sealing::Sealer;
use crate::setup;

/// How often partitions for the coming months are looked after.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long committers may take for what was admitted before the stop.
const COMMITTERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Serve terminals until SIGTERM or Ctrl-C, then finish what is under way.
///
/// Needs database.url of a database that `tillside migrate` has prepared, and the
/// key-encryption key (secrets.key_encryption_key or secrets.key_encryption_key_file).
#[derive(Debug, Args)]
pub(super) struct ServeArgs {}

pub(super) async fn run(_args: ServeArgs, config: Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let service = Service::start(config).await?;
    service.run_until_signal().await
}

/// A service with its listeners open, about to serve.
pub(super) struct Service {
    app: Arc<App>,
    committers: crate::commit::CommitterTasks,
    listener: TcpListener,
    admin_listener: TcpListener,
}

impl Service {
    /// Opens everything that serving needs.
    ///
    /// # Errors
    /// When a port is taken, the database is away or not of this version, or a key is missing.
    async fn start(config: Config) -> Result<Self, Box<dyn std::error::Error>> {
        let listener = bind(config.http.listen, "http.listen").await?;
        let admin_listener = bind(config.http.admin_listen, "http.admin_listen").await?;
        Self::start_on(config, listener, admin_listener).await
    }

    /// The same on listeners that are open already. Whoever connects to them waits until
    /// [`Service::run_until`].
    ///
    /// # Errors
    /// When the database is away or not of this version, or a key is missing.
    pub(super) async fn start_on(
        config: Config,
        listener: TcpListener,
        admin_listener: TcpListener,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let sealer = Sealer::from_config(&config.secrets)?;
        let pool = connect_pool(&config.database)?;
        let client = pool.get().await.map_err(crate::db::DbError::from)?;
        let readiness = Readiness::check(&client).await?;
        drop(client);
        // What is mended or spoilt while we run is watched by /readyz.
        if !readiness.is_ready() {
            return Err(readiness.findings.join("; ").into());
        }
        let (app, committers) = App::start(config, sealer, Arc::new(Metrics::new())).await?;
        Ok(Self { app, committers, listener, admin_listener })
    }

    /// The parts, for commands that serve and do something besides.
    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until SIGTERM or Ctrl-C; then refuses new work, finishes what is under way, and
    /// returns.
    async fn run_until_signal(self) -> Outcome {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told_to_stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        self.run_until(told_to_stop).await
    }

    /// The same, until `told_to_stop` is ready.
    pub(super) async fn run_until(self, told_to_stop: impl Future<Output = ()>) -> Outcome {
        let Self { app, committers, listener, admin_listener } = self;
        let limits = app.config.http.clone();
        let draining = Draining::default();
        let (stop, stopping) = watch::channel(false);
        let stopped = |mut stopping: watch::Receiver<bool>| async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stopping.wait_for(|stop| *stop).await;
        };

        let admin = admin::router(Arc::clone(&app), draining.clone());
        let admin_limits = limits.clone();
        let admin_stopped = stopped(stopping.clone());
        let admin = tokio::spawn(async move {
            server::serve(admin_listener, admin, &admin_limits, admin_stopped).await;
        });
        let partitions = tokio::spawn(keep_partitions(Arc::clone(&app), stopped(stopping.clone())));
        let expiries = tokio::spawn(expiry::keep_walking(Arc::clone(&app)));
        let handouts = tokio::spawn(handouts::keep_working(Arc::clone(&app)));
        let (address, admin_address) = (listener.local_addr()?, limits.admin_listen);
        tracing::info!(%address, %admin_address, "serving");

        let serving = server::serve(listener, router(Arc::clone(&app)), &limits, async {
            told_to_stop.await;
            tracing::info!("stopping: no new connections, open requests are finished");
            draining.begin();
        });
        serving.await;
        stop.send_replace(true);
        // When the last handle is gone the committers finish what they have admitted.
        partitions.abort();
        expiries.abort();
        handouts.abort();
        let _ = admin.await;
        drop(app);
        if tokio::time::timeout(COMMITTERS_TIMEOUT, committers.ended()).await.is_err() {
            tracing::warn!(
                "committers did not finish in time; unanswered swipes will be sent again"
            );
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address} ({setting}): {error}"))
}

/// Makes partitions for the months to come, long before a swipe needs them.
async fn keep_partitions(app: Arc<App>, stopped: impl Future<Output = ()>) {
    tokio::pin!(stopped);
    loop {
        let today = app.config.time_zone().to_datetime(Timestamp::now()).date();
        match setup::ensure_partitions(&app.pool, &app.config, today).await {
            Ok(made) if made.created.is_empty() => {}
            Ok(made) => tracing::info!(partitions = ?made.created, "partitions made"),
            // Swipes of a month without a partition go to the default one: nothing is lost.
            Err(error) => tracing::warn!(%error, "partitions could not be made"),
        }
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(PARTITIONS_INTERVAL) => {}
        }
    }
}
