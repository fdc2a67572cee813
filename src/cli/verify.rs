//! `tillside verify`: audits a database and says what it found.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::progress::Progress;
use super::{Outcome, print};
use crate::config::Config;
use crate::verify::findings::{Broken, PLACES_MAX};
use crate::verify::{ALL_BUCKETS, Audit, Counts, Report};

/// Audit the database: replay every account and name what does not agree.
///
/// Reads one snapshot, locks nothing and changes nothing; swipes may go on. Ends with 1 when an
/// invariant is broken. Takes 9 connections while it runs. Needs database.url.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Audit only the accounts of these of the 256 buckets, such as 0..16, with all that belongs
    /// to them: a part of a database that is too large for the time there is.
    #[arg(long, value_name = "FROM..TO", value_parser = buckets)]
    buckets: Option<RangeInclusive<u8>>,
}

/// The report with what only this command knows.
#[derive(Serialize)]
struct Timed {
    holds: bool,
    seconds: f64,
    #[serde(flatten)]
    report: Report,
}

pub(super) async fn run(args: VerifyArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let started = Instant::now();
    let audit = Audit::begin(&config.database, args.buckets.unwrap_or(ALL_BUCKETS)).await?;
    let progress = Progress::new("accounts", Some(audit.accounts()));
    let report = audit.run(|accounts| progress.add(accounts)).await?;
    drop(progress);
    let (holds, kinds) = (report.broken.is_empty(), report.broken.len());
    let timed = Timed { holds, seconds: started.elapsed().as_secs_f64(), report };
    if args.json {
        print(&serde_json::to_string(&timed).expect("texts and numbers are always JSON"));
    } else {
        print(&timed);
    }
    if holds { Ok(()) } else { Err(format!("{kinds} invariants are broken").into()) }
}

/// Buckets as people write them: the first one, and the one that is left out again.
fn buckets(text: &str) -> Result<RangeInclusive<u8>, String> {
    let range = text.split_once("..").and_then(|(from, to)| {
        let (from, to): (u8, u16) = (from.parse().ok()?, to.parse().ok()?);
        let last = u8::try_from(to.checked_sub(1)?).ok()?;
        (from <= last).then_some(from..=last)
    });
    range.ok_or_else(|| "two numbers within 0 to 256 in this order, such as 0..16".to_owned())
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holds, seconds, report } = self;
        write_counts(f, &report.counts)?;
        writeln!(f, "{seconds:>14.1}  seconds")?;
        for broken in &report.broken {
            write_broken(f, broken)?;
        }
        if *holds { write!(f, "\nevery invariant holds") } else { Ok(()) }
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, counts: &Counts) -> fmt::Result {
    let Counts { accounts_enrolled, accounts_provisional, accounts_merged, .. } = counts;
    let customers = accounts_enrolled + accounts_provisional + accounts_merged;
    writeln!(
        f,
        "{customers:>14}  accounts of customers ({accounts_enrolled} enrolled, \
         {accounts_provisional} provisional, {accounts_merged} merged)"
    )?;
    let rows = [
        (i128::from(counts.accounts_house), "accounts of workstations"),
        (i128::from(counts.accounts_blocked), "accounts of blocked cards"),
        (i128::from(counts.cards), "cards"),
        (i128::from(counts.members), "members"),
        (i128::from(counts.sales), "sales"),
        (i128::from(counts.sales_not_counted), "training, and sales after their void"),
        (i128::from(counts.voids), "voids"),
        (i128::from(counts.adjustments), "adjustments of points by people"),
        (i128::from(counts.coupons), "coupons"),
        (i128::from(counts.entries), "entries of the points ledger"),
        (i128::from(counts.profiles), "checkpoints of profiles"),
        (counts.points_outstanding, "points outstanding"),
        (counts.points_owed, "points owed by customers, taken off in the line above"),
        (counts.sales_minor, "minor units of sales, returns and voids taken off"),
    ];
    rows.iter().try_for_each(|(count, what)| writeln!(f, "{count:>14}  {what}"))
}

fn write_broken(f: &mut fmt::Formatter<'_>, broken: &Broken) -> fmt::Result {
    let Broken { invariant, meaning, count, places } = broken;
    writeln!(f, "\n{invariant}: {count}\n  {meaning}")?;
    for place in places {
        writeln!(f, "  - {}: {}", place.place, place.detail)?;
    }
    let more = count.saturating_sub(PLACES_MAX as u64);
    if more > 0 { writeln!(f, "  and {more} more") } else { Ok(()) }
}
