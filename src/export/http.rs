//! The routes that answer files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderValue, Uri, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{Basis, COLUMNS, Format, write};
use crate::app::App;
use crate::domain::segment::Segment;
use crate::error::Error;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::query;
use crate::office::{Actor, Trace, audit};
use crate::segment::{AsOf, Detail, Snapshot};

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

/// How the file is to be written; which accounts it shall have is told beside it.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileIn {
    /// `csv` or `ndjson`.
    #[serde(default)]
    #[param(inline)]
    format: FormatIn,
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
    params(FileIn, Segment),
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
    uri: Uri,
) -> Result<Response, Problem> {
    let FileIn { format } = query(Query::try_from_uri(&uri))?;
    // What is not known is refused, so what is the file's own is taken out first.
    let pairs = uri.query().unwrap_or_default().split('&');
    let others: Vec<&str> = pairs.filter(|pair| !pair.starts_with("format=")).collect();
    let others = format!("/?{}", others.join("&")).parse().map_err(|_| Slug::ValidationFailed)?;
    let segment: Segment = query(Query::try_from_uri(&others))?;
    segment.check().map_err(|(field, asked)| {
        Problem::new(Slug::ValidationFailed).detail(format!("{field} {asked}."))
    })?;
    let busy = Error::Overloaded { retry_after: Duration::from_secs(30) };
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| busy)?;
    let format = match format {
        FormatIn::Csv => Format::Csv,
        FormatIn::Ndjson => Format::Ndjson,
    };

    // Before the first byte: an export without a trace must not exist.
    let object = match serde_json::to_value(&segment) {
        Ok(Value::Object(filters)) if !filters.is_empty() => {
            let shown = |(name, value): (&String, &Value)| match value.as_str() {
                Some(text) => format!("{name}={text}"),
                None => format!("{name}={value}"),
            };
            let filters: Vec<String> = filters.iter().map(shown).collect();
            format!("accounts?{}", filters.join("&"))
        }
        _ => "accounts".to_owned(),
    };
    let trace = Trace {
        user_no: Some(actor.user_no),
        action: "export.accounts",
        object: &object,
        fields: &COLUMNS,
    };
    audit(&app.pool, &trace, Timestamp::now()).await.map_err(Error::from)?;

    let detail = Detail::whole(&segment);
    let snapshot = Snapshot::open(&app.config.database, "tillside export", detail).await;
    let snapshot = snapshot.map_err(Error::from)?;
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let (today, catalogue) = (app.today(), app.catalogue.current());
    let as_of = AsOf { today, catalogue };
    let basis = Basis { as_of, profiling: app.config.coupons.profiling };
    let whole = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&whole);
    tokio::spawn(async move {
        let writing = write(snapshot, &segment, format, &basis, &sender);
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
