//! The route of people about the coupons of an account.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::sql;
use crate::app::App;
use crate::error::Error;
use crate::http::json;
use crate::http::problem::{Problem, ProblemOut, Slug};
use crate::offer::Life;
use crate::office::Actor;
use crate::office::http::query;
use crate::office::page::PageIn;
use crate::receipt::{account_id, to_bytes};

/// How coupons stand.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CouponState {
    /// They can be used, now or from a later day.
    Issued,
    /// A till has taken them.
    Redeemed,
    /// They were taken back.
    Revoked,
    /// Their last day is over, and nobody has used them.
    Expired,
}

/// Which coupons of the account, and which page of them.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CouponsIn {
    /// Only those that stand so today; left out: all of them.
    #[param(inline)]
    state: Option<CouponState>,
    /// Most items of the page, 1 to 200; without it 50.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A page of coupons, those that were issued last first.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountCoupons)]
pub struct CouponsOut {
    /// The coupons.
    pub coupons: Vec<Life>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// See the coupons of an account
///
/// All that it was ever given, by tills and by people, those of accounts that were merged into it
/// included, and codes of pools that it has used. Uses of member prices and of codes for everybody
/// are no coupons of anybody's: they stand on the receipts.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/coupons", operation_id = "get_account_coupons",
    tag = "office",
    params(("account" = String, Path, example = "acc_000000000A1KV"), CouponsIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = CouponsOut),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    actor: Actor,
    account: Result<Path<String>, PathRejection>,
    wanted: Result<Query<CouponsIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(account) = account.map_err(|_| Slug::NotFound)?;
    let account_id = account_id(&account).ok_or(Slug::NotFound)?;
    let CouponsIn { state, limit, after } = query(wanted)?;
    let page = PageIn::new(limit, after).read_pair()?;
    if !sql::is_known(&app.pool, account_id).await.map_err(Error::from)? {
        return Err(Slug::NotFound.into());
    }
    let today = app.today();
    let coupons = sql::list(&app.pool, account_id, &page, state, today).await?;
    let place = |(life, number): &(Life, i64)| (life.issued_at.as_microsecond(), *number);
    let (coupons, next) = page.cut(coupons, place);
    let coupons = coupons.into_iter().map(|(life, _)| life.on(today).seen_by(&actor)).collect();
    Ok(json(StatusCode::OK, to_bytes(&CouponsOut { coupons, next })))
}
