//! What a database needs before it can take swipes: schema, a first epoch, partitions.
//!
//! Every step looks first and changes only what is missing, so it is safe to repeat, from
//! several replicas at once.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::catalogue;
use crate::config::Config;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::db::schema::{self, Partitions, SchemaError};
use crate::domain::programme::Rules;

/// Business dates ahead of today for which partitions are kept ready.
const PARTITIONS_AHEAD_DAYS: i32 = 62;

/// Migrates, gives the chain its first epoch with the built-in programme, and makes the
/// partitions of `swipe` that today's window needs.
///
/// # Errors
/// [`SchemaError`], whose message says what to do.
pub async fn prepare(pool: &Pool, config: &Config, now: Timestamp) -> Result<(), SchemaError> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    schema::migrate(&mut client, &config.chain).await?;
    drop(client);
    catalogue::ensure_first_epoch(pool, &Rules::default(), now).await?;
    let today = config.time_zone().to_datetime(now).date();
    ensure_partitions(pool, config, today).await?;
    Ok(())
}

/// Makes the partitions that the window of business dates needs today.
///
/// # Errors
/// When the database is away, or somebody holds `swipe` locked.
pub async fn ensure_partitions(
    pool: &Pool,
    config: &Config,
    today: Date,
) -> Result<Partitions, DbError> {
    let client = pool.get().await?;
    let back_days = config.swipe.age_max_days;
    let (first, last) = schema::months_around(today, back_days, PARTITIONS_AHEAD_DAYS);
    schema::ensure_partitions(&client, first, last).await
}
