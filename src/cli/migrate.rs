//! `tillside migrate`: brings a database up to this version.

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;

use super::{Outcome, print};
use crate::config::Config;
use crate::db::pool::connect_pool;
use crate::db::schema;
use crate::setup;

/// Bring a database up to this version of Tillside.
///
/// Creates what is missing and changes nothing else; safe to repeat, and while older replicas
/// run. Needs database.url.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Also make a partition for every month from this date on, for history to be brought in.
    #[arg(long, value_name = "DATE")]
    history_from: Option<Date>,
}

pub(super) async fn run(args: MigrateArgs, config: &Config) -> Outcome {
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let pool = connect_pool(&config.database)?;
    let now = Timestamp::now();
    setup::prepare(&pool, config, now).await?;
    if let Some(first) = args.history_from {
        let client = pool.get().await?;
        let today = config.time_zone().to_datetime(now).date();
        let made = schema::ensure_partitions(&client, first, today).await?;
        print(&format_args!("{} partitions made", made.created.len()));
    }
    print(&"the database is up to date");
    Ok(())
}
