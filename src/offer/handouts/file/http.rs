//! The route that answers the file of a handout.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;

use super::File;
use crate::app::App;
use crate::error::Error;
use crate::http::file::{FileIn, streamed};
use crate::http::problem::{Problem, ProblemOut};
use crate::offer::handouts::http::seen;
use crate::office::Actor;
use crate::office::http::{own_stores, query};

/// Fetch the file of a handout
///
/// For whoever prints or mails its coupons: a line for each that it has issued so far, with the
/// account that has it now, its code, the offer's headline, what it is worth, its days, and whether
/// it is `issued`, `redeemed`, `revoked` or `expired`. Consents were asked when they were issued,
/// and are not asked again. Streamed from one snapshot; a file that is
/// cut ends as a broken answer. In CSV a text that a spreadsheet would take for a formula begins
/// with an apostrophe. Codes are as good as money, so a manager fetches those of offers that count
/// in the manager's own stores only, and each file leaves a line in the audit trail.
#[utoipa::path(
    get, path = "/v1/handouts/{handout}/file", operation_id = "fetch_handout", tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt"), FileIn),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
        (status = 503, description = "Two files are under way", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn fetch(
    State(app): State<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
    file: Result<Query<FileIn>, QueryRejection>,
) -> Result<Response, Problem> {
    let FileIn { format } = query(file)?;
    let (handout, offer) = seen(&app, &actor, handout).await?;
    own_stores(&actor, &offer.definition.stores)?;
    let busy = Error::Overloaded { retry_after: Duration::from_secs(30) };
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| busy)?;
    let (database, by) = ((&app.pool, &app.config.database), Some(actor.user_no));
    let of = (&handout, &offer.definition);
    let file = File::begin(database, of, format, by, app.today()).await?;
    let name = handout.handout.clone();
    Ok(streamed(format, &name, permit, |to| async move { file.write(&to).await }))
}
