//! `tillside account`: what people do to accounts. Corrects points, and writes off what has run
//! out; both through the desk of `commit`, under the same rules as everything else.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::{Outcome, print};
use crate::catalogue;
use crate::commit::{Adjusted, Adjustment, Desk, Made, Whose};
use crate::config::Config;
use crate::db::DbError;
use crate::db::pool::connect_pool;
use crate::domain::account::State;
use crate::domain::desk::ADJUSTMENT_POINTS_MAX;
use crate::domain::payment_card::{self, Field};
use crate::domain::standing;
use crate::expiry::{self, Expired};
use crate::metrics::Metrics;
use crate::receipt::{Points, account_id, account_text};

/// Correct the points of an account; write off points that have run out.
///
/// The service may run meanwhile. Needs database.url.
#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Adjust(AdjustArgs),
    Expire(ExpireArgs),
}

/// Give points to an account, or take some away.
///
/// Points that are given pay what the account owes and then last as long as if they had been
/// earned on that day. Points that are taken are those that expire first; what is not there is
/// owed. An account that has been merged into another stands for the other.
///
/// An adjustment is made once: the same --id with the same points and reason changes nothing
/// and answers how the account stands; with others it is refused. So when it is not known
/// whether it was made, run it again with the same --id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside account adjust --card 2990000000019 --points 500 --reason goodwill
  tillside account adjust --account acc_000000000A1KV --points=-120 --reason wrong-card --id T4711")]
struct AdjustArgs {
    /// A card of the account.
    #[arg(long, required_unless_present = "account", conflicts_with = "account")]
    card: Option<String>,
    /// The account, as receipts show it.
    #[arg(long, value_name = "ACC")]
    account: Option<String>,
    /// How many: 500 gives, -500 takes.
    #[arg(long, value_name = "±N", allow_hyphen_values = true)]
    points: i64,
    /// Why, as a code of your own: 1 to 32 of a to z, 0 to 9 and hyphens. No names of people.
    #[arg(long, value_name = "CODE")]
    reason: String,
    /// Names the adjustment: 1 to 64 printable characters. Without it a random one is made.
    #[arg(long)]
    id: Option<String>,
    /// Who does it; shown to auditors.
    #[arg(long, value_name = "NAME", default_value = "command-line")]
    actor: String,
    /// The day that it counts for; without it today, by chain.time_zone.
    #[arg(long, value_name = "DATE")]
    on: Option<Date>,
    /// Print JSON: the receipt's `points` object, with what was adjusted.
    #[arg(long)]
    json: bool,
}

/// Write off points that have run out, on all accounts.
///
/// The service does this by itself once a day; swipes do it for their accounts at once.
#[derive(Debug, Args)]
struct ExpireArgs {
    /// Points whose last day lies before this one; without it today less
    /// ledger.expire_after_days. Swipes that come later for an earlier day find them gone.
    #[arg(long, value_name = "DATE")]
    on: Option<Date>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: AccountArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    match args.action {
        Action::Adjust(args) => adjust(args, config).await,
        Action::Expire(args) => expire(args, config).await,
    }
}

async fn adjust(args: AdjustArgs, config: &Config) -> Outcome {
    let now = Timestamp::now();
    let today = config.time_zone().to_datetime(now).date();
    let whose = match (&args.account, args.card) {
        (Some(text), _) => {
            let unread =
                || format!("--account: {text} is not an account, such as acc_000000000A1KV");
            Whose::Account(account_id(text).ok_or_else(unread)?)
        }
        (None, Some(card)) => Whose::Card(card),
        (None, None) => return Err("--card or --account is needed".into()),
    };
    if args.on.is_some_and(|on| on > today) {
        return Err("--on must not be after today: an account's clock never goes back".into());
    }
    let adjustment = Adjustment {
        id: args.id.unwrap_or_else(random_id),
        whose,
        points: args.points,
        reason: args.reason,
        actor: args.actor,
        business_date: args.on.unwrap_or(today),
        user: None,
    };
    check(&adjustment)?;
    let pool = connect_pool(&config.database)?;
    let snapshot = catalogue::load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    let mut desk = Desk::new(&config.commit, &config.database);
    let Adjustment { id, points, .. } = &adjustment;
    let adjusted = desk.adjust(&snapshot, &adjustment, now).await.map_err(|error| {
        format!("{error}\nIt is not known whether it was made: run it again with --id {id}")
    })?;
    let (made, before) = match adjusted {
        Adjusted::Now(made) => (made, false),
        Adjusted::Before(made) => (made, true),
        Adjusted::IdReused => {
            return Err(format!(
                "an adjustment {id} of this account was made with other points or another \
                 reason; nothing has changed. Choose another --id"
            )
            .into());
        }
        Adjusted::NoSuchAccount => {
            return Err("there is no such account: nobody has used or enrolled this card".into());
        }
        Adjusted::NoCustomer => {
            return Err("this is a workstation's own account, which holds no points".into());
        }
        Adjusted::OverCap => return Err("the points of the day are used up".into()),
    };
    let Made { account, business_date, made_at } = made;
    let standing = standing::of(&account, account.clock);
    let shown = account_text(account.account_id);
    if args.json {
        print(&json!({
            "adjustment": id, "account": shown, "adjusted": points,
            "business_date": business_date.to_string(), "made_at": made_at.to_string(),
            "made_before": before, "points": Points::of_account(&standing),
        }));
        return Ok(());
    }
    let enrolled = if account.state == State::Provisional { " (not enrolled yet)" } else { "" };
    match before {
        true => print(&format_args!("made before, at {made_at}; nothing has changed")),
        false => print(&"made"),
    }
    print(&format_args!("adjustment  {id}"));
    print(&format_args!("account     {shown}{enrolled}"));
    print(&format_args!("adjusted    {points:+} on {business_date}"));
    print(&format_args!(
        "balance     {}, of these to spend {}",
        standing.balance, standing.spendable
    ));
    if let Some((points, on)) = standing.next_expiry {
        print(&format_args!("expiring    {points} after {on}"));
    }
    Ok(())
}

async fn expire(args: ExpireArgs, config: &Config) -> Outcome {
    let now = Timestamp::now();
    let on = args.on.unwrap_or_else(|| expiry::due_before(config, now));
    if on > now.to_zoned(config.time_zone()).date() {
        return Err("--on must not be after today: what is written off does not come back".into());
    }
    let pool = connect_pool(&config.database)?;
    let snapshot = catalogue::load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    let mut desk = Desk::new(&config.commit, &config.database);
    let expired = expiry::walk(&mut desk, &snapshot, on, &Metrics::new()).await?;
    let Expired { accounts, points, held_up, damaged } = expired;
    if args.json {
        print(&json!({
            "on": on.to_string(), "accounts": accounts, "points": points, "held_up": held_up,
            "damaged": damaged,
        }));
    } else {
        print(&format_args!("{points} points of {accounts} accounts had run out before {on}"));
    }
    match (held_up, damaged) {
        (0, 0) => Ok(()),
        (0, _) => Err(format!(
            "{damaged} accounts are damaged and were left out: tillside verify says what it is"
        )
        .into()),
        _ => Err(format!("{held_up} accounts were locked by others: run it again").into()),
    }
}

/// What can be said against an adjustment before the account is known.
fn check(adjustment: &Adjustment) -> Result<(), String> {
    let Adjustment { id, points, reason, actor, .. } = adjustment;
    let is_text = |text: &str, characters_max: usize| {
        let length = text.chars().count();
        (1..=characters_max).contains(&length) && !text.chars().any(char::is_control)
    };
    let in_code = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-');
    if *points == 0 || points.unsigned_abs() > ADJUSTMENT_POINTS_MAX.unsigned_abs() {
        return Err(format!("--points must not be 0, nor beyond {ADJUSTMENT_POINTS_MAX}"));
    }
    if !is_text(reason, 32) || !reason.chars().all(in_code) {
        return Err("--reason must be 1 to 32 of a to z, 0 to 9 and hyphens".to_owned());
    }
    if !is_text(id, 64) || !is_text(actor, 64) {
        return Err("--id and --actor must be 1 to 64 printable characters".to_owned());
    }
    if [id, reason, actor].iter().any(|text| payment_card::found_in(text, Field::Text)) {
        return Err("--id, --reason and --actor must not hold a payment card's number".to_owned());
    }
    Ok(())
}

/// An id that nobody has used: 80 random bits, in letters, so that it never looks like a card.
fn random_id() -> String {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once it has booted");
    let letter = |nibble: u8| char::from(b'a' + nibble);
    bytes.iter().flat_map(|byte| [letter(byte >> 4), letter(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn what_cannot_be_adjusted_is_said_before_anything_is_asked() {
        let sound = Adjustment {
            id: "T4711".into(),
            whose: Whose::Account(256),
            points: -120,
            reason: "wrong-card".into(),
            actor: "command-line".into(),
            business_date: date(2026, 3, 14),
            user: None,
        };
        assert_eq!(check(&sound), Ok(()));
        let other = |change: fn(&mut Adjustment)| {
            let mut adjustment = sound.clone();
            change(&mut adjustment);
            check(&adjustment).expect_err("it is not sound")
        };
        assert!(other(|it| it.points = 0).contains("--points"));
        assert!(other(|it| it.points = i64::MIN).contains("--points"));
        assert!(other(|it| it.reason = "Mrs Smith".into()).contains("--reason"));
        assert!(other(|it| it.reason.clear()).contains("--reason"));
        assert!(other(|it| it.id = "a\nb".into()).contains("--id"));
        assert!(other(|it| it.actor = "x".repeat(65)).contains("--actor"));
        assert!(other(|it| it.id = "4111 1111 1111 1111".into()).contains("payment card"));
    }

    #[test]
    fn ids_that_are_made_here_are_sound_and_differ() {
        let (one, other) = (random_id(), random_id());
        assert_eq!((one.len(), one == other), (20, false));
    }
}
