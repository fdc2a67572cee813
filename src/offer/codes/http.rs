//! The routes of people about codes for print or mail.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{CodePool, NoCodes, Wanted, make, revoke, sql, write};
use crate::app::App;
use crate::error::Error;
use crate::http::body::parse;
use crate::http::file::{Format, streamed};
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::offer;
use crate::office::http::{create, invalid, own_stores};
use crate::office::once;
use crate::office::{Actor, Trace, audit};
use crate::receipt::to_bytes;

/// How long an offer that was stored a moment ago may take to be known here.
const OFFER_PATIENCE: Duration = Duration::from_secs(3);

/// Codes to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CodesOrder)]
pub struct CodesIn {
    /// How many, 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000, example = 50000)]
    pub codes: u32,
}

/// Make codes
///
/// Of an offer with the delivery `code-pool`; they count from today on. Needs an
/// `Idempotency-Key`. The codes themselves are in the pool's file. A manager makes codes of offers
/// that count in the manager's own stores only.
#[utoipa::path(
    post, path = "/v1/offers/{offer}/codes", operation_id = "make_codes", tag = "office",
    params(
        ("offer" = String, Path, example = "leaflet-10"),
        ("Idempotency-Key" = String, Header, description = "Names the creation"),
    ),
    request_body(content = CodesIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The pool", body = CodePool),
        (status = "4XX", description = "Refused; no codes were made", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn make_codes(
    State(app): State<Arc<App>>,
    actor: Actor,
    offer: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let CodesIn { codes } = parse(&body)?;
        let name = own_offer(&app, &actor, offer).await?;
        let known = app.catalogue.wait_for(|it| it.offer_named(&name).is_some(), OFFER_PATIENCE);
        let snapshot = known.await.ok_or(Error::DeadlineExceeded)?;
        let (pool, actor_name) = (claim.id(), actor.name());
        let wanted = Wanted {
            pool: &pool,
            offer: &name,
            codes,
            on: app.today(),
            actor: &actor_name,
            user_no: Some(actor.user_no),
        };
        match make(&app.pool, &snapshot, &wanted, Timestamp::now()).await? {
            Ok(made) => {
                let answer = to_bytes(&made);
                let settled = once::settle(&app.pool, &claim, 201, &answer).await;
                settled.map_err(Error::from)?;
                Ok(answer)
            }
            Err(NoCodes::NoSuchOffer) => Err(Slug::NotFound.into()),
            Err(NoCodes::Count) => Err(invalid("/codes", NoCodes::Count.to_string())),
            Err(other) => Err(invalid("", other.to_string())),
        }
    })
    .await
}

/// Fetch the file of codes
///
/// A line for each code, after a first line with the name of the column. The same each time.
/// Streamed; a file that is cut ends as a broken answer. There is none of codes that were taken
/// back.
#[utoipa::path(
    post, path = "/v1/offers/{offer}/codes/{pool}/file", operation_id = "fetch_codes",
    tag = "office",
    params(
        ("offer" = String, Path, example = "leaflet-10"),
        ("pool" = String, Path, example = "u7-3f2a90c1d2e4b5a697887766"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/csv"),
        (status = 409, description = "The codes were taken back", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = 503, description = "Two files are under way", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn fetch_codes(
    State(app): State<Arc<App>>,
    actor: Actor,
    places: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((offer, pool)) = places.map_err(|_| Slug::NotFound)?;
    let name = own_offer(&app, &actor, Ok(Path(offer))).await?;
    let found = sql::find(&app.pool, &name, &pool).await?.ok_or(Slug::NotFound)?;
    if found.shown.revoked_at.is_some() {
        return Err(Slug::CodesRevoked.into());
    }
    let busy = Error::Overloaded { retry_after: Duration::from_secs(30) };
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| busy)?;
    // Before the first byte: a file without a trace must not exist.
    let object = format!("offer:{name}");
    let user_no = Some(actor.user_no);
    let trace = Trace { user_no, action: "offer.codes.file", object: &object, fields: &["codes"] };
    audit(&app.pool, &trace, Timestamp::now()).await.map_err(Error::from)?;

    Ok(streamed(
        Format::Csv,
        "codes",
        permit,
        |to| async move { write(&found, &app.desk, &to).await },
    ))
}

/// Take codes back
///
/// All of a pool that tills have not taken, fetched or not, at once: when it is answered no till
/// redeems one any more (`revoked`), and the file is not to be had. It is for good, and asked again
/// the answer is the same. What a till has taken stays redeemed; when that sale is voided the code
/// stays taken back. Budgets get nothing back, as with a single coupon. A manager takes back codes
/// of offers that count in the manager's own stores only.
#[utoipa::path(
    post, path = "/v1/offers/{offer}/codes/{pool}/revoke", operation_id = "revoke_codes",
    tag = "office",
    params(
        ("offer" = String, Path, example = "leaflet-10"),
        ("pool" = String, Path, example = "u7-3f2a90c1d2e4b5a697887766"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "They are taken back", body = CodePool),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn revoke_codes(
    State(app): State<Arc<App>>,
    actor: Actor,
    places: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((offer, pool)) = places.map_err(|_| Slug::NotFound)?;
    let name = own_offer(&app, &actor, Ok(Path(offer))).await?;
    let (by, now) = (Some(actor.user_no), Timestamp::now());
    let revoked = revoke(&app.pool, &name, &pool, by, now).await?.ok_or(Slug::NotFound)?;
    Ok(json(StatusCode::OK, to_bytes(&revoked)))
}

/// The name of the offer in a path, if the person who asks may change what it is about.
async fn own_offer(
    app: &App,
    actor: &Actor,
    offer: Result<Path<String>, PathRejection>,
) -> Result<String, Problem> {
    let Path(offer) = offer.map_err(|_| Slug::NotFound)?;
    let stored = offer::find(&app.pool, &offer).await?;
    let stored = stored.filter(|stored| actor.sees(&stored.definition.stores));
    let stored = stored.ok_or(Slug::NotFound)?;
    own_stores(actor, &stored.definition.stores)?;
    Ok(stored.definition.offer)
}
