//! A world to measure: nothing stands between tills, replicas and PostgreSQL, which has memory
//! and room for its log as in production. Must never be less durable than that.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tillside::config::{Config, Secret};
use tillside::db::private::{PrivatePostgres, PrivateSettings};
use tillside::sealing::Sealer;

use super::postgres::{postmaster, season};
use super::server::Server;
use super::{Addresses, Workstation, prepare_stores, write_config, write_private};
use crate::error::HarnessError;
use crate::stock::copy::connect;

/// The write-ahead log between checkpoints, of which there is one each two GiB: every few
/// minutes at half load.
const WAL_MAX_MIB: u32 = 4_096;
/// Files of 16 MiB: what is written until the first checkpoint begins and ends.
const WAL_FILES: u32 = 160;
/// How long a replica may take to finish what is under way.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything is kept: a new or empty folder on a real disk.
    pub folder: PathBuf,
    /// The `tillside` binary.
    pub binary: PathBuf,
    /// Stores.
    pub stores: usize,
    /// Tills of each store.
    pub tills_of_a_store: usize,
    /// Settings of the service; addresses, database and key are filled in.
    pub config: Config,
}

/// PostgreSQL with a schema and tills, and the replicas that were started.
pub struct Direct {
    plan: Plan,
    addresses: Addresses,
    /// With the database and the key, for commands and for further replicas.
    pub config: Config,
    /// The database.
    pub postgres: PrivatePostgres,
    /// One for each till.
    pub workstations: Vec<Workstation>,
    /// The replicas, and where they listen.
    pub replicas: Vec<(SocketAddr, Server)>,
}

impl Direct {
    /// Makes a world without replicas, so that its database can be filled first.
    ///
    /// # Errors
    /// When something is missing on this machine, or PostgreSQL does not start.
    pub async fn make(plan: Plan) -> Result<Self, HarnessError> {
        fs::create_dir_all(&plan.folder).map_err(HarnessError::doing("making the folder"))?;
        let settings = PrivateSettings {
            shared_buffers_mib: 1_024,
            max_wal_size_mib: WAL_MAX_MIB,
            ..PrivateSettings::default()
        };
        let data = plan.folder.join("postgres");
        let postgres = PrivatePostgres::start(&data, &plan.binary, &settings).await;
        let postgres = postgres.map_err(HarnessError::doing("starting PostgreSQL"))?;
        season(&connect(&postgres.url()).await?, WAL_FILES).await?;
        let key_file = plan.folder.join("key");
        write_private(&key_file, Sealer::generate_key().as_bytes())?;
        let mut config = plan.config.clone();
        config.secrets.key_encryption_key_file = key_file;
        config.database.url = Secret::new(postgres.url());
        let tills = plan.stores * plan.tills_of_a_store;
        let workstations = prepare_stores(&config, tills, plan.tills_of_a_store).await?;
        let addresses = Addresses::take();
        Ok(Self { plan, addresses, config, postgres, workstations, replicas: Vec::new() })
    }

    /// Starts one more replica and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; its log says why.
    pub async fn start_replica(&mut self) -> Result<(), HarnessError> {
        let number = self.replicas.len();
        let index = u16::try_from(number).expect("a handful of replicas");
        let mut config = self.config.clone();
        config.http.listen = self.addresses.at(index * 2);
        config.http.admin_listen = self.addresses.at(index * 2 + 1);
        config.chain.public_url = format!("http://{}", config.http.listen);
        let file = self.plan.folder.join(format!("server-{number}.toml"));
        write_config(&file, &config)?;
        let log = self.plan.folder.join(format!("server-{number}.log"));
        let admin = config.http.admin_listen;
        let server = Server::start(&self.plan.binary, &file, &log, admin, None).await?;
        self.replicas.push((config.http.listen, server));
        Ok(())
    }

    /// The process id of the postmaster.
    ///
    /// # Errors
    /// When PostgreSQL is down.
    pub fn postgres_id(&self) -> Result<u32, HarnessError> {
        postmaster(self.postgres.folder())
    }

    /// Ends everything in order, and removes the folder.
    ///
    /// # Errors
    /// When a replica does not end, or the folder stays.
    pub async fn end(self) -> Result<(), HarnessError> {
        for (_, mut server) in self.replicas {
            server.terminate(END_TIMEOUT).await?;
        }
        self.postgres.stop().await;
        let removed = fs::remove_dir_all(&self.plan.folder);
        removed.map_err(HarnessError::doing("removing the folder of the run"))
    }
}
