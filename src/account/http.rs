//! The routes of people about accounts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::sql::{self, Event, Found, What};
use crate::app::App;
use crate::commit::{Adjusted, Adjustment, ByUser, Made, Whose};
use crate::domain::account::State as AccountState;
use crate::domain::desk::ADJUSTMENT_POINTS_MAX;
use crate::domain::standing;
use crate::error::Error;
use crate::http::body::{check_card, parse};
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::office::http::{create, invalid, query};
use crate::office::once::{self, Claim};
use crate::office::page::PageIn;
use crate::office::{Actor, Role};
use crate::receipt::{Points, Tier, account_id, account_text, to_bytes};

/// How long an adjustment waits for those before it.
const DESK_PATIENCE: Duration = Duration::from_secs(10);

/// How an account stands now.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountOut {
    /// Its id.
    #[schema(example = "acc_000000000A1KV")]
    pub account: String,
    /// `provisional` while nobody has enrolled it, `enrolled`, `merged` into another, or
    /// `blocked`: of a card that people have blocked.
    #[schema(example = "enrolled")]
    pub state: &'static str,
    /// The account that it was merged into; null when it was not.
    pub merged_into: Option<String>,
    /// As on a receipt; what a receipt says of its own transaction is 0.
    pub points: Points,
    /// The account's tier; null while the programme has no tiers.
    pub tier: Option<Tier>,
    /// Number of its transactions, voided ones taken out.
    pub baskets: i32,
    /// Their totals, in minor units.
    pub sales_minor: i64,
    /// Its cards, a hundred at most.
    pub cards: Vec<AccountCard>,
    /// The people on it: that they are known, never who they are.
    pub members: Vec<AccountMember>,
}

/// A card of an account.
#[derive(Serialize, ToSchema)]
pub struct AccountCard {
    /// The card; for roles that do not serve customers only its last four characters.
    #[schema(example = "2990000000019")]
    pub card: String,
    /// Since when it points at the account.
    #[schema(value_type = String, format = DateTime)]
    pub linked_at: Timestamp,
}

/// That a person is known.
#[derive(Serialize, ToSchema)]
pub struct AccountMember {
    /// Since when.
    #[schema(value_type = String, format = Date)]
    pub joined_on: Date,
    /// Which values are known: `name`, `birthday`, `email`, `phone`.
    pub known: Vec<String>,
    /// What the person has agreed to; null for auditors.
    pub consents: Option<Vec<String>>,
}

/// A page of what happened to an account, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct TimelineOut {
    /// Swipes, voids and adjustments, coupons that people issued and took back, and what people did
    /// to its cards. A manager sees swipes of the manager's stores.
    pub events: Vec<EventOut>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// One change of an account. Fields that do not belong to its kind are null.
#[derive(Serialize, ToSchema)]
#[schema(as = TimelineEvent)]
pub struct EventOut {
    /// `swipe`, `training`, `void`, `adjustment`, `coupons-issued`, `coupon-revoked`,
    /// `card-blocked`, `card-replaced` or `card-added`: unblocked, or the other card in place of
    /// one that was blocked before.
    #[schema(example = "swipe")]
    pub kind: &'static str,
    /// The version that it made of the account.
    pub version: i64,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The day that it counts for.
    #[schema(value_type = String, format = Date)]
    pub business_date: Date,
    /// The name of the swipe.
    #[schema(example = "0367/03/2026-03-14/31198")]
    pub swipe: Option<String>,
    /// Its total, in minor units.
    pub total_minor: Option<i64>,
    /// Points earned, or given by an adjustment.
    pub earned: i64,
    /// Points taken back, or taken by an adjustment.
    pub reversed: i64,
    /// Points that paid.
    pub spent: i64,
    /// Why it was adjusted.
    #[schema(example = "goodwill")]
    pub reason: Option<String>,
    /// Who adjusted it, issued the coupons or took one back; null where the command line did.
    #[schema(example = "user:3")]
    pub actor: Option<String>,
    /// What the offer of the coupons is called; null where they are of several.
    #[schema(example = "yoghurt-50")]
    pub offer: Option<String>,
    /// How many coupons people issued or took back.
    pub coupons: Option<i64>,
}

/// Points given or taken.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAdjustment)]
pub struct AdjustmentIn {
    /// Given, or taken when negative; not 0.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = 500)]
    pub points: i64,
    /// One of office.adjustment_reasons.
    #[schema(example = "goodwill")]
    pub reason: String,
}

/// An adjustment that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = PointsAdjustment)]
pub struct AdjustmentOut {
    /// Names it among those of its account.
    pub adjustment: String,
    /// The account; when the one in the path was merged, the one that it was merged into.
    #[schema(example = "acc_000000000A1KV")]
    pub account: String,
    /// Points given, or taken when negative.
    pub adjusted: i64,
    /// The day that it counts for.
    #[schema(value_type = String, format = Date)]
    pub business_date: Date,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The account after it.
    pub points: Points,
}

/// Which account is looked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ByCard {
    /// A card of the account.
    #[param(example = "2990000000019")]
    card: String,
}

/// Look up the account of a card
///
/// Straight from the primary database.
#[utoipa::path(
    get, path = "/v1/accounts", operation_id = "find_account", tag = "office", params(ByCard),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How it stands", body = AccountOut),
        (status = 404, description = "Nobody has used or enrolled this card", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn find(
    State(app): State<Arc<App>>,
    actor: Actor,
    card: Result<Query<ByCard>, QueryRejection>,
) -> Result<Response, Problem> {
    let ByCard { card } = query(card)?;
    check_card(&card, "", &app.cards)?;
    let account_id = sql::of_card(&app.pool, &card).await.map_err(Error::from)?;
    show(&app, &actor, account_id.ok_or(Slug::NotFound)?).await
}

/// Look up an account
///
/// Straight from the primary database. One that was merged says into which.
#[utoipa::path(
    get, path = "/v1/accounts/{account}", operation_id = "get_account", tag = "office",
    params(("account" = String, Path, example = "acc_000000000A1KV")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How it stands", body = AccountOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn look_up(
    State(app): State<Arc<App>>,
    actor: Actor,
    account: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    show(&app, &actor, id_in(account)?).await
}

pub(super) fn id_in(account: Result<Path<String>, PathRejection>) -> Result<i64, Problem> {
    let Path(account) = account.map_err(|_| Slug::NotFound)?;
    Ok(account_id(&account).ok_or(Slug::NotFound)?)
}

pub(super) async fn show(app: &App, actor: &Actor, account_id: i64) -> Result<Response, Problem> {
    let Some(found) = sql::find(&app.pool, account_id).await? else {
        return Err(Slug::NotFound.into());
    };
    let Found { account, merged_into, cards, members } = found;
    let state = match account.state {
        AccountState::Provisional => "provisional",
        AccountState::Enrolled => "enrolled",
        AccountState::Merged => "merged",
        AccountState::Blocked => "blocked",
        AccountState::House => return Err(Slug::NotFound.into()),
    };
    let serves = matches!(actor.role, Role::Admin | Role::Manager);
    let card = |(card, linked_at): (String, Timestamp)| {
        let hidden = card.len().saturating_sub(4);
        let card = if serves { card } else { format!("…{}", &card[hidden..]) };
        AccountCard { card, linked_at }
    };
    let member = |member: sql::Member| {
        let sql::Member { joined_on, known, consents } = member;
        let consents = (actor.role != Role::Auditor).then_some(consents);
        AccountMember { joined_on, known, consents }
    };
    let (today, snapshot) = (app.today(), app.catalogue.current());
    let programme = snapshot.epoch_on(today).map(|epoch| &epoch.programme);
    let out = AccountOut {
        account: account_text(account_id),
        state,
        merged_into: merged_into.map(account_text),
        points: Points::of_account(&standing::of(&account, today)),
        tier: programme.and_then(|programme| Tier::of_account(programme, &account, today)),
        baskets: account.baskets,
        sales_minor: account.sales_minor,
        cards: cards.into_iter().map(card).collect(),
        members: members.into_iter().map(member).collect(),
    };
    Ok(json(StatusCode::OK, to_bytes(&out)))
}

/// See what happened to an account
///
/// The newest first: swipes, voids, adjustments, coupons that people issued and took back, and what
/// people did to its cards. Not what tills enrolled or linked; and what happened before a merge
/// stays with the account that was merged.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/timeline", operation_id = "get_timeline", tag = "office",
    params(("account" = String, Path, example = "acc_000000000A1KV"), PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = TimelineOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn timeline(
    State(app): State<Arc<App>>,
    actor: Actor,
    account: Result<Path<String>, PathRejection>,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let (account_id, page) = (id_in(account)?, query(page)?.read()?);
    let known = sql::find(&app.pool, account_id).await?;
    if known.is_none_or(|found| found.account.state == AccountState::House) {
        return Err(Slug::NotFound.into());
    }
    let stores = actor.stores.as_deref();
    let events = sql::timeline(&app.pool, account_id, &page, stores).await.map_err(Error::from)?;
    let (events, next) = page.cut(events, |event| event.version);
    let day_of = |at: Timestamp| app.config.time_zone().to_datetime(at).date();
    let events = events.into_iter().map(|event| event_out(event, day_of)).collect();
    Ok(json(StatusCode::OK, to_bytes(&TimelineOut { events, next })))
}

fn event_out(event: Event, day_of: impl Fn(Timestamp) -> Date) -> EventOut {
    let Event { version, business_date, at, what } = event;
    let business_date = business_date.unwrap_or_else(|| day_of(at));
    let nothing = EventOut {
        kind: "adjustment",
        version,
        at,
        business_date,
        swipe: None,
        total_minor: None,
        earned: 0,
        reversed: 0,
        spent: 0,
        reason: None,
        actor: None,
        offer: None,
        coupons: None,
    };
    match what {
        What::Cards { more } => EventOut {
            kind: match more {
                ..0 => "card-blocked",
                0 => "card-replaced",
                1.. => "card-added",
            },
            ..nothing
        },
        What::Coupons { count, offer, actor } => EventOut {
            kind: if count < 0 { "coupon-revoked" } else { "coupons-issued" },
            offer,
            coupons: Some(count.abs()),
            actor,
            ..nothing
        },
        What::Adjustment { points, reason, actor } => EventOut {
            earned: points.max(0),
            reversed: (-points).max(0),
            reason: Some(reason),
            actor: Some(actor),
            ..nothing
        },
        What::Swipe {
            kind,
            store_id,
            workstation_id,
            sequence_number,
            total_minor,
            earned,
            reversed,
            spent,
        } => EventOut {
            kind: match kind {
                1 => "training",
                3 | 4 => "void",
                _ => "swipe",
            },
            swipe: Some(format!("{store_id}/{workstation_id}/{business_date}/{sequence_number}")),
            total_minor: Some(total_minor),
            earned,
            reversed,
            spent,
            ..nothing
        },
    }
}

/// Adjust the points of an account
///
/// Needs an `Idempotency-Key`. Points that are given pay what the account owes and then last as
/// long as if they had been earned today; points that are taken are those that expire first, and
/// what is not there is owed. A user gives and takes `office.adjustment_points_per_day` at most.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/adjustments", operation_id = "adjust_account",
    tag = "office",
    params(
        ("account" = String, Path, example = "acc_000000000A1KV"),
        ("Idempotency-Key" = String, Header, description = "Names the creation"),
    ),
    request_body(content = AdjustmentIn, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Made", body = AdjustmentOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn adjust(
    State(app): State<Arc<App>>,
    actor: Actor,
    account: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let account_id = id_in(account)?;
    create(&app, &actor, request, async |claim, body| {
        make(&app, &actor, &claim, account_id, &body).await
    })
    .await
}

async fn make(
    app: &App,
    actor: &Actor,
    claim: &Claim,
    account_id: i64,
    body: &[u8],
) -> Result<Bytes, Problem> {
    let AdjustmentIn { points, reason } = parse(body)?;
    if points == 0 || points.unsigned_abs() > ADJUSTMENT_POINTS_MAX.unsigned_abs() {
        return Err(invalid("/points", "a whole number that is not 0, within ±1000000000"));
    }
    let settings = &app.config.office;
    if !settings.adjustment_reasons.contains(&reason) {
        return Err(invalid("/reason", "one of office.adjustment_reasons is required"));
    }
    let (today, now) = (app.today(), Timestamp::now());
    let since = today.to_zoned(app.config.time_zone()).map_or(now, |day| day.timestamp());
    let user =
        ByUser { user_no: actor.user_no, points_max: settings.adjustment_points_per_day, since };
    // Named by the key: were the answer lost, the same key would find that it was made.
    let adjustment = Adjustment {
        id: claim.id(),
        whose: Whose::Account(account_id),
        points,
        reason,
        actor: actor.name(),
        business_date: today,
        user: Some(user),
    };
    let snapshot = app.catalogue.current();
    let desk = tokio::time::timeout(DESK_PATIENCE, app.desk.lock()).await;
    let mut desk = desk.map_err(|_elapsed| Error::DeadlineExceeded)?;
    let adjusted = desk.adjust(&snapshot, &adjustment, now).await?;
    drop(desk);
    let Made { account, business_date, made_at } = match adjusted {
        Adjusted::Now(made) | Adjusted::Before(made) => made,
        Adjusted::IdReused => return Err(Slug::IdempotencyKeyReused.into()),
        Adjusted::OverCap => return Err(Slug::AdjustmentCapExceeded.into()),
        Adjusted::NoSuchAccount | Adjusted::NoCustomer => return Err(Slug::NotFound.into()),
    };
    let answer = to_bytes(&AdjustmentOut {
        adjustment: adjustment.id,
        account: account_text(account.account_id),
        adjusted: points,
        business_date,
        made_at,
        points: Points::of_account(&standing::of(&account, today)),
    });
    // It is made, whatever becomes of the answer that is kept: its id would find it again.
    if let Err(error) = once::settle(&app.pool, claim, 201, &answer).await {
        tracing::warn!(%error, "an adjustment was made, and its answer could not be kept");
    }
    Ok(answer)
}
