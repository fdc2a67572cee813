//! The routes of people about handouts.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Handout, NotMade, Wanted, is_name, sql};
use crate::app::App;
use crate::domain::offer::Delivery;
use crate::domain::segment::Segment;
use crate::http::body::parse;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::offer::{self, Stored};
use crate::office::Actor;
use crate::office::http::{create, invalid, own_stores, query};
use crate::office::page::PageIn;
use crate::receipt::to_bytes;

/// A handout to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HandoutOrder)]
pub struct HandoutIn {
    /// What it shall be called: 1 to 64 of a to z, 0 to 9 and hyphens. Its coupons say so.
    #[schema(example = "spring-yoghurt")]
    pub handout: String,
    /// The offer, one with the delivery `personal`.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// Which accounts are meant; an empty object: all of customers. Left out: those of a list,
    /// which is brought next.
    #[serde(default, rename = "where")]
    pub segment: Option<Segment>,
    /// Whether accounts that are held out, so that it can be seen what coupons change, get theirs
    /// as well.
    #[serde(default)]
    pub held_out_too: bool,
}

/// A page of handouts, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Handouts)]
pub struct HandoutsOut {
    /// The handouts; a manager's are those of offers that count in one of the manager's stores.
    pub handouts: Vec<Handout>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// Make a handout
///
/// Coupons of an offer for many accounts, each one at most, under a name. Needs an
/// `Idempotency-Key`. With `where` its accounts are looked for now, as an export would find them;
/// without, a list is brought next. Nothing is issued before somebody looks at how many they are
/// and has it issued. Accounts that are held out are left out and counted, unless `held_out_too`
/// says otherwise. A coupon is no message: whoever writes to customers asks for their `consent`,
/// which is then looked at again before each coupon.
#[utoipa::path(
    post, path = "/v1/handouts", operation_id = "make_handout", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = HandoutIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Made", body = Handout),
        (status = 409, description = "The name is taken", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn make(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let HandoutIn { handout, offer, segment, held_out_too } = parse(&body)?;
        if !is_name(&handout) {
            return Err(invalid("/handout", "1 to 64 of a to z, 0 to 9 and hyphens are required"));
        }
        let is_sound = segment.as_ref().map_or(Ok(()), Segment::check);
        is_sound.map_err(|(field, asked)| invalid(&format!("/where/{field}"), asked))?;
        let no_such_offer = || invalid("/offer", "there is no such offer");
        let stored = offer::find(&app.pool, &offer).await?.ok_or_else(no_such_offer)?;
        if !actor.sees(&stored.definition.stores) {
            return Err(no_such_offer());
        }
        own_stores(&actor, &stored.definition.stores)?;
        if stored.definition.delivery != Delivery::Personal {
            return Err(invalid("/offer", "the offer has codes, and is issued to nobody"));
        }
        if stored.state(app.today()) == offer::State::Ended {
            return Err(invalid("/offer", "the offer is over"));
        }
        let answer = |made: &Handout| to_bytes(made).to_vec();
        let settle = Some((&claim, 201, &answer as &(dyn Fn(&Handout) -> Vec<u8> + Sync)));
        let (offer_no, segment) = (stored.offer_no, segment.as_ref());
        let wanted = Wanted { handout: &handout, offer_no, segment, held_out_too };
        let (by, now) = (Some(actor.user_no), Timestamp::now());
        match super::make(&app.pool, &wanted, by, settle, now).await? {
            Ok(made) => {
                app.handouts.notify_one();
                Ok(to_bytes(&made))
            }
            Err(NotMade::NameTaken) => Err(Slug::HandoutExists.into()),
            Err(NotMade::TooMany) => {
                let words = "200 handouts are not done: issue some of them, or end them";
                Err(invalid("", words))
            }
        }
    })
    .await
}

/// List handouts
///
/// The newest first. A manager sees those of offers that count in one of the manager's stores.
#[utoipa::path(
    get, path = "/v1/handouts", operation_id = "list_handouts", tag = "office", params(PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = HandoutsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(page)?.read()?;
    let found = sql::list(&app.pool, &page, actor.stores.as_deref()).await?;
    let (handouts, next) = page.cut(found, |handout| handout.handout_no.into());
    Ok(json(StatusCode::OK, to_bytes(&HandoutsOut { handouts, next })))
}

/// Look at a handout
///
/// How many accounts it is for, and how far it has got.
#[utoipa::path(
    get, path = "/v1/handouts/{handout}", operation_id = "get_handout", tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The handout", body = Handout),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn look_up(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (handout, _) = seen(&app, &actor, handout).await?;
    Ok(json(StatusCode::OK, to_bytes(&handout)))
}

/// The handout in a path and its offer, if that concerns the person who asks.
pub(super) async fn seen(
    app: &App,
    actor: &Actor,
    handout: Result<Path<String>, PathRejection>,
) -> Result<(Handout, Stored), Problem> {
    let Path(handout) = handout.map_err(|_| Slug::NotFound)?;
    let handout = super::find(&app.pool, &handout).await?.ok_or(Slug::NotFound)?;
    let offer = offer::find(&app.pool, &handout.offer).await?.ok_or(Slug::NotFound)?;
    let is_seen = actor.sees(&offer.definition.stores);
    is_seen.then_some((handout, offer)).ok_or_else(|| Slug::NotFound.into())
}

/// Issue a handout
///
/// One coupon for each of its accounts, in the background; it counts from today on. Progress is
/// seen by looking at the handout. Whatever is cut off goes on by itself, on any replica, and
/// nobody gets a second one. It stops when nothing is left of the offer's budget or the offer
/// ends, and goes on when it is issued again. A manager issues those of offers that count in the
/// manager's own stores only.
#[utoipa::path(
    post, path = "/v1/handouts/{handout}/issue", operation_id = "issue_handout", tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is being issued, or done", body = Handout),
        (status = 409, description = "Its accounts are not known yet", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn issue(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (handout, offer) = seen(&app, &actor, handout).await?;
    own_stores(&actor, &offer.definition.stores)?;
    let today = app.today();
    if offer.state(today) != offer::State::Live {
        return Err(invalid("", "the offer is over, or has not begun"));
    }
    let (by, now) = (Some(actor.user_no), Timestamp::now());
    let issuing = super::issue(&app.pool, &handout, by, today, now).await?;
    let issuing = issuing.ok_or(Slug::HandoutNotReady)?;
    app.handouts.notify_one();
    Ok(json(StatusCode::OK, to_bytes(&issuing)))
}

/// Stop a handout
///
/// No coupon of it is issued from now on; what was issued until then stays. Issued again, it goes
/// on.
#[utoipa::path(
    post, path = "/v1/handouts/{handout}/stop", operation_id = "stop_handout", tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The handout as it is now", body = Handout),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn stop(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (handout, offer) = seen(&app, &actor, handout).await?;
    own_stores(&actor, &offer.definition.stores)?;
    let (by, now) = (Some(actor.user_no), Timestamp::now());
    let stopped = super::stop(&app.pool, &handout, by, now).await?;
    Ok(json(StatusCode::OK, to_bytes(&stopped)))
}

/// End a handout
///
/// For good: no coupon of it is issued from now on, and its accounts are forgotten. What was
/// issued stays, and so does its name.
#[utoipa::path(
    delete, path = "/v1/handouts/{handout}", operation_id = "end_handout", tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The handout as it is now", body = Handout),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn end(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (handout, offer) = seen(&app, &actor, handout).await?;
    own_stores(&actor, &offer.definition.stores)?;
    let (by, now) = (Some(actor.user_no), Timestamp::now());
    let ended = super::end(&app.pool, &handout, by, now).await?;
    Ok(json(StatusCode::OK, to_bytes(&ended)))
}
