//! `tillside offer`: what marketing defines. Reads files and prints; `offer` stores.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::{Outcome, print};
use crate::catalogue;
use crate::config::Config;
use crate::db::DbError;
use crate::db::pool::connect_pool;
use crate::domain::offer::Definition;
use crate::offer;
use crate::offer::report::Wanted as Costs;
use crate::office::report_days;
use crate::response::{self, By, Wanted};

/// Define offers, look at them, and end them.
///
/// The service may run meanwhile; every replica knows a change within seconds.
/// Needs database.url.
#[derive(Debug, Args)]
pub(super) struct OfferArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Store an offer from a file.
    #[command(after_help = "\
A file in JSON, or in TOML when its name ends with .toml:
  {
    \"offer\": \"yoghurt-50\",
    \"headline\": \"50 % off yoghurt\",
    \"delivery\": \"personal\",
    \"reward\": { \"kind\": \"percent-off\", \"percent\": 50 },
    \"scope\": { \"categories\": [\"YOGHURT\"] },
    \"except\": { \"brands\": [\"National\"] },
    \"minimum_basket_minor\": 1000,
    \"minimum_quantity\": 2,
    \"stores\": [\"0367\"],
    \"since\": \"2026-12-01\",
    \"until\": \"2026-12-31\",
    \"at_the_till\": true,
    \"valid_days\": 14,
    \"discount_max_minor\": 200,
    \"funding\": { \"party\": \"dairy\", \"share_percent\": 60 },
    \"budget\": { \"coupons\": 10000, \"value_minor\": 500000,
                \"each_store\": { \"coupons\": 200 }, \"stores\": { \"0367\": { \"coupons\": 400 } } }
  }
Rewards: percent-off (percent), amount-off (amount_minor), fixed-price (price_minor),
cheapest-free (of), points-bonus (points), points-multiplier (times_percent; 200 is twice).
Conditions: weekdays ([\"sat\", \"sun\"]), limits (per_account, per_day, per_swipe), stacking
(group, priority): of the offers of a group one counts in a transaction.
Deliveries: personal; code-pool, whose codes `tillside coupon codes` makes; shared-code, with
shared_code ({ \"code\": \"WELCOME10\", \"max_uses\": 5000 }); automatic, a member price, which
tills give to everybody with a card: without valid_days, in money, and as a fixed-price for what
the scope names.
With at_the_till the service chooses it, with a receipt, for customers whom it fits; without it
only people issue it. Where it has an until, a budget of coupons is then spread evenly over its
days; \"pacing\": \"none\" of the budget gives them as fast as customers come.
With at_the_till, push (1 first, 9 last) has tills give it before others, also to customers who
never bought anything like it, and goodwill (true) also to those who are otherwise held out.
Scope: departments, categories, types, brands, skus; without one it is for everything.
docs/offers.md says all of it, the limits, and what cannot be changed later.")]
    Add {
        /// The file.
        file: PathBuf,
    },
    /// Print every offer.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the definition of one offer, in JSON, and how its budgets stand.
    Show {
        /// What it is called.
        offer: String,
    },
    /// Print what offers have cost, and who pays.
    #[command(after_help = "\
Money is in minor units, and is what tills gave on the business dates that are asked for. What did
not fit into the budgets of an offer had been given, so it was booked and is part of the sums. What
was given in the months adds up to that of the year; shares are rounded once in each report. What a
void took back is gone from its sale's day.
Reads the coupons that could be used on these days, and the uses of codes and member prices that
were recorded since.")]
    Report {
        /// The first business date; without it four weeks up to the last one.
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// The last one; without it today, by chain.time_zone.
        #[arg(long, value_name = "DATE")]
        until: Option<Date>,
        /// Only this offer.
        #[arg(long)]
        offer: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print how many coupons are used, and what they bring beside the hold-out.
    #[command(after_help = "\
Counts personal coupons by their first day, which is the business date on which a till gave
them, and judges those whose last day is over. What still runs, and what was taken back,
stands beside and is in no rate. Intervals are Wilson's (1927), at 95 %.
What is new to customers is drawn by lot, so its response is weighed by 1/p (Hajek 1971): as
if each of the likeliest new things had been given as often as the others.
The hold-out compares visits and spend of enrolled accounts in these days: the difference of
means with its standard error. Who is held out follows from coupons.hold_out_percent and
coupons.hold_out_round as they are now. It says what all coupons that tills choose change
together; it says nothing about a single offer, nor about what people issue.
Reads the coupons of the range, and the purchases of all accounts in it.")]
    Response {
        /// The first day; without it four weeks up to the last one.
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// The last day; without it today, by chain.time_zone.
        #[arg(long, value_name = "DATE")]
        until: Option<Date>,
        /// What coupons are counted by: offer, reason or slot.
        #[arg(long, value_name = "WHAT", default_value = "offer", value_parser = by)]
        by: By,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Issue no coupon of an offer any more, or give no member price; coupons in customers' hands
    /// keep their days.
    End {
        /// What it is called.
        offer: String,
        /// The last day on which it is issued; without it yesterday, by chain.time_zone.
        #[arg(long, value_name = "DATE")]
        on: Option<Date>,
    },
}

pub(super) async fn run(args: OfferArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let now = Timestamp::now();
    let today = config.time_zone().to_datetime(now).date();
    let pool = connect_pool(&config.database)?;
    let snapshot = catalogue::load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    match args.action {
        Action::Add { file } => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            let is_toml = file.extension().is_some_and(|extension| extension == "toml");
            let definition: Definition = match is_toml {
                true => toml::from_str(&text).map_err(|error| error.to_string()),
                false => serde_json::from_str(&text).map_err(|error| error.to_string()),
            }
            .map_err(|error| format!("{}: {error}", file.display()))?;
            let name = definition.offer.clone();
            offer::add(&pool, &snapshot, definition, now).await?;
            print(&format_args!("added {name}"));
        }
        Action::List { json: false } => {
            for offer in snapshot.offers() {
                let Definition { offer, headline, since, until, .. } = &offer.definition;
                let day = |day: &Option<Date>| day.map_or("…".into(), |day| day.to_string());
                print(&format_args!("{offer}  {} to {}  {headline}", day(since), day(until)));
            }
        }
        Action::List { json: true } => {
            let offers: Vec<&Definition> =
                snapshot.offers().map(|offer| &offer.definition).collect();
            print(&json!({ "offers": offers }));
        }
        Action::Show { offer } => {
            let found = snapshot.offer_named(&offer).ok_or_else(|| no_offer(&offer))?;
            let mut shown = serde_json::to_value(&found.definition)?;
            let budgets = offer::budgets(&pool, found, today).await?;
            if !budgets.is_empty() {
                shown["budgets"] = serde_json::to_value(budgets)?;
            }
            print(&serde_json::to_string_pretty(&shown)?);
        }
        Action::Report { from, until, offer, json } => {
            let (from, until) = report_days(from, until, today)?;
            let find = |name: &String| snapshot.offer_named(name).ok_or_else(|| no_offer(name));
            let only = offer.as_ref().map(find).transpose()?;
            let wanted = Costs { from, until, offer: only, today, hurry: false };
            let report = offer::report::report(config, &snapshot, &wanted).await?;
            match json {
                true => print(&serde_json::to_string(&report)?),
                false => print(&report),
            }
        }
        Action::Response { from, until, by, json } => {
            let (from, until) = report_days(from, until, today)?;
            let hold_out = config.coupons.hold_out();
            let wanted = Wanted { from, until, by, today, hold_out, patience: None };
            let report = response::report(&config.database, &snapshot, &wanted).await?;
            match json {
                true => print(&serde_json::to_string(&report)?),
                false => print(&report),
            }
        }
        Action::End { offer, on } => {
            let until = on.map_or_else(|| today.yesterday(), Ok)?;
            let ended = offer::end(&pool, &offer, until, today, None, now).await?;
            let until = ended.ok_or_else(|| no_offer(&offer))?.definition.until.unwrap_or(until);
            print(&format_args!("{offer} is issued until {until}"));
        }
    }
    Ok(())
}

fn by(text: &str) -> Result<By, String> {
    let all = [By::Offer, By::Reason, By::Slot];
    let found = all.into_iter().find(|by| by.name() == text);
    found.ok_or_else(|| "offer, reason or slot".to_owned())
}

fn no_offer(offer: &str) -> String {
    format!("there is no offer {offer}; `tillside offer list` shows what there is")
}
