//! The programme as people keep it: checked in a file, kept as a draft, published from a business
//! date on, rolled back, and explained for a swipe.
//!
//! Publishing never changes what is there: it adds a programme and an epoch that begins on a
//! date, and every swipe remembers the epoch by which it was decided. A draft is a programme that
//! no epoch has yet: nobody changes it either, but drafts another one. What rules mean is decided
//! in `domain::programme`; nothing here may do so.
//!
//! | phase | round trips |
//! |---|---|
//! | draft: begin, lock, programme, trace, commit | 5 |
//! | publish a draft: begin, lock, newest epoch, rules, epoch, bump, trace, commit | 8 |
//! | publish: begin, lock, newest epoch, programme, epoch, bump, trace, commit | 8 |
//! | roll back: begin, lock, newest epoch, the one before, epoch, bump, trace, commit | 8 |
//!
//! For a user of the back office, one more: the answer that is kept.

pub mod explain;
pub mod file;
pub mod http;
mod sql;

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use self::sql::{Change, Connection, Latest};
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::{Pool, Session, connect_dedicated};
use crate::domain::programme::{Level, Rules};
use crate::office::once::Claim;

/// Why nothing was changed or read.
#[derive(Debug, thiserror::Error)]
pub enum ProgrammeError {
    /// The database has no schema, no chain or no first epoch.
    #[error("the database is not set up yet: run `tillside migrate` first")]
    NotMigrated,
    /// Epochs are ordered in time.
    #[error(
        "the newest epoch starts on {latest}; a further one cannot start on {asked}, before it: \
         give --on {latest} or later"
    )]
    StartsTooEarly {
        /// When the newest epoch starts.
        latest: Date,
        /// What was asked for.
        asked: Date,
    },
    /// What was decided on past days stays decided.
    #[error(
        "{asked} has passed: what was recorded for it keeps its points, and what still comes for \
         it would earn otherwise; give --on {today} or later"
    )]
    Past {
        /// What was asked for.
        asked: Date,
        /// The chain's day.
        today: Date,
    },
    /// Publishing would change nothing.
    #[error("these rules are those of the newest epoch, {epoch}: nothing was published")]
    InForce {
        /// The epoch that has them.
        epoch: i32,
    },
    /// There is only one programme.
    #[error("there is no programme before the newest one: nothing was rolled back")]
    NothingBefore,
    /// No programme has this number.
    #[error("there is no programme {0}: `tillside programme list` shows those that there are")]
    NoSuchProgramme(i32),
    /// What is stored cannot be read.
    #[error("programme {0} cannot be read: {1}")]
    Damaged(i32, String),
    /// The database failed.
    #[error(transparent)]
    Database(DbError),
}

impl From<DbError> for ProgrammeError {
    fn from(error: DbError) -> Self {
        // undefined_table
        match error.sqlstate() {
            Some("42P01") => Self::NotMigrated,
            _ => Self::Database(error),
        }
    }
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProgrammePublished)]
pub struct Published {
    /// The programme's number.
    #[schema(example = 3)]
    pub programme_no: i32,
    /// The epoch that brings it into force.
    pub epoch: i32,
    /// First business date.
    #[schema(value_type = String, format = Date)]
    pub starts_on: Date,
}

/// What was drafted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProgrammeDrafted)]
pub struct Drafted {
    /// The programme's number, by which it can be read and published.
    #[schema(example = 4)]
    pub programme_no: i32,
}

/// A programme that was never in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProgrammeDraft)]
pub struct Draft {
    /// Its number.
    #[schema(example = 4)]
    pub programme_no: i32,
    /// When it was drafted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub drafted_at: Option<Timestamp>,
    /// The user who drafted it; null for somebody at the command line.
    pub user: Option<i32>,
    /// The address of that user.
    pub email: Option<String>,
}

/// An epoch, with the programme in force in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProgrammeEpoch)]
pub struct Version {
    /// Its number.
    pub epoch: i32,
    /// First business date; null for the first epoch, which has no beginning.
    #[schema(value_type = Option<String>, format = Date)]
    pub starts_on: Option<Date>,
    /// The programme's number.
    #[schema(example = 3)]
    pub programme_no: i32,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Why.
    pub note: String,
    /// The user who made it; null for somebody at the command line.
    pub user: Option<i32>,
    /// The address of that user.
    pub email: Option<String>,
}

/// Who changes something, and when.
#[derive(Clone, Debug)]
struct By {
    /// A user of the back office, with the key under which the answer is kept; none at the
    /// command line.
    user: Option<(i32, Claim)>,
    now: Timestamp,
}

impl By {
    fn user_no(&self) -> Option<i32> {
        self.user.as_ref().map(|(user_no, _)| *user_no)
    }
}

/// When a change begins to hold, and what is said about it.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// First business date.
    pub on: Date,
    /// The chain's day, before which nothing may begin.
    pub today: Date,
    /// Stands in the epoch.
    pub note: &'a str,
}

/// Reads and changes programmes. Owns its connection.
#[derive(Debug)]
pub struct Programmes {
    connection: Connection,
    by: By,
}

impl Programmes {
    /// Over a connection of the pool, for a user of the back office when something is to be
    /// changed: what is answered then is kept under the key, in the same transaction.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn over(
        pool: &Pool,
        user: Option<(i32, Claim)>,
        now: Timestamp,
    ) -> Result<Self, ProgrammeError> {
        let connection = Connection::Pooled(pool.get().await.map_err(DbError::from)?);
        Ok(Self { connection, by: By { user, now } })
    }

    /// Connects to the database, at the command line. `now` stands in what is written.
    ///
    /// # Errors
    /// When no connection comes about.
    pub async fn connect(settings: &Database, now: Timestamp) -> Result<Self, ProgrammeError> {
        let session = Session {
            application_name: "tillside programme",
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(30),
            settings: &[],
        };
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        let connection = connect_dedicated(&settings.url, timeout, &session).await?;
        Ok(Self { connection: Connection::Own(connection), by: By { user: None, now } })
    }

    /// Brings rules into force from a business date on: a further programme, a further epoch.
    /// On today's date they hold for what is recorded from now on.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn publish(
        &mut self,
        rules: &Rules,
        start: &Start<'_>,
    ) -> Result<Published, ProgrammeError> {
        let change = begin(&mut self.connection).await?;
        let latest = latest(&change, start).await?;
        if parsed(latest.programme_no, &latest.rules)? == *rules {
            return Err(ProgrammeError::InForce { epoch: latest.epoch });
        }
        let rules = serde_json::to_string(rules).expect("rules are texts and numbers");
        let programme_no = change.create_programme(&rules).await?;
        let (action, by) = ("programme.publish", &self.by);
        Ok(change.finish(action, programme_no, start.on, start.note, by).await?)
    }

    /// Keeps rules as a draft: a further programme that is in force for nobody.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn draft(&mut self, rules: &Rules) -> Result<Drafted, ProgrammeError> {
        let change = begin(&mut self.connection).await?;
        let rules = serde_json::to_string(rules).expect("rules are texts and numbers");
        let programme_no = change.create_programme(&rules).await?;
        Ok(change.keep(programme_no, &self.by).await?)
    }

    /// Brings a programme into force that is there: a draft, or one of before.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn publish_kept(
        &mut self,
        programme_no: i32,
        start: &Start<'_>,
    ) -> Result<Published, ProgrammeError> {
        let change = begin(&mut self.connection).await?;
        let latest = latest(&change, start).await?;
        let kept = change.rules(programme_no).await?;
        let kept = kept.ok_or(ProgrammeError::NoSuchProgramme(programme_no))?;
        if parsed(latest.programme_no, &latest.rules)? == parsed(programme_no, &kept)? {
            return Err(ProgrammeError::InForce { epoch: latest.epoch });
        }
        let (action, by) = ("programme.publish", &self.by);
        Ok(change.finish(action, programme_no, start.on, start.note, by).await?)
    }

    /// Programmes that were never in force, the newest first, at most a hundred.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drafts(&self) -> Result<Vec<Draft>, ProgrammeError> {
        Ok(sql::drafts(self.connection.client()).await?)
    }

    /// Brings the programme before the newest one into force again, by a further epoch. Twice
    /// is undone. Without a date from today on, or from when the newest epoch starts.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn roll_back(
        &mut self,
        on: Option<Date>,
        today: Date,
        note: &str,
    ) -> Result<Published, ProgrammeError> {
        let change = begin(&mut self.connection).await?;
        let newest = change.latest().await?.ok_or(ProgrammeError::NotMigrated)?;
        let on = on.unwrap_or_else(|| newest.starts_on.map_or(today, |date| date.max(today)));
        let start = Start { on, today, note };
        latest(&change, &start).await?;
        let programme_no = change.previous().await?.ok_or(ProgrammeError::NothingBefore)?;
        Ok(change.finish("programme.roll-back", programme_no, on, note, &self.by).await?)
    }

    /// Every epoch, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn versions(&self) -> Result<Vec<Version>, ProgrammeError> {
        Ok(sql::versions(self.connection.client()).await?)
    }

    /// The rules of a programme.
    ///
    /// # Errors
    /// When there is none, or the database cannot be read.
    pub async fn rules(&self, programme_no: i32) -> Result<Rules, ProgrammeError> {
        let rules = sql::rules(self.connection.client(), programme_no).await?;
        let rules = rules.ok_or(ProgrammeError::NoSuchProgramme(programme_no))?;
        parsed(programme_no, &rules)
    }

    /// The names in rules that no catalogue and no store has, with JSON pointers to them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unknown_names(
        &self,
        rules: &Rules,
    ) -> Result<Vec<(Level, String, String)>, ProgrammeError> {
        let names = rules.names();
        let unknown = sql::unknown_names(self.connection.client(), &names).await?;
        let named = |at: usize| {
            let (level, pointer, name) = &names[at];
            (*level, pointer.clone(), (*name).to_owned())
        };
        Ok(unknown.into_iter().map(named).collect())
    }
}

async fn begin(connection: &mut Connection) -> Result<Change<'_>, ProgrammeError> {
    Change::begin(connection).await?.ok_or(ProgrammeError::NotMigrated)
}

/// The newest epoch, if a further one may begin then.
async fn latest(change: &Change<'_>, start: &Start<'_>) -> Result<Latest, ProgrammeError> {
    let Start { on: asked, today, .. } = *start;
    if asked < today {
        return Err(ProgrammeError::Past { asked, today });
    }
    let newest = change.latest().await?.ok_or(ProgrammeError::NotMigrated)?;
    match newest.starts_on {
        Some(latest) if latest > asked => Err(ProgrammeError::StartsTooEarly { latest, asked }),
        _ => Ok(newest),
    }
}

fn parsed(programme_no: i32, rules: &str) -> Result<Rules, ProgrammeError> {
    serde_json::from_str(rules)
        .map_err(|error| ProgrammeError::Damaged(programme_no, error.to_string()))
}
