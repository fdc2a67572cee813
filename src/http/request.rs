//! How a signed route reads a request: limits, then the signature, then the body.
//!
//! Nothing that a stranger sends is kept: the MAC covers the head only, so it is checked before
//! the body is read, and the body of an unproven request is counted and thrown away. The
//! answers still come in the documented order (413 and 408 before 401).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, Request};
pub use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use jiff::Timestamp;
use utoipa::IntoParams;

use super::problem::{Problem, Slug};
use super::signature::{Message, Terminal, TerminalKey, prove};
use crate::config::Config;

/// A request as it comes from the wire.
pub type Incoming = Request<Body>;

/// How long a till is willing to wait, in milliseconds.
pub const TILLSIDE_DEADLINE_MS: HeaderName = HeaderName::from_static("tillside-deadline-ms");

/// The same as the documentation has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct DeadlineHeader {
    /// How long the till is willing to wait, in milliseconds. Without it 400, for a batch 5000.
    #[param(rename = "Tillside-Deadline-Ms", minimum = 20, maximum = 5000, example = 400)]
    #[expect(dead_code, reason = "read from the headers by hand; this is its description")]
    deadline_ms: Option<u64>,
}

const DEADLINE_MS: std::ops::RangeInclusive<u64> = 20..=5_000;

/// Names one request in answers and logs: 128 random bits in hexadecimal digits. Made here;
/// one that a caller sends is not looked at. The edge puts it into the request's extensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

/// Who sent a request, once that is proven. The edge puts it into the request's extensions, so
/// that it can be logged whatever becomes of the request.
#[derive(Clone, Debug, Default)]
pub struct Sender(Arc<OnceLock<Terminal>>);

impl Sender {
    /// The key that signed, such as `0367/03.1`; none while nothing is proven.
    pub fn keyid(&self) -> Option<String> {
        let terminal = self.0.get()?;
        let Terminal { store_id, workstation_id, key_no, .. } = terminal;
        Some(format!("{store_id}/{workstation_id}.{key_no}"))
    }
}

/// What is asked of a request on one route.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Most bytes of a body.
    pub body_max_bytes: usize,
    /// From the headers until the body is complete.
    pub body_timeout: Duration,
    /// How far `created` may lie from the server's clock, in seconds.
    pub tolerance_s: i64,
    /// Used when a terminal names no deadline, in milliseconds.
    pub deadline_default_ms: u64,
}

/// A request that is proven to come from a terminal.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The terminal.
    pub terminal: Terminal,
    /// The body, covered by the signature; empty when there was none.
    pub body: Bytes,
    /// The request's id.
    pub request_id: RequestId,
    /// How long the terminal is willing to wait, in milliseconds; 20 to 5000.
    pub deadline_ms: u64,
}

impl RequestId {
    /// A new one.
    pub fn random() -> Self {
        let bytes: [u8; 16] = rand::random();
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        Self(text)
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of hexadecimal digits")
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Policy {
    /// What the settings ask of every signed route.
    pub fn new(config: &Config) -> Self {
        Self {
            body_max_bytes: config.http.body_max_bytes,
            body_timeout: Duration::from_millis(config.http.body_timeout_ms),
            tolerance_s: config.signature.tolerance_s,
            deadline_default_ms: config.swipe.deadline_default_ms,
        }
    }

    /// The same with another limit on the body.
    pub fn body_max_bytes(self, body_max_bytes: usize) -> Self {
        Self { body_max_bytes, ..self }
    }
}

/// Reads a signed request to its end. Paths are signed as they were sent, so signed routes
/// must not be nested under a prefix that the router takes away.
///
/// # Errors
/// `unsupported-media-type`, `body-too-large`, `request-timeout`, `malformed-request`;
/// then the signature's (see [`super::signature`]); then `validation-failed` without pointers
/// for a deadline that is not a number from 20 to 5000.
pub async fn read_signed(
    parts: &Parts,
    body: Body,
    policy: &Policy,
    keys: impl Fn(&str) -> Option<TerminalKey>,
    now: Timestamp,
) -> Result<SignedRequest, Problem> {
    let expects_body = !body.is_end_stream();
    let unread = |slug| if expects_body { Problem::new(slug).closing() } else { slug.into() };
    check_media(&parts.headers, expects_body).map_err(unread)?;
    if content_length(&parts.headers).is_some_and(|length| length > policy.body_max_bytes as u64) {
        return Err(unread(Slug::BodyTooLarge));
    }
    let proven = prove(&Message::of(parts), keys);
    if let (Ok(proven), Some(Sender(sender))) = (&proven, parts.extensions.get()) {
        // Set once: a request is read once.
        let _ = sender.set(proven.terminal().clone());
    }
    let reading = collect(body, policy.body_max_bytes, proven.is_ok());
    let body = tokio::time::timeout(policy.body_timeout, reading)
        .await
        .unwrap_or(Err(Slug::RequestTimeout))
        .map_err(unread)?;
    let terminal = proven.map_err(|_| Slug::SignatureInvalid)?.accept(
        &parts.headers,
        &body,
        now.as_second(),
        policy.tolerance_s,
    )?;
    let deadline_ms = deadline_ms(&parts.headers, policy.deadline_default_ms)?;
    let request_id = parts.extensions.get().copied().unwrap_or_else(RequestId::random);
    Ok(SignedRequest { terminal, body, request_id, deadline_ms })
}

/// Reads the body of a request that carries no signature, within the same limits. Who sends it
/// must be known before: what a stranger sends is not kept.
///
/// # Errors
/// `unsupported-media-type`, `body-too-large`, `request-timeout`, `malformed-request`.
pub async fn read_unsigned(
    headers: &HeaderMap,
    body: Body,
    policy: &Policy,
) -> Result<Bytes, Problem> {
    let expects_body = !body.is_end_stream();
    let unread = |slug| if expects_body { Problem::new(slug).closing() } else { slug.into() };
    check_media(headers, expects_body).map_err(unread)?;
    if content_length(headers).is_some_and(|length| length > policy.body_max_bytes as u64) {
        return Err(unread(Slug::BodyTooLarge));
    }
    let reading = collect(body, policy.body_max_bytes, true);
    let body = tokio::time::timeout(policy.body_timeout, reading).await;
    body.unwrap_or(Err(Slug::RequestTimeout)).map_err(unread)
}

/// What is asked of every request, signed or not: a target and a number of headers within
/// limits, and one host. (HTTP/1.1 heads are bounded in bytes before they are parsed.)
pub(super) fn check_head<B>(
    request: &Request<B>,
    headers_max: usize,
    target_max_bytes: usize,
) -> Result<(), Slug> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > target_max_bytes {
        return Err(Slug::UriTooLong);
    }
    if request.headers().len() > headers_max {
        return Err(Slug::HeadersTooLarge);
    }
    // A proxy may route by one of two hosts and we by the other.
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    let differs = match (request.uri().authority(), host) {
        (Some(authority), Some(host)) => {
            !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        }
        _ => false,
    };
    if differs || hosts.next().is_some() { Err(Slug::MisdirectedRequest) } else { Ok(()) }
}

/// A body must be uncompressed JSON. A header that stands twice is the signature's matter.
fn check_media(headers: &HeaderMap, expects_body: bool) -> Result<(), Slug> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()));
    if headers.contains_key(CONTENT_ENCODING) || (expects_body && !json) {
        return Err(Slug::UnsupportedMediaType);
    }
    Ok(())
}

/// `application/json`, with `charset=utf-8` at most.
fn is_json(value: &[u8]) -> bool {
    let (kind, charset) = match value.iter().position(|byte| *byte == b';') {
        Some(at) => (&value[..at], &value[at + 1..]),
        None => (value, &b"charset=utf-8"[..]),
    };
    let charset = charset.trim_ascii();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
        && (charset.eq_ignore_ascii_case(b"charset=utf-8")
            || charset.eq_ignore_ascii_case(b"charset=\"utf-8\""))
}

/// The announced length. hyper has refused lengths that are no number or contradict.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body to its end, or past its limit; keeps it only when told to.
async fn collect(mut body: Body, max_bytes: usize, keep: bool) -> Result<Bytes, Slug> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Slug::MalformedRequest)?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > max_bytes {
            return Err(Slug::BodyTooLarge);
        }
        // Most bodies come in one piece, which need not be copied.
        if keep && first.is_empty() {
            first = data;
        } else if keep {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn deadline_ms(headers: &HeaderMap, default_ms: u64) -> Result<u64, Problem> {
    let Some(value) = headers.get(TILLSIDE_DEADLINE_MS) else { return Ok(default_ms) };
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = value.to_str().ok().filter(digits).and_then(|text| text.parse().ok());
    parsed.filter(|deadline_ms| DEADLINE_MS.contains(deadline_ms)).ok_or_else(|| {
        Problem::new(Slug::ValidationFailed)
            .detail("Tillside-Deadline-Ms must be a whole number from 20 to 5000.")
    })
}
