//! `tillside coupon`: what people do with coupons. Issues and revokes through the desk of
//! `commit`, under the same rules as everything else, and shows the life of one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

use super::{Outcome, handout, print};
use crate::catalogue;
use crate::commit::{Desk, ORDER_COUPONS_MAX, Order, Ordered, Whose};
use crate::config::Config;
use crate::db::DbError;
use crate::db::pool::{Pool, connect_pool};
use crate::domain::coupon::Code;
use crate::domain::payment_card::{self, Field};
use crate::error::Error;
use crate::http::file::Format;
use crate::offer::codes::{self, CODES_MAX, Wanted};
use crate::offer::{self, Life};
use crate::receipt::{account_id, account_text};

/// Issue coupons to an account, take them back, and look at one.
///
/// The service may run meanwhile. Needs database.url.
#[derive(Debug, Args)]
pub(super) struct CouponArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give an account coupons of an offer, or one to each of the accounts that --where means.
    /// They count from today on.
    ///
    /// With --where all filters must hold: enrolled, consent, visited_since, not_visited_since,
    /// points_min, tier, visits_90d_min, spend_90d_minor_min, as for exports. Under its name a
    /// handout gives an account one coupon: what was cut off is gone on with when the same is
    /// asked again, or by a service that runs. Accounts that are held out get none unless
    /// --held-out-too says so. A coupon is no message: whoever writes to customers asks for their
    /// consent, which is looked at again before each coupon.
    #[command(after_help = "\
Examples:
  tillside coupon issue --card 2990000000019 --offer yoghurt-50
  tillside coupon issue --offer yoghurt-50 --name spring-yoghurt --only-count \\
      --where consent=email-offers --where visited_since=2026-03-01")]
    Issue {
        /// A card of the account.
        #[arg(long, required_unless_present_any = ["account", "filters"],
              conflicts_with_all = ["account", "filters"])]
        card: Option<String>,
        /// The account, as receipts show it.
        #[arg(long, value_name = "ACC", conflicts_with = "filters")]
        account: Option<String>,
        /// A filter; can be given several times.
        #[arg(
            long = "where",
            value_name = "NAME=VALUE",
            requires = "name",
            conflicts_with = "count"
        )]
        filters: Vec<String>,
        /// What the handout is called; shown to auditors.
        #[arg(long, requires = "filters")]
        name: Option<String>,
        /// Give accounts theirs as well that are held out.
        #[arg(long, requires = "filters")]
        held_out_too: bool,
        /// Say how many accounts they are, and issue nothing yet.
        #[arg(long, requires = "filters")]
        only_count: bool,
        /// What the offer is called.
        #[arg(long)]
        offer: String,
        /// How many.
        #[arg(long, default_value_t = 1,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(ORDER_COUPONS_MAX)))]
        count: u16,
        /// Who does it; shown to auditors.
        #[arg(
            long,
            value_name = "NAME",
            default_value = "command-line",
            conflicts_with = "filters"
        )]
        actor: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make codes of an offer with the delivery code-pool, and write them to a file or to the
    /// standard output: a line for each, after a first line with the name of the column.
    #[command(after_help = "\
Example:
  tillside coupon codes --offer leaflet-10 --count 50000 --out leaflet.csv")]
    Codes {
        /// What the offer is called.
        #[arg(long)]
        offer: String,
        /// How many.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(CODES_MAX)))]
        count: u32,
        /// The file; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Who does it; shown to auditors.
        #[arg(long, value_name = "NAME", default_value = "command-line")]
        actor: String,
    },
    /// Write the coupons that a handout has issued to a file or to the standard output, for whoever
    /// prints or mails them: account, coupon, headline, worth, valid_from, valid_until, state.
    #[command(after_help = "\
Example:
  tillside coupon file --name spring-yoghurt --out spring.csv")]
    File {
        /// What the handout is called.
        #[arg(long)]
        name: String,
        /// The file; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// A JSON object in each line instead of CSV.
        #[arg(long)]
        ndjson: bool,
    },
    /// Take a coupon back, or all that a handout has issued and that are still open, or what is
    /// left of a pool of codes. What a till has taken stays redeemed.
    ///
    /// A handout is ended by it, and must not be being issued. What was cut off is gone on with
    /// when the same is asked again, or by a service that runs. `tillside coupon codes` says what a
    /// pool is called, and `tillside coupon show` of any of its codes.
    #[command(after_help = "\
Examples:
  tillside coupon revoke 0M3Z5K9Q7W2XB4
  tillside coupon revoke --name spring-yoghurt
  tillside coupon revoke --offer leaflet-10 --pool c18b2f0c6a5d3e00")]
    Revoke {
        /// Its code.
        #[arg(required_unless_present_any = ["name", "pool"],
              conflicts_with_all = ["name", "pool"])]
        code: Option<String>,
        /// What the handout is called.
        #[arg(long, conflicts_with = "pool")]
        name: Option<String>,
        /// What the pool of codes is called.
        #[arg(long, requires = "offer")]
        pool: Option<String>,
        /// What the offer of the codes is called.
        #[arg(long, requires = "pool")]
        offer: Option<String>,
        /// Print JSON.
        #[arg(long, conflicts_with = "code")]
        json: bool,
    },
    /// Print how a coupon stands, and how it came to that.
    Show {
        /// Its code.
        code: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: CouponArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let now = Timestamp::now();
    let pool = connect_pool(&config.database)?;
    let (order, as_json) = match args.action {
        Action::Show { code, json } => {
            let life = offer::life(&pool, parse(&code)?).await?;
            let life = life.ok_or("no such coupon was issued")?;
            let today = config.time_zone().to_datetime(Timestamp::now()).date();
            show(&life.on(today), json)?;
            return Ok(());
        }
        Action::File { name, out, ndjson } => {
            let format = if ndjson { Format::Ndjson } else { Format::Csv };
            return handout::file(config, &pool, &name, out.as_deref(), format, now).await;
        }
        Action::Revoke { name: Some(name), json, .. } => {
            return handout::revoke(config, &pool, &name, json, now).await;
        }
        Action::Revoke { pool: Some(of), offer: Some(offer), json, .. } => {
            let revoked = codes::revoke(&pool, &offer, &of, None, now).await?;
            let revoked = revoked.ok_or("the offer has no such pool of codes")?;
            match json {
                true => print(&serde_json::to_string(&revoked)?),
                false => print(&"revoked"),
            }
            return Ok(());
        }
        Action::Revoke { code, .. } => {
            let code = code.ok_or("a code, or --name, is needed")?;
            (Order::Revoke(parse(&code)?), false)
        }
        Action::Codes { offer, count, out, actor } => {
            check_actor(&actor)?;
            return codes(config, &pool, &offer, count, out.as_deref(), &actor, now).await;
        }
        Action::Issue {
            filters, name: Some(name), offer, held_out_too, only_count, json, ..
        } => {
            let (name, offer, filters) = (&*name, &*offer, &*filters);
            let asked = handout::Asked { name, offer, filters, held_out_too, only_count, json };
            return handout::run(&asked, config, &pool, now).await;
        }
        Action::Issue { card, account, offer, count, actor, json, .. } => {
            check_actor(&actor)?;
            let whose = match (&account, card) {
                (Some(text), _) => Whose::Account(account_id(text).ok_or_else(|| {
                    format!("--account: {text} is not an account, such as acc_000000000A1KV")
                })?),
                (None, Some(card)) => Whose::Card(card),
                (None, None) => return Err("--card or --account is needed".into()),
            };
            let on = config.time_zone().to_datetime(now).date();
            (Order::Issue { whose, offer, count, actor, on }, json)
        }
    };
    let snapshot = catalogue::load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    let mut desk = Desk::new(&config.commit, &config.database);
    let ordered = desk.order(&snapshot, &order, now).await;
    // Whatever came of it; and should it fail, the leases run out by themselves.
    if let Err(error) = desk.give_back().await {
        tracing::warn!(%error, "what is left of a lease is there again in a minute");
    }
    say(ordered?, as_json)
}

/// Tells what became of an order.
fn say(ordered: Ordered, as_json: bool) -> Outcome {
    match ordered {
        Ordered::Issued { codes, account_id, valid_from, valid_until } => {
            let codes: Vec<String> = codes.iter().map(Code::to_string).collect();
            let account = account_text(account_id);
            if as_json {
                print(&json!({
                    "coupons": codes, "account": account, "valid_from": valid_from.to_string(),
                    "valid_until": valid_until.to_string(),
                }));
                return Ok(());
            }
            print(&format_args!("issued to {account}, from {valid_from} to {valid_until}"));
            codes.iter().for_each(|code| print(code));
            Ok(())
        }
        Ordered::Revoked => {
            print(&"revoked");
            Ok(())
        }
        Ordered::Redeemed => Err("a till has taken this coupon; nothing has changed".into()),
        Ordered::NoSuchAccount => {
            Err("there is no such account: nobody has used or enrolled this card".into())
        }
        Ordered::NoCustomer => {
            Err("this is a workstation's own account, which has no coupons".into())
        }
        Ordered::NoSuchOffer => {
            Err("there is no such offer; `tillside offer list` shows what there is".into())
        }
        Ordered::OfferNotLive => Err("the offer is over, or has not begun".into()),
        Ordered::BudgetSpent => Err("the offer's budget is spent, or tills hold the rest of it: \
             `tillside offer show` says which"
            .into()),
        Ordered::NoSuchCoupon => Err("no such coupon was issued".into()),
        Ordered::NotPersonal => Err("the offer has codes, and is issued to nobody: \
             `tillside coupon codes` makes some"
            .into()),
    }
}

fn check_actor(actor: &str) -> Result<(), &'static str> {
    let length = actor.chars().count();
    if !(1..=64).contains(&length) || actor.chars().any(char::is_control) {
        return Err("--actor must be 1 to 64 printable characters");
    }
    if ["handout:", "import:", "user:"].iter().any(|kind| actor.starts_with(kind)) {
        return Err("--actor must not begin as those of handouts, imports and users do");
    }
    if payment_card::found_in(actor, Field::Text) {
        return Err("--actor must not hold a payment card's number");
    }
    Ok(())
}

/// Makes a pool of codes and writes its file, a page at a time.
async fn codes(
    config: &Config,
    pool: &Pool,
    offer: &str,
    count: u32,
    out: Option<&Path>,
    actor: &str,
    now: Timestamp,
) -> Outcome {
    let file = create(out)?;
    let snapshot = catalogue::load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    let on = config.time_zone().to_datetime(now).date();
    // Nobody asks for the same again: each run makes codes of its own.
    let name = format!("c{:016x}", now.as_nanosecond());
    let wanted = Wanted { pool: &name, offer, codes: count, on, actor, user_no: None };
    let made = codes::make(pool, &snapshot, &wanted, now).await?.map_err(|no| no.to_string())?;
    // Beside the codes, which may go to the standard output.
    let _ = writeln!(std::io::stderr(), "pool {}", made.pool);
    let desk = Mutex::new(Desk::new(&config.commit, &config.database));
    let writing = async |to| codes::write_file(pool, &made, &desk, &to).await;
    write(file, writing).await
}

/// Where a file goes: to the standard output unless it has a name.
pub(super) fn create(out: Option<&Path>) -> Result<Box<dyn Write + Send>, String> {
    let Some(path) = out else { return Ok(Box::new(std::io::stdout())) };
    let created = File::create_new(path);
    Ok(Box::new(created.map_err(|error| format!("{}: {error}", path.display()))?))
}

/// Takes what is written page by page, and says so when it is not whole.
pub(super) async fn write(
    mut file: Box<dyn Write + Send>,
    writing: impl AsyncFnOnce(mpsc::Sender<Bytes>) -> Result<bool, Error>,
) -> Outcome {
    let (sender, mut pages) = mpsc::channel::<Bytes>(2);
    // Moved in: should the file not take it, the writing ends too.
    let taking = async move {
        while let Some(page) = pages.recv().await {
            file.write_all(&page)?;
        }
        file.flush()
    };
    let (written, taken) = tokio::join!(writing(sender), taking);
    taken?;
    match written? {
        true => Ok(()),
        false => Err("the file is not whole: nobody took it, or the database failed".into()),
    }
}

fn parse(code: &str) -> Result<Code, String> {
    let mistyped = || format!("{code} is not the code of a coupon; is a character mistyped?");
    Code::parse(code).ok_or_else(mistyped)
}

fn show(life: &Life, as_json: bool) -> Outcome {
    if as_json {
        print(&serde_json::to_string(life)?);
        return Ok(());
    }
    let Life { coupon, account, offer, state, issued_at, actor, .. } = life;
    print(&format_args!("coupon      {coupon}"));
    print(&format_args!("offer       {offer}"));
    if let Some(pool) = &life.pool {
        print(&format_args!("pool        {pool}"));
    }
    let account = account.as_deref().unwrap_or("nobody has used it yet");
    print(&format_args!("account     {account}"));
    print(&format_args!("issued      {issued_at} by {actor}"));
    print(&format_args!("valid       from {} to {}", life.valid_from, life.valid_until));
    print(&format_args!("why         {}: {}", life.reason, life.why));
    print(&format_args!("state       {state}"));
    if let Some(swipe) = &life.redeemed_by {
        let over = if life.over_value { ", for more than it is worth" } else { "" };
        let beyond = if life.over_budget { ", over the offer's budget" } else { "" };
        let many = if life.over_limit { ", more than the offer allows" } else { "" };
        print(&format_args!("redeemed    by {swipe}{over}{beyond}{many}"));
    }
    Ok(())
}
