//! The terminals' call about member prices.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{MemberPricesOut, has_it, tag_of};
use crate::app::App;
use crate::domain::name::parse_date;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::query;
use crate::receipt::to_bytes;

/// For which day.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemberPricesIn {
    /// The business date; left out: today, by the store's own clock.
    #[param(value_type = Option<String>, format = Date, example = "2026-03-14")]
    business_date: Option<String>,
}

/// What the till has already, as the documentation has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct TagHeader {
    /// `ETag` of the answer that the till has: while it is the same, the answer is 304 without a
    /// body.
    #[param(rename = "If-None-Match")]
    #[expect(dead_code, reason = "read from the headers by hand; this is its description")]
    if_none_match: Option<String>,
}

/// Member prices
///
/// What everybody with a card gets in the terminal's own store on a business date. A till asks
/// before it opens and every few minutes, keeps the answer, and gives what fits whenever a card is
/// presented, without asking. Offers of which it knows too late, or no more, are told on the
/// receipt. What a budget has left is not told: what a till gives beyond it is booked.
#[utoipa::path(
    get, path = "/v1/member-prices", operation_id = "get_member_prices", tag = "terminals",
    params(MemberPricesIn, TagHeader),
    responses(
        (status = 200, description = "What there is", body = MemberPricesOut,
         headers(("ETag" = String, description = "Names this very answer"))),
        (status = 304, description = "It is what the till has",
         headers(("ETag" = String, description = "The same as before"))),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    wanted: Result<Query<MemberPricesIn>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let known = request.headers().get_all(IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let has = |tag: &str| known.iter().any(|it| it.to_str().is_ok_and(|it| has_it(it, tag)));
    let terminal = app.read_signed(request).await?.terminal;
    let MemberPricesIn { business_date } = query(wanted)?;
    let snapshot = app.catalogue.current();
    let (store_id, workstation_id) = (&terminal.store_id, &terminal.workstation_id);
    let workstation =
        snapshot.workstation(store_id, workstation_id).ok_or(Slug::TerminalMismatch)?;
    let store_no = workstation.store_no;
    let date = match business_date {
        None => workstation.time_zone.to_datetime(Timestamp::now()).date(),
        Some(text) => parse_date(&text).ok_or_else(|| {
            Problem::new(Slug::ValidationFailed).detail("business_date is a date YYYY-MM-DD.")
        })?,
    };

    let tag = app.member_prices.tag(&snapshot, store_no, date);
    if let Some(tag) = tag.filter(|tag| has(tag)) {
        return Ok(unchanged(&tag));
    }
    let offers = app.member_prices.of(&snapshot, store_no, date).await?;
    let currency = app.config.chain.currency.clone();
    let store_id = store_id.to_string();
    let prices = MemberPricesOut { store_id, business_date: date, currency, offers };
    let body = to_bytes(&prices);
    let tag = tag_of(&body);
    app.member_prices.remember(&snapshot, store_no, date, &tag);
    if has(&tag) {
        return Ok(unchanged(&tag));
    }
    Ok(tagged(json(StatusCode::OK, body), &tag))
}

fn unchanged(tag: &str) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(answer, tag)
}

/// With what a till keeps it under, and nobody else: what is asked is signed.
fn tagged(mut answer: Response, tag: &str) -> Response {
    let tag = HeaderValue::from_str(tag).expect("digits in quotes are header text");
    answer.headers_mut().insert(ETAG, tag);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    answer
}
