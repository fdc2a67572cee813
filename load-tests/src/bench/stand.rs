//! What is measured on: one PostgreSQL with the settings of a production server, databases on
//! it, and services straight on its socket. Everything lives in one folder and ends with this
//! process. PostgreSQL is as durable as a real one; nothing here may make it less so.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use nix::sys::statvfs::statvfs;
use tillside::config::{Config, Coupons, Secret};
use tillside::db::private::{PrivatePostgres, PrivateSettings};
use tillside::sealing::Sealer;
use tillside::verify::Audit;
use tokio_postgres::Client;

use crate::error::HarnessError;
use crate::load::{self, Basket, Load, Measured, Pick, Protocol, Shape, Target, Wallets};
use crate::stock::copy::{connect, run};
use crate::stock::{self, Past, Stock};
use crate::usage;
use crate::world::postgres::{postmaster, season};
use crate::world::server::Server;
use crate::world::{self, Addresses, Workstation};

/// Pages in memory: a quarter of a machine of 16 GiB.
const SHARED_BUFFERS_MIB: u32 = 4_096;
const MAX_WAL_SIZE_MIB: u32 = 8_192;
/// So that what was logged in a run can still be looked at behind it.
const WAL_KEEP_MIB: u32 = 2_048;
/// Files of 16 MiB: what is kept, and what is written until the first checkpoint has ended.
const WAL_FILES: u32 = 420;
/// Besides the shared pages: sessions, the service, the generator.
const MEMORY_BESIDES_BYTES: u64 = 2 << 30;
/// On disk for each swipe of a stock, its share of everything included, and for the log.
const BYTES_OF_A_SWIPE: u64 = 1_900;
const BYTES_OF_AN_ACCOUNT: u64 = 8_000;
const LOG_BYTES: u64 = 14 << 30;

/// Tills of the service, and behind them workstations of the competitor's.
pub(super) const TILLS: usize = 100;
pub(super) const COMPETITORS: usize = 64;

/// Names of swipes begin here, far above those of a stock.
const FIRST_SEQUENCE_NUMBER: u64 = 1_000_000_000_000;
/// Runs that may be made again, of some fifty: a machine that stalls for as long as a till waits
/// is not a quiet one, and more of that makes the figures worthless.
const DISCARDED_MAX: usize = 3;
/// Lines of a basket.
const LINES: u16 = 10;
/// A customer of a stand holds so many coupons, and is given another one for each that is
/// redeemed: few, so that everybody has them after as many visits and the load stays the same.
pub(super) const COUPONS_OPEN: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// The server and the folder.
pub(super) struct Stand {
    pub(super) postgres: PrivatePostgres,
    pub(super) folder: PathBuf,
    pub(super) today: Date,
    /// Runs that did not count and were made again, in words.
    pub(super) discarded: Discarded,
    binary: PathBuf,
    addresses: Addresses,
    services: u16,
}

/// What did not count, and why.
pub(super) type Discarded = Arc<Mutex<Vec<String>>>;

/// A database with everything that tills need.
pub(super) struct Ground {
    pub(super) name: &'static str,
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) cards: Arc<[String]>,
    pub(super) swipes: u64,
    pub(super) today: Date,
    tills: Arc<[Workstation]>,
    skus: Arc<[String]>,
    config: Config,
    wallets: Arc<Wallets>,
    next_number: u64,
    discarded: Discarded,
}

/// A running service.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    /// From its spawn until it was ready.
    pub(super) started_in: Duration,
    admin: SocketAddr,
    server: Server,
}

/// How a ground is loaded: everything else is the same for all rows.
#[derive(Clone, Copy)]
pub(super) struct Drive {
    pub(super) shape: Shape,
    pub(super) pick: Pick,
    pub(super) warm_up_s: f64,
    pub(super) seconds: f64,
}

impl Stand {
    /// Starts PostgreSQL.
    ///
    /// # Errors
    /// When memory is short, or the server does not start.
    pub(super) async fn start(folder: &Path, binary: &Path) -> Result<Self, HarnessError> {
        let needed = (u64::from(SHARED_BUFFERS_MIB) << 20) + MEMORY_BESIDES_BYTES;
        let available = usage::available_bytes();
        if available < needed {
            return Err(short("memory", needed, available));
        }
        fs::create_dir_all(folder).map_err(HarnessError::doing("making the folder"))?;
        let settings = PrivateSettings {
            wait_for_folder: PATIENCE,
            shared_buffers_mib: SHARED_BUFFERS_MIB,
            max_wal_size_mib: MAX_WAL_SIZE_MIB,
            connections_max: 200,
            ..PrivateSettings::default()
        };
        let postgres = PrivatePostgres::start(&folder.join("postgres"), binary, &settings).await;
        let postgres = postgres.map_err(HarnessError::doing("starting PostgreSQL"))?;
        let key = Sealer::generate_key();
        world::write_private(&folder.join("key"), key.as_bytes())?;
        let admin = connect(&postgres.url_for("postgres")).await?;
        for statement in [
            &*format!("ALTER SYSTEM SET wal_keep_size = '{WAL_KEEP_MIB}MB'"),
            "ALTER SYSTEM SET effective_cache_size = '12GB'",
            "ALTER SYSTEM SET log_autovacuum_min_duration = 0",
            "SELECT pg_reload_conf()",
        ] {
            run(&admin, statement).await?;
        }
        season(&admin, WAL_FILES).await?;
        Ok(Self {
            postgres,
            folder: folder.to_owned(),
            // The dates of a run stay the same, also over midnight.
            today: TimeZone::UTC.to_datetime(Timestamp::now()).date(),
            discarded: Discarded::default(),
            binary: binary.to_owned(),
            addresses: Addresses::take(),
            services: 0,
        })
    }

    /// The process of PostgreSQL whose children do its work.
    ///
    /// # Errors
    /// When it is down.
    pub(super) fn postmaster(&self) -> Result<u32, HarnessError> {
        postmaster(self.postgres.folder())
    }

    /// Makes a database with a past.
    ///
    /// # Errors
    /// When the disk is short, or the database fails.
    pub(super) async fn ground(
        &self,
        name: &'static str,
        stock: &Stock,
        mut tell: impl FnMut(String),
    ) -> Result<Ground, HarnessError> {
        let swipes = match stock.past {
            Past::Whole => stock.swipes(),
            Past::Outcome => 0,
        };
        let needed = swipes * BYTES_OF_A_SWIPE + stock.accounts * BYTES_OF_AN_ACCOUNT + LOG_BYTES;
        let disk = statvfs(&self.folder).map_err(HarnessError::doing("looking at the disk"))?;
        let available = disk.blocks_available() * disk.fragment_size();
        if available < needed {
            return Err(short("disk", needed, available));
        }
        let admin = connect(&self.postgres.url_for("postgres")).await?;
        run(&admin, &format!("CREATE DATABASE {name}")).await?;
        let mut config = Config::default();
        config.secrets.key_encryption_key_file = self.folder.join("key");
        // A customer of a stand comes many times a week: the most that there may be.
        let per_week = 50;
        config.coupons =
            Coupons { per_swipe: 1, open_max: COUPONS_OPEN, per_week, ..Coupons::default() };
        let url = self.postgres.url_for(name);
        config.database.url = Secret::new(&*url);
        let tills = world::prepare(&config, TILLS + COMPETITORS).await?;
        tell(format!("{name}: {} accounts, {swipes} swipes", stock.accounts));
        let said = |line| tell(format!("{name}: {line}"));
        let loaded = stock::load(&config.database, &tills, stock, self.today, said).await?;
        let client = connect(&url).await?;
        run(&client, "CREATE EXTENSION IF NOT EXISTS pg_walinspect").await?;
        let size = "SELECT pg_size_pretty(pg_database_size(current_database()))";
        let row = client.query_one(size, &[]).await;
        let row = row.map_err(HarnessError::doing("reading the size of a database"))?;
        tell(format!("{name}: {} on disk", row.get::<_, String>(0)));
        Ok(Ground {
            name,
            url,
            client,
            cards: loaded.cards,
            swipes: loaded.swipes,
            today: self.today,
            tills: tills[..TILLS].into(),
            skus: stock::skus().collect(),
            config,
            wallets: Arc::default(),
            next_number: FIRST_SEQUENCE_NUMBER,
            discarded: Arc::clone(&self.discarded),
        })
    }

    /// Removes a database, for its room on the disk.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn clear(&self, ground: Ground) -> Result<(), HarnessError> {
        let admin = connect(&self.postgres.url_for("postgres")).await?;
        run(&admin, &format!("DROP DATABASE {} WITH (FORCE)", ground.name)).await
    }

    /// Starts `tillside serve` on a database. `binary`: another one than the run's own.
    ///
    /// # Errors
    /// When it does not become ready; its log says why.
    pub(super) async fn serve(
        &mut self,
        ground: &Ground,
        binary: Option<&Path>,
    ) -> Result<Service, HarnessError> {
        // Ports of services that have ended are not used again: their connections linger.
        let [address, admin] = [0, 1].map(|n| self.addresses.at(self.services * 2 + n));
        let number = self.services;
        self.services += 1;
        let mut config = ground.config.clone();
        config.http.listen = address;
        config.http.admin_listen = admin;
        config.chain.public_url = format!("http://{address}");
        let file = self.folder.join(format!("server-{number}.toml"));
        world::write_config(&file, &config)?;
        let log = self.folder.join(format!("server-{number}.log"));
        let binary = binary.unwrap_or(&self.binary);
        let began = Instant::now();
        let server = Server::start(binary, &file, &log, admin, None).await?;
        Ok(Service { address, started_in: began.elapsed(), admin, server })
    }
}

impl Ground {
    /// A slice of the customers.
    pub(super) fn customers(&self, from: usize, to: usize) -> Arc<[String]> {
        self.cards[from..to].into()
    }

    /// Loads services with these customers' swipes. A run that does not count is noted and made
    /// again, a few times in all.
    ///
    /// # Errors
    /// As [`Ground::drive_once`].
    pub(super) async fn drive(
        &mut self,
        services: &[&Service],
        cards: &Arc<[String]>,
        drive: Drive,
    ) -> Result<Measured, HarnessError> {
        loop {
            match self.drive_once(services, cards, drive).await {
                Err(error) if self.discard(&error) => {}
                outcome => return outcome,
            }
        }
    }

    /// Notes that a run did not count; whether it may be made again.
    pub(super) fn discard(&self, error: &HarnessError) -> bool {
        let mut discarded = self.discarded.lock().unwrap_or_else(PoisonError::into_inner);
        let may_be_again = discarded.len() < DISCARDED_MAX;
        if may_be_again {
            discarded.push(format!("made again: {error}"));
        }
        may_be_again
    }

    /// Loads services with these customers' swipes.
    ///
    /// # Errors
    /// When the load could not be made, and when a single answer was not a new receipt: such a
    /// run does not count.
    pub(super) async fn drive_once(
        &mut self,
        services: &[&Service],
        cards: &Arc<[String]>,
        drive: Drive,
    ) -> Result<Measured, HarnessError> {
        let measured = self.drive_leniently(services, cards, drive).await?;
        if measured.is_clean() {
            return Ok(measured);
        }
        let refusals: Vec<String> = measured
            .refusals
            .iter()
            .map(|(slug, refusals)| format!("{} {slug}", refusals.len()))
            .collect();
        Err(HarnessError::doing("a run in which every answer is a new receipt")(format!(
            "refusals {refusals:?}, others {:?}, {} replayed, {} unanswered, {} unsent",
            measured.others, measured.replayed, measured.unanswered, measured.unsent
        )))
    }

    /// Lets every one of these customers come once, so that a service has them in memory: few at
    /// a time, since each of them has to be read. Nothing is measured, so nothing must be clean.
    ///
    /// # Errors
    /// When the load could not be made.
    pub(super) async fn get_to_know(
        &mut self,
        service: &Service,
        cards: &Arc<[String]>,
    ) -> Result<(), HarnessError> {
        let first_number = self.next_number;
        let drive = Drive {
            shape: Shape::Closed { connections: 32 },
            pick: Pick::InTurn,
            warm_up_s: 0.0,
            seconds: 3.0,
        };
        // Each number is the next one's card.
        while self.next_number - first_number < cards.len() as u64 {
            self.drive_leniently(&[service], cards, drive).await?;
        }
        Ok(())
    }

    /// The same where refusals are a figure.
    ///
    /// # Errors
    /// When the load could not be made.
    pub(super) async fn drive_leniently(
        &mut self,
        services: &[&Service],
        cards: &Arc<[String]>,
        Drive { shape, pick, warm_up_s, seconds }: Drive,
    ) -> Result<Measured, HarnessError> {
        let target = Target {
            addresses: services.iter().map(|service| service.address).collect(),
            tills: Arc::clone(&self.tills),
            cards: Arc::clone(cards),
            today: self.today,
            wallets: Arc::clone(&self.wallets),
        };
        let load = Load {
            shape,
            warm_up_s,
            seconds,
            connections: 256,
            protocol: Protocol::Http1,
            pick,
            basket: Basket::Lines(LINES),
            seed: 1,
            skus: Arc::clone(&self.skus),
        };
        let measured = load::drive(&target, &load, self.next_number).await?;
        self.next_number = measured.next_sequence_number;
        Ok(measured)
    }

    /// The number of the next swipe.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Audits all of it, a half on each of two cores; how many swipes, and in how many seconds.
    ///
    /// # Errors
    /// When an invariant is broken.
    pub(super) async fn audit(&self) -> Result<(u64, f64), HarnessError> {
        let began = Instant::now();
        let what = format!("auditing {}", self.name);
        let halves = [0..=127, 128..=255].map(|buckets| {
            let settings = self.config.database.clone();
            tokio::spawn(async move {
                let audit = Audit::begin(&settings, buckets).await?;
                Box::pin(audit.run(|_| ())).await
            })
        });
        let mut swipes = 0;
        for half in halves {
            let report = half.await.map_err(HarnessError::doing(&*what))?;
            let report = report.map_err(HarnessError::doing(&*what))?;
            if !report.broken.is_empty() {
                return Err(HarnessError::doing(what)(format!("{:#?}", report.broken)));
            }
            swipes += report.counts.sales;
        }
        Ok((swipes, began.elapsed().as_secs_f64()))
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn run(&self, sql: &str) -> Result<(), HarnessError> {
        run(&self.client, sql).await
    }
}

impl Service {
    /// The number of its process; 0 when it has ended.
    pub(super) fn process(&self) -> u32 {
        self.server.id().unwrap_or_default()
    }

    /// One of its metrics, by everything that stands before the value.
    ///
    /// # Errors
    /// When it does not answer, or has no such metric.
    pub(super) async fn metric(&self, name: &str) -> Result<f64, HarnessError> {
        let what = format!("reading {name} at {}", self.admin);
        let text = get(self.admin, "/metrics").await.map_err(HarnessError::doing(&*what))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.trim().parse().ok());
        value.ok_or_else(|| HarnessError::doing(what)("there is no such metric"))
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) async fn end(mut self) -> Result<(), HarnessError> {
        self.server.terminate(PATIENCE).await.map(drop)
    }
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn short(of: &str, needed: u64, available: u64) -> HarnessError {
    let gib = |bytes: u64| bytes >> 30;
    let what = format!(
        "{} GiB are needed and {} GiB are free; nothing was filled. Make room, or try --quick",
        gib(needed),
        gib(available)
    );
    HarnessError::doing(format!("looking whether there is enough {of}"))(what)
}
