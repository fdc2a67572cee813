//! `tillside swipe`: a terminal in a command. Asks for member prices, signs and sends one
//! transaction, and prints the receipt. It decides nothing but what a till must: what it prints
//! besides the basket and what it gave is the service's answer.

mod items;
mod members;
mod paper;

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jiff::civil::Date;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;
use zeroize::Zeroizing;

use self::items::Item;
use self::members::Given;
use super::demo_file::{DemoFile, DemoTerminal};
use super::{Outcome, print};
use crate::config::{Config, Secret};
use crate::domain::quantity::Quantity;
use crate::swipe::wire::{LineIn, RedemptionIn, SwipeIn};
use crate::till::{Answer, Till, TillError};

/// Sign and send one swipe, and print the receipt as a till would.
///
/// By default it is a terminal of the demo in ./.tillside, and prices are those of its
/// catalogue. With a card it gives the member prices of the day, so far as they name articles.
/// Sending the same transaction again, with the --sequence that the receipt shows
/// and the same content, gets the same receipt and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside swipe --card 2991000000025 --sku 10001=1.250 --sku 10040=2
  tillside swipe --card 2991000000025 --sku 10040 --spend 100
  tillside swipe --no-card --sku 10040
  tillside swipe --card 2991000000025 --return 10040
  tillside swipe --server http://pos.example.com --keyid 0367/03.1 \\
      --secret-base64 \"$SECRET\" --card 2990000000019 --sku 1095275=2@199")]
pub(super) struct SwipeArgs {
    /// The card that is presented.
    #[arg(long, required_unless_present = "no_card", conflicts_with = "no_card")]
    card: Option<String>,
    /// A basket without a card.
    #[arg(long)]
    no_card: bool,
    /// An article that is sold: number, quantity and price in minor units. May be repeated.
    #[arg(long = "sku", value_name = "SKU[=QTY[@PRICE]]", required_unless_present = "returned")]
    sold: Vec<Item>,
    /// An article that is brought back, written the same. May be repeated.
    #[arg(long = "return", value_name = "SKU[=QTY[@PRICE]]")]
    returned: Vec<Item>,
    /// Pay with so many points.
    #[arg(long, value_name = "POINTS", default_value_t = 0, hide_default_value = true,
          value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "no_card")]
    spend: i64,
    /// What the till gives for them, in minor units; without it one for each point.
    #[arg(long, value_name = "MINOR", requires = "spend",
          value_parser = clap::value_parser!(i64).range(0..))]
    spend_value: Option<i64>,
    /// Folder of the demo.
    #[arg(long, value_name = "DIR", default_value = ".tillside")]
    demo: PathBuf,
    /// Address of the service; without it that of the demo.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Sign with this key instead of the demo's: store/workstation.number.
    #[arg(long, requires = "secret_base64", conflicts_with_all = ["store", "workstation"])]
    keyid: Option<String>,
    /// Its secret.
    #[arg(long, requires = "keyid", value_name = "BASE64")]
    secret_base64: Option<String>,
    /// A terminal of this store of the demo.
    #[arg(long, value_name = "ID")]
    store: Option<String>,
    /// This workstation of the demo.
    #[arg(long, value_name = "ID")]
    workstation: Option<String>,
    /// The store's trading day; without it today, by chain.time_zone.
    #[arg(long, value_name = "DATE")]
    business_date: Option<Date>,
    /// The transaction's number; without it the microseconds since 1970, which no two
    /// transactions of a till share.
    #[arg(long, value_name = "N")]
    sequence: Option<i64>,
    /// Give no member prices.
    #[arg(long)]
    no_member_prices: bool,
    /// Say that it was stored at the till and is sent later.
    #[arg(long)]
    offline: bool,
    /// Practice: recorded, but earns nothing.
    #[arg(long)]
    training: bool,
    /// Print the service's answer as it came.
    #[arg(long)]
    json: bool,
}

/// The basket, as the paper shows it.
struct Swiped {
    store_id: String,
    workstation_id: String,
    printed_at: String,
    card: Option<String>,
    currency: String,
    lines: Vec<PrintedLine>,
    total_minor: i64,
    given: Vec<Given>,
    points_spent: i64,
    points_value_minor: i64,
}

struct PrintedLine {
    sku: String,
    name: String,
    quantity: Quantity,
    price_minor: i64,
    amount_minor: i64,
    /// What was taken off, and the words for it.
    off: Vec<(String, i64)>,
    is_return: bool,
}

impl PrintedLine {
    fn discount_minor(&self) -> i64 {
        self.off.iter().map(|(_, off)| off).sum()
    }
}

/// The part of a problem (RFC 9457) that people read.
#[derive(Deserialize)]
struct ProblemIn {
    r#type: String,
    title: String,
    detail: String,
    #[serde(default)]
    errors: Vec<FindingIn>,
}

#[derive(Deserialize)]
struct FindingIn {
    pointer: String,
    detail: String,
}

pub(super) async fn run(args: SwipeArgs, config: &Config) -> Outcome {
    let needs_demo = args.keyid.is_none() || args.server.is_none();
    let demo = match DemoFile::read(&args.demo) {
        Ok(demo) => Some(demo),
        Err(error) if needs_demo => {
            return Err(format!(
                "{}: {error}. Start `tillside demo` first, name its folder with --demo, or give \
                 --server, --keyid and --secret-base64",
                args.demo.join("demo.json").display()
            )
            .into());
        }
        Err(_) => None,
    };
    let terminal = terminal(&args, demo.as_ref())?;
    let server = args.server.as_ref().or(demo.as_ref().map(|demo| &demo.base_url));
    let server = server.ok_or("--server is needed")?;
    let now = Timestamp::now().to_zoned(config.time_zone());
    let mut swiped = basket(&args, demo.as_ref(), &terminal, &now, config)?;
    let till = Till::new(server, &terminal.keyid, *secret(&terminal.secret_base64)?)?;
    if args.card.is_some() && !args.training && !args.no_member_prices {
        let business_date = args.business_date.unwrap_or_else(|| now.date());
        let path = format!("/v1/member-prices?business_date={business_date}");
        let answer = till.get(&path).await.map_err(|error| hint(error, server))?;
        // A till that is told nothing sells at the price on the shelf.
        if answer.status.is_success() {
            members::give(&mut swiped, &serde_json::from_slice(&answer.body)?);
        }
    }
    let body = serde_json::to_string(&wire(&args, &swiped, &now)?)?;
    let answer = till.post("/v1/swipes", body).await.map_err(|error| hint(error, server))?;
    if args.json {
        print(&String::from_utf8_lossy(&answer.body));
    }
    if !answer.status.is_success() {
        return Err(refusal(&answer).into());
    }
    if !args.json {
        let replayed = answer.headers.contains_key("idempotent-replayed");
        let receipt: paper::Answer = serde_json::from_slice(&answer.body)?;
        let held = waiting(&till, &args, &receipt).await;
        print(&paper::receipt(&swiped, &receipt, &held, replayed));
    }
    Ok(())
}

/// What the customer holds besides what the receipt brings: receipts carry what is new, and a till
/// that wants to remind of the rest looks the card up. A till that is told nothing prints nothing.
async fn waiting(till: &Till, args: &SwipeArgs, receipt: &paper::Answer) -> Vec<paper::Coupon> {
    let Some(card) = args.card.as_ref().filter(|_| receipt.account.is_some()) else {
        return Vec::new();
    };
    let answer = till.get(&format!("/v1/cards/{card}")).await.ok();
    let answer = answer.filter(|answer| answer.status.is_success());
    let held = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let paper::Held { mut coupons } = held.unwrap_or_default();
    // What counts from a later day on is nothing to remind of yet.
    let date = receipt.swipe.split('/').nth(2).unwrap_or_default();
    let is_new = |held: &paper::Coupon| receipt.coupons.iter().any(|it| it.coupon == held.coupon);
    coupons.retain(|held| !is_new(held) && *held.valid_from <= *date);
    coupons
}

/// The terminal that was asked for, else the first of the demo.
fn terminal(args: &SwipeArgs, demo: Option<&DemoFile>) -> Result<DemoTerminal, Box<dyn Error>> {
    if let (Some(keyid), Some(secret)) = (&args.keyid, &args.secret_base64) {
        let place = keyid.rsplit_once('.').and_then(|(place, _)| place.split_once('/'));
        let (store_id, workstation_id) =
            place.ok_or("the key id is store/workstation.number, such as 0367/03.1")?;
        return Ok(DemoTerminal {
            store_id: store_id.to_owned(),
            workstation_id: workstation_id.to_owned(),
            keyid: keyid.clone(),
            secret_base64: Secret::new(secret.as_str()),
        });
    }
    let terminals = demo.map(|demo| demo.terminals.as_slice()).unwrap_or_default();
    let fits = |terminal: &&DemoTerminal| {
        args.store.as_ref().is_none_or(|store| *store == terminal.store_id)
            && args.workstation.as_ref().is_none_or(|id| *id == terminal.workstation_id)
    };
    if let Some(terminal) = terminals.iter().find(fits) {
        return Ok(terminal.clone());
    }
    let known: Vec<String> =
        terminals.iter().map(|t| format!("{}/{}", t.store_id, t.workstation_id)).collect();
    Err(match known.is_empty() {
        true => "the demo has no terminals (was it started with --bare?)".into(),
        false => format!("the demo has no such terminal, but {}", known.join(", ")).into(),
    })
}

fn basket(
    args: &SwipeArgs,
    demo: Option<&DemoFile>,
    terminal: &DemoTerminal,
    now: &Zoned,
    config: &Config,
) -> Result<Swiped, Box<dyn Error>> {
    let mut lines = Vec::new();
    let mut total_minor: i64 = 0;
    let sold = args.sold.iter().map(|item| (item, false));
    for (item, is_return) in sold.chain(args.returned.iter().map(|item| (item, true))) {
        let sku = &item.sku;
        let known = demo.and_then(|demo| demo.skus.iter().find(|known| known.sku == *sku));
        let price_minor = item.price_minor.or(known.map(|known| known.price_minor));
        let price_minor = price_minor.ok_or_else(|| {
            format!("{sku} is not in the demo's catalogue: give its price, such as {sku}=1@398")
        })?;
        let amount_minor = item.amount_minor(price_minor).ok_or("an amount is too large")?;
        let signed_minor = if is_return { -amount_minor } else { amount_minor };
        total_minor = total_minor.checked_add(signed_minor).ok_or("the total is too large")?;
        lines.push(PrintedLine {
            sku: sku.clone(),
            name: known.map_or_else(|| format!("Article {sku}"), |known| known.name.clone()),
            quantity: item.quantity,
            price_minor,
            amount_minor,
            off: Vec::new(),
            is_return,
        });
    }
    Ok(Swiped {
        store_id: terminal.store_id.clone(),
        workstation_id: terminal.workstation_id.clone(),
        printed_at: now.strftime("%Y-%m-%d %H:%M").to_string(),
        card: args.card.clone(),
        currency: demo.map_or(&config.chain.currency, |demo| &demo.currency).clone(),
        lines,
        total_minor,
        given: Vec::new(),
        points_spent: args.spend,
        points_value_minor: args.spend_value.unwrap_or(args.spend),
    })
}

/// The message, in the words of the contract.
fn wire<'a>(
    args: &'a SwipeArgs,
    swiped: &'a Swiped,
    now: &Zoned,
) -> Result<SwipeIn<'a>, Box<dyn Error>> {
    let business_date = args.business_date.unwrap_or_else(|| now.date());
    // A sale of another day happened on that day, about noon.
    let occurred_at = match business_date == now.date() {
        true => now.clone(),
        false => business_date.at(12, 0, 0, 0).to_zoned(now.time_zone().clone())?,
    };
    let lines = (1..).zip(&swiped.lines).map(|(line, printed)| LineIn {
        line,
        kind: printed.is_return.then_some(Cow::Borrowed("return")),
        sku: Cow::Borrowed(&printed.sku),
        quantity: printed.quantity.to_string().into(),
        amount_minor: printed.amount_minor,
        discount_minor: printed.discount_minor(),
        returns: None,
    });
    let redemptions = swiped.given.iter().map(|Given { offer, discount_minor }| RedemptionIn {
        coupon: None,
        offer: Some(Cow::Borrowed(offer)),
        discount_minor: *discount_minor,
    });
    Ok(SwipeIn {
        store_id: Cow::Borrowed(&swiped.store_id),
        workstation_id: Cow::Borrowed(&swiped.workstation_id),
        business_date: business_date.to_string().into(),
        sequence_number: args.sequence.unwrap_or_else(|| now.timestamp().as_microsecond()),
        occurred_at: occurred_at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().into(),
        currency: Cow::Borrowed(&swiped.currency),
        card: swiped.card.as_deref().map(Cow::Borrowed),
        entry_method: swiped.card.is_some().then_some(Cow::Borrowed("keyed")),
        operator_id: None,
        training: args.training,
        offline: args.offline,
        lines: lines.collect(),
        adjustments: Vec::new(),
        total_minor: swiped.total_minor,
        redemptions: redemptions.collect(),
        points_spent: swiped.points_spent,
        points_value_minor: swiped.points_value_minor,
    })
}

fn secret(base64: &Secret) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let bytes = STANDARD.decode(base64.reveal().trim()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| "the secret is not base64")?;
    let fixed = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "the secret is not 32 bytes")?;
    Ok(Zeroizing::new(fixed))
}

fn hint(error: TillError, server: &str) -> Box<dyn Error> {
    match error {
        TillError::Unreachable(_) => {
            format!("nobody answers at {server}: is the service running (`tillside demo`)?").into()
        }
        error => error.into(),
    }
}

/// A problem in words.
fn refusal(answer: &Answer) -> String {
    let status = answer.status;
    let Ok(problem) = serde_json::from_slice::<ProblemIn>(&answer.body) else {
        return format!("the service answered {status}, and not as a Tillside does");
    };
    let ProblemIn { r#type, title, detail, errors } = problem;
    let mut text = format!("{title} ({})\n{detail}", status.as_u16());
    for FindingIn { pointer, detail } in errors {
        write!(text, "\n  {pointer}: {detail}").expect("writing to a String cannot fail");
    }
    write!(text, "\nSee {}", r#type).expect("writing to a String cannot fail");
    text
}
