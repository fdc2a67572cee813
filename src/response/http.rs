//! The route of people about what coupons bring.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{By, Report, Wanted};
use crate::app::App;
use crate::error::Error;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::query;
use crate::office::{Actor, report_days};
use crate::receipt::to_bytes;

/// For so long accounts are read while somebody waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which coupons, and how they are counted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResponsesIn {
    /// The first day; left out: four weeks up to `until`.
    #[param(value_type = Option<String>, format = Date, example = "2026-03-01")]
    from: Option<Date>,
    /// The last day, at most 365 days later; left out: today.
    #[param(value_type = Option<String>, format = Date, example = "2026-03-28")]
    until: Option<Date>,
    /// `offer`, `reason` or `slot`; left out: `offer`.
    #[serde(default)]
    #[param(inline)]
    by: By,
}

/// See what coupons bring
///
/// How many personal coupons of some days were used, by offer, by why they were given or by what
/// they were there for, with 95 % intervals; and what enrolled accounts bought in these days, those
/// to whom tills may give coupons beside those who are held out. Accounts are read for ten seconds
/// at most; `read_percent` says how many were.
#[utoipa::path(
    get, path = "/v1/reports/responses", operation_id = "report_responses", tag = "office",
    params(ResponsesIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The report", body = Report),
        (status = 503, description = "Two reports or exports are under way", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn responses(
    State(app): State<Arc<App>>,
    _actor: Actor,
    wanted: Result<Query<ResponsesIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let ResponsesIn { from, until, by } = query(wanted)?;
    let today = app.today();
    let invalid = |detail: &'static str| Problem::new(Slug::ValidationFailed).detail(detail);
    let (from, until) = report_days(from, until, today).map_err(invalid)?;
    let busy = Error::Overloaded { retry_after: Duration::from_secs(10) };
    let _permit = app.exports.try_acquire().map_err(|_| busy)?;
    let hold_out = app.config.coupons.hold_out();
    let wanted = Wanted { from, until, by, today, hold_out, patience: Some(PATIENCE) };
    let report = super::report(&app.config.database, &app.catalogue.current(), &wanted).await?;
    Ok(json(StatusCode::OK, to_bytes(&report)))
}
