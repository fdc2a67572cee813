//! Reference data in memory: stores, terminals' keys, programmes and articles by epoch.
//!
//! A snapshot is immutable; a task looks at one number in the database every second and
//! replaces the whole snapshot when it has changed, so that a revoked key is refused and a new
//! epoch is known within seconds on every replica. Balances and anything else that a swipe
//! changes never stand here.

mod sql;

pub use sql::load_for_audit;
pub(crate) use sql::showcase_of;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::offer::{Definition, Offer, OfferError};
use crate::domain::product::Product;
use crate::domain::profile::Visit;
use crate::domain::programme::earning::Place;
use crate::domain::programme::{Level, Programme, Rules};
use crate::domain::selection::offers::{BUILT_IN, BUILT_IN_AT_FIRST, OfferWeights};
use crate::domain::selection::showcase::Showcase;
use crate::error::Error;
use crate::http::signature::TerminalKey;
use crate::sealing::Sealer;

/// How often the database is asked whether something has changed.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long reading it again may take, a chain's whole catalogue included.
const LOAD_MAX: Duration = Duration::from_secs(60);

/// A till's place: what its id stands for inside.
#[derive(Clone, Debug)]
pub struct Workstation {
    /// Its number inside Tillside.
    pub workstation_no: i32,
    /// The number of its store.
    pub store_no: u32,
    /// The account that takes what belongs to no customer.
    pub house_account: i64,
    /// The bucket of its names.
    pub bucket: u8,
    /// The time zone of its store.
    pub time_zone: TimeZone,
}

impl Workstation {
    /// What earn rules may ask of it.
    pub fn place(&self) -> Place<'_> {
        Place { store_no: self.store_no, time_zone: Some(&self.time_zone) }
    }
}

/// One number that names programme and catalogue in force.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// The number.
    pub epoch: i32,
    /// First business date; none for the first epoch.
    starts_on: Option<Date>,
    /// The rules.
    pub programme: Arc<Programme>,
}

impl Epoch {
    /// Whether it was in force, or could have been, on a business date.
    pub fn has_begun(&self, business_date: Date) -> bool {
        self.starts_on.is_none_or(|starts_on| starts_on <= business_date)
    }
}

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    reference_version: i64,
    /// By store, then by workstation.
    workstations: HashMap<String, HashMap<String, Arc<Workstation>>>,
    workstations_by_no: HashMap<i32, Arc<Workstation>>,
    keys: HashMap<String, (TerminalKey, Option<Timestamp>)>,
    /// Oldest first.
    epochs: Vec<Epoch>,
    products: Arc<Products>,
    /// By level, then by name.
    taxa: HashMap<(i16, String), u32>,
    /// By number.
    offers: BTreeMap<i32, Arc<Offer>>,
    /// Numbers of offers by the code that everybody uses.
    shared_codes: HashMap<String, i32>,
    /// Numbers of offers that need no code, by what people call them.
    automatic_offers: HashMap<String, i32>,
    /// Numbers of those whose limits look back.
    limited_offers: Vec<i32>,
    /// What the till chooses with, by number.
    models: BTreeMap<i32, Arc<Model>>,
    /// Since which epoch which model counts, oldest first; none: what is built in.
    models_since: Vec<(i32, Option<i32>)>,
    /// As the latest models arrange the offers, each since its epoch, oldest first.
    showcases: Vec<(i32, Arc<Showcase>)>,
}

/// What the till chooses coupons with.
#[derive(Clone, Debug)]
pub struct Model {
    /// How much each sign counts.
    pub weights: OfferWeights,
    /// Each article's share of all baskets, by number; what is beyond is rare.
    pub popularity: Vec<f32>,
}

impl Default for Model {
    /// What is built in.
    fn default() -> Self {
        Self { weights: BUILT_IN, popularity: Vec::new() }
    }
}

impl Model {
    /// What was built in before that, as [`Noted::refitted`] tells them apart.
    ///
    /// [`Noted::refitted`]: crate::domain::selection::showcase::Noted::refitted
    fn built_in_at_first() -> Self {
        Self { weights: BUILT_IN_AT_FIRST, ..Self::default() }
    }
}

impl Snapshot {
    /// Every offer, oldest first.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values().map(Arc::as_ref)
    }

    /// Offers of which must be known what an account has redeemed before.
    pub fn limited_offers(&self) -> &[i32] {
        &self.limited_offers
    }

    /// The offers that the till chooses from on a business date, as the model of that date's epoch
    /// arranges them; of models that were replaced long ago the oldest that is held.
    pub fn showcase_on(&self, business_date: Date) -> Option<&Showcase> {
        let epoch = self.epoch_on(business_date)?.epoch;
        let of_epoch = self.showcases.iter().rev().find(|(since, _)| *since <= epoch);
        of_epoch.or(self.showcases.first()).map(|(_, showcase)| &**showcase)
    }

    /// What the till chooses with in an epoch, and its number; none: what is built in.
    pub fn model_of(&self, epoch: i32) -> (Option<i32>, Arc<Model>) {
        let since = self.models_since.iter().rev().find(|(since, _)| *since <= epoch);
        let known = since.and_then(|(_, no)| Some((*no, Arc::clone(self.models.get(&(*no)?)?))));
        known.unwrap_or_default()
    }

    /// Which state of the reference data this is: its version, and the newest epoch in it.
    pub fn moment(&self) -> (i64, i32) {
        (self.reference_version, self.epochs.last().map_or(0, |epoch| epoch.epoch))
    }

    /// An offer by number.
    pub fn offer(&self, offer_no: i32) -> Option<&Offer> {
        self.offers.get(&offer_no).map(Arc::as_ref)
    }

    /// The offer that has a shared code, however it is written.
    pub fn offer_shared_as(&self, code: &str) -> Option<&Offer> {
        if self.shared_codes.is_empty() {
            return None;
        }
        self.offer(*self.shared_codes.get(&code.to_ascii_uppercase())?)
    }

    /// The offer that everybody with a card gets, by what people call it.
    pub fn automatic_offer(&self, offer_id: &str) -> Option<&Offer> {
        self.offer(*self.automatic_offers.get(offer_id)?)
    }

    /// Every offer that everybody with a card gets, oldest first.
    pub fn automatic_offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers().filter(|offer| offer.is_automatic())
    }

    /// An offer by what people call it.
    pub fn offer_named(&self, offer_id: &str) -> Option<&Offer> {
        self.offers().find(|offer| offer.definition.offer == offer_id)
    }

    /// Compiles an offer with the names of this moment.
    ///
    /// # Errors
    /// When the definition is not sound, or names what there is not.
    pub fn compile(&self, offer_no: i32, definition: Definition) -> Result<Offer, OfferError> {
        Offer::compile(offer_no, definition, |level, name| self.number_of(level, name))
    }

    /// What rules and offers name, by number.
    fn number_of(&self, level: Level, name: &str) -> Option<u32> {
        match level {
            Level::Sku => Some(self.products.get(name)?.first()?.1.product_no),
            Level::Store => Some(self.workstations.get(name)?.values().next()?.store_no),
            level => self.taxa.get(&(level as i16, name.to_owned())).copied(),
        }
    }

    /// The workstation with these ids.
    pub fn workstation(&self, store_id: &str, workstation_id: &str) -> Option<&Arc<Workstation>> {
        self.workstations.get(store_id)?.get(workstation_id)
    }

    /// The workstation with this number.
    pub fn workstation_no(&self, workstation_no: i32) -> Option<&Arc<Workstation>> {
        self.workstations_by_no.get(&workstation_no)
    }

    /// The key that signs under an id, if it may sign at this time.
    pub fn key(&self, keyid: &str, now: Timestamp) -> Option<TerminalKey> {
        let (key, retires_at) = self.keys.get(keyid)?;
        retires_at.is_none_or(|retires_at| now < retires_at).then(|| key.clone())
    }

    /// The epoch in force on a business date: of those that had begun, the newest.
    pub fn epoch_on(&self, business_date: Date) -> Option<&Epoch> {
        self.epochs.iter().rev().find(|epoch| epoch.has_begun(business_date))
    }

    /// An epoch by number.
    pub fn epoch(&self, number: i32) -> Option<&Epoch> {
        self.epochs.iter().find(|epoch| epoch.epoch == number)
    }

    /// An article as an epoch has it; one without number or place when no catalogue has it.
    pub fn product(&self, sku: &str, epoch: &Epoch) -> Product {
        let versions = self.products.get(sku);
        let found = versions
            .and_then(|versions| versions.iter().rev().find(|(since, _)| *since <= epoch.epoch));
        let Some((_, product)) = found else { return Product::default() };
        Product { age_restricted: epoch.programme.is_age_restricted(product), ..*product }
    }

    /// Whether an offer is for articles that may not be sold to everybody, as the newest
    /// programme has it: the till gives no coupon of such a one.
    pub fn is_age_restricted(&self, offer: &Offer) -> bool {
        let mut articles = self.articles_until(i32::MAX);
        articles.any(|it| it.age_restricted && offer.target().is_restricted(&it))
    }

    /// Articles as the newest epoch up to this one has them.
    fn articles_until(&self, last: i32) -> impl Iterator<Item = Product> {
        let epochs = self.epochs.iter().rev();
        let programme = epochs.map(|it| (it.epoch, &it.programme)).find(|(no, _)| *no <= last);
        let versions = self.products.values().filter_map(move |versions| {
            versions.iter().rev().find(|(since, _)| *since <= last).map(|(_, product)| *product)
        });
        versions.map(move |product| {
            let age_restricted = programme.is_some_and(|(_, it)| it.is_age_restricted(&product));
            Product { age_restricted, ..product }
        })
    }

    fn articles_by_number(&self, last: i32) -> Vec<Product> {
        let highest = self.articles_until(last).map(|product| product.product_no).max();
        let mut articles = vec![Product::default(); highest.unwrap_or_default() as usize + 1];
        for product in self.articles_until(last) {
            articles[product.product_no as usize] = product;
        }
        articles
    }

    /// Every workstation, with the ids of its store and its own.
    pub fn workstations(&self) -> impl Iterator<Item = (&str, &str, &Arc<Workstation>)> {
        self.workstations.iter().flat_map(|(store_id, of_store)| {
            of_store.iter().map(|(id, workstation)| (&**store_id, &**id, workstation))
        })
    }

    /// Articles as the newest epoch has them, indexed by number.
    pub fn articles(&self) -> Vec<Product> {
        self.articles_by_number(i32::MAX)
    }

    /// Articles as an epoch has them, each with its name at the till.
    pub fn articles_of(&self, epoch: &Epoch) -> impl Iterator<Item = (&str, Product)> {
        let known =
            |versions: &[(i32, Product)]| versions.iter().any(|(since, _)| *since <= epoch.epoch);
        let skus = self.products.iter().filter(move |(_, versions)| known(versions));
        skus.map(|(sku, _)| (&**sku, self.product(sku, epoch)))
    }

    /// Every article that a catalogue ever had: its number and how tills name it.
    pub fn skus(&self) -> impl Iterator<Item = (u32, &str)> {
        let skus = self.products.iter();
        skus.filter_map(|(sku, versions)| Some((versions.first()?.1.product_no, &**sku)))
    }

    /// Where and when a basket was bought, as a profile learns it; the basket itself left empty.
    pub fn visit(
        &self,
        workstation_no: i32,
        business_date: Date,
        occurred_at: Timestamp,
    ) -> Visit<'static> {
        let workstation = self.workstation_no(workstation_no);
        let hour = workstation.map_or(0, |it| it.time_zone.to_datetime(occurred_at).hour());
        Visit {
            business_date,
            hour: hour.unsigned_abs(),
            store_no: workstation.map_or(0, |it| it.store_no),
            total_minor: 0,
            redemptions: 0,
            sold: &[],
        }
    }
}

/// Articles by what tills call them, each with its versions by epoch, oldest first. Asked for
/// every line that is sold, hence a hash that is faster than the standard one.
type Products = HashMap<String, Vec<(i32, Product)>, ahash::RandomState>;

/// The current snapshot, kept current.
#[derive(Clone, Debug)]
pub struct Catalogue(watch::Receiver<Arc<Snapshot>>);

impl Catalogue {
    /// Loads the reference data and starts the task that keeps it current; the task ends when
    /// the last clone of the catalogue is gone.
    ///
    /// # Errors
    /// When the database cannot be read, or a secret in it cannot be opened.
    pub async fn start(pool: Pool, sealer: Arc<Sealer>) -> Result<Self, Error> {
        Self::load(pool, Some(sealer)).await
    }

    /// The same without the terminals' keys, for commands.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn start_for_audit(pool: Pool) -> Result<Self, Error> {
        Self::load(pool, None).await
    }

    async fn load(pool: Pool, sealer: Option<Arc<Sealer>>) -> Result<Self, Error> {
        let snapshot = sql::load(&pool, sealer.as_deref(), &Snapshot::default()).await?;
        let (sender, receiver) = watch::channel(Arc::new(snapshot));
        tokio::spawn(keep_current(pool, sealer, sender));
        Ok(Self(receiver))
    }

    /// The first snapshot for which something holds, from now on: what was stored a moment ago is
    /// known when the next one comes. None when it does not come in time.
    pub async fn wait_for(
        &self,
        holds: impl Fn(&Snapshot) -> bool,
        patience: Duration,
    ) -> Option<Arc<Snapshot>> {
        let mut snapshots = self.0.clone();
        let found = timeout(patience, snapshots.wait_for(|snapshot| holds(snapshot))).await;
        Some(Arc::clone(&*found.ok()?.ok()?))
    }

    /// The snapshot as of now.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }
}

/// Gives a chain without any epoch its first one, which has no beginning, under these rules.
///
/// # Errors
/// When the database cannot be written.
pub async fn ensure_first_epoch(pool: &Pool, rules: &Rules, now: Timestamp) -> Result<(), DbError> {
    sql::ensure_first_epoch(pool, rules, now).await
}

async fn keep_current(
    pool: Pool,
    sealer: Option<Arc<Sealer>>,
    sender: watch::Sender<Arc<Snapshot>>,
) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        let held = Arc::clone(&sender.borrow());
        let outcome = match sql::reference_version(&pool).await {
            Ok(version) if version == held.reference_version => continue,
            // Should the line have fallen silent, whoever asks over it next finds it out.
            Ok(_) => timeout(LOAD_MAX, sql::load(&pool, sealer.as_deref(), &held))
                .await
                .unwrap_or_else(|_elapsed| Err(DbError::silent().into())),
            Err(error) => Err(Error::from(error)),
        };
        match outcome {
            Ok(snapshot) => {
                tracing::info!(
                    reference_version = snapshot.reference_version,
                    "catalogue reloaded"
                );
                sender.send_replace(Arc::new(snapshot));
            }
            Err(error) => tracing::warn!(%error, "the catalogue could not be refreshed"),
        }
    }
}
