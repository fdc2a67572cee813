//! Bringing data in: stores, the catalogue, accounts, offers and coupons from files of people's
//! own systems.
//!
//! A file is read and checked as a whole first ([`read_stores`], [`read_catalogue`],
//! [`read_accounts`], [`offers::read_offers`]); what it says is written in one transaction
//! ([`Importer`]), so that a file is in the database completely or not at all. Importing a file
//! again changes nothing. An import adds and corrects; it never deletes, and never touches an
//! account that exists. Coupons are the exception to all that: they are issued account by account
//! ([`coupons`]).
//!
//! | phase | round trips |
//! |---|---|
//! | read and check the file | 0 |
//! | stores: begin, lock, stores, workstations with house accounts, bump, commit | 9 |
//! | catalogue: begin, lock, epoch, copy, articles, differences, versions, bump, commit | 15 |
//! | accounts: begin, lock, known cards (for each 10,000), numbers, four copies, commit | 13 |

pub mod accounts;
pub mod catalogue;
mod cells;
pub mod completejourney;
pub mod coupons;
pub mod findings;
pub mod offers;
mod sql;
pub mod stores;
pub mod table;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use self::accounts::AccountRecord;
use self::accounts::sql::{KnownCard, NewAccount};
use self::catalogue::{Given, ProductRecord};
use self::findings::Findings;
use self::sql::Import;
use self::stores::StoreRecord;
use self::table::{Table, TableError};
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::{Dedicated, Session, connect_dedicated};
use crate::domain::bucket;
use crate::domain::card::CardFormat;
use crate::domain::ledger::{EntryKind, LotKey, Lots};
use crate::error::Error;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not a table of this kind.
    #[error("{0}")]
    Table(#[from] TableError),
    /// The file is such a table, but some of it cannot be used.
    #[error("nothing was imported; mend these rows and import the file again:\n{0}")]
    Rows(Findings),
    /// The database has no schema, no chain or no first epoch.
    #[error("the database is not set up yet: run `tillside migrate` first")]
    NotMigrated,
    /// Reference data is ordered in time.
    #[error(
        "the catalogue has a version that starts on {latest}; a further one cannot start on \
         {asked}, before it: give --starts-on {latest} or later"
    )]
    StartsTooEarly {
        /// When the newest epoch starts.
        latest: Date,
        /// What was asked for.
        asked: Date,
    },
    /// A card or the name of an offer came into use, or was imported, while the import ran.
    #[error("a card or an offer of the file was made in this very moment; import the file again")]
    Raced,
    /// The database failed.
    #[error(transparent)]
    Database(DbError),
    /// What is stored cannot be read.
    #[error(transparent)]
    Stored(Error),
}

impl From<DbError> for ImportError {
    fn from(error: DbError) -> Self {
        match error.sqlstate() {
            // undefined_table, unique_violation
            Some("42P01") => Self::NotMigrated,
            Some("23505") => Self::Raced,
            _ => Self::Database(error),
        }
    }
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            error => Self::Stored(error),
        }
    }
}

/// Products as a file describes them, and which columns it has.
#[derive(Debug)]
pub struct CatalogueFile {
    /// What the file says.
    pub products: Vec<ProductRecord>,
    /// What it says anything about.
    pub given: Given,
}

/// Reads and checks a file of stores ([`stores::COLUMNS`]).
///
/// # Errors
/// [`ImportError::Table`] and [`ImportError::Rows`].
pub fn read_stores(
    path: &Path,
    chain_time_zone: &str,
    progress: impl FnMut(u64),
) -> Result<Vec<StoreRecord>, ImportError> {
    let mut findings = Findings::default();
    let table = Table::open(path, stores::COLUMNS)?;
    let stores = stores::read(table, chain_time_zone, &mut findings, progress)?;
    sound(findings, stores)
}

/// Reads and checks a file of products ([`catalogue::COLUMNS`]).
///
/// # Errors
/// [`ImportError::Table`] and [`ImportError::Rows`].
pub fn read_catalogue(
    path: &Path,
    progress: impl FnMut(u64),
) -> Result<CatalogueFile, ImportError> {
    let mut findings = Findings::default();
    let table = Table::open(path, catalogue::COLUMNS)?;
    let given = Given::of(&table);
    let products = catalogue::read(table, &mut findings, progress)?;
    sound(findings, CatalogueFile { products, given })
}

/// Reads and checks a file of accounts ([`accounts::COLUMNS`]); `on` is the business date of
/// the import.
///
/// # Errors
/// [`ImportError::Table`] and [`ImportError::Rows`].
pub fn read_accounts(
    path: &Path,
    format: &CardFormat,
    on: Date,
    progress: impl FnMut(u64),
) -> Result<Vec<AccountRecord>, ImportError> {
    let mut findings = Findings::default();
    let table = Table::open(path, accounts::COLUMNS)?;
    let accounts = accounts::read(table, format, on, &mut findings, progress)?;
    sound(findings, accounts)
}

fn sound<T>(findings: Findings, read: T) -> Result<T, ImportError> {
    if findings.is_empty() { Ok(read) } else { Err(ImportError::Rows(findings)) }
}

/// Writes what was read. Owns its connection, whose statements may take minutes.
#[derive(Debug)]
pub struct Importer {
    connection: Dedicated,
    now: Timestamp,
}

impl Importer {
    /// Connects to the database. `now` stands in what is written.
    ///
    /// # Errors
    /// When no connection comes about.
    pub async fn connect(settings: &Database, now: Timestamp) -> Result<Self, ImportError> {
        let session = Session {
            application_name: "tillside import",
            statement_timeout: Duration::from_secs(600),
            lock_timeout: Duration::from_secs(30),
            settings: &[],
        };
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        let connection = connect_dedicated(&settings.url, timeout, &session).await?;
        Ok(Self { connection, now })
    }

    /// Adds stores and workstations, and corrects names and time zones. What the file leaves
    /// out stays.
    ///
    /// # Errors
    /// When nothing was written.
    pub async fn stores(&mut self, stores: &[StoreRecord]) -> Result<StoresOutcome, ImportError> {
        let import = begin(&mut self.connection).await?;
        let written = import.write_stores(stores).await?;
        let missing = import.missing_workstations(stores).await?;
        if !missing.is_empty() {
            import.write_workstations(&missing).await?;
        }
        let outcome = StoresOutcome {
            stores: stores.len() as u64,
            stores_added: written.added,
            stores_changed: written.changed,
            workstations_added: missing.len() as u64,
        };
        if outcome.has_changed() {
            import.bump_reference_version().await?;
        }
        import.finish().await?;
        Ok(outcome)
    }

    /// Writes the products that differ from what is in force, as a new epoch that begins on
    /// `starts_on`. The first catalogue goes into the first epoch, which has no beginning, so
    /// that it holds for baskets of any age, unless there is a second epoch already. Products
    /// that the file leaves out stay.
    ///
    /// # Errors
    /// When nothing was written.
    pub async fn catalogue(
        &mut self,
        file: &CatalogueFile,
        starts_on: Date,
        note: &str,
        progress: impl FnMut(u64),
    ) -> Result<CatalogueOutcome, ImportError> {
        let import = begin(&mut self.connection).await?;
        let latest = import.latest_epoch().await?.ok_or(ImportError::NotMigrated)?;
        import.stage_products(&file.products, progress).await?;
        import.write_new_products().await?;
        let written = import.stage_changes(file.given).await?;
        let mut outcome = CatalogueOutcome {
            products: file.products.len() as u64,
            products_added: written.added,
            products_changed: written.changed,
            epoch: latest.epoch,
            starts_on: latest.starts_on,
        };
        if outcome.has_changed() {
            // Replicas read articles again when an epoch was added, or while there is one only.
            if !latest.catalogue_is_empty || latest.epoch != FIRST_EPOCH {
                if let Some(latest) = latest.starts_on.filter(|latest| *latest > starts_on) {
                    return Err(ImportError::StartsTooEarly { latest, asked: starts_on });
                }
                outcome.epoch = import.create_epoch(starts_on, self.now, note).await?;
                outcome.starts_on = Some(starts_on);
            }
            let versions = import.write_product_versions(outcome.epoch).await?;
            assert_eq!(versions, written.added + written.changed, "all that was staged");
            import.bump_reference_version().await?;
        }
        import.finish().await?;
        Ok(outcome)
    }

    /// Creates the accounts whose cards are unknown, enrolled, with their opening points as
    /// adjustments on the business date `on`. Accounts whose cards all lead to one account
    /// already are left as they are.
    ///
    /// # Errors
    /// When nothing was written; [`ImportError::Rows`] names the accounts whose cards lead
    /// to several accounts, only partly exist, or were used before anybody enrolled.
    pub async fn accounts(
        &mut self,
        accounts: &[AccountRecord],
        on: Date,
        progress: impl FnMut(u64),
    ) -> Result<AccountsOutcome, ImportError> {
        let import = begin(&mut self.connection).await?;
        let cards: Vec<&str> =
            accounts.iter().flat_map(|account| &account.cards).map(String::as_str).collect();
        let mut known = HashMap::new();
        for chunk in cards.chunks(CARDS_IN_QUERY) {
            let found = import.known_cards(chunk).await?;
            known.extend(found.into_iter().map(|card| (card.card.clone(), card)));
        }
        let mut findings = Findings::default();
        let fresh: Vec<&AccountRecord> =
            accounts.iter().filter(|account| is_new(account, &known, &mut findings)).collect();
        let fresh = sound(findings, fresh)?;
        let numbers = import.account_numbers(fresh.len()).await?;
        let fresh: Vec<NewAccount<'_>> =
            fresh.into_iter().zip(numbers).map(|(a, number)| opening(a, number, on)).collect();
        import.write_accounts(&fresh, on, self.now, progress).await?;
        import.finish().await?;
        Ok(AccountsOutcome {
            accounts: accounts.len() as u64,
            accounts_added: fresh.len() as u64,
            cards_added: fresh.iter().map(|account| account.cards.len() as u64).sum(),
            members_added: fresh.iter().map(|account| account.members.len() as u64).sum(),
            points_added: fresh.iter().map(|account| account.lots.total()).sum(),
        })
    }
}

/// The epoch that has no beginning.
const FIRST_EPOCH: i32 = 1;

/// Cards that one query looks up.
const CARDS_IN_QUERY: usize = 10_000;

async fn begin(connection: &mut Dedicated) -> Result<Import<'_>, ImportError> {
    Import::begin(connection).await?.ok_or(ImportError::NotMigrated)
}

/// Whether an account is to be created; notes why it can be neither created nor left alone.
fn is_new(
    account: &AccountRecord,
    known: &HashMap<String, KnownCard>,
    findings: &mut Findings,
) -> bool {
    let found: Vec<&KnownCard> = account.cards.iter().filter_map(|card| known.get(card)).collect();
    let Some(first) = found.first() else { return true };
    if found.iter().any(|card| card.account_id != first.account_id) {
        findings.add(account.place, "card", "the account's cards lead to different accounts");
    } else if first.is_provisional {
        let problem = "was used at a till before anybody enrolled; enrol it there or in the \
                       console, and leave the account out";
        findings.add(account.place, "card", problem);
    } else if found.len() < account.cards.len() {
        let problem = "leads to an account already, but other cards of the account are new; \
                       link those at a till or in the console, and leave the account out";
        findings.add(account.place, "card", problem);
    }
    false
}

/// The account as it begins: its opening lots, and the entries that put them there.
fn opening(account: &AccountRecord, number: i64, on: Date) -> NewAccount<'_> {
    let mut lots = Lots::default();
    let mut entries = Vec::new();
    for lot in &account.lots {
        let key = LotKey { expires_on: lot.expires_on, available_from: on };
        lots.add(EntryKind::Adjust, lot.points, key, &mut entries);
    }
    NewAccount {
        account_id: bucket::account_id(number, bucket::of_number(number)),
        cards: &account.cards,
        members: &account.members,
        lots,
        entries,
    }
}

/// What an import of stores did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StoresOutcome {
    /// In the file.
    pub stores: u64,
    /// Of these, new.
    pub stores_added: u64,
    /// Of these, with another name or time zone than before.
    pub stores_changed: u64,
    /// New workstations of any of them.
    pub workstations_added: u64,
}

impl StoresOutcome {
    /// Whether the import changed anything.
    pub fn has_changed(&self) -> bool {
        self.stores_added + self.stores_changed + self.workstations_added > 0
    }
}

impl fmt::Display for StoresOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stores, stores_added, stores_changed, workstations_added } = self;
        if !self.has_changed() {
            return write!(f, "{stores} stores: nothing changed");
        }
        write!(
            f,
            "{stores} stores: {stores_added} added, {stores_changed} changed; \
             {workstations_added} workstations added"
        )
    }
}

/// What an import of products did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogueOutcome {
    /// In the file.
    pub products: u64,
    /// Of these, new.
    pub products_added: u64,
    /// Of these, other than before.
    pub products_changed: u64,
    /// The newest epoch, in which they hold.
    pub epoch: i32,
    /// Its first business date; absent: it has no beginning.
    pub starts_on: Option<Date>,
}

impl CatalogueOutcome {
    /// Whether the import changed anything.
    pub fn has_changed(&self) -> bool {
        self.products_added + self.products_changed > 0
    }
}

impl fmt::Display for CatalogueOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { products, products_added, products_changed, epoch, starts_on } = self;
        if !self.has_changed() {
            return write!(f, "{products} products: nothing changed");
        }
        write!(f, "{products} products: {products_added} added, {products_changed} changed; ")?;
        match starts_on {
            Some(date) => write!(f, "in force from {date} (epoch {epoch})"),
            None => write!(f, "in force for business dates of any age (epoch {epoch})"),
        }
    }
}

/// What an import of accounts did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AccountsOutcome {
    /// In the file.
    pub accounts: u64,
    /// Of these, new.
    pub accounts_added: u64,
    /// Cards of the new ones.
    pub cards_added: u64,
    /// Members of the new ones.
    pub members_added: u64,
    /// Opening points of the new ones.
    pub points_added: i64,
}

impl fmt::Display for AccountsOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, accounts_added, cards_added, members_added, points_added } = self;
        if *accounts_added == 0 {
            return write!(f, "{accounts} accounts: nothing changed, their cards are all known");
        }
        write!(
            f,
            "{accounts} accounts: {accounts_added} added with {cards_added} cards, \
             {members_added} members and {points_added} points; {} known already",
            accounts - accounts_added
        )
    }
}
