//! A world to break: a private PostgreSQL, replicas of the service as processes of their own,
//! proxies on every way, and a workstation with a key for each till.
//!
//! Everything lives in one folder and ends with this process. PostgreSQL is as durable as a real
//! one; nothing here may make it less so.

pub mod direct;
pub mod postgres;
pub mod server;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use jiff::Timestamp;
use tillside::config::{Commit, Config, Secret};
use tillside::db::pool::connect_pool;
use tillside::import::Importer;
use tillside::import::stores::StoreRecord;
use tillside::sealing::Sealer;
use tillside::{setup, terminal};
use tokio::task::block_in_place;

use self::postgres::Postgres;
use self::server::Server;
use crate::disk::{NotRun, SmallDisk};
use crate::error::HarnessError;
use crate::proxy::{Endpoint, Protocol, Proxy};

/// Workstations of a store; the tills fill store after store.
const WORKSTATIONS_OF_A_STORE: usize = 10;
/// Ports of one world.
const PORTS: u16 = 64;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything is kept. Made when it is not there; must be empty otherwise.
    pub folder: PathBuf,
    /// The size of a disk of its own for the data of PostgreSQL, which can then be full.
    pub disk_mib: Option<u64>,
    /// The `tillside` binary.
    pub binary: PathBuf,
    /// Replicas of the service.
    pub servers: usize,
    /// Tills.
    pub tills: usize,
    /// Of the proxies.
    pub seed: u64,
    /// What is broken in the replicas on purpose; needs a build that can.
    pub sabotage: Option<&'static str>,
    /// How the replicas commit.
    pub commit: Commit,
}

/// A workstation that may sign.
#[derive(Clone)]
pub struct Workstation {
    /// ARTS `RetailStoreID`.
    pub store_id: String,
    /// ARTS `WorkstationID`.
    pub workstation_id: String,
    /// What it signs under.
    pub keyid: String,
    /// What it signs with.
    pub secret: [u8; 32],
}

/// A replica and the proxies on both sides of it.
pub struct Replica {
    /// Where the process itself listens.
    pub address: SocketAddr,
    /// The process.
    pub server: Server,
    /// Between the tills and it.
    pub front: Proxy,
    /// Between it and PostgreSQL.
    pub back: Proxy,
}

/// All of it.
pub struct World {
    /// Where everything is kept.
    pub folder: PathBuf,
    /// The `tillside` binary.
    pub binary: PathBuf,
    /// The database.
    pub postgres: Postgres,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// One for each till.
    pub workstations: Vec<Workstation>,
    /// A configuration that reaches the database directly, for commands.
    pub config: PathBuf,
    /// After PostgreSQL, which must have ended before its disk goes.
    disk: Result<SmallDisk, NotRun>,
}

impl World {
    /// Makes a world; when this returns every replica is ready.
    ///
    /// # Errors
    /// When something is missing on this machine, or a process does not start.
    pub async fn make(plan: &Plan) -> Result<Self, HarnessError> {
        let folder = &plan.folder;
        fs::create_dir_all(folder).map_err(HarnessError::doing("making the folder"))?;
        let disk = match plan.disk_mib {
            Some(size_mib) => block_in_place(|| SmallDisk::create(folder, size_mib)),
            None => Err(NotRun("no disk of its own was asked for".to_owned())),
        };
        let data = disk.as_ref().map_or(folder.as_path(), |disk| disk.path()).join("postgres");
        let postgres = Postgres::start(&data, &plan.binary).await?;

        let key_file = folder.join("key");
        write_private(&key_file, Sealer::generate_key().as_bytes())?;
        let mut config = Config { commit: plan.commit.clone(), ..Config::default() };
        config.secrets.key_encryption_key_file = key_file;
        config.database.url = Secret::new(postgres.url());
        // A restart must not wait for the connections that a fault has left half open.
        config.http.drain_timeout_ms = 2_000;
        let workstations = prepare(&config, plan.tills).await?;
        let direct = folder.join("direct.toml");
        write_config(&direct, &config)?;

        let addresses = Addresses::take();
        let mut replicas = Vec::with_capacity(plan.servers);
        for number in 0..plan.servers {
            let replica = start_replica(plan, number, &addresses, config.clone(), &postgres);
            replicas.push(replica.await?);
        }
        let (folder, binary) = (folder.clone(), plan.binary.clone());
        Ok(Self { folder, binary, postgres, replicas, workstations, config: direct, disk })
    }

    /// Where the tills write down what they know.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// The disk of PostgreSQL, when it has one of its own.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref().ok()
    }

    /// Why PostgreSQL has no disk of its own.
    pub fn no_disk(&self) -> NotRun {
        let none = || NotRun("there is a disk".to_owned());
        self.disk.as_ref().err().cloned().unwrap_or_else(none)
    }

    /// Faults on the wires so far, by place and kind. Delays are left out: they are no faults.
    pub fn wire_faults(&self) -> BTreeMap<String, u64> {
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for replica in &self.replicas {
            for (place, proxy) in [("tills", &replica.front), ("PostgreSQL", &replica.back)] {
                for (kind, count) in proxy.counts() {
                    if kind != "delay" {
                        *faults.entry(format!("{place}: {kind}")).or_default() += count;
                    }
                }
            }
        }
        faults
    }

    /// Where the tills find the replicas.
    pub fn base_urls(&self) -> Vec<String> {
        let url = |replica: &Replica| format!("http://{}", tcp(replica.front.address()));
        self.replicas.iter().map(url).collect()
    }

    /// Ends everything, in order. The log of PostgreSQL stays in the folder of the world.
    ///
    /// # Errors
    /// When the log cannot be kept.
    pub async fn end(mut self) -> Result<(), HarnessError> {
        for replica in &mut self.replicas {
            replica.server.kill().await;
        }
        let log = self.postgres.folder().join("postgres.log");
        self.postgres.stop().await;
        let kept = fs::copy(log, self.folder.join("postgres.log"));
        kept.map(drop).map_err(HarnessError::doing("keeping the log of PostgreSQL"))
    }
}

async fn start_replica(
    plan: &Plan,
    number: usize,
    addresses: &Addresses,
    mut config: Config,
    postgres: &Postgres,
) -> Result<Replica, HarnessError> {
    let index = u16::try_from(number).expect("a handful of replicas");
    let [listen, admin, front, back] = [0, 1, 2, 3].map(|n| addresses.at(index * 4 + n));
    let seed = plan.seed.wrapping_add(u64::from(index) * 2);
    let upstream = Endpoint::Unix(postgres.socket());
    let back = Proxy::start(Endpoint::Tcp(back), upstream, Protocol::Postgres, seed).await;
    let back = back.map_err(HarnessError::doing("opening the way to PostgreSQL"))?;
    let upstream = Endpoint::Tcp(listen);
    let front = Proxy::start(Endpoint::Tcp(front), upstream, Protocol::Http, seed + 1).await;
    let front = front.map_err(HarnessError::doing("opening the way to the service"))?;
    let database = tcp(back.address());
    config.database.url = Secret::new(format!(
        "host={} port={} user=tillside dbname=tillside sslmode=disable",
        database.ip(),
        database.port()
    ));
    config.http.listen = listen;
    config.http.admin_listen = admin;
    config.chain.public_url = format!("http://{listen}");
    let file = plan.folder.join(format!("server-{number}.toml"));
    write_config(&file, &config)?;
    let log = plan.folder.join(format!("server-{number}.log"));
    let server = Server::start(&plan.binary, &file, &log, admin, plan.sabotage).await?;
    Ok(Replica { address: listen, server, front, back })
}

/// Schema, stores, and a key for each till.
pub(crate) async fn prepare(
    config: &Config,
    tills: usize,
) -> Result<Vec<Workstation>, HarnessError> {
    prepare_stores(config, tills, WORKSTATIONS_OF_A_STORE).await
}

/// The same, with so many tills in each store.
async fn prepare_stores(
    config: &Config,
    tills: usize,
    of_a_store: usize,
) -> Result<Vec<Workstation>, HarnessError> {
    let doing = "preparing the database";
    let now = Timestamp::now();
    let pool = connect_pool(&config.database).map_err(HarnessError::doing(doing))?;
    setup::prepare(&pool, config, now).await.map_err(HarnessError::doing(doing))?;
    let places: Vec<(String, String)> = (0..tills)
        .map(|till| {
            let (store, workstation) = (till / of_a_store, till % of_a_store);
            (format!("{:04}", store + 1), format!("{:02}", workstation + 1))
        })
        .collect();
    let stores: Vec<StoreRecord> = places
        .chunk_by(|(one, _), (other, _)| one == other)
        .map(|places| StoreRecord {
            store_id: places[0].0.clone(),
            name: format!("Store {}", places[0].0),
            time_zone: config.chain.time_zone.clone(),
            workstations: places.iter().map(|(_, workstation)| workstation.clone()).collect(),
        })
        .collect();
    let importer = Importer::connect(&config.database, now).await;
    let mut importer = importer.map_err(HarnessError::doing(doing))?;
    importer.stores(&stores).await.map_err(HarnessError::doing(doing))?;
    let sealer = Sealer::from_config(&config.secrets).map_err(HarnessError::doing(doing))?;
    let mut workstations = Vec::with_capacity(tills);
    for (store_id, workstation_id) in places {
        let key = terminal::add(&pool, &sealer, &store_id, &workstation_id, now).await;
        let key = key.map_err(HarnessError::doing("giving a key to a till"))?;
        let (keyid, secret) = (key.keyid, *key.secret);
        workstations.push(Workstation { store_id, workstation_id, keyid, secret });
    }
    Ok(workstations)
}

/// Loopback addresses that no other process chooses: the network 127/8 has room for one host
/// per process id. So a server that comes back finds its port free, and a till never reaches a
/// stranger who took it meanwhile.
pub(crate) struct Addresses {
    host: Ipv4Addr,
    first_port: u16,
}

impl Addresses {
    pub(crate) fn take() -> Self {
        static WORLDS: AtomicU16 = AtomicU16::new(0);
        let [_, high, middle, low] = process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 64 | high & 63, middle, low);
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        Self { host, first_port: 8_000 + world * PORTS }
    }

    pub(crate) fn at(&self, index: u16) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(self.host, self.first_port + index))
    }
}

fn tcp(endpoint: &Endpoint) -> SocketAddr {
    match endpoint {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(_) => unreachable!("the proxies of a world listen on ports"),
    }
}

pub(crate) fn write_config(path: &Path, config: &Config) -> Result<(), HarnessError> {
    let text = toml::to_string(config).map_err(HarnessError::doing("writing a configuration"))?;
    write_private(path, text.as_bytes())
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), HarnessError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(HarnessError::doing(format!("writing {}", path.display())))
}
