//! `tillside token`: how programs and people prove who they are to the back office.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{Outcome, print};
use crate::config::Config;
use crate::db::pool::connect_pool;
use crate::office::page::Page;
use crate::office::user::{self, Wanted, Who};
use crate::office::{TokenScope, TokenStatus, sql};

/// Make, list and revoke tokens of the back office.
///
/// A token is printed once, when it is made, and goes into `Authorization: Bearer`. Needs
/// database.url.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(AddArgs),
    /// List tokens without their secrets, the newest first.
    List {
        /// Print JSON, one object in each line.
        #[arg(long)]
        json: bool,
    },
    /// End a token at once.
    Revoke {
        /// Its number, as it is listed.
        #[arg(long, value_name = "N")]
        token: i32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Make a token for a user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside token add --user ada@chain.example --expires-days 90 --name laptop
  tillside token add --user bi@chain.example --expires-days 365 --scope read --json")]
struct AddArgs {
    /// The user's e-mail address.
    #[arg(long, value_name = "EMAIL")]
    user: String,
    /// How long it lasts, 1 to 400 days.
    #[arg(long, value_name = "DAYS")]
    expires_days: i32,
    /// What it is for.
    #[arg(long, default_value = "command-line")]
    name: String,
    /// Everything that the user may do, or only what of it changes nothing.
    #[arg(long, value_enum, default_value = "full")]
    scope: TokenScope,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: TokenArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let pool = connect_pool(&config.database)?;
    let now = Timestamp::now();
    match args.action {
        Action::Add(AddArgs { user, expires_days, name, scope, json }) => {
            let wanted = Wanted { who: Who::Email(&user), name: &name, scope, expires_days };
            let made = user::add_token(&pool, &wanted, None, None, now).await?;
            if json {
                print(&json!({ "secret": *made.secret, "token": made.status }));
                return Ok(());
            }
            print(&format_args!("token    {}", *made.secret));
            print(&format_args!("number   {}", made.status.token));
            print(&format_args!("expires  {}", made.status.expires_at));
            print(&"the token is not shown again");
            Ok(())
        }
        Action::Revoke { token, json } => {
            show(&user::revoke_token(&pool, token, None, now).await?, now, json)
        }
        Action::List { json } => {
            let mut page = Page::first();
            loop {
                let tokens = sql::list_tokens(&pool, &page).await?;
                let (tokens, next) = page.cut(tokens, |token| token.token.into());
                tokens.iter().try_for_each(|token| show(token, now, json))?;
                match (next, tokens.last()) {
                    (Some(_), Some(last)) => page.before = last.token.into(),
                    _ => return Ok(()),
                }
            }
        }
    }
}

fn show(token: &TokenStatus, now: Timestamp, json: bool) -> Outcome {
    if json {
        print(&serde_json::to_string(token)?);
        return Ok(());
    }
    let state = match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, at) if at <= now => format!("ended {at}"),
        (None, at) => format!("until {at}"),
    };
    let TokenStatus { token, email, name, last_four, .. } = token;
    print(&format_args!("{token:<4} …{last_four}  {email}  {name}  {state}"));
    Ok(())
}
