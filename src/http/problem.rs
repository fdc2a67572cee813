//! What a caller is told when it did not work (RFC 9457): one slug per reason, its status, its
//! words and its page. The only map from [`crate::error::Error`] to a status.
//!
//! Must never repeat what a caller sent, nor let two unproven requests look different.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use ::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderName, HeaderValue, StatusCode, Version};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::request::RequestId;
use crate::error::Error;

/// The media type of a problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Tells a caller without a valid signature what one must cover (RFC 9421 section 5).
const ACCEPT_SIGNATURE: (HeaderName, HeaderValue) = (
    HeaderName::from_static("accept-signature"),
    HeaderValue::from_static(
        "sig1=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-type\" \
         \"content-digest\");created;keyid;alg=\"hmac-sha256\"",
    ),
);

/// Every reason for which a request is not done, in order of precedence: when several
/// apply, the first one is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table below says what each one means, in print")]
pub enum Slug {
    UriTooLong,
    HeadersTooLarge,
    MisdirectedRequest,
    NotFound,
    MethodNotAllowed,
    UnsupportedMediaType,
    BodyTooLarge,
    RequestTimeout,
    MalformedRequest,
    Overloaded,
    SignatureInvalid,
    ContentDigestInvalid,
    ContentDigestMismatch,
    ClockSkew,
    SignatureExpired,
    TerminalMismatch,
    MalformedJson,
    PaymentCardDataRefused,
    CardInvalid,
    TimestampOutOfRange,
    ValidationFailed,
    SwipeNameReused,
    CardOfAnotherAccount,
    StorageUnavailable,
    DeadlineExceeded,
    OutcomeUnknown,
    Internal,
}

struct Entry {
    slug: Slug,
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    help: &'static str,
}

/// One problem on its way out. As a response it is a status and an extension; the edge
/// writes the body, because only there the request id and the public address are known.
#[derive(Clone, Debug)]
pub struct Problem {
    slug: Slug,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    closes: bool,
}

/// One finding of a validation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the place in the body.
    pub pointer: String,
    /// What is asked for there; never what was sent.
    pub detail: Cow<'static, str>,
}

impl Problem {
    /// A problem with the words of its slug.
    pub fn new(slug: Slug) -> Self {
        Self {
            slug,
            detail: None,
            errors: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
            closes: false,
        }
    }

    /// A validation that failed; the findings are shown with a 422 only.
    pub fn invalid(slug: Slug, errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(slug) }
    }

    /// Says more exactly what is asked for. Must not repeat input.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says when it is worth trying again; sent in whole seconds, at least one.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Closes an HTTP/1.1 connection after this answer, because a body was left unread on it.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Which reason it is.
    pub fn slug(&self) -> Slug {
        self.slug
    }

    /// The findings of a validation.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn body(&self, public_url: &str, id: RequestId) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<&'a str>,
            #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
            errors: &'a [FieldError],
        }
        let entry = self.slug.entry();
        // What is not proven to come from a terminal gets the same bytes each time.
        let unproven = self.slug == Slug::SignatureInvalid;
        let wire = Wire {
            r#type: format!("{public_url}/problems/{}", entry.name),
            title: entry.title,
            status: entry.status.as_u16(),
            detail: self.detail.as_deref().filter(|_| !unproven).unwrap_or(entry.help),
            instance: (!unproven).then_some(id.as_str()),
            errors: if entry.status == StatusCode::UNPROCESSABLE_ENTITY {
                &self.errors
            } else {
                &[]
            },
        };
        serde_json::to_vec(&wire).expect("texts and numbers can always be written")
    }

    /// Whole seconds for `Retry-After`. Where nobody knows better, 1 to 5 by the request id,
    /// so that a thousand tills do not come back in the same second.
    fn retry_after_s(&self, id: RequestId) -> Option<u64> {
        match self.retry_after {
            Some(wait) => Some(wait.as_millis().div_ceil(1_000).clamp(1, 3_600) as u64),
            None if self.slug.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Some(1 + u64::from(id.as_str().as_bytes()[0]) % 5)
            }
            None => None,
        }
    }
}

impl From<Slug> for Problem {
    fn from(slug: Slug) -> Self {
        Self::new(slug)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Overloaded { retry_after } => {
                Self::new(Slug::Overloaded).retry_after(retry_after)
            }
            Error::DeadlineExceeded => {
                Self::new(Slug::DeadlineExceeded).retry_after(Duration::from_secs(1))
            }
            Error::OutcomeUnknown => {
                Self::new(Slug::OutcomeUnknown).retry_after(Duration::from_secs(1))
            }
            Error::Database(error) => {
                tracing::warn!(%error, "a request failed on the database");
                Self::new(Slug::StorageUnavailable)
            }
            Error::Damaged(what) => {
                tracing::error!(what, "stored data is damaged");
                Self::new(Slug::Internal)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.slug.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer after a panic: the caller learns that it was a fault of ours, the log what.
pub(super) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no text)");
    tracing::error!(message, "a request panicked");
    Problem::new(Slug::Internal).into_response()
}

/// Writes the body of a problem. The bare 404 and 405 of the router become problems too.
pub(super) fn write_out(
    mut response: Response,
    public_url: &str,
    id: RequestId,
    version: Version,
) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.headers().contains_key(CONTENT_TYPE) => return response,
        None => match response.status() {
            StatusCode::NOT_FOUND => Problem::new(Slug::NotFound),
            StatusCode::METHOD_NOT_ALLOWED => Problem::new(Slug::MethodNotAllowed),
            _ => return response,
        },
    };
    let mut written = Response::new(Body::from(problem.body(public_url, id)));
    *written.status_mut() = problem.slug.status();
    let headers = written.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    if let Some(methods) = response.headers_mut().remove(ALLOW) {
        headers.insert(ALLOW, methods);
    }
    if let Some(wait_s) = problem.retry_after_s(id) {
        headers.insert(RETRY_AFTER, wait_s.into());
    }
    if problem.slug == Slug::SignatureInvalid {
        headers.extend([ACCEPT_SIGNATURE]);
    }
    // HTTP/2 has no such header: there a stream is given up, never the connection.
    if problem.closes && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.extend(problem.headers);
    written
}

/// `GET /problems` and `GET /problems/{slug}`: the pages that `type` points to.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/problems", get(async || Html(list_page())))
        .route("/problems/{slug}", get(slug_page))
}

fn list_page() -> String {
    let mut body = String::from(
        "<h1>Problems</h1><p>Every reason for which Tillside does not do what it was asked, in \
         order of precedence: when several apply, the first one is answered.</p>\
         <table><tr><th>problem</th><th>status</th><th>meaning</th></tr>",
    );
    for entry in &ENTRIES {
        let Entry { name, status, title, .. } = entry;
        let status = status.as_u16();
        write!(
            body,
            "<tr><td><a href=\"problems/{name}\">{name}</a></td><td>{status}</td><td>{title}</td></tr>"
        )
        .expect("a String takes all text");
    }
    body.push_str("</table>");
    page("Problems", &body)
}

async fn slug_page(Path(name): Path<String>) -> Result<Html<String>, Problem> {
    let entry = ENTRIES.iter().find(|entry| entry.name == name).ok_or(Slug::NotFound)?;
    let Entry { name, status, title, help, .. } = entry;
    let body = format!(
        "<h1>{title}</h1><p><code>{name}</code>, status {status}</p><p>{help}</p>\
         <p><a href=\"../problems\">All problems</a></p>"
    );
    Ok(Html(page(title, &body)))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} - Tillside</title>\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;\
         padding:0 1rem;color:#222;background:#fff}}table{{border-collapse:collapse}}\
         td,th{{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #ddd}}\
         a{{color:#0b5394}}</style></head><body>{body}</body></html>\n"
    )
}

impl Slug {
    /// The text of it in `type`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> StatusCode {
        self.entry().status
    }

    /// What it is, in a few words that never change.
    pub fn title(self) -> &'static str {
        self.entry().title
    }

    /// What went wrong and what to do, in a paragraph.
    pub fn help(self) -> &'static str {
        self.entry().help
    }

    fn entry(self) -> &'static Entry {
        let entry = &ENTRIES[self as usize];
        debug_assert_eq!(entry.slug, self, "the table is in the order of the enum");
        entry
    }
}

const fn entry(
    slug: Slug,
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    help: &'static str,
) -> Entry {
    Entry { slug, name, status, title, help }
}

/// In the order of [`Slug`].
static ENTRIES: [Entry; 27] = [
    entry(
        Slug::UriTooLong,
        "uri-too-long",
        StatusCode::URI_TOO_LONG,
        "The address is too long",
        "No address of this service is that long. Put data into the body, not into the address.",
    ),
    entry(
        Slug::HeadersTooLarge,
        "headers-too-large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "There are too many headers",
        "The request has more headers than the service reads. Send only those that it needs; a \
         proxy on the way may be adding some.",
    ),
    entry(
        Slug::MisdirectedRequest,
        "misdirected-request",
        StatusCode::MISDIRECTED_REQUEST,
        "The request names two hosts",
        "The host in the address and the Host header differ. Send both alike, or the Host header \
         alone.",
    ),
    entry(
        Slug::NotFound,
        "not-found",
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "Nothing is known under this address. For the outcome of a transaction this is not \
         final: it may still be on its way, so send the transaction again.",
    ),
    entry(
        Slug::MethodNotAllowed,
        "method-not-allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "The method does not fit the address",
        "The address exists, but not for this method. The Allow header names those that it has.",
    ),
    entry(
        Slug::UnsupportedMediaType,
        "unsupported-media-type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body is not plain JSON",
        "Send Content-Type: application/json (charset utf-8, if any is named) and no \
         Content-Encoding: compressed bodies are not read.",
    ),
    entry(
        Slug::BodyTooLarge,
        "body-too-large",
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body is too large",
        "The body is larger than this address accepts: 64 KiB, and 2 MiB for batches, unless it \
         is set otherwise. Split a batch into several.",
    ),
    entry(
        Slug::RequestTimeout,
        "request-timeout",
        StatusCode::REQUEST_TIMEOUT,
        "The request took too long to arrive",
        "The body was not complete in time; nothing was done. Send the request again, at once \
         and on a new connection.",
    ),
    entry(
        Slug::MalformedRequest,
        "malformed-request",
        StatusCode::BAD_REQUEST,
        "The request could not be read",
        "The body broke off or its framing is wrong; nothing was done. Send the request again.",
    ),
    entry(
        Slug::Overloaded,
        "overloaded",
        StatusCode::SERVICE_UNAVAILABLE,
        "Too much is waiting",
        "The service has as much to do as it can take; nothing was done. Wait as long as \
         Retry-After says and send the same transaction again.",
    ),
    entry(
        Slug::SignatureInvalid,
        "signature-invalid",
        StatusCode::UNAUTHORIZED,
        "The signature is missing or not valid",
        "The request is not proven to come from a terminal of this chain. Accept-Signature shows \
         what a signature must cover; tillside sign --explain prints the text that is signed, \
         so that the first difference can be found. The key may also have been revoked.",
    ),
    entry(
        Slug::ContentDigestInvalid,
        "content-digest-invalid",
        StatusCode::BAD_REQUEST,
        "The Content-Digest cannot be used",
        "Content-Digest must carry sha-256 or sha-512 (RFC 9530), each once and of its proper \
         length.",
    ),
    entry(
        Slug::ContentDigestMismatch,
        "content-digest-mismatch",
        StatusCode::BAD_REQUEST,
        "The body is not the one that was signed",
        "The digest of the body that arrived differs from Content-Digest. Compute it over the \
         very bytes that are sent, after everything that may still change them.",
    ),
    entry(
        Slug::ClockSkew,
        "clock-skew",
        StatusCode::UNAUTHORIZED,
        "The clock of the terminal is wrong",
        "The signature was created too long ago or lies in the future. Take the time from the \
         Date header of this answer, keep the difference, and sign again when sending, also \
         what was stored while offline.",
    ),
    entry(
        Slug::SignatureExpired,
        "signature-expired",
        StatusCode::UNAUTHORIZED,
        "The signature has expired",
        "The time that the signature gave itself with expires is over. Sign again.",
    ),
    entry(
        Slug::TerminalMismatch,
        "terminal-mismatch",
        StatusCode::FORBIDDEN,
        "The key belongs to another terminal",
        "The store or workstation in the request is not the one of the key. A terminal records \
         its own transactions only; reading and voiding needs the same store.",
    ),
    entry(
        Slug::MalformedJson,
        "malformed-json",
        StatusCode::BAD_REQUEST,
        "The body is not JSON",
        "The body must be one JSON document in UTF-8 without a byte order mark, with every name \
         once.",
    ),
    entry(
        Slug::PaymentCardDataRefused,
        "payment-card-data-refused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The request carries a payment card number",
        "What looks like the number of a payment card is not accepted anywhere, was not stored \
         and was not logged. Check which field the register puts it into.",
    ),
    entry(
        Slug::CardInvalid,
        "card-invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "This is not a card of this chain",
        "Length, characters, prefix or check digit are not those of the chain's cards. A misread \
         is likely: scan it again.",
    ),
    entry(
        Slug::TimestampOutOfRange,
        "timestamp-out-of-range",
        StatusCode::UNPROCESSABLE_ENTITY,
        "A time lies outside of what is accepted",
        "occurred_at must lie close to the business date, and the business date within the \
         window that is set. Check the date of the register.",
    ),
    entry(
        Slug::ValidationFailed,
        "validation-failed",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The request does not hold together",
        "errors names each place in the body and what is asked for there. The same request will \
         fail again; it is kept for people to look at.",
    ),
    entry(
        Slug::SwipeNameReused,
        "swipe-name-reused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Another transaction has this name",
        "Store, workstation, business date and sequence number already name a transaction with \
         other content. That one stands. Check that the register never counts a number twice.",
    ),
    entry(
        Slug::CardOfAnotherAccount,
        "card-of-another-account",
        StatusCode::CONFLICT,
        "The card belongs to another account",
        "A card belongs to one account. Merge the accounts in the back office, or use another \
         card.",
    ),
    entry(
        Slug::StorageUnavailable,
        "storage-unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "Nothing can be stored at the moment",
        "The database does not answer; nothing was done. Wait as long as Retry-After says and \
         send the same transaction again.",
    ),
    entry(
        Slug::DeadlineExceeded,
        "deadline-exceeded",
        StatusCode::SERVICE_UNAVAILABLE,
        "It could not be done in time",
        "The deadline of the terminal passed before the work began; nothing was done. Send the \
         same transaction again.",
    ),
    entry(
        Slug::OutcomeUnknown,
        "outcome-unknown",
        StatusCode::SERVICE_UNAVAILABLE,
        "The outcome is not known yet",
        "The transaction may or may not have been recorded. Send it again under the same name: \
         it counts once, and the answer is the same.",
    ),
    entry(
        Slug::Internal,
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "A fault of the service",
        "This should not happen. Send the same transaction again later, and report the request \
         id to the people who run the service.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_precedence() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.slug as usize, index, "{}", entry.name);
            assert!(entry.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(entry.status.is_client_error() || entry.status.is_server_error());
            assert!(entry.help.ends_with('.') && !entry.title.ends_with('.'), "{}", entry.name);
            assert!(!entry.help.contains(['<', '&']), "{} goes into a page as it is", entry.name);
        }
        assert_eq!(Slug::Internal as usize + 1, ENTRIES.len());
    }

    #[test]
    fn findings_are_shown_with_422_only() {
        let finding = || vec![FieldError { pointer: "/card".into(), detail: "digits".into() }];
        let id = RequestId::random();
        let body = |slug| {
            let bytes = Problem::invalid(slug, finding()).body("https://pos.example", id);
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("it is JSON")
        };
        let invalid = body(Slug::CardInvalid);
        assert_eq!(invalid["type"], "https://pos.example/problems/card-invalid");
        assert_eq!(invalid["instance"], id.as_str());
        assert_eq!(invalid["errors"][0]["pointer"], "/card");
        assert!(body(Slug::TerminalMismatch).get("errors").is_none());
    }

    #[test]
    fn the_unproven_get_the_same_bytes_each_time() {
        let one = Problem::new(Slug::SignatureInvalid).body("u", RequestId::random());
        let other = Problem::new(Slug::SignatureInvalid).detail("x").body("u", RequestId::random());
        assert_eq!(one, other);
    }

    #[test]
    fn unavailable_always_says_when_to_come_back() {
        let id = RequestId::random();
        let wait_s = Problem::new(Slug::StorageUnavailable).retry_after_s(id).expect("a 503");
        assert!((1..=5).contains(&wait_s));
        let soon = Problem::new(Slug::Overloaded).retry_after(Duration::from_millis(1_001));
        assert_eq!(soon.retry_after_s(id), Some(2));
        assert_eq!(Problem::new(Slug::Internal).retry_after_s(id), None);
    }
}
