//! The route of people that takes back what a handout has issued.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;

use crate::app::App;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::offer::handouts::Handout;
use crate::offer::handouts::http::seen;
use crate::office::Actor;
use crate::office::http::own_stores;
use crate::receipt::to_bytes;

/// Take the coupons of a handout back
///
/// All that are still open: from then on they count at no till. In the background; whatever is cut
/// off goes on by itself, on any replica, and `revocation` of the handout says how far it has
/// come. What a till has taken stays redeemed, and budgets get nothing back, as with a single
/// coupon. What has expired stays as it is: a sale of its last days that comes late redeems it.
/// It ends the handout for good, so one that is being issued is stopped first. Asked again when it
/// is done, the coupons are gone through once more: a void may have opened some since. A manager
/// takes back those of offers that count in the manager's own stores only.
#[utoipa::path(
    post, path = "/v1/handouts/{handout}/revoke", operation_id = "revoke_handout", tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "They are being taken back", body = Handout),
        (status = 409, description = "It is being issued", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn revoke(
    State(app): State<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (handout, offer) = seen(&app, &actor, handout).await?;
    own_stores(&actor, &offer.definition.stores)?;
    let (by, now) = (Some(actor.user_no), Timestamp::now());
    let revoking = super::revoke(&app.pool, &handout, by, now).await?;
    let revoking = revoking.ok_or(Slug::HandoutIssuing)?;
    app.handouts.notify_one();
    Ok(json(StatusCode::OK, to_bytes(&revoking)))
}
