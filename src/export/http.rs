//! The routes that answer files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderValue, header};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{AsOf, COLUMNS, Filters, Format, sql, write};
use crate::app::App;
use crate::error::Error;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::query;
use crate::office::{Actor, Trace, audit};

/// Pages on their way to a reader.
const UNDER_WAY: usize = 2;
/// However fast its reader is, a file is not worth a snapshot for longer.
const EXPORT_MAX: Duration = Duration::from_secs(3_600);

/// How a file is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ExportFormat)]
pub enum FormatIn {
    /// RFC 4180, with a first line of names.
    #[default]
    Csv,
    /// A JSON object in each line.
    Ndjson,
}

/// Which accounts a file shall have; what is left out does not matter.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccountsIn {
    /// `csv` or `ndjson`.
    #[serde(default)]
    #[param(inline)]
    format: FormatIn,
    /// Enrolled accounts only, or those only that are not.
    enrolled: Option<bool>,
    /// Accounts with a person who has agreed to this.
    #[param(example = "email-offers")]
    consent: Option<String>,
    /// Accounts with a purchase on this day or later.
    #[param(value_type = Option<String>, format = Date)]
    visited_since: Option<Date>,
    /// Accounts with so many points or more.
    points_min: Option<i64>,
}

/// Export accounts
///
/// A file with a line for each account of a customer: points, tier, visits and spend of 30, 90 and
/// 365 days, last visit, the three categories that stood in the most of the latest fifty baskets of
/// 90 days (sensitive articles left out, and none of accounts that may not be profiled), consents.
/// Streamed from one snapshot. In CSV a text that a spreadsheet would take for a formula begins
/// with an apostrophe.
#[utoipa::path(
    get, path = "/v1/exports/accounts", operation_id = "export_accounts", tag = "office",
    params(AccountsIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
        (status = 503, description = "Two exports are under way", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn accounts(
    State(app): State<Arc<App>>,
    actor: Actor,
    wanted: Result<Query<AccountsIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let AccountsIn { format, enrolled, consent, visited_since, points_min } = query(wanted)?;
    let is_word = |text: &String| {
        (1..=40).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    if !consent.as_ref().is_none_or(is_word) {
        return Err(Problem::new(Slug::ValidationFailed)
            .detail("consent must be a word of a to z and hyphens, of at most 40 characters."));
    }
    let busy = Error::Overloaded { retry_after: Duration::from_secs(30) };
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| busy)?;
    let format = match format {
        FormatIn::Csv => Format::Csv,
        FormatIn::Ndjson => Format::Ndjson,
    };

    // Before the first byte: an export without a trace must not exist.
    let shown = |name: &str, value: Option<String>| value.map(|value| format!("{name}={value}"));
    let filters = [
        shown("enrolled", enrolled.map(|it| it.to_string())),
        shown("consent", consent.clone()),
        shown("visited_since", visited_since.map(|it| it.to_string())),
        shown("points_min", points_min.map(|it| it.to_string())),
    ];
    let filters: Vec<String> = filters.into_iter().flatten().collect();
    let object = match filters.is_empty() {
        true => "accounts".to_owned(),
        false => format!("accounts?{}", filters.join("&")),
    };
    let trace = Trace {
        user_no: Some(actor.user_no),
        action: "export.accounts",
        object: &object,
        fields: &COLUMNS,
    };
    audit(&app.pool, &trace, Timestamp::now()).await.map_err(Error::from)?;

    let snapshot = sql::Snapshot::open(&app.config.database).await.map_err(Error::from)?;
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let (today, catalogue) = (app.today(), app.catalogue.current());
    let as_of = AsOf { today, catalogue, profiling: app.config.coupons.profiling };
    let filters = Filters { enrolled, consent, visited_since, points_min };
    let whole = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&whole);
    tokio::spawn(async move {
        let writing = write(snapshot, &filters, format, &as_of, &sender);
        let outcome = tokio::time::timeout(EXPORT_MAX, writing).await;
        written.store(matches!(outcome, Ok(true)), Ordering::Release);
        drop((sender, permit));
    });
    // However the writing ended, a file that is not whole must not seem so: its answer breaks.
    let pages = stream::unfold(Some((receiver, whole)), async |reading| {
        let (mut receiver, whole) = reading?;
        match receiver.recv().await {
            Some(page) => Some((Ok(page), Some((receiver, whole)))),
            None if whole.load(Ordering::Acquire) => None,
            None => Some((Err(Error::OutcomeUnknown), None)),
        }
    });
    let mut answer = Response::new(Body::from_stream(pages));
    let (kind, disposition) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"accounts.csv\""),
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"accounts.ndjson\""),
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    Ok(answer)
}
