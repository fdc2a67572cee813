//! A database with a past: as many accounts and swipes as a chain has after years, loaded by COPY,
//! and offers from which tills give coupons from now on.
//!
//! What stands in it is what the service would have written: every history is folded by the
//! service's own rules, and `tillside verify` passes on it. The same plan and the same day give the
//! same bytes. Only for databases that were made for it: tables are emptied before they are
//! filled. Nothing may make PostgreSQL less durable meanwhile.
//!
//! Kinder than a real past in one way: an account's swipes of a month lie beside one another,
//! where years of trade would have scattered them.

mod articles;
pub(crate) mod copy;
mod customer;
mod rows;

use std::error::Error;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use tillside::catalogue::load_for_audit;
use tillside::config::Database;
use tillside::db::pool::connect_pool;
use tillside::domain::bucket;
use tillside::import::Importer;
use tillside::offer;
use tokio::task::spawn_blocking;

pub(crate) use self::articles::OFFER_PREFIX;
pub use self::articles::skus;
use self::copy::Loader;
use self::customer::Shop;
use self::rows::Rows;
use crate::error::HarnessError;
use crate::world::Workstation;

/// Numbers of the accounts begin here, and the service's own numbers behind them: both sides of
/// a benchmark know without looking whose account is whose.
const FIRST_NUMBER: u64 = 1 << 20;

/// Accounts that are folded at a time.
const BLOCK: u64 = 512;
/// Folded side by side; PostgreSQL works meanwhile.
const FOLDERS: usize = 2;

/// What a database is filled with.
#[derive(Clone, Debug)]
pub struct Stock {
    /// Customers, each with a card and an account.
    pub accounts: u64,
    /// How many baskets they have had, spread over the twelve months before this one: these
    /// numbers in turn.
    pub baskets: RangeInclusive<u32>,
    /// What of it is in the database.
    pub past: Past,
}

/// What of a past is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// All of it, as the service leaves it.
    Whole,
    /// Accounts and profiles as they have become, without the swipes that led there. An audit
    /// would miss those; a till does not.
    Outcome,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The cards, in the order of the accounts.
    pub cards: Arc<[String]>,
    /// How many swipes.
    pub swipes: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// How long all of it took, indexes and clean-up included.
    pub seconds: f64,
}

impl Stock {
    /// How many swipes lead there.
    pub fn swipes(&self) -> u64 {
        let baskets = u64::from(baskets_of(&self.baskets, 0));
        let range = u64::from(self.baskets.end() - self.baskets.start()) + 1;
        let (rounds, rest) = (self.accounts / range, self.accounts % range);
        let sum = |count: u64| count * baskets + count * count.saturating_sub(1) / 2;
        rounds * sum(range) + sum(rest)
    }
}

/// The id of the account of the n-th customer.
pub fn account_id(customer: u64) -> i64 {
    let number = i64::try_from(FIRST_NUMBER + customer).expect("far fewer than 2^55");
    bucket::account_id(number, bucket::of_number(number))
}

/// The card of the n-th customer.
pub fn card(customer: u64) -> String {
    let digits = format!("299{customer:09}");
    let check = char::from(tillside::domain::card::check_digit(&digits));
    format!("{digits}{check}")
}

fn baskets_of(baskets: &RangeInclusive<u32>, customer: u64) -> u32 {
    let range = u64::from(baskets.end() - baskets.start()) + 1;
    baskets.start() + u32::try_from(customer % range).expect("within a range of u32")
}

/// Fills a database that has been prepared and has these tills. `tell` gets a line for each step.
///
/// # Errors
/// When the database fails. What was loaded until then is of no use.
pub async fn load(
    database: &Database,
    tills: &[Workstation],
    stock: &Stock,
    today: Date,
    mut tell: impl FnMut(String),
) -> Result<Loaded, HarnessError> {
    let began = Instant::now();
    let doing = "loading a stock";
    let last_day = today.first_of_month().yesterday().map_err(HarnessError::doing(doing))?;
    let first_day = today.first_of_month().saturating_sub(12.months());
    let noon = first_day.at(12, 0, 0, 0).in_tz("UTC").map_err(HarnessError::doing(doing))?;
    let now: Timestamp = noon.timestamp();
    let importer = Importer::connect(database, now).await;
    let mut importer = importer.map_err(HarnessError::doing(doing))?;
    let outcome = importer.catalogue(&articles::file(), first_day, "stock", |_| ()).await;
    outcome.map_err(HarnessError::doing("bringing in articles"))?;
    drop(importer);
    store_offers(database, now).await.map_err(HarnessError::doing("storing offers"))?;

    let loader = Loader::begin(database.url.reveal(), first_day).await?;
    let shop = Shop::load(loader.client(), tills, first_day, last_day).await?;
    let shop = Arc::new(shop);
    let sinks = loader.open_sinks().await?;
    let next = Arc::new(AtomicU64::new(0));
    let folders: Vec<_> = (0..FOLDERS)
        .map(|_| {
            let (shop, next, stock) = (Arc::clone(&shop), Arc::clone(&next), stock.clone());
            let sinks = sinks.senders();
            spawn_blocking(move || {
                let mut rows = Rows::new();
                loop {
                    let first = next.fetch_add(BLOCK, Ordering::Relaxed);
                    if first >= stock.accounts {
                        return;
                    }
                    for customer in first..stock.accounts.min(first + BLOCK) {
                        let baskets = baskets_of(&stock.baskets, customer);
                        shop.customer(customer, baskets, stock.past, &mut rows);
                    }
                    // A sink that has failed says why itself.
                    rows.send_to(&sinks);
                }
            })
        })
        .collect();
    for folder in folders {
        folder.await.map_err(HarnessError::doing("folding histories"))?;
    }
    let rows = sinks.finish().await?;
    let copied_s = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
    let per_s = rows as f64 / copied_s;
    tell(format!("{rows} rows copied in {copied_s:.0} s, {per_s:.0} rows/s"));
    loader.finish(FIRST_NUMBER + stock.accounts).await?;
    let seconds = began.elapsed().as_secs_f64();
    tell(format!("indexed, analysed and written down after {seconds:.0} s"));
    let swipes = match stock.past {
        Past::Whole => stock.swipes(),
        Past::Outcome => 0,
    };
    Ok(Loaded { cards: (0..stock.accounts).map(card).collect(), swipes, rows, seconds })
}

async fn store_offers(
    database: &Database,
    now: Timestamp,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = connect_pool(database)?;
    let snapshot = load_for_audit(&*pool.get().await?).await?;
    for definition in articles::offers() {
        offer::add(&pool, &snapshot, definition, now).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_swipes_is_the_sum_over_the_accounts() {
        for accounts in [0, 1, 16, 100, 1_003] {
            let stock = Stock { accounts, baskets: 3..=18, past: Past::Whole };
            let counted: u64 =
                (0..accounts).map(|n| u64::from(baskets_of(&stock.baskets, n))).sum();
            assert_eq!(stock.swipes(), counted);
        }
    }
}
