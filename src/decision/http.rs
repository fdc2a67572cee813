//! The route of people about what was chosen with a swipe.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Explanation, OfferDecision};
use crate::app::App;
use crate::domain::name::SwipeName;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::Actor;
use crate::office::http::query;
use crate::office::page::PageIn;
use crate::receipt::{account_id, to_bytes};

/// A swipe of an account in a path.
#[derive(Deserialize)]
pub struct Place {
    account: String,
    store: String,
    workstation: String,
    business_date: String,
    sequence: String,
}

/// What was chosen with a swipe, a page of its offers.
#[derive(Serialize, ToSchema)]
#[schema(as = CouponDecisionPage)]
pub struct ExplanationOut {
    /// The choice, with the offers of this page.
    pub decision: Explanation,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// See why a swipe brought its coupons, and why not others
///
/// The choice made again: for every offer that the till could choose from what became of it, with
/// the numbers behind it. A manager asks about the manager's own stores, and sees the offers that
/// count there.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/decisions/{store}/{workstation}/{business_date}/{sequence}",
    operation_id = "explain_coupons", tag = "office",
    params(
        ("account" = String, Path, example = "acc_000000000A1KV"),
        ("store" = String, Path, example = "0367"),
        ("workstation" = String, Path, example = "03"),
        ("business_date" = String, Path, example = "2026-03-14"),
        ("sequence" = String, Path, example = "31198"),
        PageIn,
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What was chosen", body = ExplanationOut),
        (status = 404, description = "The account has no sale of this name", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn explain(
    State(app): State<Arc<App>>,
    actor: Actor,
    place: Result<Path<Place>, PathRejection>,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(place) = place.map_err(|_| Slug::NotFound)?;
    let page = query(page)?.read()?;
    let account_id = account_id(&place.account).ok_or(Slug::NotFound)?;
    let Place { store, workstation, business_date, sequence, .. } = &place;
    let name = SwipeName::from_parts(store, workstation, business_date, sequence)
        .map_err(|_| Slug::NotFound)?;
    let snapshot = app.catalogue.current();
    let found = super::explain(&app.pool, &snapshot, &name, Some(account_id)).await?;
    let mut decision = found.ok_or(Slug::NotFound)?;
    decision.offers.retain(|offer| actor.sees(&offer.stores));
    // Numbered so that they fall, as those of other lists do.
    let offers = std::mem::take(&mut decision.offers).into_iter();
    let numbered: Vec<(i64, OfferDecision)> = (0..).zip(offers.rev()).collect();
    let rest = numbered.into_iter().rev().filter(|(number, _)| *number < page.before);
    let wanted = usize::try_from(page.wanted()).expect("1 to 201");
    let (offers, next) = page.cut(rest.take(wanted).collect(), |(number, _)| *number);
    decision.offers = offers.into_iter().map(|(_, offer)| offer).collect();
    Ok(json(StatusCode::OK, to_bytes(&ExplanationOut { decision, next })))
}
