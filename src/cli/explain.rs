//! `tillside explain`: which coupons a swipe brought and why, and why not others.

use std::sync::Arc;

use clap::Args;

use super::{Outcome, print};
use crate::catalogue;
use crate::config::Config;
use crate::db::DbError;
use crate::db::pool::connect_pool;
use crate::decision;
use crate::domain::name::SwipeName;

/// Show which coupons a swipe brought and why, and for every other offer why not.
///
/// Makes the choice again from the purchases up to that swipe and the offers of that moment, and
/// says whether that is what was given. Ends with 1 when it is not. Needs database.url.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tillside explain 0367/03/2026-03-14/31198")]
pub(super) struct ExplainArgs {
    /// Store, workstation, business date and sequence number, as receipts show them.
    #[arg(value_name = "STORE/WORKSTATION/DATE/SEQUENCE")]
    swipe: SwipeName,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ExplainArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let pool = connect_pool(&config.database)?;
    let snapshot = catalogue::load_for_audit(&*pool.get().await.map_err(DbError::from)?).await?;
    let found = decision::explain(&pool, &Arc::new(snapshot), &args.swipe, None).await?;
    let explanation = found.ok_or_else(|| {
        format!("no sale is recorded under {}; is the name as the receipt shows it?", args.swipe)
    })?;
    match args.json {
        true => print(&serde_json::to_string(&explanation)?),
        false => print(&explanation),
    }
    if !explanation.agrees {
        return Err("what was given is not what the choice made again gives".into());
    }
    Ok(())
}
