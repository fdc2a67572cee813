//! `tillside user`: who may be given tokens for the back office.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{Outcome, print};
use crate::config::Config;
use crate::db::pool::connect_pool;
use crate::office::page::Page;
use crate::office::user::{self, NewUser, UserStatus, Who};
use crate::office::{Role, sql};

/// Add, list and disable the users of the back office.
///
/// A user can do nothing before being given a token with `tillside token add`. Needs database.url.
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(AddArgs),
    /// List users, the newest first.
    List {
        /// Print JSON, one object in each line.
        #[arg(long)]
        json: bool,
    },
    /// Disable a user: every token of the user is refused at once. There is no way back.
    Disable {
        /// The user's e-mail address.
        #[arg(long)]
        email: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Add a user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside user add --email ada@chain.example --role admin
  tillside user add --email bo@chain.example --role manager --store 0367 --store 0406")]
struct AddArgs {
    /// The e-mail address; names the user.
    #[arg(long)]
    email: String,
    /// What people call the user; without it the address.
    #[arg(long)]
    name: Option<String>,
    /// What the user may do: everything; run named stores; make offers and pull exports; read.
    #[arg(long, value_enum)]
    role: Role,
    /// A store of a manager; may be given several times.
    #[arg(long = "store", value_name = "ID")]
    stores: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: UserArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let pool = connect_pool(&config.database)?;
    let now = Timestamp::now();
    match args.action {
        Action::Add(AddArgs { email, name, role, stores, json }) => {
            let name = name.unwrap_or_else(|| email.clone());
            let new = NewUser { email, name, role, stores };
            show(&user::add(&pool, &new, None, None, now).await?, json)
        }
        Action::Disable { email, json } => {
            show(&user::disable(&pool, Who::Email(&email), None, now).await?, json)
        }
        Action::List { json } => {
            let mut page = Page::first();
            loop {
                let users = sql::list_users(&pool, &page).await?;
                let (users, next) = page.cut(users, |user| user.user.into());
                users.iter().try_for_each(|user| show(user, json))?;
                match (next, users.last()) {
                    (Some(_), Some(last)) => page.before = last.user.into(),
                    _ => return Ok(()),
                }
            }
        }
    }
}

fn show(user: &UserStatus, json: bool) -> Outcome {
    if json {
        print(&serde_json::to_string(user)?);
        return Ok(());
    }
    let UserStatus { user, email, role, stores, disabled_at, .. } = user;
    let mut text = format!("{user:<4} {:<10} {email}", role.name());
    if !stores.is_empty() {
        text += &format!("  of {}", stores.join(", "));
    }
    if let Some(at) = disabled_at {
        text += &format!("  disabled {at}");
    }
    print(&text);
    Ok(())
}
