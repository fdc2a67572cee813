//! The routes of people about the programme.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::file::{File, Finding};
use super::{Draft, Drafted, ProgrammeError, Programmes, Published, Start, Version};
use crate::app::App;
use crate::domain::programme::{Level, Rules};
use crate::error::Error;
use crate::http::body::{holds_payment_card, parse};
use crate::http::json;
use crate::http::problem::{FieldError, Problem, ProblemOut, Slug};
use crate::office::Actor;
use crate::office::http::{check_note, create, invalid};
use crate::receipt::to_bytes;

/// Every version of the programme, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = ProgrammeVersions)]
pub struct VersionsOut {
    /// The versions.
    pub versions: Vec<VersionOut>,
    /// Programmes that were never in force, the newest first, at most a hundred.
    pub drafts: Vec<Draft>,
}

/// A version of the programme.
#[derive(Serialize, ToSchema)]
#[schema(as = ProgrammeVersion)]
pub struct VersionOut {
    /// `in-force`; `coming`, when its first day lies ahead; `past`, when a later one has begun.
    #[schema(example = "in-force")]
    pub state: &'static str,
    /// When it holds, why, and who brought it into force.
    pub version: Version,
}

/// The rules of a programme.
#[derive(Serialize, ToSchema)]
#[schema(as = ProgrammeRules)]
pub struct RulesOut {
    /// The programme's number.
    #[schema(example = 3)]
    pub programme_no: i32,
    /// As they can be published again, in TOML.
    pub text: String,
    /// The same as JSON, which can be published as a text as well.
    #[schema(value_type = Object)]
    pub rules: Rules,
}

/// A programme as people write it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgrammeText)]
pub struct TextIn {
    /// The rules, in TOML, or in JSON when it begins with a brace.
    pub text: String,
}

/// What is wrong with a programme.
#[derive(Serialize, ToSchema)]
#[schema(as = ProgrammeFindings)]
pub struct FindingsOut {
    /// Whether it could be published.
    pub sound: bool,
    /// What is wrong; of a misshapen text only the first.
    pub findings: Vec<FindingOut>,
}

/// Something that is wrong, and where.
#[derive(Serialize, ToSchema)]
#[schema(as = ProgrammeFinding)]
pub struct FindingOut {
    /// Line of the text, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// A programme to be kept until somebody publishes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgrammeDraftText)]
pub struct DraftIn {
    /// The rules, in TOML, or in JSON when it begins with a brace.
    pub text: String,
    /// Keep it although no catalogue and no store has some of the names yet.
    #[serde(default)]
    pub unknown_names: bool,
}

/// A programme to be brought into force: one of `text` and `programme_no` says which.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgrammePublication)]
pub struct PublishIn {
    /// The rules, in TOML, or in JSON when it begins with a brace.
    #[serde(default)]
    pub text: Option<String>,
    /// The number of a draft, or of a programme of before.
    #[serde(default)]
    #[schema(example = 4)]
    pub programme_no: Option<i32>,
    /// First business date on which they hold; today: for what is recorded from now on.
    #[schema(value_type = String, format = Date)]
    pub on: Date,
    /// Why; shown with the versions. No names of people.
    #[serde(default = "published")]
    #[schema(max_length = 200, default = "published")]
    pub note: String,
    /// Publish although no catalogue and no store has some of the names yet.
    #[serde(default)]
    pub unknown_names: bool,
}

fn published() -> String {
    "published".to_owned()
}

/// How the programme is to be rolled back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgrammeRollBack)]
pub struct RollBackIn {
    /// First business date; left out: today, or the day on which the newest version starts if
    /// that is still to come.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    pub on: Option<Date>,
    /// Why; shown with the versions. No names of people.
    #[serde(default = "rolled_back")]
    #[schema(max_length = 200, default = "rolled back")]
    pub note: String,
}

fn rolled_back() -> String {
    "rolled back".to_owned()
}

fn refused(error: ProgrammeError) -> Problem {
    match error {
        ProgrammeError::StartsTooEarly { .. } => {
            invalid("/on", "a day on which the newest version has started is required")
        }
        ProgrammeError::Past { .. } => invalid("/on", "today or a later day is required"),
        ProgrammeError::InForce { .. } | ProgrammeError::NothingBefore => {
            Slug::ProgrammeUnchanged.into()
        }
        ProgrammeError::NoSuchProgramme(_) => Slug::NotFound.into(),
        ProgrammeError::NotMigrated => Error::Damaged("no programme is in force".into()).into(),
        ProgrammeError::Damaged(programme_no, why) => {
            Error::Damaged(format!("programme {programme_no}: {why}")).into()
        }
        ProgrammeError::Database(error) => Error::from(error).into(),
    }
}

/// What is wrong with a text, names that nothing has included unless they may stand there.
async fn read<'a>(
    programmes: &Programmes,
    text: &'a str,
    unknown_names: bool,
) -> Result<Result<File<'a>, Vec<Finding>>, Problem> {
    let file = match File::read(text) {
        Ok(file) => file,
        Err(findings) => return Ok(Err(findings)),
    };
    if unknown_names {
        return Ok(Ok(file));
    }
    let unknown = programmes.unknown_names(&file.rules).await.map_err(refused)?;
    let finding = |(level, pointer, name): &(Level, String, String)| {
        let level = format!("{level:?}").to_lowercase();
        file.finding(pointer, format!("no {level} is known as {name:?}"))
    };
    let findings: Vec<Finding> = unknown.iter().map(finding).collect();
    Ok(if findings.is_empty() { Ok(file) } else { Err(findings) })
}

/// Refuses a text by the places of what is wrong. No input is repeated: a finding may hold a word
/// of the text.
fn unsound(findings: Vec<Finding>) -> Problem {
    let place = |finding: Finding| FieldError {
        pointer: "/text".to_owned(),
        detail: format!("line {}, column {}", finding.line, finding.column).into(),
    };
    Problem::invalid(Slug::ValidationFailed, findings.into_iter().map(place).collect())
        .detail("errors names the places; POST /v1/programme/check says what is wrong.")
}

/// List the versions of the programme
///
/// Which is in force, from which day each holds, why, and who brought it into force; and the
/// drafts.
#[utoipa::path(
    get, path = "/v1/programme", operation_id = "list_programme", tag = "office",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Every version", body = VersionsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list(State(app): State<Arc<App>>, _actor: Actor) -> Result<Response, Problem> {
    let programmes = Programmes::over(&app.pool, None, Timestamp::now()).await.map_err(refused)?;
    let versions = programmes.versions().await.map_err(refused)?;
    let today = app.today();
    let begun = |version: &Version| version.starts_on.is_none_or(|date| date <= today);
    let in_force = versions.iter().rev().find(|version| begun(version)).map(|it| it.epoch);
    let state = |version: &Version| match version.epoch {
        epoch if Some(epoch) == in_force => "in-force",
        _ if begun(version) => "past",
        _ => "coming",
    };
    let out = |version: Version| VersionOut { state: state(&version), version };
    let versions = versions.into_iter().map(out).collect();
    let drafts = programmes.drafts().await.map_err(refused)?;
    Ok(json(StatusCode::OK, to_bytes(&VersionsOut { versions, drafts })))
}

/// Read the rules of a programme
///
/// As they can be published again.
#[utoipa::path(
    get, path = "/v1/programme/{programme}", operation_id = "get_programme", tag = "office",
    params(("programme" = i32, Path, example = 3)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Its rules", body = RulesOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    _actor: Actor,
    programme: Result<Path<i32>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(programme_no) = programme.map_err(|_| Slug::NotFound)?;
    let programmes = Programmes::over(&app.pool, None, Timestamp::now()).await.map_err(refused)?;
    let rules = programmes.rules(programme_no).await.map_err(refused)?;
    let text = toml::to_string(&rules).map_err(|error| Error::Damaged(error.to_string()))?;
    Ok(json(StatusCode::OK, to_bytes(&RulesOut { programme_no, text, rules })))
}

/// Check a programme
///
/// Says what is wrong, with line and column, and stores nothing.
#[utoipa::path(
    post, path = "/v1/programme/check", operation_id = "check_programme", tag = "office",
    request_body(content = TextIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What is wrong with it", body = FindingsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn check(
    State(app): State<Arc<App>>,
    _actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.read_unsigned(&parts.headers, body).await?;
    if holds_payment_card(&body) {
        return Err(Slug::PaymentCardDataRefused.into());
    }
    let TextIn { text } = parse(&body)?;
    let programmes = Programmes::over(&app.pool, None, Timestamp::now()).await.map_err(refused)?;
    let findings = read(&programmes, &text, false).await?.err().unwrap_or_default();
    let out = |finding: Finding| {
        let Finding { line, column, problem } = finding;
        FindingOut { line, column, problem }
    };
    let sound = findings.is_empty();
    let findings = findings.into_iter().map(out).collect();
    Ok(json(StatusCode::OK, to_bytes(&FindingsOut { sound, findings })))
}

/// Publish a programme
///
/// Needs an `Idempotency-Key`. A further version holds from a business date on; nothing that was
/// recorded changes. Every replica knows it within a second. What is wrong with the text is said
/// by its place; `/v1/programme/check` says more.
#[utoipa::path(
    post, path = "/v1/programme", operation_id = "publish_programme", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = PublishIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Published", body = Published),
        (status = 409, description = "These rules are those of the newest version",
         body = ProblemOut, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn publish(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let PublishIn { text, programme_no, on, note, unknown_names } = parse(&body)?;
        check_note(&note)?;
        let user = Some((actor.user_no, claim));
        let programmes = Programmes::over(&app.pool, user, Timestamp::now()).await;
        let mut programmes = programmes.map_err(refused)?;
        let start = Start { on, today: app.today(), note: &note };
        let published = match (text, programme_no) {
            (Some(text), None) => {
                let read = read(&programmes, &text, unknown_names).await?;
                programmes.publish(&read.map_err(unsound)?.rules, &start).await
            }
            (None, Some(programme_no)) => {
                let rules = programmes.rules(programme_no).await.map_err(|error| match error {
                    ProgrammeError::NoSuchProgramme(_) => {
                        invalid("/programme_no", "no programme has this number")
                    }
                    other => refused(other),
                })?;
                let unknown = programmes.unknown_names(&rules).await.map_err(refused)?;
                if let Some((_, pointer, _)) = unknown.first().filter(|_| !unknown_names) {
                    let detail = format!("of its rules, nothing has the name at {pointer} yet");
                    return Err(invalid("/programme_no", detail));
                }
                programmes.publish_kept(programme_no, &start).await
            }
            _ => return Err(invalid("/text", "one of text and programme_no is required")),
        };
        Ok(to_bytes(&published.map_err(refused)?))
    })
    .await
}

/// Draft a programme
///
/// Needs an `Idempotency-Key`. Checks it and keeps it under a number, in force for nobody, until
/// it is published by that number: so one person may write it and another decide when it holds.
#[utoipa::path(
    post, path = "/v1/programme/drafts", operation_id = "draft_programme", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = DraftIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Kept", body = Drafted),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn draft(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let DraftIn { text, unknown_names } = parse(&body)?;
        let user = Some((actor.user_no, claim));
        let programmes = Programmes::over(&app.pool, user, Timestamp::now()).await;
        let mut programmes = programmes.map_err(refused)?;
        let file = read(&programmes, &text, unknown_names).await?.map_err(unsound)?;
        Ok(to_bytes(&programmes.draft(&file.rules).await.map_err(refused)?))
    })
    .await
}

/// Roll the programme back
///
/// Needs an `Idempotency-Key`. Brings the programme before the newest one into force again, by a
/// further version; rolling back twice leads to where one was.
#[utoipa::path(
    post, path = "/v1/programme/roll-back", operation_id = "roll_back_programme", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = RollBackIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Published", body = Published),
        (status = 409, description = "There is no programme before the newest one",
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
        let programmes = Programmes::over(&app.pool, user, Timestamp::now()).await;
        let mut programmes = programmes.map_err(refused)?;
        let published = programmes.roll_back(on, app.today(), &note).await.map_err(refused)?;
        Ok(to_bytes(&published))
    })
    .await
}
