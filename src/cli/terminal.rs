//! `tillside terminal`: workstations' keys, and what their terminals sent that was not understood.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use jiff::{Span, Timestamp};
use serde_json::json;

use super::{Outcome, print};
use crate::config::Config;
use crate::db::pool::connect_pool;
use crate::quarantine;
use crate::sealing::Sealer;
use crate::terminal::{self, NewKey, OVERLAP_HOURS};

/// Make, replace and end the keys of terminals; see what they sent that was not understood.
///
/// Secrets are printed once, when they are made. Needs database.url and the key-encryption key.
#[derive(Debug, Args)]
pub(super) struct TerminalArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give a workstation its first key; the workstation is created, its store must exist.
    Add(Place),
    /// Give a workstation its next key; the present one goes on for a while.
    Rotate(RotateArgs),
    /// End a key at once, or all keys of a workstation. Works within seconds everywhere.
    Revoke(RevokeArgs),
    /// List keys and their state.
    List(ListArgs),
    /// Show the signed requests of a terminal that were not understood, newest first.
    Quarantine(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// The store.
    #[arg(long, value_name = "ID")]
    store: String,
    /// The workstation in it.
    #[arg(long, value_name = "ID")]
    workstation: String,
    /// Print JSON, one object in each line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    place: Place,
    /// How long the present key may still sign, in hours.
    #[arg(long, value_name = "HOURS", default_value_t = OVERLAP_HOURS,
          value_parser = clap::value_parser!(i64).range(0..=24 * 90))]
    overlap_hours: i64,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    place: Place,
    /// The number of the key, after the last dot of its id; without it: all.
    #[arg(long, value_name = "N")]
    key: Option<i32>,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this store.
    #[arg(long, value_name = "ID")]
    store: Option<String>,
    /// Print JSON, one object in each line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: TerminalArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let pool = connect_pool(&config.database)?;
    let now = Timestamp::now();
    match args.action {
        Action::Add(place) => {
            let sealer = Sealer::from_config(&config.secrets)?;
            let Place { store, workstation, json } = &place;
            let key = terminal::add(&pool, &sealer, store, workstation, now).await?;
            show_key(&place, &key, *json);
        }
        Action::Rotate(RotateArgs { place, overlap_hours }) => {
            let sealer = Sealer::from_config(&config.secrets)?;
            let older_until = now.checked_add(Span::new().hours(overlap_hours))?;
            let Place { store, workstation, json } = &place;
            let key =
                terminal::rotate(&pool, &sealer, store, workstation, older_until, now).await?;
            show_key(&place, &key, *json);
            if !json {
                print(&format_args!("the older key may sign until {older_until}"));
            }
        }
        Action::Revoke(RevokeArgs { place, key }) => {
            let Place { store, workstation, json } = &place;
            for keyid in terminal::revoke(&pool, store, workstation, key, now).await? {
                match json {
                    true => print(&json!({ "revoked": keyid })),
                    false => print(&format_args!("{keyid} is revoked")),
                }
            }
        }
        Action::List(ListArgs { store, json }) => {
            for key in terminal::list(&pool, store.as_deref()).await? {
                let state = match (key.revoked_at, key.retires_at) {
                    (Some(at), _) => format!("revoked {at}"),
                    (None, Some(at)) if at <= now => format!("ended {at}"),
                    (None, Some(at)) => format!("ends {at}"),
                    (None, None) => "alive".to_owned(),
                };
                match json {
                    true => print(&serde_json::to_string(&key)?),
                    false => print(&format_args!("{:<24} {state}", key.keyid)),
                }
            }
        }
        Action::Quarantine(Place { store, workstation, json }) => {
            let kept = quarantine::list(&pool, &store, &workstation).await?;
            if kept.is_empty() && !json {
                print(&"nothing is in the quarantine of this terminal");
            }
            for request in kept {
                if json {
                    print(&serde_json::to_string(&request)?);
                    continue;
                }
                let quarantine::Kept { problem, route, attempts, last_at, .. } = &request;
                print(&format_args!("{last_at}  {problem}  {route}  ({attempts} ×)"));
                for finding in request.errors.lines() {
                    print(&format_args!("    {finding}"));
                }
                print(&format_args!("    {}", request.body));
            }
        }
    }
    Ok(())
}

fn show_key(place: &Place, key: &NewKey, json: bool) {
    let secret_base64 = STANDARD.encode(*key.secret);
    let Place { store, workstation, .. } = place;
    if json {
        print(&json!({
            "store_id": store, "workstation_id": workstation,
            "keyid": key.keyid, "secret_base64": secret_base64,
        }));
        return;
    }
    print(&format_args!("keyid   {}", key.keyid));
    print(&format_args!("secret  {secret_base64}"));
    print(&"the secret is not shown again");
}
