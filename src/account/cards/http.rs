//! The routes of people about cards that were lost.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::account::http::{AccountOut, id_in, show};
use crate::app::App;
use crate::commit::{Replaced, Replacement};
use crate::http::body::{check_card, parse};
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::Actor;

/// How long it waits for those before it, and for tills at its accounts.
const PATIENCE: Duration = Duration::from_secs(10);

/// A card of an account in a path.
#[derive(Deserialize)]
pub struct Place {
    account: String,
    card: String,
}

/// The card that takes a lost one's place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CardReplacement)]
pub struct ReplaceIn {
    /// A card that belongs to no other customer.
    #[schema(example = "2990000000026")]
    pub card: String,
}

async fn replace_with(
    app: &App,
    actor: &Actor,
    place: Place,
    by: impl FnOnce(&str) -> Option<String>,
) -> Result<Response, Problem> {
    let Place { account, card } = place;
    let account_id = id_in(Ok(Path(account)))?;
    check_card(&card, "", &app.cards).map_err(|_| Slug::NotFound)?;
    let by = by(&card);
    let replacement = Replacement { account_id, card, by, user_no: Some(actor.user_no) };
    let deadline = Instant::now() + PATIENCE;
    match app.committers.replace(replacement, app.today(), deadline).await? {
        Replaced::Done => show(app, actor, account_id).await,
        Replaced::NoSuchCard => Err(Slug::NotFound.into()),
        Replaced::NotEnrolled => Err(Slug::AccountNotEnrolled.into()),
        Replaced::OfAnotherAccount => Err(Slug::CardOfAnotherAccount.into()),
        Replaced::Blocked => Err(Slug::CardBlocked.into()),
    }
}

/// Block a card
///
/// From the next transaction on, at every till, nothing of the account is spent, redeemed or
/// seen with it. What is bought with it all the same is recorded; its receipt says that the card
/// is blocked, and what that earns waits. Blocked again, nothing changes.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/cards/{card}/block", operation_id = "block_card",
    tag = "office",
    params(
        ("account" = String, Path, example = "acc_000000000A1KV"),
        ("card" = String, Path, example = "2990000000019"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account, without the card", body = AccountOut),
        (status = 404, description = "The account does not have this card", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn block(
    State(app): State<Arc<App>>,
    actor: Actor,
    place: Result<Path<Place>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(place) = place.map_err(|_| Slug::NotFound)?;
    replace_with(&app, &actor, place, |_| None).await
}

/// Unblock a card
///
/// It has been found again: it belongs to the account that it was blocked on, and what has
/// waited moves there.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/cards/{card}/unblock", operation_id = "unblock_card",
    tag = "office",
    params(
        ("account" = String, Path, example = "acc_000000000A1KV"),
        ("card" = String, Path, example = "2990000000019"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account, with the card", body = AccountOut),
        (status = 404, description = "The card was not blocked on this account",
         body = ProblemOut, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn unblock(
    State(app): State<Arc<App>>,
    actor: Actor,
    place: Result<Path<Place>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(place) = place.map_err(|_| Slug::NotFound)?;
    replace_with(&app, &actor, place, |card| Some(card.to_owned())).await
}

/// Replace a card
///
/// Another card takes its place on the account, with all points that have gathered on it, and
/// the old one is blocked unless it has been. Both in one step; asked again, nothing changes.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/cards/{card}/replace", operation_id = "replace_card",
    tag = "office",
    params(
        ("account" = String, Path, example = "acc_000000000A1KV"),
        ("card" = String, Path, example = "2990000000019"),
    ),
    request_body(content = ReplaceIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account, with the other card", body = AccountOut),
        (status = 404, description = "The account does not have this card", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = 409, description = "The other card belongs to another account, or is blocked",
         body = ProblemOut, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn replace(
    State(app): State<Arc<App>>,
    actor: Actor,
    place: Result<Path<Place>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.read_unsigned(&parts.headers, body).await?;
    let Path(place) = place.map_err(|_| Slug::NotFound)?;
    let ReplaceIn { card } = parse(&body)?;
    check_card(&card, "/card", &app.cards)?;
    if card == place.card {
        return Err(Slug::CardBlocked.into());
    }
    replace_with(&app, &actor, place, |_| Some(card)).await
}
