//! The routes that answer files.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use http::Uri;
use jiff::Timestamp;
use serde_json::Value;

use super::{Basis, COLUMNS, write};
use crate::app::App;
use crate::domain::segment::Segment;
use crate::error::Error;
use crate::http::file::{FileIn, streamed};
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::query;
use crate::office::{Actor, Trace, audit};
use crate::segment::{AsOf, Detail, Snapshot};

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
    let (today, catalogue) = (app.today(), app.catalogue.current());
    let as_of = AsOf { today, catalogue };
    let basis = Basis { as_of, profiling: app.config.coupons.profiling };
    Ok(streamed(format, "accounts", permit, |to| async move {
        write(snapshot, &segment, format, &basis, &to).await
    }))
}
