//! The terminals' calls about transactions: wire in, flow, wire out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::reading::{Parsed, read_swipe, settle};
use super::sql;
use super::wire::SwipeIn;
use crate::app::App;
use crate::catalogue::Workstation;
use crate::commit::{Command, NameKey, Outcome};
use crate::domain::name::SwipeName;
use crate::error::Error;
use crate::http::problem::{FieldError, Problem, ProblemOut, Slug};
use crate::http::request::{DeadlineHeader, SignedRequest, TILLSIDE_DEADLINE_MS};
use crate::http::signature::Terminal;
use crate::http::{body, json};
use crate::receipt::{self, Receipt, VoidReceipt};

/// `true` on the answer to a repetition.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// `true` when the transaction has been voided.
const TILLSIDE_VOIDED: HeaderName = HeaderName::from_static("tillside-voided");

const VOID: &str = "/v1/swipes/{store}/{workstation}/{business_date}/{sequence}/void";

/// Most items of a batch.
const BATCH_MAX: usize = 500;
/// Items of one batch that wait for a committer at a time.
const BATCH_WINDOW: usize = 128;
/// How long a batch may take when the terminal names no deadline.
const BATCH_DEADLINE: Duration = Duration::from_secs(5);

// ------------------------------------------------------------------- one swipe

/// Record one transaction
///
/// Exactly once, for ever: the same transaction sent again gets the same bytes. A sale that
/// happened is never refused for its loyalty part.
#[utoipa::path(
    post, path = "/v1/swipes", operation_id = "record_swipe", tag = "terminals",
    request_body(content = SwipeIn<'_>, content_type = "application/json"),
    params(DeadlineHeader),
    responses(
        (status = 201, description = "Recorded, and durable", body = Receipt<'_>),
        (status = 200, description = "Recorded before; the same bytes",
         body = Receipt<'_>, headers(
             ("Idempotent-Replayed" = String, description = "`true`"),
             ("Tillside-Voided" = String, description = "`true` when it has been voided since"))),
        (status = "4XX", description = "Not recorded",
         body = ProblemOut,
         content_type = "application/problem+json"),
        (status = 503, description = "Not recorded, or not known; send it again",
         body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn record(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let signed = app.read_signed(request).await?;
    let deadline = Instant::now() + Duration::from_millis(signed.deadline_ms);
    let parsing = std::time::Instant::now();
    let parsed = read_swipe(&app, &signed.terminal, &signed.body);
    app.metrics.phases.parse.observe(parsing.elapsed().as_secs_f64());
    let settled = match parsed {
        Ok(Parsed { command, workstation, refusal: None }) => Ok((command, workstation)),
        Ok(doubtful) => {
            let mut settled = settle(&app, vec![doubtful], deadline).await?;
            settled.pop().expect("one for each")
        }
        Err(problem) => Err(problem),
    };
    let outcome = match settled {
        Ok((command, workstation)) => app.committers.submit(command, workstation, deadline).await?,
        Err(problem) => {
            let problem = body::refusal(&signed.body, problem);
            app.quarantine("/v1/swipes", &signed, &signed.body, &problem).await;
            return Err(problem);
        }
    };
    match outcome {
        Outcome::Recorded { answer, replayed, voided } => {
            app.count_outcome(if replayed { "replayed" } else { "recorded" });
            Ok(recorded(answer, replayed, voided))
        }
        Outcome::NameReused => {
            app.count_outcome("name-reused");
            let problem = Problem::new(Slug::SwipeNameReused);
            app.quarantine("/v1/swipes", &signed, &signed.body, &problem).await;
            Err(problem)
        }
    }
}

// ----------------------------------------------------------------------- batch

/// Transactions and voids that were stored while offline, in any order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch)]
pub struct BatchIn<'a> {
    /// Up to 500 swipes and voids.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchItemIn<'_>>, min_items = 1, max_items = 500)]
    pub items: Vec<&'a RawValue>,
}

/// One item of a batch: exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchItem)]
pub struct BatchItemIn<'a> {
    /// A transaction.
    #[serde(borrow, default)]
    #[schema(value_type = Option<SwipeIn<'_>>)]
    pub swipe: Option<&'a RawValue>,
    /// The name of a transaction to be voided.
    #[serde(default)]
    #[schema(example = "0367/03/2026-03-14/31198")]
    pub void: Option<String>,
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchOutcome)]
pub struct BatchOut {
    /// One for each item, in the order of the items.
    pub outcomes: Vec<ItemOut>,
}

/// What became of one item, as if it had been sent by itself.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ItemOutcome)]
pub struct ItemOut {
    /// The status that it would have got by itself.
    #[schema(example = 201)]
    pub status: u16,
    /// Whether it had been recorded before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Whether the transaction is voided.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub voided: bool,
    /// The receipt of a swipe or of a void.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ItemReceipt<'_>>)]
    pub receipt: Option<Box<RawValue>>,
    /// Why it was not done; with a status of 503 it may be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemOut>,
}

/// The receipt of an item.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum ItemReceipt<'a> {
    /// Of a swipe.
    Swipe(Receipt<'a>),
    /// Of a void.
    Void(VoidReceipt<'a>),
}

/// Record what was stored while offline
///
/// Each item is judged by itself: good ones are applied once each, whatever becomes of the others.
#[utoipa::path(
    post, path = "/v1/swipes/batch", operation_id = "record_batch", tag = "terminals",
    request_body(content = BatchIn<'_>, content_type = "application/json"),
    params(DeadlineHeader),
    responses(
        (status = 200, description = "One outcome for each item", body = BatchOut),
        (status = "4XX", description = "Nothing was done",
         body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn record_batch(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let named_deadline = request.headers().contains_key(TILLSIDE_DEADLINE_MS);
    let signed = app.read_signed_batch(request).await?;
    let wait = Duration::from_millis(signed.deadline_ms);
    let deadline = Instant::now() + if named_deadline { wait } else { BATCH_DEADLINE };
    let batch = match parse_batch(&signed.body) {
        Ok(batch) => batch,
        Err(problem) => {
            let problem = body::refusal(&signed.body, problem);
            app.quarantine("/v1/swipes/batch", &signed, &signed.body, &problem).await;
            return Err(problem);
        }
    };

    let mut outcomes: Vec<ItemOut> = Vec::new();
    outcomes.resize_with(batch.items.len(), ItemOut::default);
    let (mut swipes, mut voids) = (Vec::new(), Vec::new());
    let (mut doubtful, mut places, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (at, item) in batch.items.iter().enumerate() {
        match read_item(&app, &signed.terminal, item.get().as_bytes()) {
            Ok(parsed @ Parsed { refusal: Some(_), .. }) => {
                doubtful.push(parsed);
                places.push(at);
            }
            Ok(Parsed { command: command @ Command::Record(_), workstation, .. }) => {
                swipes.push((at, command, workstation))
            }
            Ok(Parsed { command, workstation, .. }) => voids.push((at, command, workstation)),
            Err(problem) => refused.push((at, problem)),
        }
    }
    if !doubtful.is_empty() {
        match settle(&app, doubtful, deadline).await {
            Ok(settled) => {
                for (at, settled) in places.into_iter().zip(settled) {
                    match settled {
                        Ok((command, workstation)) => swipes.push((at, command, workstation)),
                        Err(problem) => refused.push((at, problem)),
                    }
                }
            }
            Err(error) => {
                let problem = error.into();
                for at in places {
                    outcomes[at] = ItemOut::refused(&app, &signed, &problem);
                }
            }
        }
    }
    for (at, problem) in refused {
        let item = batch.items[at].get().as_bytes();
        let problem = body::refusal(item, problem);
        app.quarantine("/v1/swipes/batch", &signed, item, &problem).await;
        let problem = problem.within(&format!("/items/{at}"));
        outcomes[at] = ItemOut::refused(&app, &signed, &problem);
    }
    // In the order in which they happened, so that a return finds its sale and a customer's
    // points run out as they should; what was undone comes after what was done.
    swipes.sort_by_cached_key(|(_, command, _)| command.order());
    for commands in [swipes, voids] {
        let submitted = stream::iter(commands).map(|(at, command, workstation)| {
            let committers = &app.committers;
            async move { (at, committers.submit(command, workstation, deadline).await) }
        });
        let mut submitted = submitted.buffered(BATCH_WINDOW);
        while let Some((at, outcome)) = submitted.next().await {
            outcomes[at] = match outcome {
                Ok(Outcome::Recorded { answer, replayed, voided }) => {
                    app.count_outcome(if replayed { "replayed" } else { "recorded" });
                    ItemOut::recorded(&answer, replayed, voided)
                }
                Ok(Outcome::NameReused) => {
                    app.count_outcome("name-reused");
                    let problem = Problem::new(Slug::SwipeNameReused);
                    let item = batch.items[at].get().as_bytes();
                    app.quarantine("/v1/swipes/batch", &signed, item, &problem).await;
                    ItemOut::refused(&app, &signed, &problem)
                }
                Err(error) => ItemOut::refused(&app, &signed, &error.into()),
            };
        }
    }
    Ok(json(StatusCode::OK, receipt::to_bytes(&BatchOut { outcomes })))
}

fn parse_batch(body: &[u8]) -> Result<BatchIn<'_>, Problem> {
    let batch: BatchIn<'_> = body::parse(body)?;
    if (1..=BATCH_MAX).contains(&batch.items.len()) {
        return Ok(batch);
    }
    let detail = "1 to 500 items are required".into();
    let finding = FieldError { pointer: "/items".into(), detail };
    Err(Problem::invalid(Slug::ValidationFailed, vec![finding]))
}

fn read_item(app: &App, terminal: &Terminal, item: &[u8]) -> Result<Parsed, Problem> {
    let exactly_one = || {
        let detail = "exactly one of swipe and void is required".into();
        let finding = FieldError { pointer: String::new(), detail };
        Problem::invalid(Slug::ValidationFailed, vec![finding])
    };
    match body::parse::<BatchItemIn<'_>>(item)? {
        BatchItemIn { swipe: Some(swipe), void: None } => {
            let mut parsed = read_swipe(app, terminal, swipe.get().as_bytes())
                .map_err(|problem| problem.within("/swipe"))?;
            parsed.refusal = parsed.refusal.map(|problem| problem.within("/swipe"));
            Ok(parsed)
        }
        BatchItemIn { swipe: None, void: Some(name) } => {
            let name: SwipeName = name.parse().map_err(|_| {
                let detail = "a swipe's name is required".into();
                let finding = FieldError { pointer: "/void".into(), detail };
                Problem::invalid(Slug::ValidationFailed, vec![finding])
            })?;
            let workstation = workstation_of(app, terminal, &name)?;
            Ok(Parsed { command: Command::Void(name), workstation, refusal: None })
        }
        _ => Err(exactly_one()),
    }
}

impl ItemOut {
    fn recorded(answer: &Bytes, replayed: bool, voided: bool) -> Self {
        let receipt = std::str::from_utf8(answer).expect("answers are JSON").to_owned();
        let status = if replayed { StatusCode::OK } else { StatusCode::CREATED };
        Self {
            status: status.as_u16(),
            replayed,
            voided,
            receipt: Some(RawValue::from_string(receipt).expect("answers are JSON")),
            problem: None,
        }
    }

    fn refused(app: &App, signed: &SignedRequest, problem: &Problem) -> Self {
        app.count_problem(problem.slug());
        Self {
            status: problem.slug().status().as_u16(),
            problem: Some(problem.to_wire(&app.config.chain.public_url, signed.request_id)),
            ..Self::default()
        }
    }
}

// ------------------------------------------------------------- outcome and void

/// The four parts of a name, as they stand in a path.
type NameParts = (String, String, String, String);

/// What became of a transaction
///
/// For a terminal that got no answer. 404 is not final: send the transaction again.
#[utoipa::path(
    get, path = "/v1/swipes/{store}/{workstation}/{business_date}/{sequence}",
    operation_id = "get_swipe", tag = "terminals",
    params(
        ("store" = String, Path, example = "0367"),
        ("workstation" = String, Path, example = "03"),
        ("business_date" = String, Path, example = "2026-03-14"),
        ("sequence" = i64, Path, example = 31198),
    ),
    responses(
        (status = 200, description = "Its receipt",
         body = Receipt<'_>, headers(
             ("Tillside-Voided" = String, description = "`true` when it has been voided since"))),
        (status = 404, description = "Not recorded so far",
         body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused",
         body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn outcome(
    State(app): State<Arc<App>>,
    parts: Result<Path<NameParts>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let signed = app.read_signed(request).await?;
    let (name, workstation) = name_in_path(&app, &signed.terminal, parts)?;
    let found = sql::find(&app.pool, NameKey::new(&workstation, &name)).await;
    match found.map_err(Error::from)? {
        Some(sql::Found { receipt: Some(stored), voided }) => {
            let answer = receipt::decompress(&stored)?;
            let mut response = json(StatusCode::OK, answer);
            mark(&mut response, TILLSIDE_VOIDED, voided);
            Ok(response)
        }
        Some(sql::Found { receipt: None, .. }) => {
            let yes = HeaderValue::from_static("true");
            Err(Problem::new(Slug::NotFound).header(TILLSIDE_VOIDED, yes))
        }
        None => Err(Problem::new(Slug::NotFound)),
    }
}

/// A void says everything in its address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoidIn {}

/// Undo a transaction as a whole
///
/// Also before the sale has come: then the sale will earn nothing. The sale keeps its receipt.
#[utoipa::path(
    post, path = "/v1/swipes/{store}/{workstation}/{business_date}/{sequence}/void",
    operation_id = "void_swipe", tag = "terminals",
    params(
        ("store" = String, Path, example = "0367"),
        ("workstation" = String, Path, example = "03"),
        ("business_date" = String, Path, example = "2026-03-14"),
        ("sequence" = i64, Path, example = 31198),
        DeadlineHeader,
    ),
    responses(
        (status = 201, description = "Undone, and durable", body = VoidReceipt<'_>),
        (status = 200, description = "Undone before; the same bytes",
         body = VoidReceipt<'_>, headers(("Idempotent-Replayed" = String, description = "`true`"))),
        (status = "4XX", description = "Refused",
         body = ProblemOut,
         content_type = "application/problem+json"),
        (status = 503, description = "Not done, or not known; send it again",
         body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn void(
    State(app): State<Arc<App>>,
    parts: Result<Path<NameParts>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let signed = app.read_signed(request).await?;
    let deadline = Instant::now() + Duration::from_millis(signed.deadline_ms);
    if !signed.body.trim_ascii().is_empty()
        && let Err(problem) = body::parse::<VoidIn>(&signed.body)
    {
        app.quarantine(VOID, &signed, &signed.body, &problem).await;
        return Err(problem);
    }
    let (name, workstation) = name_in_path(&app, &signed.terminal, parts)?;
    match app.committers.submit(Command::Void(name), workstation, deadline).await? {
        Outcome::Recorded { answer, replayed, .. } => {
            app.count_outcome(if replayed { "void-replayed" } else { "voided" });
            Ok(recorded(answer, replayed, true))
        }
        Outcome::NameReused => unreachable!("a void has no content that could differ"),
    }
}

fn name_in_path(
    app: &App,
    terminal: &Terminal,
    parts: Result<Path<NameParts>, PathRejection>,
) -> Result<(SwipeName, Arc<Workstation>), Problem> {
    let Path((store, workstation, date, sequence)) = parts.map_err(|_| Slug::NotFound)?;
    let name = SwipeName::from_parts(&store, &workstation, &date, &sequence);
    let name = name.map_err(|_| Slug::NotFound)?;
    let workstation = workstation_of(app, terminal, &name)?;
    Ok((name, workstation))
}

/// The workstation of a name; any of the terminal's own store.
fn workstation_of(
    app: &App,
    terminal: &Terminal,
    name: &SwipeName,
) -> Result<Arc<Workstation>, Problem> {
    if name.store_id != *terminal.store_id {
        return Err(Problem::new(Slug::TerminalMismatch));
    }
    let snapshot = app.catalogue.current();
    let workstation = snapshot.workstation(&name.store_id, &name.workstation_id);
    workstation.cloned().ok_or_else(|| Problem::new(Slug::NotFound))
}

// --------------------------------------------------------------------- answers

fn recorded(answer: Bytes, replayed: bool, voided: bool) -> Response {
    let status = if replayed { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = json(status, answer);
    mark(&mut response, IDEMPOTENT_REPLAYED, replayed);
    mark(&mut response, TILLSIDE_VOIDED, voided);
    response
}

fn mark(response: &mut Response, name: HeaderName, holds: bool) {
    if holds {
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
}
