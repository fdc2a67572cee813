//! The routes of people about offers.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AddError, BudgetError, Standing, State, Stored, sql};
use crate::app::App;
use crate::domain::budget::Budget;
use crate::domain::offer::{Definition, OfferError};
use crate::error::Error;
use crate::http::body::parse;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::Actor;
use crate::office::http::{create, invalid, own_stores, query};
use crate::office::page::PageIn;
use crate::receipt::to_bytes;

/// An offer.
#[derive(Serialize, ToSchema)]
#[schema(as = Offer)]
pub struct OfferOut<'a> {
    /// What it is called.
    #[schema(example = "yoghurt-50")]
    pub offer: &'a str,
    /// How it stands today.
    pub state: State,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// As people wrote it.
    pub definition: &'a Definition,
}

/// A page of offers, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Offers)]
pub struct OffersOut<'a> {
    /// The offers; a manager's are those that count in one of the manager's stores.
    pub offers: Vec<OfferOut<'a>>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// How the budgets of an offer stand.
#[derive(Serialize, ToSchema)]
#[schema(as = OfferBudgets)]
pub struct BudgetsOut {
    /// Those of the chain, and those that stores have drawn on; a manager sees the manager's own
    /// stores. None when the offer has no budget.
    pub budgets: Vec<Standing>,
}

/// Which offers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OffersIn {
    /// Those that stand so today; left out: all of them.
    #[param(inline)]
    state: Option<State>,
    /// Most items of the page, 1 to 200; without it 50.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `next` of the page before.
    after: Option<String>,
}

/// How an offer is to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OfferEnd)]
pub struct EndIn {
    /// The last day on which it is issued; left out: yesterday, so that nothing is issued from
    /// now on.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<Date>,
}

fn out(stored: &Stored, today: Date) -> OfferOut<'_> {
    let Stored { definition, created_at, .. } = stored;
    let state = stored.state(today);
    OfferOut { offer: &definition.offer, state, created_at: *created_at, definition }
}

/// List offers
///
/// The newest first. A manager sees those that count in one of the manager's stores.
#[utoipa::path(
    get, path = "/v1/offers", operation_id = "list_offers", tag = "office", params(OffersIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = OffersOut<'_>),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_offers(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    wanted: Result<Query<OffersIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let OffersIn { state, limit, after } = query(wanted)?;
    let page = PageIn::new(limit, after).read()?;
    let today = app.today();
    let found = sql::list(&app.pool, &page, actor.stores.as_deref(), state, today).await?;
    let (found, next) = page.cut(found, |offer| offer.offer_no.into());
    let offers = found.iter().map(|stored| out(stored, today)).collect();
    Ok(json(StatusCode::OK, to_bytes(&OffersOut { offers, next })))
}

/// Look at an offer
///
/// As it was written, and how it stands today.
#[utoipa::path(
    get, path = "/v1/offers/{offer}", operation_id = "get_offer", tag = "office",
    params(("offer" = String, Path, example = "yoghurt-50")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The offer", body = OfferOut<'_>),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn get_offer(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    offer: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let stored = seen(&app, &actor, offer).await?;
    Ok(json(StatusCode::OK, to_bytes(&out(&stored, app.today()))))
}

/// The offer in a path, if it concerns the person who asks.
async fn seen(
    app: &App,
    actor: &Actor,
    offer: Result<Path<String>, PathRejection>,
) -> Result<Stored, Problem> {
    let Path(offer) = offer.map_err(|_| Slug::NotFound)?;
    let stored = super::find(&app.pool, &offer).await?;
    let seen = stored.filter(|stored| actor.sees(&stored.definition.stores));
    Ok(seen.ok_or(Slug::NotFound)?)
}

/// See how the budgets of an offer stand
///
/// How much of each was spent, and what tills and desks hold of it at this moment.
#[utoipa::path(
    get, path = "/v1/offers/{offer}/budgets", operation_id = "get_budgets", tag = "office",
    params(("offer" = String, Path, example = "yoghurt-50")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The budgets", body = BudgetsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn get_budgets(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    offer: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let stored = seen(&app, &actor, offer).await?;
    let snapshot = app.catalogue.current();
    // One that was stored this moment has spent nothing.
    let offer = match snapshot.offer(stored.offer_no) {
        Some(offer) => offer.clone(),
        None => snapshot
            .compile(stored.offer_no, stored.definition)
            .map_err(|error| Error::Damaged(error.to_string()))?,
    };
    let mut budgets = super::budgets(&app.pool, &offer, app.today()).await.map_err(Error::from)?;
    budgets.retain(|budget| budget.store.as_ref().is_none_or(|store| actor.has_store(store)));
    Ok(json(StatusCode::OK, to_bytes(&BudgetsOut { budgets })))
}

/// Create an offer
///
/// Needs an `Idempotency-Key`. Its name is never used again. Tills and coupons know it within a
/// second, on every replica. A manager names stores, all of them the manager's own.
#[utoipa::path(
    post, path = "/v1/offers", operation_id = "create_offer", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = Definition, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Stored", body = OfferOut<'_>),
        (status = 409, description = "The name is taken", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn create_offer(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let definition: Definition = parse(&body)?;
        own_stores(&actor, &definition.stores)?;
        let (today, snapshot) = (app.today(), app.catalogue.current());
        let answer = |stored: &Stored| to_bytes(&out(stored, today)).to_vec();
        let settle = Some((&claim, 201, &answer as &(dyn Fn(&Stored) -> Vec<u8> + Sync)));
        let (by, now) = (Some(actor.user_no), Timestamp::now());
        let stored = super::create(&app.pool, &snapshot, definition.clone(), by, settle, now).await;
        match stored {
            Ok(stored) => Ok(to_bytes(&out(&stored, today))),
            Err(AddError::NameTaken(_)) => Err(Slug::OfferExists.into()),
            Err(error @ AddError::CodeTaken) => {
                Err(invalid("/shared_code/code", error.to_string()))
            }
            Err(AddError::Failed(error)) => Err(error.into()),
            Err(AddError::Offer(error)) => {
                let detail = match &error {
                    OfferError::NoSuchName(..) => {
                        "nothing in the catalogue or among the stores is named so".to_owned()
                    }
                    error @ OfferError::Limit(_) => error.to_string(),
                };
                Err(invalid(&error.pointer(&definition), detail))
            }
        }
    })
    .await
}

/// End an offer
///
/// No coupon of it is issued any more; those in customers' hands keep their days. Ended again,
/// the earlier day stands.
#[utoipa::path(
    post, path = "/v1/offers/{offer}/end", operation_id = "end_offer", tag = "office",
    params(("offer" = String, Path, example = "yoghurt-50")),
    request_body(content = EndIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The offer as it is now", body = OfferOut<'_>),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn end_offer(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    offer: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.read_unsigned(&parts.headers, body).await?;
    let stored = seen(&app, &actor, offer).await?;
    own_stores(&actor, &stored.definition.stores)?;
    let EndIn { until } = if body.is_empty() { EndIn { until: None } } else { parse(&body)? };
    let today = app.today();
    let until = until.unwrap_or_else(|| today.yesterday().unwrap_or(today));
    let (name, by) = (&stored.definition.offer, Some(actor.user_no));
    let ended = super::end(&app.pool, name, until, today, by, Timestamp::now()).await?;
    let ended = ended.ok_or(Slug::NotFound)?;
    Ok(json(StatusCode::OK, to_bytes(&out(&ended, today))))
}

/// Change budgets of an offer
///
/// Amounts that are named become the whole amounts of their budgets, for a shared code `coupons`
/// how often it counts; the others stay, and so does `pacing` where it is not named. None becomes
/// less than was spent of it and is in the hands of tills at this moment. Needs an
/// `Idempotency-Key`. What has no budget cannot get one, since nothing was counted.
#[utoipa::path(
    post, path = "/v1/offers/{offer}/budget", operation_id = "change_budget", tag = "office",
    params(
        ("offer" = String, Path, example = "yoghurt-50"),
        ("Idempotency-Key" = String, Header, description = "Names the change"),
    ),
    request_body(content = Budget, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The offer as it is now", body = OfferOut<'_>),
        (status = "4XX", description = "Refused; nothing was changed", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn change_budget(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    offer: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let amounts: Budget = parse(&body)?;
        let stored = seen(&app, &actor, offer).await?;
        own_stores(&actor, &stored.definition.stores)?;
        let (today, snapshot) = (app.today(), app.catalogue.current());
        let answer = |stored: &Stored| to_bytes(&out(stored, today)).to_vec();
        let settle = (&claim, 201, &answer as &(dyn Fn(&Stored) -> Vec<u8> + Sync));
        let (name, by, now) = (&stored.definition.offer, Some(actor.user_no), Timestamp::now());
        let changed =
            super::change_budget(&app.pool, &snapshot, name, &amounts, by, settle, now).await;
        match changed {
            Ok(Some(changed)) => Ok(to_bytes(&out(&changed, today))),
            Ok(None) => Err(Slug::NotFound.into()),
            Err(BudgetError::Failed(error)) => Err(error.into()),
            Err(BudgetError::NotLimited(pointer)) => {
                let words =
                    "nothing is limited here, and what was issued and given was not counted";
                Err(invalid(&pointer, words))
            }
            Err(BudgetError::Offer(OfferError::NoSuchName(..))) => {
                Err(invalid("/stores", "no store is called so"))
            }
            Err(error @ (BudgetError::Spent | BudgetError::Offer(_))) => {
                Err(invalid("", error.to_string()))
            }
        }
    })
    .await
}
