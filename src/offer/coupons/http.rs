//! The routes of people about coupons.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::{Item, LIST_MAX, Plan};
use crate::app::App;
use crate::commit::{ORDER_COUPONS_MAX, Order, Ordered};
use crate::domain::coupon::Code;
use crate::error::Error;
use crate::http::body::parse;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::offer::{self, Life};
use crate::office::Actor;
use crate::office::http::{created, creation, invalid, own_stores};
use crate::office::once::{self, Claim};
use crate::receipt::{account_text, to_bytes};

/// How long a list is worked at before it is to be sent again: well below the time after which
/// its key counts as cut off.
const LIST_PATIENCE: Duration = Duration::from_secs(30);
/// How long an offer that was stored a moment ago may take to be known here.
const OFFER_PATIENCE: Duration = Duration::from_secs(3);

/// Coupons to be issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CouponOrder)]
pub struct IssueIn {
    /// What the offer is called.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// Whom for: cards, or accounts as receipts show them. An account that is meant twice gets
    /// coupons once.
    #[schema(min_items = 1, max_items = 1000, example = json!(["2990000000019", "acc_000000000A1KV"]))]
    pub to: Vec<String>,
    /// How many for each account, 1 to 100.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100, default = 1)]
    pub count: u16,
}

fn one() -> u16 {
    1
}

/// What was issued.
#[derive(Serialize, ToSchema)]
#[schema(as = CouponsIssued)]
pub struct IssuedOut {
    /// What the offer is called.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// How many coupons were issued.
    pub issued: usize,
    /// What became of each item of `to`, in its order.
    pub outcomes: Vec<OutcomeOut>,
}

/// What became of a card or an account.
#[derive(Serialize, ToSchema)]
#[schema(as = CouponsOutcome)]
pub struct OutcomeOut {
    /// `issued`. Or `duplicate`: an earlier item has led to the same account. `unknown`: nobody
    /// has used the card, or there is no such account. `no-customer`: a workstation's own
    /// account. `blocked`: people have blocked the card. `invalid`: neither a card of this chain
    /// nor an account. `offer-ended`: the offer ended while the list was worked at.
    /// `budget-spent`: nothing is left of the offer's budget, or nothing that tills do not hold at
    /// this moment.
    #[schema(example = "issued")]
    pub outcome: &'static str,
    /// The account; null where there is none.
    #[schema(example = "acc_000000000A1KV")]
    pub account: Option<String>,
    /// The codes; none where nothing was issued.
    pub coupons: Vec<String>,
    /// The first business date on which they count.
    #[schema(value_type = Option<String>, format = Date)]
    pub valid_from: Option<Date>,
    /// The last one.
    #[schema(value_type = Option<String>, format = Date)]
    pub valid_until: Option<Date>,
}

impl OutcomeOut {
    fn without(outcome: &'static str, account_id: Option<i64>) -> Self {
        let account = account_id.map(account_text);
        Self { outcome, account, coupons: Vec::new(), valid_from: None, valid_until: None }
    }
}

/// Issue coupons
///
/// To the accounts of a list of at most 1000. Needs an `Idempotency-Key`. Each account is a
/// transaction of its own. When the answer is lost, or a 503, send the same again under the same
/// key: it goes on where it was cut off, and nothing is issued twice. A manager issues coupons of
/// offers that count in the manager's own stores only.
#[utoipa::path(
    post, path = "/v1/coupons", operation_id = "issue_coupons", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = IssueIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Issued, where outcomes says so", body = IssuedOut),
        (status = "4XX", description = "Refused; nothing was issued", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn issue(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + LIST_PATIENCE;
    let (claim, body) = match creation(&app, &actor, request).await? {
        Ok(new) => new,
        Err(answer) => return Ok(answer),
    };
    // A task of its own: a caller that hangs up cancels nothing, and finds the answer later.
    let work = tokio::spawn(async move {
        let outcome = issue_list(&app, &actor, &claim, &body, deadline).await;
        if let Ok(answer) = &outcome
            && let Err(error) = once::settle(&app.pool, &claim, 201, answer).await
        {
            tracing::warn!(%error, "coupons were issued, and the answer could not be kept");
        }
        created(&app, &claim, outcome).await
    });
    work.await.unwrap_or_else(|_panic| Err(Error::Bug.into()))
}

async fn issue_list(
    app: &App,
    actor: &Actor,
    claim: &Claim,
    body: &[u8],
    deadline: Instant,
) -> Result<Bytes, Problem> {
    let IssueIn { offer, to, count } = parse(body)?;
    if !(1..=LIST_MAX).contains(&to.len()) {
        return Err(invalid("/to", "1 to 1000 cards and accounts are required"));
    }
    if !(1..=ORDER_COUPONS_MAX).contains(&count) {
        return Err(invalid("/count", "1 to 100 are required"));
    }
    let no_such_offer = || invalid("/offer", "there is no such offer");
    let stored = offer::find(&app.pool, &offer).await?.ok_or_else(no_such_offer)?;
    let stores = &stored.definition.stores;
    if !actor.sees(stores) {
        return Err(no_such_offer());
    }
    own_stores(actor, stores)?;

    let today = app.today();
    let plan = match once::plan(&app.pool, claim, None).await.map_err(Error::from)? {
        // An attempt before this one has begun with it.
        Some(plan) => Plan::decode(&plan)?,
        None if stored.state(today) != offer::State::Live => {
            return Err(invalid("/offer", "the offer is over, or has not begun"));
        }
        None => {
            let plan = Plan::make(&app.pool, &to, |text| app.cards.admits(text)).await?;
            let kept = once::plan(&app.pool, claim, Some(&plan.encode())).await;
            Plan::decode(&kept.map_err(Error::from)?.ok_or(Error::OutcomeUnknown)?)?
        }
    };
    let known = app.catalogue.wait_for(|it| it.offer_named(&offer).is_some(), OFFER_PATIENCE);
    let snapshot = known.await.ok_or(Error::DeadlineExceeded)?;

    let mut outcomes: Vec<OutcomeOut> = Vec::with_capacity(plan.items.len());
    for item in &plan.items {
        let account_id = match *item {
            Item::Account(account_id) => account_id,
            Item::Duplicate(first) => {
                let account = outcomes[usize::from(first)].account.clone();
                outcomes.push(OutcomeOut { account, ..OutcomeOut::without("duplicate", None) });
                continue;
            }
            other => {
                outcomes.push(OutcomeOut::without(other.outcome(), None));
                continue;
            }
        };
        let order = Order::IssueOnce {
            account_id,
            offer: offer.clone(),
            random: plan.random(account_id, count),
            actor: actor.name(),
            on: today,
        };
        // The desk is free for others between two accounts.
        let desk = timeout_at(deadline, app.desk.lock()).await;
        let mut desk = desk.map_err(|_elapsed| Error::DeadlineExceeded)?;
        if Instant::now() >= deadline {
            return Err(Error::DeadlineExceeded.into());
        }
        let now = Timestamp::now();
        let ordered = desk.order_by(&snapshot, &order, Some(actor.user_no), now).await?;
        drop(desk);
        outcomes.push(match ordered {
            Ordered::Issued { codes, account_id, valid_from, valid_until } => OutcomeOut {
                outcome: "issued",
                account: Some(account_text(account_id)),
                coupons: codes.iter().map(Code::to_string).collect(),
                valid_from: Some(valid_from),
                valid_until: Some(valid_until),
            },
            Ordered::OfferNotLive => OutcomeOut::without("offer-ended", Some(account_id)),
            Ordered::BudgetSpent => OutcomeOut::without("budget-spent", Some(account_id)),
            Ordered::NoCustomer => OutcomeOut::without("no-customer", None),
            Ordered::NoSuchAccount => OutcomeOut::without("unknown", None),
            Ordered::NotPersonal => {
                return Err(invalid("/offer", "the offer has codes, and is issued to nobody"));
            }
            // A snapshot that has the offer does not lose it, and nothing was to be revoked.
            Ordered::NoSuchOffer | Ordered::Revoked | Ordered::Redeemed | Ordered::NoSuchCoupon => {
                return Err(Error::Bug.into());
            }
        });
    }
    let issued = outcomes.iter().map(|outcome| outcome.coupons.len()).sum();
    Ok(to_bytes(&IssuedOut { offer, issued, outcomes }))
}

/// See the life of a coupon
///
/// How it stands, when and by whom it was issued, and the transaction that redeemed it.
#[utoipa::path(
    get, path = "/v1/coupons/{code}", operation_id = "get_coupon", tag = "office",
    params(("code" = String, Path, example = "0M3Z5K9Q7W2XB4")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Its life", body = Life),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn look_up(
    State(app): State<Arc<App>>,
    actor: Actor,
    code: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (_, life) = life_of(&app, code).await?;
    Ok(json(StatusCode::OK, to_bytes(&life.seen_by(&actor))))
}

async fn life_of(
    app: &App,
    code: Result<Path<String>, PathRejection>,
) -> Result<(Code, Life), Problem> {
    let Path(code) = code.map_err(|_| Slug::NotFound)?;
    let code = Code::parse(&code).ok_or(Slug::NotFound)?;
    let life = offer::life(&app.pool, code).await?.ok_or(Slug::NotFound)?;
    Ok((code, life.on(app.today())))
}

/// Take a coupon back
///
/// It counts no more, at any till. Taken back again, nothing changes. What a till has taken
/// stays redeemed.
#[utoipa::path(
    post, path = "/v1/coupons/{code}/revoke", operation_id = "revoke_coupon", tag = "office",
    params(("code" = String, Path, example = "0M3Z5K9Q7W2XB4")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Its life, as it is now", body = Life),
        (status = 409, description = "A till has taken it", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn revoke(
    State(app): State<Arc<App>>,
    actor: Actor,
    code: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + LIST_PATIENCE;
    let (code, life) = life_of(&app, code).await?;
    let stored = offer::find(&app.pool, &life.offer).await?.ok_or(Slug::NotFound)?;
    own_stores(&actor, &stored.definition.stores)?;
    let snapshot = app.catalogue.current();
    let desk = timeout_at(deadline, app.desk.lock()).await;
    let mut desk = desk.map_err(|_elapsed| Error::DeadlineExceeded)?;
    let (order, now) = (Order::Revoke(code), Timestamp::now());
    let ordered = desk.order_by(&snapshot, &order, Some(actor.user_no), now).await?;
    drop(desk);
    match ordered {
        Ordered::Revoked => {}
        Ordered::Redeemed => return Err(Slug::CouponRedeemed.into()),
        _ => return Err(Slug::NotFound.into()),
    }
    let life = offer::life(&app.pool, code).await?.ok_or(Slug::NotFound)?;
    Ok(json(StatusCode::OK, to_bytes(&life)))
}
