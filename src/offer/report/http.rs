//! The route of people about what offers have cost.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Report, Wanted};
use crate::app::App;
use crate::error::Error;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::query;
use crate::office::{Actor, report_days};
use crate::receipt::to_bytes;

/// Which days and which offer.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CostsIn {
    /// The first business date; left out: four weeks up to `until`.
    #[param(value_type = Option<String>, format = Date, example = "2026-03-01")]
    from: Option<Date>,
    /// The last one, at most 365 days later; left out: today.
    #[param(value_type = Option<String>, format = Date, example = "2026-03-31")]
    until: Option<Date>,
    /// The only offer; left out: all of them.
    #[param(example = "yoghurt-50")]
    offer: Option<String>,
}

/// See what offers have cost, and who pays
///
/// What tills gave on some business dates, by offer, with the shares of those who fund them and
/// what was given over value, budget or limit; and what each party pays in all, as it is billed.
#[utoipa::path(
    get, path = "/v1/reports/offers", operation_id = "report_offers", tag = "office",
    params(CostsIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The report", body = Report),
        (status = 503, description = "Two reports or exports are under way", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn costs(
    State(app): State<Arc<App>>,
    _actor: Actor,
    wanted: Result<Query<CostsIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let CostsIn { from, until, offer } = query(wanted)?;
    let today = app.today();
    let invalid = |detail: &'static str| Problem::new(Slug::ValidationFailed).detail(detail);
    let (from, until) = report_days(from, until, today).map_err(invalid)?;
    let snapshot = app.catalogue.current();
    let offer = match &offer {
        None => None,
        Some(name) => {
            let found = snapshot.offer_named(name);
            Some(found.ok_or_else(|| invalid("offer must be one that there is."))?)
        }
    };
    let busy = Error::Overloaded { retry_after: Duration::from_secs(10) };
    let _permit = app.exports.try_acquire().map_err(|_| busy)?;
    let wanted = Wanted { from, until, offer, today, hurry: true };
    let report = super::report(&app.config, &snapshot, &wanted).await?;
    Ok(json(StatusCode::OK, to_bytes(&report)))
}
