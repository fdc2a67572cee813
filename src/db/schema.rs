//! The schema: migrations, monthly partitions, and whether a server may be trusted with it.
//!
//! Owns the list of migrations and the judgement of rule 1: an answer to a till means that the
//! purchase is durable, so a server that may forget is refused. Must never change a table that
//! is on the hot path outside [`migrate`] and [`ensure_partitions`], and both give way to swipes:
//! they wait briefly for their locks and say so when they do not get them.

use std::fmt::Write as _;

use jiff::ToSpan as _;
use jiff::civil::Date;
use refinery::{Migration, Runner};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::DbError;
use crate::config::Chain;

/// Every file of `migrations/`, in order. `tests/it` checks that none is missing.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_spine", include_str!("../../migrations/0001_spine.sql")),
    ("0002_replay", include_str!("../../migrations/0002_replay.sql")),
    ("0003_points", include_str!("../../migrations/0003_points.sql")),
    ("0004_tail", include_str!("../../migrations/0004_tail.sql")),
    ("0005_gentle", include_str!("../../migrations/0005_gentle.sql")),
    ("0006_office", include_str!("../../migrations/0006_office.sql")),
    ("0007_coupons", include_str!("../../migrations/0007_coupons.sql")),
    ("0008_office_api", include_str!("../../migrations/0008_office_api.sql")),
    ("0009_budgets", include_str!("../../migrations/0009_budgets.sql")),
    ("0010_cards", include_str!("../../migrations/0010_cards.sql")),
    ("0011_heirs", include_str!("../../migrations/0011_heirs.sql")),
    ("0012_tally", include_str!("../../migrations/0012_tally.sql")),
    ("0013_till", include_str!("../../migrations/0013_till.sql")),
    ("0014_models", include_str!("../../migrations/0014_models.sql")),
    ("0015_limits", include_str!("../../migrations/0015_limits.sql")),
    ("0016_decisions", include_str!("../../migrations/0016_decisions.sql")),
    ("0017_handouts", include_str!("../../migrations/0017_handouts.sql")),
    ("0018_responses", include_str!("../../migrations/0018_responses.sql")),
    ("0019_drafts", include_str!("../../migrations/0019_drafts.sql")),
    ("0020_uses", include_str!("../../migrations/0020_uses.sql")),
    ("0021_revocations", include_str!("../../migrations/0021_revocations.sql")),
    ("0022_inherited", include_str!("../../migrations/0022_inherited.sql")),
    ("0023_reports", include_str!("../../migrations/0023_reports.sql")),
    ("0024_pool_revocations", include_str!("../../migrations/0024_pool_revocations.sql")),
];

/// The oldest PostgreSQL that the schema is made for, as `server_version_num` counts.
const SERVER_VERSION_MIN: i32 = 150_000;

/// Held while migrating, so that replicas that start together do it one after another.
const MIGRATION_LOCK: i64 = 0x7469_6c6c_7369_6465;

/// Swipes queue behind a lock that is asked for; they must not do so for long.
const LOCK_TIMEOUT: &str = "2s";

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A migration failed and was rolled back, or the applied ones are not ours.
    #[error("the schema could not be brought up to date: {0}")]
    Migration(String),
    /// The database belongs to a chain with another currency or time zone.
    #[error(
        "this database was made for {stored_currency} and {stored_time_zone}, the configuration \
         says {currency} and {time_zone}: neither can change once points were earned; set \
         chain.currency and chain.time_zone back, or use another database"
    )]
    OtherChain {
        /// What the database has.
        stored_currency: String,
        /// What the database has.
        stored_time_zone: String,
        /// What the configuration has.
        currency: String,
        /// What the configuration has.
        time_zone: String,
    },
}

impl From<tokio_postgres::Error> for SchemaError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What a server and its schema lack to be trusted with swipes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Each a sentence with its remedy. Empty: ready.
    pub findings: Vec<String>,
}

impl Readiness {
    /// Whether swipes may be accepted.
    pub fn is_ready(&self) -> bool {
        self.findings.is_empty()
    }

    /// Looks at the settings of the server, as this session has them, and at the schema.
    ///
    /// For the start of a replica. One that runs looks at [`Readiness::of_running`].
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn check(client: &Client) -> Result<Self, DbError> {
        let mut readiness = Self::of_settings(client).await?;
        readiness.findings.extend(schema_findings(&applied_migrations(client).await?));
        Ok(readiness)
    }

    /// As [`Readiness::check`], for a replica that runs: a newer one may have migrated meanwhile,
    /// and migrations only expand the schema while older replicas run (`migrations/README.md`).
    /// So what is newer is no finding; what is missing or altered is.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn of_running(client: &Client) -> Result<Self, DbError> {
        let mut readiness = Self::of_settings(client).await?;
        let newest = MIGRATIONS.len();
        let mut applied = applied_migrations(client).await?;
        applied.retain(|applied| usize::try_from(applied.version).is_ok_and(|it| it <= newest));
        readiness.findings.extend(schema_findings(&applied));
        Ok(readiness)
    }

    /// Looks at the settings of the server, as this session has them. One round trip.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn of_settings(client: &Client) -> Result<Self, DbError> {
        let sql = "-- db::schema::Readiness::of_settings
            SELECT current_setting('fsync'), current_setting('synchronous_commit'),
                   current_setting('full_page_writes'),
                   current_setting('default_transaction_isolation'),
                   current_setting('server_version_num')::int";
        let row = client.query_one(sql, &[]).await?;
        let settings = Settings {
            fsync: row.get(0),
            synchronous_commit: row.get(1),
            full_page_writes: row.get(2),
            default_transaction_isolation: row.get(3),
            server_version: row.get(4),
        };
        Ok(Self { findings: settings.findings() })
    }
}

/// What [`ensure_partitions`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Names of the partitions that it made.
    pub created: Vec<String>,
    /// Rows that had gone to the default partition and were moved to the new ones.
    pub moved_rows: u64,
}

/// Brings the schema up to date and, the first time, writes down whose database it is. Safe to
/// run at the same time from several replicas, and again.
///
/// # Errors
/// [`SchemaError`]. A migration that failed was rolled back; the ones before it stay.
pub async fn migrate(client: &mut Client, chain: &Chain) -> Result<(), SchemaError> {
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    let outcome = migrate_locked(client, chain).await;
    // When this fails the session is over, and the lock with it.
    let _ = client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await;
    outcome
}

/// Makes the monthly partitions of `swipe` for the months of `first` to `last`, both included.
/// Swipes of other months go to the default partition and are as safe there; this keeps it small.
///
/// Rows of a month that are already in the default partition are moved, in one transaction with
/// making the partition: swipes wait while it runs, readers see each row exactly once.
///
/// # Errors
/// [`DbError::Timeout`] when the locks were not free within 2 s; then nothing was changed for
/// that month, and the months before it are done.
pub async fn ensure_partitions(
    client: &Client,
    first: Date,
    last: Date,
) -> Result<Partitions, DbError> {
    let present = partitions(client).await?;
    let mut done = Partitions::default();
    let mut month = first.first_of_month();
    while month <= last {
        let Ok(next) = month.checked_add(1.month()) else { break };
        let name = format!("swipe_{:04}_{:02}", month.year(), month.month());
        if !present.contains(&name) {
            match make_partition(client, &name, month, next).await {
                Ok(moved_rows) => {
                    done.moved_rows += moved_rows;
                    done.created.push(name);
                }
                // Another replica was faster: it did the same.
                Err(DbError::Refused { sqlstate, .. })
                    if sqlstate == SqlState::DUPLICATE_TABLE
                        && partitions(client).await?.contains(&name) => {}
                Err(error) => return Err(error),
            }
        }
        month = next;
    }
    Ok(done)
}

/// What [`ensure_partitions`] should be asked for: from `back_days` before `today` to
/// `ahead_days` after it, but no more than five years back and one ahead. What is older is rare,
/// and the default partition holds it.
pub fn months_around(today: Date, back_days: i32, ahead_days: i32) -> (Date, Date) {
    let back = back_days.clamp(0, 5 * 366).days();
    let ahead = ahead_days.clamp(0, 366).days();
    (today.saturating_sub(back), today.saturating_add(ahead))
}

/// What decides whether an acknowledged swipe is durable.
struct Settings {
    fsync: String,
    synchronous_commit: String,
    full_page_writes: String,
    default_transaction_isolation: String,
    server_version: i32,
}

impl Settings {
    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut require = |holds: bool, finding: String| {
            if !holds {
                findings.push(finding);
            }
        };
        for (name, value) in [
            ("fsync", &self.fsync),
            ("synchronous_commit", &self.synchronous_commit),
            ("full_page_writes", &self.full_page_writes),
        ] {
            require(
                value != "off",
                format!(
                    "{name} is off, so an acknowledged purchase could be lost in a crash: switch \
                     it on for the server, the database and the role"
                ),
            );
        }
        require(
            self.default_transaction_isolation == "read committed",
            format!(
                "default_transaction_isolation is {}, but accounts change under read committed: \
                 reset it for the server, the database and the role",
                self.default_transaction_isolation
            ),
        );
        require(
            self.server_version >= SERVER_VERSION_MIN,
            format!(
                "the server is PostgreSQL {}: version {} or newer is needed",
                self.server_version / 10_000,
                SERVER_VERSION_MIN / 10_000
            ),
        );
        findings
    }
}

/// A row of the history that the migrations keep.
struct Applied {
    version: i32,
    name: String,
    checksum: String,
}

async fn migrate_locked(client: &mut Client, chain: &Chain) -> Result<(), SchemaError> {
    // A migration may work as long as it needs, but may not make swipes queue behind its locks.
    let settings = format!("SET lock_timeout = '{LOCK_TIMEOUT}'; SET statement_timeout = 0");
    client.batch_execute(&settings).await?;
    let outcome = Runner::new(&migrations()).run_async(client).await;
    let reset = client.batch_execute("RESET lock_timeout; RESET statement_timeout").await;
    if let Err(error) = outcome {
        return Err(SchemaError::Migration(chain_of(&error)));
    }
    reset?;
    // The driver does not notice a COMMIT that was answered with ROLLBACK: look.
    let findings = schema_findings(&applied_migrations(client).await?);
    if !findings.is_empty() {
        return Err(SchemaError::Migration(findings.join("; ")));
    }
    claim_for_chain(client, chain).await
}

async fn claim_for_chain(client: &Client, chain: &Chain) -> Result<(), SchemaError> {
    let insert = "-- db::schema::claim_for_chain
        INSERT INTO chain (currency, time_zone) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    client.execute(insert, &[&chain.currency, &chain.time_zone]).await?;
    let row = client.query_one("SELECT currency, time_zone FROM chain", &[]).await?;
    let (stored_currency, stored_time_zone): (String, String) = (row.get(0), row.get(1));
    if stored_currency == chain.currency && stored_time_zone == chain.time_zone {
        return Ok(());
    }
    Err(SchemaError::OtherChain {
        stored_currency,
        stored_time_zone,
        currency: chain.currency.clone(),
        time_zone: chain.time_zone.clone(),
    })
}

fn migrations() -> Vec<Migration> {
    let parse = |(file, sql): &(&str, &str)| {
        let (number, name) = file.split_once('_').expect("NNNN_name, checked by a test");
        Migration::unapplied(&format!("V{number}__{name}"), sql).expect("checked by a test")
    };
    MIGRATIONS.iter().map(parse).collect()
}

/// Empty when nothing was ever migrated.
async fn applied_migrations(client: &Client) -> Result<Vec<Applied>, DbError> {
    let exists = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    if !client.query_one(exists, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let sql = "-- db::schema::applied_migrations
        SELECT version, name, checksum FROM refinery_schema_history ORDER BY version";
    let rows = client.query(sql, &[]).await?;
    let read = |row: &tokio_postgres::Row| Applied {
        version: row.get(0),
        name: row.get(1),
        checksum: row.get(2),
    };
    Ok(rows.iter().map(read).collect())
}

fn schema_findings(applied: &[Applied]) -> Vec<String> {
    let ours = migrations();
    let mut findings = Vec::new();
    for applied in applied {
        match ours.iter().find(|ours| ours.version() == applied.version) {
            None => findings.push(format!(
                "the schema has migration {:04}_{}, which this version of the service does not \
                 know: run a newer version",
                applied.version, applied.name
            )),
            Some(ours) if ours.checksum().to_string() != applied.checksum => {
                findings.push(format!(
                    "migration {:04}_{} was applied with other content than this version of the \
                     service has: run the version that applied it",
                    applied.version, applied.name
                ));
            }
            Some(_) => {}
        }
    }
    let missing: Vec<_> = ours
        .iter()
        .filter(|ours| !applied.iter().any(|applied| applied.version == ours.version()))
        .map(|ours| format!("{:04}_{}", ours.version(), ours.name()))
        .collect();
    if !missing.is_empty() {
        findings.push(format!(
            "the schema lacks {}: run `tillside migrate` with this version",
            missing.join(", ")
        ));
    }
    findings
}

async fn partitions(client: &Client) -> Result<Vec<String>, DbError> {
    let sql = "-- db::schema::partitions
        SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'swipe'::regclass";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// One message with several statements is one transaction, and its answer is the outcome of it:
/// there is no COMMIT whose result the driver could misread. The number of rows that were moved.
async fn make_partition(
    client: &Client,
    name: &str,
    month: Date,
    next: Date,
) -> Result<u64, DbError> {
    let within = format!("business_date >= '{month}' AND business_date < '{next}'");
    let mut sql = String::new();
    let mut then = |statement: &str| {
        writeln!(sql, "{statement};").expect("writing to a String cannot fail");
    };
    then(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"));
    then("SET LOCAL statement_timeout = '10min'");
    // Two replicas at once: one after the other. Swipes do not conflict with this lock …
    then("LOCK TABLE swipe IN SHARE UPDATE EXCLUSIVE MODE");
    // … but with this one, which attaching takes anyway: no row may slip in behind the move.
    then("LOCK TABLE swipe_default IN ACCESS EXCLUSIVE MODE");
    then(&format!("CREATE TABLE {name} (LIKE swipe INCLUDING ALL)"));
    // As migration 0005 says; what LIKE copies does not include it.
    then(&format!(
        "ALTER TABLE {name} SET (autovacuum_vacuum_cost_delay = 10,
                                 autovacuum_analyze_scale_factor = 1)"
    ));
    then(&format!(
        "ALTER TABLE {name} ALTER COLUMN record SET STATISTICS 0,
                            ALTER COLUMN receipt SET STATISTICS 0"
    ));
    then(&format!(
        "WITH moved AS (DELETE FROM swipe_default WHERE {within} RETURNING *)
         INSERT INTO {name} SELECT * FROM moved"
    ));
    // Proves the bounds beforehand; attaching need not read the rows again.
    then(&format!("ALTER TABLE {name} ADD CONSTRAINT bounds CHECK ({within})"));
    then(&format!(
        "ALTER TABLE swipe ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{next}')"
    ));
    then(&format!("ALTER TABLE {name} DROP CONSTRAINT bounds"));
    let answers = client.simple_query(&sql).await?;
    // The only statement of these that counts rows is the INSERT.
    let counts = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    });
    Ok(counts.sum())
}

fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, ": {error}").expect("writing to a String cannot fail");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn trusted() -> Settings {
        Settings {
            fsync: "on".into(),
            synchronous_commit: "on".into(),
            full_page_writes: "on".into(),
            default_transaction_isolation: "read committed".into(),
            server_version: 150_018,
        }
    }

    #[test]
    fn a_server_that_may_forget_is_refused_for_each_reason() {
        assert!(trusted().findings().is_empty());
        for worse in [
            Settings { fsync: "off".into(), ..trusted() },
            Settings { synchronous_commit: "off".into(), ..trusted() },
            Settings { full_page_writes: "off".into(), ..trusted() },
            Settings { default_transaction_isolation: "serializable".into(), ..trusted() },
            Settings { server_version: 149_999, ..trusted() },
        ] {
            assert_eq!(worse.findings().len(), 1, "{:?}", worse.findings());
        }
        // Weaker towards standbys, but not towards the disk.
        assert!(Settings { synchronous_commit: "local".into(), ..trusted() }.findings().is_empty());
    }

    #[test]
    fn a_schema_is_ready_only_when_it_is_exactly_ours() {
        let applied = |change: fn(&mut Vec<Applied>)| {
            let mut applied: Vec<Applied> = migrations()
                .iter()
                .map(|ours| Applied {
                    version: ours.version(),
                    name: ours.name().to_owned(),
                    checksum: ours.checksum().to_string(),
                })
                .collect();
            change(&mut applied);
            schema_findings(&applied).join("\n")
        };
        assert_eq!(applied(|_| {}), "");
        assert!(applied(|applied| drop(applied.pop())).contains("lacks"));
        assert!(applied(|applied| applied[0].checksum = "1".into()).contains("other content"));
        let newer = Applied { version: 9_999, name: "later".into(), checksum: "1".into() };
        let findings = schema_findings(&[newer]).join("\n");
        assert!(findings.contains("9999_later") && findings.contains("lacks"), "{findings}");
    }

    #[test]
    fn months_reach_over_the_year_and_are_bounded() {
        let around = months_around(date(2026, 1, 15), 40, 20);
        assert_eq!(around, (date(2025, 12, 6), date(2026, 2, 4)));
        let (first, last) = months_around(date(2026, 1, 15), i32::MAX, i32::MAX);
        assert_eq!((first.year(), last.year()), (2021, 2027), "bounded");
        assert_eq!(months_around(Date::MIN, 1, -1), (Date::MIN, Date::MIN));
    }
}
