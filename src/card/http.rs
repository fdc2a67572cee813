//! The terminals' calls about cards.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::sql;
use crate::app::App;
use crate::commit::{Enrolled, Enrolment, MemberDetails};
use crate::domain::account::{self, Account};
use crate::domain::name;
use crate::domain::payment_card::{Field, found_in};
use crate::domain::standing;
use crate::http::body::{check_card, optional_object, parse, refusal};
use crate::http::json;
use crate::http::problem::{FieldError, Problem, ProblemOut, Slug};
use crate::http::request::DeadlineHeader;
use crate::receipt::{CouponOut, Points, Tier, account_text, to_bytes};

/// Most characters of a name, an address or a number of a member.
const TEXT_MAX: usize = 120;
/// Most consents.
const CONSENTS_MAX: usize = 20;

/// How a card stands now.
#[derive(Serialize, ToSchema)]
#[schema(as = Card)]
pub struct CardOut<'a> {
    /// The account; null while nobody has enrolled it.
    #[schema(example = "acc_000000000A1KV")]
    pub account: Option<String>,
    /// Whether somebody has enrolled it.
    pub enrolled: bool,
    /// As on a receipt; what a receipt says of its own transaction is 0.
    pub points: Points,
    /// The account's tier; null while the programme has no tiers.
    pub tier: Option<Tier>,
    /// Coupons that can be redeemed, now or from a later day; the first to run out first.
    pub coupons: Vec<CouponOut<'a>>,
}

/// Look up a card
///
/// Points and tier as of now, straight from the primary database.
#[utoipa::path(
    get, path = "/v1/cards/{card}", operation_id = "get_card", tag = "terminals",
    params(("card" = String, Path, example = "2990000000019")),
    responses(
        (status = 200, description = "How it stands", body = CardOut<'_>),
        (status = 404, description = "Nobody has used or enrolled this card",
         body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused",
         body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn look_up(
    State(app): State<Arc<App>>,
    card: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    app.read_signed(request).await?;
    let Path(card) = card.map_err(|_| Slug::NotFound)?;
    check_card(&card, "", &app.cards)?;
    let standing = sql::standing_of(&app.pool, &card, app.today()).await?.ok_or(Slug::NotFound)?;
    let snapshot = app.catalogue.current();
    // An offer that was made within the last second is shown with the next look.
    let coupons = standing.coupons.iter().filter_map(|coupon| {
        let offer = snapshot.offer(coupon.offer_no)?;
        let validity = (coupon.valid_from, coupon.valid_until);
        Some(CouponOut::new(coupon.code, &offer.definition, validity, coupon.reason))
    });
    let card = CardOut { coupons: coupons.collect(), ..card_out(&app, &standing.account) };
    Ok(json(StatusCode::OK, to_bytes(&card)))
}

fn card_out(app: &App, account: &Account) -> CardOut<'static> {
    let enrolled = account.state == account::State::Enrolled;
    let (today, snapshot) = (app.today(), app.catalogue.current());
    let programme = snapshot.epoch_on(today).map(|epoch| &epoch.programme);
    CardOut {
        account: enrolled.then(|| account_text(account.account_id)),
        enrolled,
        points: Points::of_account(&standing::of(account, today)),
        tier: programme.and_then(|programme| Tier::of_account(programme, account, today)),
        coupons: Vec::new(),
    }
}

/// Enrols the account of a card, or puts a card on the account of another one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Enrolment)]
pub struct EnrolmentIn<'a> {
    /// The card in the customer's hand.
    #[serde(borrow)]
    #[schema(example = "2990000000019")]
    pub card: Cow<'a, str>,
    /// A card of the account that it shall belong to; absent: an account of its own.
    #[serde(borrow, default)]
    #[schema(example = "2990000000026")]
    pub link_to: Option<Cow<'a, str>>,
    /// Who the account belongs to. Kept once: enrolling again does not change it.
    #[serde(borrow, default, deserialize_with = "optional_object")]
    pub member: Option<MemberIn<'a>>,
}

/// A person on an account. Everything may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Member)]
pub struct MemberIn<'a> {
    /// Given name.
    #[serde(borrow, default)]
    #[schema(max_length = 120)]
    pub given_name: Option<Cow<'a, str>>,
    /// Family name.
    #[serde(borrow, default)]
    #[schema(max_length = 120)]
    pub family_name: Option<Cow<'a, str>>,
    /// Birthday.
    #[serde(borrow, default)]
    #[schema(format = Date)]
    pub birthday: Option<Cow<'a, str>>,
    /// E-mail address.
    #[serde(borrow, default)]
    #[schema(max_length = 120)]
    pub email: Option<Cow<'a, str>>,
    /// Telephone number.
    #[serde(borrow, default)]
    #[schema(max_length = 120)]
    pub phone: Option<Cow<'a, str>>,
    /// What the person has agreed to, such as `email-offers`; lower-case words.
    #[serde(borrow, default)]
    #[schema(max_items = 20)]
    pub consents: Vec<Cow<'a, str>>,
}

/// Enrol or link a card
///
/// Idempotent by card. Points that have gathered on a card that nobody had enrolled stay with
/// it, or move with it to the account that it is linked to.
#[utoipa::path(
    post, path = "/v1/cards", operation_id = "enrol_card", tag = "terminals",
    request_body(content = EnrolmentIn<'_>, content_type = "application/json"),
    params(DeadlineHeader),
    responses(
        (status = 201, description = "Enrolled or linked", body = CardOut<'_>),
        (status = 200, description = "It was so before; nothing changed", body = CardOut<'_>),
        (status = 404, description = "Nobody has used or enrolled the card in link_to",
         body = ProblemOut,
         content_type = "application/problem+json"),
        (status = 409, description = "The card belongs to another enrolled account, or is blocked",
         body = ProblemOut,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused",
         body = ProblemOut,
         content_type = "application/problem+json"),
    ),
)]
pub async fn enrol(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let signed = app.read_signed(request).await?;
    let deadline = Instant::now() + Duration::from_millis(signed.deadline_ms);
    let enrolment = match parse_enrolment(&app, &signed.body) {
        Ok(enrolment) => enrolment,
        Err(problem) => {
            let problem = refusal(&signed.body, problem);
            app.quarantine("/v1/cards", &signed, &without_member(&signed.body), &problem).await;
            return Err(problem);
        }
    };
    let enrolled = app.committers.enrol(enrolment, app.today(), deadline).await?;
    let (status, account) = match enrolled {
        Enrolled::Now(account) => (StatusCode::CREATED, account),
        Enrolled::Before(account) => (StatusCode::OK, account),
        Enrolled::NoSuchTarget => return Err(Slug::NotFound.into()),
        Enrolled::OfAnotherAccount => return Err(Slug::CardOfAnotherAccount.into()),
        Enrolled::Blocked => return Err(Slug::CardBlocked.into()),
    };
    Ok(json(status, to_bytes(&card_out(&app, &account))))
}

/// A refused body as the quarantine may keep it: personal data lives in one table, and it is
/// not that one.
fn without_member(body: &[u8]) -> Vec<u8> {
    const LEFT_OUT: &str = "left out: it may hold personal data";
    let mut kept = match serde_json::from_slice(body) {
        Ok(serde_json::Value::Object(kept)) => kept,
        _ => return LEFT_OUT.into(),
    };
    for (field, value) in &mut kept {
        if field != "card" && field != "link_to" {
            *value = LEFT_OUT.into();
        }
    }
    serde_json::Value::Object(kept).to_string().into_bytes()
}

fn parse_enrolment(app: &App, body: &[u8]) -> Result<Enrolment, Problem> {
    let wire: EnrolmentIn<'_> = parse(body)?;
    let member = wire.member.unwrap_or_default();
    let mut findings = Vec::new();
    let mut invalid = |pointer: &str, detail: &'static str| {
        findings.push(FieldError { pointer: pointer.to_owned(), detail: detail.into() });
    };
    let texts = [
        ("/member/given_name", &member.given_name, Field::Text),
        ("/member/family_name", &member.family_name, Field::Text),
        ("/member/email", &member.email, Field::Text),
        ("/member/phone", &member.phone, Field::Phone),
    ];
    for (pointer, text, field) in
        texts.iter().filter_map(|(pointer, text, field)| Some((pointer, text.as_ref()?, *field)))
    {
        if found_in(text, field) {
            return Err(Problem::new(Slug::PaymentCardDataRefused));
        }
        let length = text.chars().count();
        if !(1..=TEXT_MAX).contains(&length) || text.chars().any(char::is_control) {
            invalid(pointer, "1 to 120 printable characters are required");
        }
    }
    if member.email.as_deref().is_some_and(|email| !email.contains('@')) {
        invalid("/member/email", "an e-mail address is required");
    }
    let birthday = member.birthday.as_deref().map(name::parse_date);
    if birthday.is_some_and(|date| date.is_none_or(|date: Date| date > app.today())) {
        invalid("/member/birthday", "a date YYYY-MM-DD that is not in the future is required");
    }
    let is_word = |text: &Cow<'_, str>| {
        (1..=40).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    if member.consents.len() > CONSENTS_MAX || !member.consents.iter().all(is_word) {
        invalid("/member/consents", "at most 20 words of a to z and hyphens are accepted");
    }
    check_card(&wire.card, "/card", &app.cards)?;
    if let Some(target) = &wire.link_to {
        check_card(target, "/link_to", &app.cards)?;
    }
    if !findings.is_empty() {
        return Err(Problem::invalid(Slug::ValidationFailed, findings));
    }
    let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    Ok(Enrolment {
        card: wire.card.into_owned(),
        link_to: own(wire.link_to),
        member: MemberDetails {
            given_name: own(member.given_name),
            family_name: own(member.family_name),
            birthday: birthday.flatten(),
            email: own(member.email),
            phone: own(member.phone),
            consents: member.consents.into_iter().map(Cow::into_owned).collect(),
        },
    })
}
