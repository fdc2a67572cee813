//! Statements that read the reference tables, and what their rows become.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_postgres::{Client, GenericClient, IsolationLevel, Row};
use zeroize::Zeroizing;

use super::{Epoch, Model, Products, Snapshot, Workstation};
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::bucket;
use crate::domain::offer::{Definition, Offer, SharedCode};
use crate::domain::pack::Pack;
use crate::domain::product::{Product, Taxa};
use crate::domain::programme::{Programme, Rules};
use crate::domain::selection::offers::SIGNS_VERSION;
use crate::domain::selection::showcase::Showcase;
use crate::domain::selection::sold::Sold;
use crate::error::Error;
use crate::http::signature::TerminalKey;
use crate::sealing::{OpenError, Sealer};

/// The latest starts of models that are held: the one that counts, the one before, for baskets that
/// come late, and one that is still to come.
const MODELS_MAX: usize = 3;

/// The number that every change of a reference table raises.
const REFERENCE_VERSION: &str = "
-- catalogue::reference_version
SELECT reference_version FROM chain";

/// Stores, workstations and their keys, a row for each key; one without a key for a
/// workstation that has none.
const TERMINALS: &str = "
-- catalogue::terminals
SELECT s.store_no, s.store_id, s.time_zone, w.workstation_no, w.workstation_id, w.house_account,
       k.key_no, k.sealed_secret, k.retires_at
FROM workstation w
JOIN store s USING (store_id)
LEFT JOIN terminal_key k ON k.workstation_no = w.workstation_no AND k.revoked_at IS NULL
ORDER BY w.workstation_no, k.key_no";

/// Epochs with their rules, oldest first.
const EPOCHS: &str = "
-- catalogue::epochs
SELECT e.epoch, e.starts_on, p.rules::text AS rules
FROM epoch e JOIN programme p USING (programme_no)
ORDER BY e.epoch";

/// The levels of the hierarchy by name.
const TAXA: &str = "
-- catalogue::taxa
SELECT taxon_no, level, name FROM taxon";

/// Offers as people wrote them.
const OFFERS: &str = "
-- catalogue::offers
SELECT offer_no, definition::text AS definition,
       (created_at AT TIME ZONE 'UTC')::date AS stored_on
FROM offer ORDER BY offer_no";

/// Since which epochs which models count.
const MODELS_SINCE: &str = "
-- catalogue::models_since
SELECT epoch, model_no FROM model_since ORDER BY epoch";

/// Models that are not held yet.
const MODELS: &str = "
-- catalogue::models
SELECT model_no, signs, weights, sold FROM selection_model
WHERE model_no = ANY($1::integer[])";

/// Offers as they stood in a state of the reference data.
const OFFERS_OF: &str = "
-- catalogue::offers_of
SELECT DISTINCT ON (offer_no) offer_no, definition::text AS definition
FROM offer_version WHERE since_reference <= $1
ORDER BY offer_no, since_reference DESC";

/// Articles as each epoch has them, oldest version first.
const PRODUCTS: &str = "
-- catalogue::products
SELECT p.sku, v.product_no, v.since_epoch, v.department_no, v.category_no, v.type_no, v.brand_no,
       v.no_points, v.sensitive, v.no_discount, v.package_size, v.price_minor
FROM product_version v JOIN product p USING (product_no)
ORDER BY v.product_no, v.since_epoch";

/// The first epoch with its programme, where there is none.
const ENSURE_FIRST_EPOCH: &str = "
-- catalogue::ensure_first_epoch
WITH programme AS (
    INSERT INTO programme (programme_no, rules) VALUES (1, $1::text::jsonb)
    ON CONFLICT DO NOTHING
    RETURNING programme_no
)
INSERT INTO epoch (epoch, starts_on, programme_no, created_at, note)
SELECT 1, NULL, programme_no, $2, 'from the beginning' FROM programme";

/// See [`ENSURE_FIRST_EPOCH`].
pub(super) async fn ensure_first_epoch(
    pool: &Pool,
    rules: &Rules,
    now: Timestamp,
) -> Result<(), DbError> {
    let rules = serde_json::to_string(rules).expect("rules are texts and numbers");
    let client = pool.get().await?;
    let statement = client.prepare_cached(ENSURE_FIRST_EPOCH).await?;
    client.execute(&statement, &[&rules, &now]).await?;
    Ok(())
}

/// See [`REFERENCE_VERSION`].
pub(super) async fn reference_version(pool: &Pool) -> Result<i64, DbError> {
    pool.ask(|client| {
        Box::pin(async move {
            let statement = client.prepare_cached(REFERENCE_VERSION).await?;
            Ok(client.query_one(&statement, &[]).await?.get(0))
        })
    })
    .await
}

/// Everything, as of now; without a sealer all but the terminals' keys. What cannot have changed
/// since `held` is taken from there.
pub(super) async fn load(
    pool: &Pool,
    sealer: Option<&Sealer>,
    held: &Snapshot,
) -> Result<Snapshot, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    // One snapshot of the database, so that what is read is what its version says, exactly.
    let reading = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let reading = reading.read_only(true).start().await.map_err(DbError::from)?;
    let snapshot = load_with(&*reading, sealer, held).await?;
    reading.commit().await.map_err(DbError::from)?;
    Ok(snapshot)
}

/// Everything but the terminals' keys, in the transaction that the client is in.
///
/// # Errors
/// When the database fails or holds what cannot be.
pub async fn load_for_audit(client: &Client) -> Result<Snapshot, Error> {
    load_with(client, None, &Snapshot::default()).await
}

/// Without a sealer the terminals' keys are left out.
async fn load_with(
    client: &(impl GenericClient + Sync),
    sealer: Option<&Sealer>,
    held: &Snapshot,
) -> Result<Snapshot, Error> {
    let version = client.query_one(REFERENCE_VERSION, &[]).await.map_err(DbError::from)?;
    let mut snapshot = Snapshot { reference_version: version.get(0), ..Snapshot::default() };
    let statement = client.prepare(TERMINALS).await.map_err(DbError::from)?;
    for row in client.query(&statement, &[]).await.map_err(DbError::from)? {
        let (store_id, workstation_id): (String, String) =
            (row.get("store_id"), row.get("workstation_id"));
        let workstation_no = row.get("workstation_no");
        let zone: String = row.get("time_zone");
        let time_zone = TimeZone::get(&zone)
            .map_err(|error| Error::Damaged(format!("store {store_id}: {error}")))?;
        let workstation = Workstation {
            workstation_no,
            store_no: number(&row, "store_no"),
            house_account: row.get("house_account"),
            bucket: bucket::of_workstation(&store_id, &workstation_id),
            time_zone,
        };
        if let (Some(sealer), Some(key_no)) = (sealer, row.get::<_, Option<i32>>("key_no")) {
            let keyid = format!("{store_id}/{workstation_id}.{key_no}");
            match open_secret(sealer, &keyid, row.get("sealed_secret")) {
                Ok(secret) => {
                    let key = TerminalKey {
                        workstation_no,
                        store_id: store_id.as_str().into(),
                        workstation_id: workstation_id.as_str().into(),
                        key_no,
                        secret,
                    };
                    snapshot.keys.insert(keyid, (key, row.get("retires_at")));
                }
                // One bad row must not stop all tills; this terminal is refused and seen.
                Err(error) => tracing::error!(%keyid, %error, "a terminal key cannot be opened"),
            }
        }
        let workstation = Arc::new(workstation);
        snapshot.workstations_by_no.insert(workstation_no, Arc::clone(&workstation));
        let store = snapshot.workstations.entry(store_id).or_default();
        store.insert(workstation_id, workstation);
    }

    let statement = client.prepare(EPOCHS).await.map_err(DbError::from)?;
    let epochs = client.query(&statement, &[]).await.map_err(DbError::from)?;
    // Articles change only with a new epoch, except in the first one, which import may fill.
    let epochs_held = held.epochs.len();
    snapshot.products = if epochs_held > 1 && epochs_held == epochs.len() {
        Arc::clone(&held.products)
    } else {
        let statement = client.prepare(PRODUCTS).await.map_err(DbError::from)?;
        let mut products = Products::default();
        for row in client.query(&statement, &[]).await.map_err(DbError::from)? {
            let product = Product {
                product_no: number(&row, "product_no"),
                taxa: Taxa {
                    department_no: optional_number(&row, "department_no"),
                    category_no: optional_number(&row, "category_no"),
                    type_no: optional_number(&row, "type_no"),
                    brand_no: optional_number(&row, "brand_no"),
                },
                no_points: row.get("no_points"),
                sensitive: row.get("sensitive"),
                no_discount: row.get("no_discount"),
                // Depends on the programme: see `Snapshot::product`.
                age_restricted: false,
                pack: row.get::<_, Option<&str>>("package_size").and_then(Pack::read),
                price_minor: row
                    .get::<_, Option<i64>>("price_minor")
                    .and_then(|price| u32::try_from(price).ok())
                    .unwrap_or_default(),
            };
            products.entry(row.get("sku")).or_default().push((row.get("since_epoch"), product));
        }
        Arc::new(products)
    };
    let statement = client.prepare(TAXA).await.map_err(DbError::from)?;
    let taxa = client.query(&statement, &[]).await.map_err(DbError::from)?;
    snapshot.taxa = taxa
        .iter()
        .map(|row| ((row.get("level"), row.get("name")), number(row, "taxon_no")))
        .collect();
    // Rules and offers name stores, articles and places in the hierarchy: all of them are here.
    snapshot.epochs = compiled(&epochs, &snapshot)?;

    load_offers(client, &mut snapshot).await?;
    load_models(client, &mut snapshot, held).await?;
    snapshot.showcases = showcases(&snapshot);
    Ok(snapshot)
}

/// Offers, against the names of the snapshot.
async fn load_offers(
    client: &(impl GenericClient + Sync),
    snapshot: &mut Snapshot,
) -> Result<(), Error> {
    let statement = client.prepare(OFFERS).await.map_err(DbError::from)?;
    let rows = client.query(&statement, &[]).await.map_err(DbError::from)?;
    let definitions = rows.iter().map(|row| (row.get("offer_no"), row.get("definition")));
    let mut offers = offers_in(definitions, snapshot);
    for row in &rows {
        if let Some(offer) = offers.get_mut(&row.get("offer_no")).and_then(Arc::get_mut) {
            offer.stored_on = Some(row.get("stored_on"));
        }
    }
    snapshot.offers = offers;
    for (offer_no, offer) in &snapshot.offers {
        let Definition { shared_code, limits, offer: name, .. } = &offer.definition;
        if let Some(SharedCode { code, .. }) = shared_code {
            snapshot.shared_codes.insert(code.clone(), *offer_no);
        }
        if offer.is_automatic() {
            snapshot.automatic_offers.insert(name.clone(), *offer_no);
        }
        if limits.look_back() {
            snapshot.limited_offers.push(*offer_no);
        }
    }
    Ok(())
}

/// The offers that the till chose from in an earlier state of the reference data, of which `last`
/// was the newest epoch, as the model arranges them by which it chose in the epoch `of`; `refitted`
/// says which weights were built in.
pub(crate) async fn showcase_of(
    client: &Client,
    snapshot: &Arc<Snapshot>,
    (reference_version, last): (i64, i32),
    of: i32,
    refitted: bool,
) -> Result<Showcase, Error> {
    let rows = client.query(OFFERS_OF, &[&reference_version]).await.map_err(DbError::from)?;
    let model = match model_then(&snapshot.models_since, last, of) {
        None => None,
        Some(model_no) => match snapshot.models.get(&model_no) {
            Some(model) => Some(Arc::clone(model)),
            None => load_model(client, model_no).await?,
        },
    };
    let built_in = || if refitted { Model::default() } else { Model::built_in_at_first() };
    let model = model.unwrap_or_else(|| Arc::new(built_in()));
    let snapshot = Arc::clone(snapshot);
    // A chain's whole catalogue is looked through: not on a thread that tills wait for.
    let arranging = tokio::task::spawn_blocking(move || {
        let definitions = rows.iter().map(|row| (row.get("offer_no"), row.get("definition")));
        let shelf = Shelf::of(&offers_in(definitions, &snapshot), &snapshot, last);
        shelf.map_or_else(Showcase::default, |shelf| shelf.arranged(&model))
    });
    arranging.await.map_err(|_panic| Error::Bug)
}

/// Offers by number, compiled with the names of the snapshot.
fn offers_in<'a>(
    definitions: impl Iterator<Item = (i32, &'a str)>,
    snapshot: &Snapshot,
) -> BTreeMap<i32, Arc<Offer>> {
    let mut offers = BTreeMap::new();
    for (offer_no, definition) in definitions {
        let definition = serde_json::from_str(definition);
        let compiled = definition.map_err(|error| error.to_string()).and_then(|definition| {
            snapshot.compile(offer_no, definition).map_err(|error| error.to_string())
        });
        match compiled {
            Ok(offer) => {
                offers.insert(offer_no, Arc::new(offer));
            }
            // One bad row must not stop all tills; its coupons are redeemed unchecked and marked.
            Err(error) => tracing::error!(offer_no, %error, "an offer cannot be loaded"),
        }
    }
    offers
}

/// The latest models, and since when they count. They never change: what is held stays.
async fn load_models(
    client: &(impl GenericClient + Sync),
    snapshot: &mut Snapshot,
    held: &Snapshot,
) -> Result<(), Error> {
    let statement = client.prepare(MODELS_SINCE).await.map_err(DbError::from)?;
    let since = client.query(&statement, &[]).await.map_err(DbError::from)?;
    let since = since.iter().map(|row| (row.get("epoch"), row.get("model_no")));
    snapshot.models_since = since.collect();
    let latest = snapshot.models_since.iter().rev().take(MODELS_MAX);
    let wanted: BTreeSet<i32> = latest.filter_map(|(_, model_no)| *model_no).collect();
    let is_wanted = |no: &i32| wanted.contains(no);
    let known = held.models.iter().filter(|(no, _)| is_wanted(no));
    snapshot.models = known.map(|(no, model)| (*no, Arc::clone(model))).collect();
    let missing: Vec<i32> =
        wanted.into_iter().filter(|no| !snapshot.models.contains_key(no)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let statement = client.prepare(MODELS).await.map_err(DbError::from)?;
    for row in client.query(&statement, &[&missing]).await.map_err(DbError::from)? {
        snapshot.models.extend(known_model(&row));
    }
    Ok(())
}

/// A model that is not held, however long ago it counted; none where tills could not load it.
async fn load_model(client: &Client, model_no: i32) -> Result<Option<Arc<Model>>, Error> {
    let row = client.query_opt(MODELS, &[&vec![model_no]]).await.map_err(DbError::from)?;
    Ok(row.as_ref().and_then(known_model).map(|(_, model)| model))
}

/// The model by which a sale of the epoch `of` was chosen for when `last` was the newest epoch:
/// of the latest that were held then the one of its epoch, or else the oldest. None: what is built
/// in.
fn model_then(since: &[(i32, Option<i32>)], last: i32, of: i32) -> Option<i32> {
    let known = &since[..since.partition_point(|(epoch, _)| *epoch <= last)];
    let held = &known[known.len().saturating_sub(MODELS_MAX)..];
    let of_epoch = held.iter().rev().find(|(epoch, _)| *epoch <= of);
    // Where not all fitted, what came before them is not held either.
    let oldest = held.first().filter(|_| known.len() >= MODELS_MAX);
    of_epoch.or(oldest).and_then(|(_, model_no)| *model_no)
}

fn known_model(row: &Row) -> Option<(i32, Arc<Model>)> {
    let model_no = row.get("model_no");
    match model(row) {
        Ok(model) => Some((model_no, Arc::new(model))),
        // Tills go on with what is built in: coupons are chosen less well, and none is lost.
        Err(error) => {
            tracing::error!(model_no, %error, "a model cannot be loaded");
            None
        }
    }
}

fn model(row: &Row) -> Result<Model, String> {
    let signs: i16 = row.get("signs");
    if signs != SIGNS_VERSION {
        return Err(format!("its weights are for signs {signs}, not {SIGNS_VERSION}"));
    }
    let weights: Vec<f32> = row.get("weights");
    let count = weights.len();
    let weights = weights.try_into().map_err(|_| format!("it has {count} weights"))?;
    let sold = Sold::decode(row.get("sold")).map_err(|error| error.to_string())?;
    Ok(Model { weights, popularity: sold.shares() })
}

/// What the till chooses from, before it is arranged.
struct Shelf {
    offers: Vec<Arc<Offer>>,
    /// By number.
    articles: Vec<Product>,
}

impl Shelf {
    /// Of these offers, over the articles and by the programme that there were up to an epoch; none
    /// where there is nothing to choose.
    fn of(offers: &BTreeMap<i32, Arc<Offer>>, snapshot: &Snapshot, last: i32) -> Option<Self> {
        let restricted: Vec<Product> =
            snapshot.articles_until(last).filter(|product| product.age_restricted).collect();
        let is_restricted =
            |offer: &Offer| restricted.iter().any(|product| offer.target().is_restricted(product));
        let at_the_till = offers.values().filter(|offer| offer.definition.at_the_till);
        let offers: Vec<_> = at_the_till.filter(|offer| !is_restricted(offer)).cloned().collect();
        let articles = || snapshot.articles_by_number(last);
        (!offers.is_empty()).then(|| Self { offers, articles: articles() })
    }

    fn arranged(&self, model: &Model) -> Showcase {
        let Model { weights, popularity } = model;
        Showcase::new(self.offers.iter().cloned(), &self.articles, popularity, *weights)
    }
}

/// The offers that the till chooses from, arranged by each of the latest models.
fn showcases(snapshot: &Snapshot) -> Vec<(i32, Arc<Showcase>)> {
    let Some(shelf) = Shelf::of(&snapshot.offers, snapshot, i32::MAX) else { return Vec::new() };
    let arranged = |since: i32| (since, Arc::new(shelf.arranged(&snapshot.model_of(since).1)));
    let starts = &snapshot.models_since;
    // Before the first of them what is built in counts.
    let from_the_beginning = (starts.len() < MODELS_MAX).then_some(0);
    let latest = starts[starts.len().saturating_sub(MODELS_MAX)..].iter().map(|(since, _)| *since);
    from_the_beginning.into_iter().chain(latest).map(arranged).collect()
}

/// Epochs with their rules compiled against the names of the snapshot.
fn compiled(epochs: &[Row], snapshot: &Snapshot) -> Result<Vec<Epoch>, Error> {
    let compile = |row: &Row| {
        let epoch = row.get("epoch");
        let damaged =
            |error: String| Error::Damaged(format!("programme of epoch {epoch}: {error}"));
        let rules: Rules =
            serde_json::from_str(row.get("rules")).map_err(|error| damaged(error.to_string()))?;
        let programme = Programme::compile(&rules, |level, name| snapshot.number_of(level, name))
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Epoch { epoch, starts_on: row.get("starts_on"), programme: Arc::new(programme) })
    };
    epochs.iter().map(compile).collect()
}

/// A number that the database generated: positive.
fn number(row: &Row, column: &str) -> u32 {
    row.get::<_, i32>(column).cast_unsigned()
}

fn optional_number(row: &Row, column: &str) -> u32 {
    row.get::<_, Option<i32>>(column).map_or(0, i32::cast_unsigned)
}

fn open_secret(
    sealer: &Sealer,
    keyid: &str,
    sealed: &[u8],
) -> Result<Zeroizing<[u8; 32]>, OpenError> {
    let secret = sealer.open(keyid, sealed)?;
    let mut fixed = Zeroizing::new([0; 32]);
    let fits = secret.len() == fixed.len();
    if fits {
        fixed.copy_from_slice(&secret);
    }
    if fits { Ok(fixed) } else { Err(OpenError) }
}

#[cfg(test)]
mod tests {
    use super::model_then;

    #[test]
    fn the_model_of_a_sale_of_long_ago_is_the_one_that_was_held_then() {
        let since = [(3, Some(1)), (5, None), (7, Some(2)), (9, Some(3)), (12, Some(4))];
        for (last, of, model_no) in [
            // Before the first model, and while two were known.
            (2, 2, None),
            (3, 2, None),
            (6, 4, Some(1)),
            (6, 6, None),
            // With three and more only the latest three were held.
            (8, 2, Some(1)),
            (8, 8, Some(2)),
            (10, 2, None),
            (10, 8, Some(2)),
            (12, 5, Some(2)),
            (12, 12, Some(4)),
            (20, 20, Some(4)),
        ] {
            assert_eq!(model_then(&since, last, of), model_no, "last {last}, of {of}");
        }
    }
}
