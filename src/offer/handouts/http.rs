//! The routes of people about handouts.

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

use super::lines::{Format, Line, Lines};
use super::{Handout, LIST_MAX, NotMade, State, Wanted, is_name, sql};
use crate::app::App;
use crate::domain::bucket;
use crate::domain::offer::Delivery;
use crate::domain::payment_card::{self, Field};
use crate::domain::segment::Segment;
use crate::error::Error;
use crate::http::body::parse;
use crate::http::json;
use crate::http::problem::{FieldError, Problem, ProblemOut, Slug};
use crate::http::request::Body;
use crate::offer::coupons::{Item, items};
use crate::offer::{self, Stored};
use crate::office::http::{created, creation, invalid, own_stores, query};
use crate::office::page::PageIn;
use crate::office::{Actor, Trace};
use crate::receipt::to_bytes;

/// Most bytes of a list.
const LIST_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Whoever sends a list must not pause for longer.
const SENDER_PATIENCE: Duration = Duration::from_secs(30);
/// Items that are looked up at a time.
const LOOK: usize = 1_000;
/// Most wrong lines that are told one by one.
const FINDINGS_MAX: usize = 100;

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
    let (claim, body) = match creation(&app, &actor, request).await? {
        Ok(new) => new,
        Err(answer) => return Ok(answer),
    };
    let outcome = async {
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
                let words = "200 handouts wait, or are not done: issue or end some of them first";
                Err(invalid("", words))
            }
        }
    };
    created(&app, &claim, outcome.await).await
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
async fn seen(
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
    let mut listed = read(app, body, format, leave_out_unknown).await?;
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
    let handout = super::find(&app.pool, &handout.handout).await?.ok_or(Slug::NotFound)?;
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
            return Err(Slug::BodyTooLarge.into());
        }
        arrived.extend(lines.push(&data));
        while arrived.len() >= LOOK {
            let later = arrived.split_off(LOOK);
            listed.look_up(app, &arrived, leave_out_unknown).await?;
            arrived = later;
        }
        if listed.lines > LIST_MAX {
            return Err(Slug::BodyTooLarge.into());
        }
    }
    arrived.extend(lines.finish());
    listed.look_up(app, &arrived, leave_out_unknown).await?;
    if listed.lines > LIST_MAX { Err(Slug::BodyTooLarge.into()) } else { Ok(listed) }
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
/// No coupon of it is issued from now on, but for those at hand; what was issued stays. Issued
/// again, it goes on.
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
