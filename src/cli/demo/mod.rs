//! `tillside demo`: everything on one machine, from nothing, with data to look at.
//!
//! The order matters: first the folder and the ports, which can be refused without having
//! started anything; then the private PostgreSQL, which is stopped on every way out; `demo.json`
//! last, so that whoever waits for it finds a service that answers.

mod folder;
mod keys;
mod listeners;
mod tokens;
mod words;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::folder::Folder;
use self::listeners::{Listeners, reachable};
use self::words::Ready;
use super::demo_file::{DemoFile, DemoSku};
use super::serve::Service;
use super::{Outcome, print};
use crate::catalogue::load_for_audit;
use crate::config::{Chain, Config, Database, Secret, Secrets};
use crate::db::DbError;
use crate::db::pool::{Pool, connect_pool};
use crate::db::private::{PrivatePostgres, PrivateSettings};
use crate::offer::{self, AddError};
use crate::programme::file::File;
use crate::programme::{ProgrammeError, Programmes, Start};
use crate::sealing::Sealer;
use crate::{demo, setup};

/// A demo has nobody to wait for: open requests get this long when it stops.
const DRAIN_TIMEOUT_MS: u64 = 500;
/// The whole service gets this long, so that with its database it stops within five seconds.
const STOP_TIMEOUT: Duration = Duration::from_millis(700);

/// Run everything on this machine: a private PostgreSQL, demo data and the service.
///
/// The first start makes the folder with a database, three invented stores, a catalogue, two
/// hundred households and twelve weeks of their baskets. Later starts go on where it was
/// stopped. Nothing outside the folder is touched, except that root's database may live under
/// /var/lib/tillside when nobody else can enter the folder. Needs the PostgreSQL server
/// binaries (apt-get install postgresql).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside demo
  tillside demo --dir /tmp/demo --listen 127.0.0.1:0
  tillside demo --listen 0.0.0.0:8080      other machines reach it as well")]
pub(super) struct DemoArgs {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = ".tillside")]
    dir: PathBuf,
    /// Where terminals are served; port 0 chooses a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where metrics and health are served; without it http.admin_listen, or a free port when
    /// that is taken.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Make no demo data, and take business dates of any age.
    #[arg(long)]
    bare: bool,
}

pub(super) async fn run(args: DemoArgs, config: Config) -> Outcome {
    let started = Instant::now();
    let mut stop = Stop::listen()?;
    let folder = Folder::open(&args.dir)?;
    let listeners =
        Listeners::bind(args.listen, args.admin_listen, config.http.admin_listen).await?;
    let launcher = std::env::current_exe()?;
    let settings = PrivateSettings::default();
    let (database, bare) = (folder.postgres(), args.bare);
    if !database.exists() {
        print(&format_args!("making a demo in {}", folder.path.display()));
    }
    let postgres = tokio::select! {
        postgres = PrivatePostgres::start(&database, &launcher, &settings) => postgres?,
        // What was being started ends with this process.
        () = stop.told() => return Ok(()),
    };
    let demo = Demo { folder, postgres: &postgres, started, bare };
    let outcome = Box::pin(demo.run(config, listeners, stop)).await;
    postgres.stop().await;
    outcome
}

/// Being told to stop, from the very beginning: a signal that comes while something is being
/// started must not be lost.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when SIGTERM or Ctrl-C has come.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A demo whose database runs.
struct Demo<'a> {
    folder: Folder,
    postgres: &'a PrivatePostgres,
    started: Instant,
    bare: bool,
}

impl Demo<'_> {
    async fn run(self, config: Config, listeners: Listeners, mut stop: Stop) -> Outcome {
        let service = tokio::select! {
            service = self.start(config, listeners) => service?,
            () = stop.told() => return Ok(()),
        };
        let (tell, told) = oneshot::channel();
        let serving = service.run_until(async {
            stop.told().await;
            // Nobody listens only when serving is over.
            let _ = tell.send(());
        });
        let too_long = async {
            // An error means that the sender is gone, which comes after serving.
            let _ = told.await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            outcome = serving => outcome,
            () = too_long => {
                tracing::warn!("open requests were cut; what was answered is durable");
                Ok(())
            }
        }
    }

    /// Everything up to the moment at which it is ready.
    async fn start(
        &self,
        mut config: Config,
        listeners: Listeners,
    ) -> Result<Service, Box<dyn Error>> {
        let now = Timestamp::now();
        let (address, admin) = (reachable(&listeners.service)?, reachable(&listeners.admin)?);
        let base_url = format!("http://{address}");
        let (key_file, key_is_new) = self.folder.key_file()?;
        config.database.url = Secret::new(self.postgres.url());
        config.secrets =
            Secrets { key_encryption_key_file: key_file.clone(), ..Secrets::default() };
        config.http.admin_listen = admin;
        config.http.drain_timeout_ms = DRAIN_TIMEOUT_MS;
        if config.chain.public_url == Chain::default().public_url {
            config.chain.public_url.clone_from(&base_url);
        }
        if self.bare {
            config.swipe.age_max_days = 0;
        }
        let pool = connect_pool(&config.database)?;
        setup::prepare(&pool, &config, now).await?;

        let today = config.time_zone().to_datetime(now).date();
        let seed_for = match self.folder.unfinished_seed() {
            _ if self.bare => None,
            Some(day) => Some(day),
            None if demo::has_stores(&pool).await? => None,
            None => {
                self.folder.begin_seed(today)?;
                Some(today)
            }
        };
        if let Some(day) = seed_for {
            demo::seed_reference(&config.database, day, now).await?;
            publish(&config.database, demo::eve(day), now).await?;
            store_offers(&pool, now).await?;
        }
        // A file that is lost or damaged is made anew, with new keys.
        let known = DemoFile::read(&self.folder.path).ok();
        let mut file = self.describe(&config, &base_url, key_file, known);
        if !self.bare {
            let sealer = Sealer::from_config(&config.secrets)?;
            let known = if key_is_new { &[] } else { file.terminals.as_slice() };
            file.terminals = keys::ensure(&pool, &sealer, known, now).await?;
            file.tokens = tokens::ensure(&pool, &file.tokens, now).await?;
        }
        drop(pool);
        let service = Service::start_on(config, listeners.service, listeners.admin).await?;
        let mut baskets = None;
        if let Some(day) = seed_for {
            baskets = Some(demo::seed_history(service.app(), day).await?);
            self.folder.end_seed()?;
        }
        file.write(&self.folder.path)?;
        let database = self.postgres.folder();
        let took = self.started.elapsed();
        let ready = Ready { folder: &self.folder.path, database, admin, baskets, took };
        print(&words::page(&ready, &file));
        Ok(service)
    }

    /// What `demo.json` says, its keys not looked at yet.
    fn describe(
        &self,
        config: &Config,
        base_url: &str,
        key_encryption_key_file: PathBuf,
        known: Option<DemoFile>,
    ) -> DemoFile {
        let mut file = known.unwrap_or_else(|| DemoFile {
            base_url: String::new(),
            tokens: Vec::new(),
            terminals: Vec::new(),
            cards: Vec::new(),
            skus: Vec::new(),
            currency: String::new(),
            database_url: Secret::default(),
            key_encryption_key_file: PathBuf::new(),
        });
        if file.cards.is_empty() && !self.bare {
            file.cards = demo::cards();
            file.skus = demo::articles()
                .into_iter()
                .map(|article| DemoSku {
                    sku: article.sku,
                    name: article.name,
                    price_minor: article.price_minor,
                })
                .collect();
        }
        file.base_url = base_url.to_owned();
        file.currency.clone_from(&config.chain.currency);
        file.database_url = config.database.url.clone();
        file.key_encryption_key_file = key_encryption_key_file;
        file
    }
}

/// Brings the demo's programme into force, unless a demo that was cut short has done it already.
async fn publish(settings: &Database, on: Date, now: Timestamp) -> Outcome {
    let File { rules, .. } = File::read(demo::PROGRAMME).map_err(|found| found[0].to_string())?;
    let start = Start { on, today: on, note: "demo" };
    match Programmes::connect(settings, now).await?.publish(&rules, &start).await {
        Ok(_) | Err(ProgrammeError::InForce { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Stores the demo's offers, those that are not there yet.
async fn store_offers(pool: &Pool, now: Timestamp) -> Outcome {
    let snapshot = load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    for definition in demo::offers() {
        match offer::add(pool, &snapshot, definition, now).await {
            Ok(()) | Err(AddError::NameTaken(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
