//! What a caller is told when it did not work (RFC 9457): one slug per reason, its status, its
//! words and its page. The only map from [`crate::error::Error`] to a status.
//!
//! Must never repeat what a caller sent, nor let two unproven requests look different.

mod pages;
mod slug;

pub use pages::pages;
pub use slug::Slug;

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use ::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{HeaderName, HeaderValue, StatusCode, Version};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::request::RequestId;
use crate::db::DbError;
use crate::error::Error;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Tells a caller without a valid signature what one must cover (RFC 9421 section 5).
const ACCEPT_SIGNATURE: (HeaderName, HeaderValue) = (
    HeaderName::from_static("accept-signature"),
    HeaderValue::from_static(
        "sig1=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-type\" \
         \"content-digest\");created;keyid;alg=\"hmac-sha256\"",
    ),
);

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

/// Why something was not done (RFC 9457). Clients go by `type`; the words may change.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemOut {
    /// The address of a page about it; its last part is the slug.
    #[schema(example = "https://tillside.example/problems/validation-failed")]
    pub r#type: String,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What went wrong and what to do.
    pub detail: Cow<'static, str>,
    /// The id of the request; absent before a signature is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// For status 422: each finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One finding of a validation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
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

    /// The same about a part of a larger body: every pointer begins with the part's own.
    pub fn within(mut self, part: &str) -> Self {
        for finding in &mut self.errors {
            finding.pointer.insert_str(0, part);
        }
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

    /// The problem as it stands in an answer.
    pub fn to_wire(&self, public_url: &str, id: RequestId) -> ProblemOut {
        let entry = self.slug.entry();
        // What is not proven to come from a terminal gets the same bytes each time.
        let unproven = self.slug == Slug::SignatureInvalid;
        let detail = self.detail.clone().filter(|_| !unproven);
        let invalid = entry.status == StatusCode::UNPROCESSABLE_ENTITY;
        ProblemOut {
            r#type: format!("{public_url}/problems/{}", entry.name),
            title: entry.title,
            status: entry.status.as_u16(),
            detail: detail.unwrap_or(Cow::Borrowed(entry.help)),
            instance: (!unproven).then(|| id.to_string()),
            errors: if invalid { self.errors.clone() } else { Vec::new() },
        }
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
            Error::Database(
                error @ (DbError::Lost(_) | DbError::Timeout(_) | DbError::StorageUnavailable(_)),
            ) => {
                tracing::warn!(%error, "a request failed on the database");
                Self::new(Slug::StorageUnavailable)
            }
            // Waiting does not mend these: people have to.
            Error::Database(error @ (DbError::Refused { .. } | DbError::Misunderstood(_))) => {
                tracing::error!(%error, "the database refused a request of ours");
                Self::new(Slug::Internal)
            }
            // Logged where it was caught.
            Error::Bug => Self::new(Slug::Internal),
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

/// Writes the body of a problem, and tells which it was. The bare 404 and 405 of the router
/// become problems too.
pub(super) fn write_out(
    mut response: Response,
    public_url: &str,
    id: RequestId,
    version: Version,
) -> (Response, Option<Slug>) {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.headers().contains_key(CONTENT_TYPE) => return (response, None),
        None => match response.status() {
            StatusCode::NOT_FOUND => Problem::new(Slug::NotFound),
            StatusCode::METHOD_NOT_ALLOWED => Problem::new(Slug::MethodNotAllowed),
            _ => return (response, None),
        },
    };
    let body = serde_json::to_vec(&problem.to_wire(public_url, id))
        .expect("texts and numbers can always be written");
    let mut written = Response::new(Body::from(body));
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
    if problem.slug == Slug::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    // HTTP/2 has no such header: there a stream is given up, never the connection.
    if problem.closes && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.extend(problem.headers);
    (written, Some(problem.slug))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_422_only() {
        let finding = || vec![FieldError { pointer: "/card".into(), detail: "digits".into() }];
        let id = RequestId::random();
        let body = |slug| {
            let wire = Problem::invalid(slug, finding()).to_wire("https://pos.example", id);
            serde_json::to_value(&wire).expect("it is JSON")
        };
        let invalid = body(Slug::CardInvalid);
        assert_eq!(invalid["type"], "https://pos.example/problems/card-invalid");
        assert_eq!(invalid["instance"], id.as_str());
        assert_eq!(invalid["errors"][0]["pointer"], "/card");
        assert!(body(Slug::TerminalMismatch).get("errors").is_none());
    }

    #[test]
    fn the_unproven_get_the_same_bytes_each_time() {
        let bytes = |problem: Problem| {
            serde_json::to_vec(&problem.to_wire("u", RequestId::random())).expect("it is JSON")
        };
        let other = Problem::new(Slug::SignatureInvalid).detail("x");
        assert_eq!(bytes(Problem::new(Slug::SignatureInvalid)), bytes(other));
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
