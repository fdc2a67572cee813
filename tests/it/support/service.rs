//! A whole service on a database of its own: real router, real listener, real signatures.
//!
//! `Service` is one replica; a second one on the same database is `TestService::replica`.
//! Tills sign with keys that were made the way people make them.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tillside::app::App;
use tillside::commit::CommitterTasks;
use tillside::config::{Config, Secret};
use tillside::db::pool::Pool;
use tillside::http::admin::{self, Draining};
use tillside::import::Importer;
use tillside::import::stores::StoreRecord;
use tillside::metrics::Metrics;
use tillside::router::router;
use tillside::sealing::Sealer;
use tillside::till::{Answer, Till};
use tillside::{http, setup, terminal};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_postgres::Client;

use super::database::TestDatabase;

/// The stores of every test, each with two workstations.
pub(crate) const STORES: [&str; 2] = ["0367", "0406"];
/// Their workstations.
pub(crate) const WORKSTATIONS: [&str; 2] = ["01", "03"];
/// The business date of most tests; the window for business dates is off.
pub(crate) const TODAY: &str = "2026-03-14";

/// A replica, its tills, and the database below it.
pub(crate) struct TestService {
    pub(crate) replica: Replica,
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    keys: Arc<Vec<(String, [u8; 32])>>,
    /// Last, so that the database outlives everything that uses it.
    database: TestDatabase,
}

/// One running service.
pub(crate) struct Replica {
    pub(crate) app: Arc<App>,
    pub(crate) base_url: String,
    keys: Arc<Vec<(String, [u8; 32])>>,
    stop: Option<oneshot::Sender<()>>,
    _committers: CommitterTasks,
}

impl TestService {
    /// A service with default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A service whose settings are changed before it starts.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let mut config = Config { database: database.settings(), ..Config::default() };
        config.secrets.key_encryption_key = Secret::new(Sealer::generate_key().as_str());
        // Tests have dates of their own; what the window does has a test of its own.
        config.swipe.age_max_days = 0;
        // On a busy machine the default would be missed now and then.
        config.swipe.deadline_default_ms = 5_000;
        change(&mut config);
        let pool = database.pool();
        let now = Timestamp::now();
        setup::prepare(&pool, &config, now).await.expect("an empty database can be prepared");
        let mut importer = Importer::connect(&config.database, now).await.expect("it is up");
        let stores = STORES.map(|store_id| StoreRecord {
            store_id: store_id.to_owned(),
            name: format!("Store {store_id}"),
            time_zone: "America/New_York".to_owned(),
            workstations: WORKSTATIONS.map(str::to_owned).to_vec(),
        });
        importer.stores(&stores).await.expect("the stores are new");
        let sealer = Sealer::from_config(&config.secrets).expect("just generated");
        let mut keys = Vec::new();
        for store_id in STORES {
            for workstation_id in WORKSTATIONS {
                let key = terminal::add(&pool, &sealer, store_id, workstation_id, now)
                    .await
                    .expect("the workstation has no key yet");
                keys.push((key.keyid, *key.secret));
            }
        }
        let keys = Arc::new(keys);
        let replica = Replica::start(config.clone(), Arc::clone(&keys)).await;
        Self { replica, config, pool, keys, database }
    }

    /// A further replica on the same database.
    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(|_| {}).await
    }

    /// A further replica with other settings.
    pub(crate) async fn replica_with(&self, change: impl FnOnce(&mut Config)) -> Replica {
        let mut config = self.config.clone();
        change(&mut config);
        Replica::start(config, Arc::clone(&self.keys)).await
    }

    /// The till of store 0367, workstation 03.
    pub(crate) fn till(&self) -> Till {
        self.replica.till("0367", "03")
    }

    /// A connection of the test's own.
    pub(crate) async fn sql(&self) -> Client {
        self.database.client().await
    }

    /// One number from the database.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.sql().await.query_one(sql, &[]).await.expect("the statement is right").get(0)
    }
}

impl Replica {
    async fn start(config: Config, keys: Arc<Vec<(String, [u8; 32])>>) -> Self {
        let sealer = Sealer::from_config(&config.secrets).expect("set by the test");
        let limits = config.http.clone();
        let (app, committers) = App::start(config, sealer, Arc::new(Metrics::new()))
            .await
            .expect("the database is prepared");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(Arc::clone(&app));
        tokio::spawn(async move {
            http::server::serve(listener, router, &limits, async {
                let _ = stopped.await;
            })
            .await;
        });
        let base_url = format!("http://{address}");
        Self { app, base_url, keys, stop: Some(stop), _committers: committers }
    }

    /// A till with the first key of a workstation.
    pub(crate) fn till(&self, store_id: &str, workstation_id: &str) -> Till {
        let (keyid, secret) = self.key(store_id, workstation_id);
        Till::new(&self.base_url, keyid, secret).expect("address and key are well-formed")
    }

    /// The first key of a workstation.
    pub(crate) fn key(&self, store_id: &str, workstation_id: &str) -> (&str, [u8; 32]) {
        let wanted = format!("{store_id}/{workstation_id}.1");
        let found = self.keys.iter().find(|(keyid, _)| *keyid == wanted);
        let (keyid, secret) = found.expect("one of the test's stores");
        (keyid, *secret)
    }

    /// Stops listening; open requests finish.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves the operators' listener of a replica, as `serve` does, until the test ends.
pub(crate) async fn operators(app: &Arc<App>, draining: Draining) -> Till {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (router, limits) = (admin::router(Arc::clone(app), draining), app.config.http.clone());
    tokio::spawn(async move {
        http::server::serve(listener, router, &limits, std::future::pending()).await;
    });
    Till::new(&format!("http://{address}"), "nobody", [0; 32]).expect("good values")
}

/// What operators are told: status and text.
pub(crate) async fn asked(operators: &Till, path: &str) -> (u16, String) {
    let answer = operators.get(path).await.expect("an answer");
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).expect("UTF-8"))
}

/// A swipe of one line at store 0367, workstation 03, with a card: what tests change from.
pub(crate) fn swipe(sequence_number: i64, card: Option<&str>, amount_minor: i64) -> Value {
    let mut swipe = json!({
        "store_id": "0367",
        "workstation_id": "03",
        "business_date": TODAY,
        "sequence_number": sequence_number,
        "occurred_at": format!("{TODAY}T11:53:26-04:00"),
        "currency": "USD",
        "lines": [{ "line": 1, "sku": "1095275", "quantity": "1", "amount_minor": amount_minor }],
        "total_minor": amount_minor,
    });
    if let Some(card) = card {
        swipe["card"] = card.into();
    }
    swipe
}

/// The n-th well-formed card of the default format.
pub(crate) fn card(n: u64) -> String {
    let body = format!("299{n:09}");
    let digit = char::from(tillside::domain::card::check_digit(&body));
    format!("{body}{digit}")
}

/// Posts a swipe.
pub(crate) async fn post(till: &Till, swipe: &Value) -> Answer {
    till.post("/v1/swipes", swipe.to_string()).await.expect("the service answers")
}

/// The body of an answer.
pub(crate) fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("answers are JSON")
}

/// The date that most tests use, as a value.
pub(crate) fn today() -> Date {
    TODAY.parse().expect("a date")
}
