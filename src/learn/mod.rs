//! What the till chooses coupons with, learned from the chain's own history: read, fitted, judged
//! on coupons that were held out, published from a business date on, and rolled back.
//!
//! Publishing changes nothing that is there: it adds a model and an epoch that begins on a date, as
//! a programme's does, and every swipe remembers its epoch. Reads one snapshot of the database and
//! locks nothing while it does. Must never decide what a sign means: that is `domain::selection`.
//!
//! In reading order: `history`, `fit`, `sql`, [`http`].

mod fit;
mod history;
pub mod http;
mod sql;

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::fit::{Accuracy, Coupons, Fitted, Judged, TooLittle};
use self::sql::Connection;
use crate::catalogue::Model;
use crate::config::Database;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::selection::offers::OfferWeights;
use crate::domain::selection::sold::Sold;
use crate::error::Error;
use crate::office::once::Claim;

/// Why nothing was learned or changed.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The database has no schema, no chain or no first epoch.
    #[error("the database is not set up yet: run `tillside migrate` first")]
    NotMigrated,
    /// Epochs are ordered in time.
    #[error(
        "the newest epoch starts on {latest}; a further one cannot start on {asked}, before it: \
         give --from {latest} or later"
    )]
    StartsTooEarly {
        /// When the newest epoch starts.
        latest: Date,
        /// What was asked for.
        asked: Date,
    },
    /// What was chosen on past days stays chosen.
    #[error("{asked} has passed: give --from {today} or later")]
    Past {
        /// What was asked for.
        asked: Date,
        /// The chain's day.
        today: Date,
    },
    /// What is built in counts, and always has.
    #[error("no model was ever published: nothing was rolled back")]
    NothingBefore,
    /// Nothing was published.
    #[error("{0}")]
    TooLittle(TooLittle),
    /// Nothing was published.
    #[error(
        "what was learned does clearly worse than what counts now: an area under the curve of \
         {:.3} instead of {:.3} on the coupons that were held out, more than two standard errors \
         ({:.3} each) less. Nothing was published; --even-if-worse insists",
        .0.learned.auc, .0.in_force.auc, .0.auc_difference_se
    )]
    ClearlyWorse(Judged),
    /// The database failed, or what is in it cannot be read.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<DbError> for LearnError {
    fn from(error: DbError) -> Self {
        // undefined_table
        match error.sqlstate() {
            Some("42P01") => Self::NotMigrated,
            _ => Self::Failed(error.into()),
        }
    }
}

/// How much there was to learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelSources)]
pub struct Sources {
    /// Baskets, those without a card included.
    pub baskets: u64,
    /// Accounts that had coupons.
    pub accounts: u64,
    /// Coupons that had ended.
    pub coupons: u64,
    /// Of those the redeemed ones.
    pub redeemed: u64,
}

/// What was learned.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Nothing of this business date or later was looked at.
    pub until: Date,
    /// From how much.
    pub sources: Sources,
    /// The model that counts now; none: what is built in.
    pub in_force: Option<i32>,
    /// Weights, and how well they do; or why there are none.
    pub fitted: Result<Fitted, TooLittle>,
    weights_in_force: OfferWeights,
    sold: Sold,
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PublishedModel)]
pub struct Published {
    /// The model; none: what is built in.
    pub model_no: Option<i32>,
    /// The epoch that brings it into force.
    pub epoch: i32,
    /// First business date.
    #[schema(value_type = String, format = Date)]
    pub starts_on: Date,
}

/// A start of a model.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ModelVersion)]
pub struct Version {
    /// The model; none: what is built in.
    pub model_no: Option<i32>,
    /// The epoch that brings it into force.
    pub epoch: i32,
    /// First business date.
    #[schema(value_type = Option<String>, format = Date)]
    pub starts_on: Option<Date>,
    /// When the epoch was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Nothing of this business date or later was learned from.
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<Date>,
    /// From how much it was learned.
    pub sources: Option<Sources>,
    /// How well it did beside what counted before; null when only how popular articles are was
    /// learned.
    pub judged: Option<Judged>,
    /// Why.
    pub note: String,
    /// The user who made it; null for somebody at the command line.
    pub user: Option<i32>,
    /// The address of that user.
    pub email: Option<String>,
}

/// When a change begins to hold, and what is said about it.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// First business date; none: today, or when the newest epoch starts, if that is still to
    /// come.
    pub from: Option<Date>,
    /// The chain's day, before which nothing may begin.
    pub today: Date,
    /// Stands in the epoch.
    pub note: &'a str,
}

/// What of [`Learned`] is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Weights and popularity; weights that do clearly worse than those in force only when
    /// somebody insists.
    All {
        /// Somebody does.
        even_if_worse: bool,
    },
    /// How popular articles are; weights stay what they are.
    Popularity,
}

/// Learns and publishes. Owns its connection.
#[derive(Debug)]
pub struct Learner {
    connection: Connection,
    by: By,
}

/// Who changes something, and when.
#[derive(Clone, Debug)]
struct By {
    /// A user of the back office, with the key under which the answer is kept; none at the
    /// command line.
    user: Option<(i32, Claim)>,
    now: Timestamp,
}

impl Learner {
    /// Connects to the database, at the command line. `now` stands in what is written.
    ///
    /// # Errors
    /// When no connection comes about.
    pub async fn connect(settings: &Database, now: Timestamp) -> Result<Self, LearnError> {
        let by = By { user: None, now };
        Ok(Self { connection: Connection::open(settings).await?, by })
    }

    /// Over a connection of the pool, for a user of the back office when something is to be
    /// changed: what is answered then is kept under the key, in the same transaction.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn over(
        pool: &Pool,
        user: Option<(i32, Claim)>,
        now: Timestamp,
    ) -> Result<Self, LearnError> {
        let connection = Connection::Pooled(pool.get().await.map_err(DbError::from)?);
        Ok(Self { connection, by: By { user, now } })
    }

    /// Learns from everything before a business date: all baskets, and the coupons whose last day
    /// lies before it. `step` is told how many baskets were read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn learn(
        &mut self,
        until: Date,
        step: impl FnMut(u64),
    ) -> Result<Learned, LearnError> {
        self.connection.begin_reading().await?;
        let snapshot = self.connection.snapshot().await?;
        let newest = snapshot.epoch_on(Date::MAX).ok_or(LearnError::NotMigrated)?;
        let (in_force, model): (_, Arc<Model>) = snapshot.model_of(newest.epoch);
        let history = history::read(&self.connection, &snapshot, until, step).await?;
        self.connection.end_reading().await?;
        let known = history.known(&snapshot);
        Ok(Learned {
            until,
            sources: history.sources,
            in_force,
            fitted: fit::fit(&history, &known, &model.weights),
            weights_in_force: model.weights,
            sold: history.sold,
        })
    }

    /// Stores what was learned and brings it into force: a further model, a further epoch.
    ///
    /// # Errors
    /// When there was too little to learn weights from, when they do clearly worse than those in
    /// force, or when nothing was changed.
    pub async fn publish(
        &mut self,
        learned: &Learned,
        part: Part,
        start: &Start<'_>,
    ) -> Result<Published, LearnError> {
        let (weights, judged) = match (part, &learned.fitted) {
            (Part::Popularity, _) => (learned.weights_in_force, None),
            (Part::All { even_if_worse }, Ok(Fitted { judged, .. }))
                if judged.is_clearly_worse() && !even_if_worse =>
            {
                return Err(LearnError::ClearlyWorse(*judged));
            }
            (Part::All { .. }, Ok(fitted)) => (fitted.weights, Some(&fitted.judged)),
            (Part::All { .. }, Err(little)) => return Err(LearnError::TooLittle(*little)),
        };
        let stored = Stored { sources: learned.sources, judged: judged.copied() };
        let change = sql::Change::begin(&mut self.connection, &self.by).await?;
        let starts_on = change.start(start).await?;
        let model_no =
            change.create_model(&weights, &learned.sold.encode(), learned.until, &stored).await?;
        change.finish("model.publish", Some(model_no), starts_on, start.note).await
    }

    /// Brings the model before the newest one into force again, or what is built in, by a further
    /// epoch. Twice is undone.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn roll_back(&mut self, start: &Start<'_>) -> Result<Published, LearnError> {
        let change = sql::Change::begin(&mut self.connection, &self.by).await?;
        let starts_on = change.start(start).await?;
        let model_no = change.previous().await?.ok_or(LearnError::NothingBefore)?;
        change.finish("model.roll-back", model_no, starts_on, start.note).await
    }

    /// Every start of a model, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn versions(&self) -> Result<Vec<Version>, LearnError> {
        self.connection.versions().await
    }
}

/// What is kept beside a model.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    sources: Sources,
    #[serde(skip_serializing_if = "Option::is_none")]
    judged: Option<Judged>,
}
