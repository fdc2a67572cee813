//! The data of the demo: invented stores, articles and households with weeks of recent history.
//!
//! Everything but the dates and the codes of coupons is the same in every demo. The dates follow
//! from one day and the codes from what was answered, so that seeding that was cut short is
//! finished by doing it again. Data goes in as a retailer's
//! would: reference data and accounts through the importer, baskets through the committers.

mod catalogue;
mod coupons;
mod history;
mod households;
mod members;
mod random;
mod shelves;
mod sql;
mod stores;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use tokio::time::Instant;

pub use self::catalogue::{Article, articles};
use self::coupons::Wallets;
pub use self::stores::terminals;
use crate::app::App;
use crate::commit::{Command, Outcome};
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::name::SwipeName;
use crate::domain::offer::Definition;
use crate::error::Error;
use crate::import::{ImportError, Importer};

/// What the demo's customers earn, as a file of people's own.
pub const PROGRAMME: &str = include_str!("programme.toml");

/// Baskets that are under way at a time: less than one batch, which is admitted on any machine.
const WINDOW: usize = 128;
/// No basket waits this long unless the database is away.
const PATIENCE: Duration = Duration::from_secs(30);

const OFFERS: &str = include_str!("offers.toml");

/// Why there is no demo data, or only some of it. Seeding again for the same day finishes it.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Stores, articles or accounts could not be brought in.
    #[error("the demo's reference data could not be brought in")]
    Import(#[from] ImportError),
    /// A basket could not be recorded.
    #[error("the demo's history could not be recorded")]
    Commit(#[from] Error),
    /// The data that is there is not the demo's.
    #[error(
        "the database holds other data where the demo's belongs ({0}): choose another folder, or \
         remove this one to begin anew"
    )]
    Foreign(&'static str),
}

/// Whether the database holds any store, whoever brought it in.
///
/// # Errors
/// When the database is away.
pub async fn has_stores(pool: &Pool) -> Result<bool, DbError> {
    sql::has_stores(pool).await
}

/// Every card of the demo: first those of enrolled accounts, then a few that nobody enrolled.
pub fn cards() -> Vec<String> {
    households::households(&articles()).into_iter().flat_map(|household| household.cards).collect()
}

/// The day before the first basket of a demo of this day.
pub fn eve(today: Date) -> Date {
    today.saturating_sub((history::DAYS + 1).days())
}

/// Brings in stores, articles and accounts, before a service loads them.
///
/// # Errors
/// [`SeedError::Import`]; what was brought in until then stays and is found again.
pub async fn seed_reference(
    settings: &Database,
    today: Date,
    now: Timestamp,
) -> Result<(), SeedError> {
    let mut importer = Importer::connect(settings, now).await?;
    importer.stores(&stores::records()).await?;
    let articles = articles();
    let eve = eve(today);
    importer.catalogue(&catalogue::file(&articles), eve, "demo", |_| ()).await?;
    let households = households::households(&articles);
    importer.accounts(&households::records(&households, eve), eve, |_| ()).await?;
    Ok(())
}

/// What the demo's tills give to customers whom it fits, and to everybody with a card.
///
/// # Panics
/// Never: every demo that starts reads the file, which is part of the program.
pub fn offers() -> Vec<Definition> {
    #[derive(serde::Deserialize)]
    struct File {
        offers: Vec<Definition>,
    }
    let file: File = toml::from_str(OFFERS).expect("every demo reads it");
    file.offers
}

/// Records the history of the days before `today`, each basket once however often this is
/// called; says how many there are.
///
/// # Errors
/// [`SeedError::Commit`] and [`SeedError::Foreign`].
pub async fn seed_history(app: &App, today: Date) -> Result<usize, SeedError> {
    let articles = articles();
    let swipes = history::swipes(households::households(&articles), &articles, today);
    let count = swipes.len();
    let snapshot = app.catalogue.current();
    let mut wallets = Wallets::default();
    // A day at a time: what a receipt brought is used on another day, whoever is answered first.
    for of_day in swipes.chunk_by(|one, next| one.name.business_date == next.name.business_date) {
        let mut day = Vec::with_capacity(of_day.len());
        for swipe in of_day {
            let SwipeName { store_id, workstation_id, .. } = &swipe.name;
            let workstation = snapshot.workstation(store_id, workstation_id).cloned();
            let workstation = workstation.ok_or(SeedError::Foreign("a store"))?;
            let mut swipe = swipe.clone();
            members::give(&mut swipe, &workstation, &snapshot);
            wallets.use_for(&mut swipe, &workstation, &snapshot);
            day.push((swipe, workstation));
        }
        let submitted = stream::iter(day).map(|(swipe, workstation)| async move {
            let card = swipe.card.clone();
            let deadline = Instant::now() + PATIENCE;
            let command = Command::Record(Box::new(swipe));
            match app.committers.submit(command, workstation, deadline).await? {
                Outcome::Recorded { answer, .. } => Ok((card, answer)),
                Outcome::NameReused => Err(SeedError::Foreign("a basket")),
            }
        });
        // In order, so that a customer's baskets are admitted as they happened.
        let mut submitted = submitted.buffered(WINDOW);
        while let Some(outcome) = submitted.next().await {
            if let (Some(card), answer) = outcome? {
                wallets.keep(&card, &answer);
            }
        }
    }
    Ok(count)
}
