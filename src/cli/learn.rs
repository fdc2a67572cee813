//! `tillside learn`: what the till chooses coupons with, from the chain's own history. Reads
//! arguments and prints; `learn` does the work.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::progress::Progress;
use super::{Outcome, print};
use crate::config::Config;
use crate::learn::{Accuracy, Coupons, Judged, Learned, Learner, Part, Published, Start, Version};

/// Learn from the chain's own history which coupons customers redeem.
///
/// Reads all sales and every coupon whose last day has passed: what the customer had bought when
/// it was issued, and whether it was redeemed. Prints how well weights do that were learned so, on
/// the latest fifth of the redeemed coupons and those issued with them, beside the weights that
/// count now; they are learned from coupons that had ended before. Changes nothing without
/// --publish, which refuses weights that do clearly worse than those that count now. The service
/// may run meanwhile. Needs database.url.
///
/// The figures are of accuracy: whoever redeems a coupon might have bought without one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside learn
  tillside learn --publish --from 2026-12-01 --note \"autumn campaigns\"
  tillside learn --publish --popularity-only
  tillside learn --list
  tillside learn --roll-back")]
pub(super) struct LearnArgs {
    /// Look at nothing of this business date or later; without it, of today or later.
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// Store what was learned, and let tills choose with it from a business date on.
    #[arg(long)]
    publish: bool,
    /// With --publish: only how popular articles are; the weights stay what they are. For chains
    /// that have baskets, but few coupons so far.
    #[arg(long, requires = "publish")]
    popularity_only: bool,
    /// With --publish: publish weights also when they do clearly worse than those that count now,
    /// by more than two standard errors of the area under the curve.
    #[arg(long, requires = "publish", conflicts_with = "popularity_only")]
    even_if_worse: bool,
    /// Let tills choose again with what counted before the newest model; twice is undone.
    #[arg(long, conflicts_with_all = ["publish", "until"])]
    roll_back: bool,
    /// Show since when which model counts.
    #[arg(long, conflicts_with_all = ["publish", "until", "roll_back", "from", "note"])]
    list: bool,
    /// First business date; without it today, or the day on which the newest version of programme
    /// and catalogue starts, if that is still to come.
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// Why; shown by --list. No names of people.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: LearnArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let now = Timestamp::now();
    let today = config.time_zone().to_datetime(now).date();
    let mut learner = Learner::connect(&config.database, now).await?;
    if args.list {
        let versions = learner.versions().await?;
        match args.json {
            true => print(&serde_json::to_string(&versions)?),
            false => print(&list(&versions, today)),
        }
        return Ok(());
    }
    let note = |otherwise: &'static str| args.note.clone().unwrap_or_else(|| otherwise.to_owned());
    if args.roll_back {
        let note = note("model rolled back");
        let start = Start { from: args.from, today, note: &note };
        let published = learner.roll_back(&start).await?;
        match args.json {
            true => print(&json!(published)),
            false => print(&said(&published)),
        }
        return Ok(());
    }
    if args.from.is_some() && !args.publish {
        return Err("--from tells when to publish: give --publish with it, or --roll-back".into());
    }
    let progress = Progress::new("reading baskets", None);
    let learned = learner.learn(args.until.unwrap_or(today), |baskets| progress.add(baskets)).await;
    drop(progress);
    let learned = learned?;
    if !args.json {
        print(&findings(&learned));
    }
    let mut published = None;
    if args.publish {
        let even_if_worse = args.even_if_worse;
        let part =
            if args.popularity_only { Part::Popularity } else { Part::All { even_if_worse } };
        let note = note("model published");
        let start = Start { from: args.from, today, note: &note };
        published = Some(learner.publish(&learned, part, &start).await?);
    }
    match (args.json, &published) {
        (true, published) => print(&as_json(&learned, published.as_ref())),
        (false, Some(published)) => print(&said(published)),
        (false, None) => {}
    }
    Ok(())
}

fn model_name(model_no: Option<i32>) -> String {
    model_no.map_or_else(|| "what is built in".to_owned(), |no| format!("model {no}"))
}

fn said(published: &Published) -> String {
    let Published { model_no, epoch, starts_on } = published;
    format!("{} counts from {starts_on} (epoch {epoch})", model_name(*model_no))
}

/// What was read, and what came of it.
fn findings(learned: &Learned) -> String {
    let sources = learned.sources;
    let mut text = format!(
        "read: {} baskets before {}; {} coupons that had ended, of {} accounts, {} redeemed",
        sources.baskets, learned.until, sources.coupons, sources.accounts, sources.redeemed
    );
    let mut line = |line: &str| {
        write!(text, "\n{line}").expect("writing to a String cannot fail");
    };
    let judged = match &learned.fitted {
        Ok(fitted) => fitted.judged,
        Err(little) => {
            line(&little.to_string());
            return text;
        }
    };
    let Judged { held_out_from, held_out, learned_from, in_force, learned: new, .. } = judged;
    let of = |Coupons { issued, redeemed }: Coupons| format!("{issued} ({redeemed} redeemed)");
    line(&format!(
        "judged on {} issued from {held_out_from} on; learned for that from {} that had ended \
         before",
        of(held_out),
        of(learned_from)
    ));
    line(&format!("{:<28} {:>6} {:>7}", "", "AUC", "NDCG@5"));
    let now = format!("in force: {}", model_name(learned.in_force));
    for (name, Accuracy { auc, ndcg_at_5 }) in [(&*now, in_force), ("learned", new)] {
        line(&format!("{name:<28} {auc:>6.3} {ndcg_at_5:>7.3}"));
    }
    if learned.in_force.is_some() {
        line("Weights in force may have been learned from some of these coupons.");
    }
    line(&format!(
        "{:<28} {:>+6.3} with a standard error of {:.3}",
        "difference",
        new.auc - in_force.auc,
        judged.auc_difference_se
    ));
    if judged.is_clearly_worse() {
        line("What was learned is clearly worse, and is published only with --even-if-worse.");
    } else if new.auc < in_force.auc {
        line("What was learned is not clearly worse: the difference may be chance.");
    }
    text
}

fn as_json(learned: &Learned, published: Option<&Published>) -> Value {
    let (judged, refused, weights) = match &learned.fitted {
        Ok(fitted) => (Some(fitted.judged), None, Some(fitted.weights)),
        Err(little) => (None, Some(little.to_string()), None),
    };
    json!({
        "until": learned.until, "sources": learned.sources, "in_force": learned.in_force,
        "judged": judged, "weights": weights, "refused": refused, "published": published,
    })
}

/// A line for each start. In force is the newest that has begun.
fn list(versions: &[Version], today: Date) -> String {
    let begun = |version: &Version| version.starts_on.is_none_or(|date| date <= today);
    let in_force = versions.iter().rev().find(|version| begun(version));
    let mut text = format!(
        "  {:<16} {:<10} {:>5}  {:<10} {:>9} {:>8} {:>8}  note",
        "model", "from", "epoch", "until", "baskets", "coupons", "redeemed"
    );
    if in_force.is_none() {
        text.push_str("\n* what is built in always");
    }
    for version in versions {
        let mark = if in_force == Some(version) { '*' } else { ' ' };
        let date = |date: Option<Date>| date.map_or_else(String::new, |date| date.to_string());
        let sources = version.sources.unwrap_or_default();
        write!(
            text,
            "\n{mark} {:<16} {:<10} {:>5}  {:<10} {:>9} {:>8} {:>8}  {}",
            model_name(version.model_no),
            date(version.starts_on),
            version.epoch,
            date(version.until),
            sources.baskets,
            sources.coupons,
            sources.redeemed,
            version.note
        )
        .expect("writing to a String cannot fail");
    }
    text
}
