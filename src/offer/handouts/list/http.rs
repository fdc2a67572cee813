//! The route that takes a list: read while it arrives, checked as a whole, and kept as a whole or
//! not at all. A few lines are in memory at a time, and the accounts that they have led to.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::super::http::seen;
use super::super::{Handout, LIST_MAX, State, find, sql};
use super::{Format, Line, Lines};
use crate::app::App;
use crate::domain::bucket;
use crate::domain::payment_card::{self, Field};
use crate::error::Error;
use crate::http::json;
use crate::http::problem::{FieldError, Problem, ProblemOut, Slug};
use crate::http::request::Body;
use crate::offer::coupons::{Item, items};
use crate::office::http::{own_stores, query};
use crate::office::{Actor, Trace};
use crate::receipt::to_bytes;

/// Most bytes of a list.
const LIST_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Whoever sends a list must not pause for longer.
const SENDER_PATIENCE: Duration = Duration::from_secs(30);
/// Nor take longer over the whole of it: exports wait for the same room.
const LIST_PATIENCE: Duration = Duration::from_secs(900);
/// Items that are looked up at a time.
const LOOK: usize = 1_000;
/// Most wrong lines that are told one by one.
const FINDINGS_MAX: usize = 100;

/// What is to become of lines that lead to nobody.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListIn {
    /// Leave cards out that nobody has used and those that are blocked, and accounts that there
    /// are not, instead of refusing the list.
    #[serde(default)]
    leave_out_unknown: bool,
}

/// What a list has come to.
#[derive(Serialize, ToSchema)]
#[schema(as = HandoutList)]
pub struct ListOut {
    /// Lines that name a card or an account.
    #[schema(example = 50000)]
    pub lines: usize,
    /// Of those, how many led to an account that another line has led to.
    pub duplicates: usize,
    /// Of those, how many were left out since they lead to nobody.
    pub unknown: usize,
    /// The handout, ready to be issued.
    pub handout: Handout,
}

/// Bring the list of a handout
///
/// Cards or accounts, a million lines and 64 MiB at most: `text/csv`, of which the first line
/// names the one column, `card` or `account`; or `application/x-ndjson` with an object in each
/// line. It is checked as a whole: when a line is wrong it is refused, `errors` names the lines
/// (`/17` is line 17, the first is 1), and nothing is kept. Brought again before it is issued, a
/// list replaces the one before. An account that is meant twice gets one coupon.
#[utoipa::path(
    post, path = "/v1/handouts/{handout}/list", operation_id = "bring_handout_list",
    tag = "office",
    params(("handout" = String, Path, example = "spring-yoghurt"), ListIn),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Kept", body = ListOut),
        (status = 409, description = "It waits for no list", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = 503, description = "Two files are under way", body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was kept", body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn bring_list(
    Shared(app): Shared<Arc<App>>,
    actor: Actor,
    handout: Result<Path<String>, PathRejection>,
    wanted: Result<Query<ListIn>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    // What is refused before its body was read to the end leaves the rest of it on the line.
    let brought = bring(&app, &actor, handout, wanted, request).await.map_err(Problem::closing)?;
    Ok(json(StatusCode::OK, to_bytes(&brought)))
}

async fn bring(
    app: &App,
    actor: &Actor,
    handout: Result<Path<String>, PathRejection>,
    wanted: Result<Query<ListIn>, QueryRejection>,
    request: Request,
) -> Result<ListOut, Problem> {
    let ListIn { leave_out_unknown } = query(wanted)?;
    let (handout, offer) = seen(app, actor, handout).await?;
    own_stores(actor, &offer.definition.stores)?;
    let waits = matches!(handout.state, State::Waiting | State::Ready);
    if !waits || handout.segment.is_some() {
        return Err(Slug::HandoutNotReady.into());
    }
    let (parts, body) = request.into_parts();
    let format = format_of(&parts.headers)?;
    let busy = Error::Overloaded { retry_after: Duration::from_secs(30) };
    let _permit = app.exports.try_acquire().map_err(|_| busy)?;
    let reading = timeout(LIST_PATIENCE, read(app, body, format, leave_out_unknown)).await;
    let mut listed = reading.map_err(|_elapsed| Slug::RequestTimeout)??;
    if listed.wrong > 0 {
        let detail = format!(
            "{} of the lines are wrong; errors names them, the first {FINDINGS_MAX} at most. \
             Nothing was kept.",
            listed.wrong
        );
        return Err(Problem::invalid(Slug::ValidationFailed, listed.findings).detail(detail));
    }
    if listed.lines == 0 {
        return Err(Problem::new(Slug::ValidationFailed).detail("The list names nobody."));
    }
    // Along their key, as they are worked through.
    listed.account_ids.sort_unstable_by_key(|id| (bucket::of_account(*id), *id));
    let before = listed.account_ids.len();
    listed.account_ids.dedup();
    let duplicates = listed.duplicates + before - listed.account_ids.len();
    let meant = listed.account_ids.len();
    let hold_out = app.config.coupons.hold_out();
    listed.account_ids.retain(|id| handout.held_out_too || !hold_out.holds(*id));
    let held_out = i32::try_from(meant - listed.account_ids.len()).expect("a million at most");

    let object = format!("handout:{}", handout.handout);
    let (user_no, fields) = (Some(actor.user_no), &["accounts"][..]);
    let trace = Trace { user_no, action: "handout.list", object: &object, fields };
    let (accounts, now) = (&listed.account_ids, Timestamp::now());
    let kept = sql::keep_list(&app.pool, handout.handout_no, accounts, held_out, &trace, now);
    if !kept.await? {
        return Err(Slug::HandoutNotReady.into());
    }
    let handout = find(&app.pool, &handout.handout).await?.ok_or(Slug::NotFound)?;
    Ok(ListOut { lines: listed.lines, duplicates, unknown: listed.unknown, handout })
}

/// What a list says, so far as it has arrived.
#[derive(Default)]
struct Listed {
    lines: usize,
    account_ids: Vec<i64>,
    duplicates: usize,
    unknown: usize,
    wrong: usize,
    findings: Vec<FieldError>,
}

impl Listed {
    fn refuse(&mut self, line: u32, what: &'static str) {
        self.wrong += 1;
        if self.findings.len() < FINDINGS_MAX {
            let detail = Cow::Borrowed(what);
            self.findings.push(FieldError { pointer: format!("/{line}"), detail });
        }
    }

    /// Finds whom these lines mean.
    async fn look_up(
        &mut self,
        app: &App,
        lines: &[Line],
        leave_out_unknown: bool,
    ) -> Result<(), Problem> {
        let (mut numbers, mut list) = (Vec::new(), Vec::new());
        for Line { number, said } in lines {
            match said {
                Err(what) => self.refuse(*number, what),
                // Told from a card of the chain by its format alone, as everywhere.
                Ok(text)
                    if !app.cards.admits(text) && payment_card::found_in(text, Field::Text) =>
                {
                    return Err(Slug::PaymentCardDataRefused.into());
                }
                Ok(text) => {
                    numbers.push(*number);
                    list.push(text.clone());
                }
            }
        }
        self.lines += list.len();
        let items = items(&app.pool, &list, |text| app.cards.admits(text)).await?;
        for (number, item) in numbers.into_iter().zip(items) {
            match item {
                Item::Account(account_id) => self.account_ids.push(account_id),
                Item::Duplicate(_) => self.duplicates += 1,
                Item::Invalid => {
                    self.refuse(number, "is neither a card of this chain nor an account")
                }
                Item::NoCustomer => self.refuse(number, "is a workstation's own account"),
                Item::Unknown | Item::Blocked if leave_out_unknown => self.unknown += 1,
                Item::Unknown => {
                    self.refuse(number, "is a card that nobody has used, or no account")
                }
                Item::Blocked => self.refuse(number, "is blocked"),
            }
        }
        Ok(())
    }
}

/// Reads a list while it arrives; a few lines are in memory at a time, and the accounts.
async fn read(
    app: &App,
    mut body: Body,
    format: Format,
    leave_out_unknown: bool,
) -> Result<Listed, Problem> {
    let (mut listed, mut bytes) = (Listed::default(), 0_usize);
    let (mut lines, mut arrived) = (Lines::new(format), Vec::new());
    loop {
        let frame = timeout(SENDER_PATIENCE, body.frame()).await;
        let Some(frame) = frame.map_err(|_elapsed| Slug::RequestTimeout)? else { break };
        let Ok(data) = frame.map_err(|_| Slug::MalformedRequest)?.into_data() else { continue };
        bytes = bytes.saturating_add(data.len());
        if bytes > LIST_MAX_BYTES {
            return Err(too_long());
        }
        arrived.extend(lines.push(&data));
        while arrived.len() >= LOOK {
            let later = arrived.split_off(LOOK);
            listed.look_up(app, &arrived, leave_out_unknown).await?;
            arrived = later;
        }
        if listed.lines > LIST_MAX {
            return Err(too_long());
        }
    }
    arrived.extend(lines.finish());
    listed.look_up(app, &arrived, leave_out_unknown).await?;
    if listed.lines > LIST_MAX { Err(too_long()) } else { Ok(listed) }
}

fn too_long() -> Problem {
    Problem::new(Slug::BodyTooLarge)
        .detail("A list has a million lines and 64 MiB at most. Bring it as two handouts.")
}

/// How a list is written, by its headers.
fn format_of(headers: &HeaderMap) -> Result<Format, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
    match kind.to_ascii_lowercase().as_str() {
        "text/csv" if is_plain => Ok(Format::Csv),
        "application/x-ndjson" if is_plain => Ok(Format::Ndjson),
        _ => Err(Problem::new(Slug::UnsupportedMediaType)
            .detail("A list is text/csv or application/x-ndjson, and not compressed.")),
    }
}
