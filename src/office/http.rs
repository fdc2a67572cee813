//! Who asks, held against what the route needs: the one place. And the routes about users,
//! tokens, stores, terminals and the audit trail.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, MatchedPath, Path, Query, RawPathParams, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;

use super::access::{self, Stores, Verb};
use super::once::{self, Asked, Claim, Once};
use super::page::PageIn;
use super::user::{self, NewUser, OfficeError, Wanted, Who};
use super::wire::{
    AuditTrailOut, KeptOut, QuarantineOut, StoresOut, TerminalsOut, TokenIn, TokenOut, TokensOut,
    UserIn, UsersOut,
};
use super::{Actor, TokenScope, TokenStatus, UserStatus, sql};
use crate::app::App;
use crate::db::DbError;
use crate::error::Error;
use crate::http::body::{holds_payment_card, parse};
use crate::http::json;
use crate::http::problem::{FieldError, Problem, ProblemOut, Slug};
use crate::quarantine;
use crate::receipt::to_bytes;

/// Most characters of a note.
const NOTE_MAX: usize = 200;
/// Names a creation, so that it is done once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that was given before.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Every handler of people takes the person who asks, and gets one only when the table of
/// [`access`] lets that person in. Looked up each time, so that a revocation works at once.
impl FromRequestParts<Arc<App>> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or(Slug::Unauthenticated)?;
        let actor = super::who(&app.pool, token, Timestamp::now()).await.map_err(Error::from)?;
        let actor = actor.ok_or(Slug::Unauthenticated)?;
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let access = access::of(&parts.method, path).ok_or(Slug::Forbidden)?;
        let may = access.roles.contains(&actor.role)
            && (actor.scope == TokenScope::Full || access.method == Verb::Get);
        if !may {
            return Err(Slug::Forbidden.into());
        }
        if access.stores == Stores::Named {
            let parameters = RawPathParams::from_request_parts(parts, app).await;
            let parameters = parameters.map_err(|_| Slug::NotFound)?;
            let store = parameters.iter().find(|(name, _)| *name == "store");
            if !store.is_some_and(|(_, store)| actor.has_store(store)) {
                return Err(Slug::Forbidden.into());
            }
        }
        Ok(actor)
    }
}

/// The token of an `Authorization: Bearer` header that stands once.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
    is_bearer.then(|| token.trim())
}

/// Lets through what counts in stores that are all the person's own: the rule of
/// [`Stores::Own`], for whoever knows the stores.
///
/// # Errors
/// `forbidden`.
pub fn own_stores(actor: &Actor, store_ids: &[String]) -> Result<(), Problem> {
    let detail = "A manager changes only what counts in the manager's own stores and nowhere else.";
    let refused = || Problem::new(Slug::Forbidden).detail(detail);
    if actor.runs(store_ids) { Ok(()) } else { Err(refused()) }
}

/// Reads a query.
///
/// # Errors
/// `validation-failed`.
pub fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|_| {
        Problem::new(Slug::ValidationFailed)
            .detail("The query has a parameter that is not known here, or a value of another kind.")
    })
}

/// A finding about one field of a body.
pub fn invalid(pointer: &str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    let finding = FieldError { pointer: pointer.to_owned(), detail: detail.into() };
    Problem::invalid(Slug::ValidationFailed, vec![finding])
        .detail("errors names each place in the body and what is asked for there.")
}

/// Checks what people note about a change.
///
/// # Errors
/// What is wrong with it.
pub fn check_note(note: &str) -> Result<(), Problem> {
    let length = note.chars().count();
    let is_text = (1..=NOTE_MAX).contains(&length) && !note.chars().any(char::is_control);
    let wrong = || invalid("/note", "1 to 200 printable characters are required");
    if is_text { Ok(()) } else { Err(wrong()) }
}

/// Does a creation once for each key: reads its body, has `work` do it, and answers it. `work`
/// keeps the answer with what it makes, and says it; what was done before is answered as it was,
/// and the key of what was refused is given back.
///
/// # Errors
/// As [`creation`], and what `work` refuses with.
pub async fn create(
    app: &App,
    actor: &Actor,
    request: Request,
    work: impl AsyncFnOnce(Claim, Bytes) -> Result<Bytes, Problem>,
) -> Result<Response, Problem> {
    match creation(app, actor, request).await? {
        Ok((claim, body)) => created(app, &claim, work(claim.clone(), body).await).await,
        Err(answer) => Ok(answer),
    }
}

/// Reads the body of a creation, and looks whether it was done before: then that answer is
/// given again.
///
/// # Errors
/// As [`once::begin`], and what is wrong with the body.
pub async fn creation(
    app: &App,
    actor: &Actor,
    request: Request,
) -> Result<Result<(Claim, Bytes), Response>, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.read_unsigned(&parts.headers, body).await?;
    if holds_payment_card(&body) {
        return Err(Slug::PaymentCardDataRefused.into());
    }
    let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = keys.next().and_then(|key| key.to_str().ok()).filter(|_| keys.next().is_none());
    let asked = Asked { key, path: parts.uri.path(), body: &body };
    let kept_for_hours = app.config.office.idempotency_hours;
    match once::begin(&app.pool, actor, &asked, kept_for_hours, Timestamp::now()).await? {
        Once::First(claim) => Ok(Ok((claim, body))),
        Once::Again(status, answer) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
            let mut answer = json(status, answer.into());
            answer.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            Ok(Err(answer))
        }
    }
}

/// The answer to a creation; the key of one that was not done is given back.
///
/// # Errors
/// What it was refused with.
pub async fn created(
    app: &App,
    claim: &Claim,
    outcome: Result<Bytes, Problem>,
) -> Result<Response, Problem> {
    match outcome {
        Ok(answer) => Ok(json(StatusCode::CREATED, answer)),
        Err(problem) => {
            once::give_up(&app.pool, claim).await;
            Err(problem)
        }
    }
}

fn refused(error: OfficeError) -> Problem {
    let detail = error.to_string();
    match error {
        OfficeError::NotAnAddress => invalid("/email", detail),
        OfficeError::NotAName => invalid("/name", detail),
        OfficeError::Stores | OfficeError::NoSuchStore => invalid("/stores", detail),
        OfficeError::NoSuchUser => invalid("/user", detail),
        OfficeError::Expiry => invalid("/expires_days", detail),
        OfficeError::Exists => Slug::UserExists.into(),
        OfficeError::NoSuchToken => Slug::NotFound.into(),
        OfficeError::Database(error) => failed(error),
    }
}

fn failed(error: DbError) -> Problem {
    Error::from(error).into()
}

/// List users
///
/// Who may be given tokens, disabled ones included.
#[utoipa::path(
    get, path = "/v1/users", operation_id = "list_users", tag = "office", params(PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = UsersOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_users(
    State(app): State<Arc<App>>,
    _actor: Actor,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(page)?.read()?;
    let users = sql::list_users(&app.pool, &page).await.map_err(failed)?;
    let (users, next) = page.cut(users, |user| user.user.into());
    Ok(json(StatusCode::OK, to_bytes(&UsersOut { users, next })))
}

/// Add a user
///
/// Needs an `Idempotency-Key`. The user can do nothing before being given a token.
#[utoipa::path(
    post, path = "/v1/users", operation_id = "add_user", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = UserIn<'_>, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Added", body = UserStatus),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn add_user(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let UserIn { email, name, role, stores } = parse(&body)?;
        let new = NewUser { email: email.into_owned(), name: name.into_owned(), role, stores };
        let answer = |user: &UserStatus| to_bytes(user).to_vec();
        let settle = Some((&claim, 201, &answer as &(dyn Fn(&UserStatus) -> Vec<u8> + Sync)));
        let by = Some(actor.user_no);
        let user = user::add(&app.pool, &new, by, settle, Timestamp::now()).await;
        user.map(|user| to_bytes(&user)).map_err(refused)
    })
    .await
}

/// Disable a user
///
/// Every token of the user is refused from now on, on every replica. There is no way back.
#[utoipa::path(
    post, path = "/v1/users/{user}/disable", operation_id = "disable_user", tag = "office",
    params(("user" = i32, Path, example = 3)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Disabled", body = UserStatus),
        (status = "4XX", description = "Refused; 404 when the user was disabled already",
         body = ProblemOut, content_type = "application/problem+json"),
    ),
)]
pub async fn disable_user(
    State(app): State<Arc<App>>,
    actor: Actor,
    user: Result<Path<i32>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(user) = user.map_err(|_| Slug::NotFound)?;
    let by = Some(actor.user_no);
    match user::disable(&app.pool, Who::Number(user), by, Timestamp::now()).await {
        Ok(user) => Ok(json(StatusCode::OK, to_bytes(&user))),
        Err(OfficeError::NoSuchUser) => Err(Slug::NotFound.into()),
        Err(error) => Err(refused(error)),
    }
}

/// List tokens
///
/// All of them, without their secrets, those that ended included.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "list_tokens", tag = "office", params(PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = TokensOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_tokens(
    State(app): State<Arc<App>>,
    _actor: Actor,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(page)?.read()?;
    let tokens = sql::list_tokens(&app.pool, &page).await.map_err(failed)?;
    let (tokens, next) = page.cut(tokens, |token| token.token.into());
    Ok(json(StatusCode::OK, to_bytes(&TokensOut { tokens, next })))
}

/// Make a token
///
/// Needs an `Idempotency-Key`. The secret stands in the first answer and nowhere else.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "add_token", tag = "office",
    params(("Idempotency-Key" = String, Header, description = "Names the creation")),
    request_body(content = TokenIn<'_>, content_type = "application/json"),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Made", body = TokenOut<'_>),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn add_token(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Request,
) -> Result<Response, Problem> {
    create(&app, &actor, request, async |claim, body| {
        let TokenIn { user, name, expires_days, scope } = parse(&body)?;
        let wanted = Wanted { who: Who::Number(user), name: &name, scope, expires_days };
        // What is kept for repetitions lies in the database: never the secret.
        let answer = |token: &TokenStatus| to_bytes(&TokenOut { secret: None, token }).to_vec();
        let settle = Some((&claim, 201, &answer as &(dyn Fn(&TokenStatus) -> Vec<u8> + Sync)));
        let by = Some(actor.user_no);
        let made = user::add_token(&app.pool, &wanted, by, settle, Timestamp::now()).await;
        let made = made.map_err(refused)?;
        Ok(to_bytes(&TokenOut { secret: Some(&made.secret), token: &made.status }))
    })
    .await
}

/// Revoke a token
///
/// It is refused from now on, everywhere.
#[utoipa::path(
    delete, path = "/v1/tokens/{token}", operation_id = "revoke_token", tag = "office",
    params(("token" = i32, Path, example = 7)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Revoked", body = TokenStatus),
        (status = "4XX", description = "Refused; 404 when it had ended already",
         body = ProblemOut, content_type = "application/problem+json"),
    ),
)]
pub async fn revoke_token(
    State(app): State<Arc<App>>,
    actor: Actor,
    token: Result<Path<i32>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(token) = token.map_err(|_| Slug::NotFound)?;
    let revoked = user::revoke_token(&app.pool, token, Some(actor.user_no), Timestamp::now());
    Ok(json(StatusCode::OK, to_bytes(&revoked.await.map_err(refused)?)))
}

/// Read the audit trail
///
/// Who changed what, and who pulled exports. References and names of fields, never values.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "list_audit", tag = "office", params(PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = AuditTrailOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_audit(
    State(app): State<Arc<App>>,
    _actor: Actor,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(page)?.read()?;
    let lines = sql::list_audit(&app.pool, &page).await.map_err(failed)?;
    let (audit, next) = page.cut(lines, |line| line.audit);
    Ok(json(StatusCode::OK, to_bytes(&AuditTrailOut { audit, next })))
}

/// List stores
///
/// A manager sees the manager's own.
#[utoipa::path(
    get, path = "/v1/stores", operation_id = "list_stores", tag = "office", params(PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = StoresOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_stores(
    State(app): State<Arc<App>>,
    actor: Actor,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(page)?.read()?;
    let stores = sql::list_stores(&app.pool, &page, actor.stores.as_deref());
    let (stores, next) = page.cut(stores.await.map_err(failed)?, |(number, _)| (*number).into());
    let stores = stores.into_iter().map(|(_, store)| store).collect();
    Ok(json(StatusCode::OK, to_bytes(&StoresOut { stores, next })))
}

/// List terminals
///
/// With the keys that they may sign with now. A manager sees those of the manager's stores.
#[utoipa::path(
    get, path = "/v1/terminals", operation_id = "list_terminals", tag = "office", params(PageIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = TerminalsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_terminals(
    State(app): State<Arc<App>>,
    actor: Actor,
    page: Result<Query<PageIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(page)?.read()?;
    let stores = actor.stores.as_deref();
    let found = sql::list_terminals(&app.pool, &page, stores, Timestamp::now()).await;
    let (found, next) = page.cut(found.map_err(failed)?, |(number, _)| (*number).into());
    let terminals = found.into_iter().map(|(_, terminal)| terminal).collect();
    Ok(json(StatusCode::OK, to_bytes(&TerminalsOut { terminals, next })))
}

/// A terminal in a path.
#[derive(Deserialize)]
pub struct Place {
    store: String,
    workstation: String,
}

/// See what a terminal sent that was not understood
///
/// The newest hundred; the same body stands once, however often it came.
#[utoipa::path(
    get, path = "/v1/terminals/{store}/{workstation}/quarantine", operation_id = "list_quarantine",
    tag = "office",
    params(("store" = String, Path, example = "0367"), ("workstation" = String, Path, example = "03")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What is kept", body = QuarantineOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list_quarantine(
    State(app): State<Arc<App>>,
    _actor: Actor,
    place: Result<Path<Place>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(Place { store, workstation }) = place.map_err(|_| Slug::NotFound)?;
    app.catalogue.current().workstation(&store, &workstation).ok_or(Slug::NotFound)?;
    let kept = quarantine::list(&app.pool, &store, &workstation).await.map_err(failed)?;
    let shown = |kept: quarantine::Kept| {
        let quarantine::Kept { request_id, first_at, last_at, attempts, .. } = kept;
        let quarantine::Kept { route, problem, errors, body, .. } = kept;
        KeptOut { request_id, first_at, last_at, attempts, route, problem, errors, body }
    };
    let requests = kept.into_iter().map(shown).collect();
    Ok(json(StatusCode::OK, to_bytes(&QuarantineOut { requests })))
}
