//! The routes of people about what the till chooses coupons with. Learning itself reads every sale
//! and takes minutes: that is a command's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LearnError, Learner, Published, Start, Version};
use crate::app::App;
use crate::error::Error;
use crate::http::body::parse;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::Actor;
use crate::office::http::{check_note, create, invalid};
use crate::receipt::to_bytes;

/// What tills choose coupons with, and have chosen with.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelVersions)]
pub struct VersionsOut {
    /// The model that counts today; null: what is built in.
    pub in_force: Option<i32>,
    /// Every start of a model, the oldest first. Before the first what is built in counts.
    pub versions: Vec<VersionOut>,
}

/// A start of a model.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelStart)]
pub struct VersionOut {
    /// `in-force`; `coming`, when its first day lies ahead; `past`, when a later one has begun.
    #[schema(example = "in-force")]
    pub state: &'static str,
    /// What it was learned from, how it did, when it counts, why, and who brought it into force.
    pub version: Version,
}

/// How the model is to be rolled back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelRollBack)]
pub struct RollBackIn {
    /// First business date; left out: today, or the day on which the newest epoch starts if that
    /// is still to come.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    pub on: Option<Date>,
    /// Why; shown with the versions. No names of people.
    #[serde(default = "rolled_back")]
    #[schema(max_length = 200, default = "model rolled back")]
    pub note: String,
}

fn rolled_back() -> String {
    "model rolled back".to_owned()
}

fn refused(error: LearnError) -> Problem {
    match error {
        LearnError::StartsTooEarly { .. } => {
            invalid("/on", "a day on which the newest epoch has started is required")
        }
        LearnError::Past { .. } => invalid("/on", "today or a later day is required"),
        LearnError::NothingBefore | LearnError::TooLittle(_) | LearnError::ClearlyWorse(_) => {
            Slug::ModelUnchanged.into()
        }
        LearnError::NotMigrated => Error::Damaged("no programme is in force".into()).into(),
        LearnError::Failed(error) => error.into(),
    }
}

/// List what tills choose coupons with
///
/// Every model that was published with `tillside learn --publish`: from which day it counts, what
/// it was learned from, and how well it did on coupons that were held out.
#[utoipa::path(
    get, path = "/v1/models", operation_id = "list_models", tag = "office",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Every start of a model", body = VersionsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list(State(app): State<Arc<App>>, _actor: Actor) -> Result<Response, Problem> {
    let learner = Learner::over(&app.pool, None, Timestamp::now()).await.map_err(refused)?;
    let versions = learner.versions().await.map_err(refused)?;
    let today = app.today();
    let begun = |version: &Version| version.starts_on.is_none_or(|date| date <= today);
    let newest = versions.iter().rev().find(|version| begun(version));
    let (in_force, epoch) = (newest.and_then(|it| it.model_no), newest.map(|it| it.epoch));
    let state = |version: &Version| match version.epoch {
        number if Some(number) == epoch => "in-force",
        _ if begun(version) => "past",
        _ => "coming",
    };
    let out = |version: Version| VersionOut { state: state(&version), version };
    let versions = versions.into_iter().map(out).collect();
    Ok(json(StatusCode::OK, to_bytes(&VersionsOut { in_force, versions })))
}

/// Roll back what tills choose coupons with
///
/// Needs an `Idempotency-Key`. Brings the model before the newest one into force again, or what is
/// built in, by a further epoch; rolling back twice leads to where one was. Every replica knows it
/// within a second.
#[utoipa::path(
    post, path = "/v1/models/roll-back", operation_id = "roll_back_model", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = RollBackIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Published", body = Published),
        (status = 409, description = "No model was ever published",
         body = ProblemOut, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn roll_back(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let RollBackIn { on, note } = parse(&body)?;
        check_note(&note)?;
        let user = Some((actor.user_no, claim));
        let learner = Learner::over(&app.pool, user, Timestamp::now()).await;
        let start = Start { from: on, today: app.today(), note: &note };
        let published = learner.map_err(refused)?.roll_back(&start).await.map_err(refused)?;
        Ok(to_bytes(&published))
    })
    .await
}
