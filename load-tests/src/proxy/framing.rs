//! Where requests and answers begin and end, for HTTP/1.1 and for PostgreSQL.
//!
//! Pure functions over bytes. They understand what our tills and our service say and no more: no
//! chunked bodies, no Flush without Sync. What they do not understand is an error that ends the
//! connection, never a guess.

use std::io;

use super::Protocol;

/// Longer requests, and longer pieces of an answer, end their connection.
const FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Headers of a request or an answer.
const HEADERS_MAX: usize = 64;

/// The request codes that stand where a startup message has its version.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
const GSSENC_REQUEST: [u8; 4] = 80_877_104_u32.to_be_bytes();

/// What a client wants with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// To be answered.
    Request,
    /// To begin an exchange in which it has its say in between, ended by the answer's end.
    Conversation,
    /// To speak encrypted, before it says anything else.
    Encryption,
    /// To go, without an answer.
    Farewell,
}

impl Protocol {
    /// The length of the request that `bytes` begin with, once it is complete. The `first` one
    /// of a connection to PostgreSQL has a form of its own.
    pub(super) fn request(self, bytes: &[u8], first: bool) -> io::Result<Option<usize>> {
        match self {
            Self::Http => http_request(bytes),
            Self::Postgres if first => length_prefixed(bytes, 0),
            Self::Postgres => statement(bytes),
        }
    }

    /// The length of the piece of an answer that `bytes` begin with, once it is complete.
    pub(super) fn piece(self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Http => http_answer(bytes),
            Self::Postgres => length_prefixed(bytes, 1),
        }
    }

    pub(super) fn intent(self, request: &[u8], first: bool) -> Intent {
        match self {
            Self::Http => Intent::Request,
            Self::Postgres if !first => match request {
                [b'X', ..] => Intent::Farewell,
                _ => Intent::Request,
            },
            Self::Postgres => match request.get(4..8) {
                Some(code) if code == SSL_REQUEST || code == GSSENC_REQUEST => Intent::Encryption,
                _ => Intent::Conversation,
            },
        }
    }

    /// Whether a piece is the last one of its answer.
    pub(super) fn is_last(self, piece: &[u8]) -> bool {
        match self {
            Self::Http => true,
            // ReadyForQuery.
            Self::Postgres => piece.first() == Some(&b'Z'),
        }
    }

    /// Whether a piece asks the client for more before the answer can go on: COPY … FROM STDIN.
    pub(super) fn asks_back(self, piece: &[u8]) -> bool {
        self == Self::Postgres && piece.first() == Some(&b'G')
    }
}

/// Whether both answers to a request that arrives twice must be the same, when both are good.
/// What a read finds may change, a batch says of each item whether it was new, and an enrolment
/// how the account stands by then.
pub(super) fn answers_once(request: &[u8]) -> bool {
    let other = [&b"GET "[..], b"HEAD ", b"POST /v1/swipes/batch ", b"POST /v1/cards "];
    !other.iter().any(|start| request.starts_with(start))
}

/// The body of a complete answer of HTTP whose status is 2xx.
pub(super) fn good_body(answer: &[u8]) -> Option<&[u8]> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(answer) else { return None };
    head.code.filter(|status| (200..300).contains(status)).map(|_| &answer[length..])
}

fn http_request(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes).map_err(invalid)? {
        httparse::Status::Partial => within_bound(bytes.len() + 1, bytes),
        httparse::Status::Complete(length) => {
            let body = content_length(head.headers)?.unwrap_or(0);
            within_bound(length.saturating_add(body), bytes)
        }
    }
}

fn http_answer(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(bytes).map_err(invalid)? {
        httparse::Status::Partial => within_bound(bytes.len() + 1, bytes),
        httparse::Status::Complete(length) => {
            let body = match (content_length(head.headers)?, head.code) {
                (Some(body), _) => body,
                (None, Some(204 | 304)) => 0,
                (None, _) => return Err(invalid("an answer without Content-Length")),
            };
            within_bound(length.saturating_add(body), bytes)
        }
    }
}

fn content_length(headers: &[httparse::Header<'_>]) -> io::Result<Option<usize>> {
    let mut found = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a chunked body"));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(invalid)?;
            found = Some(text.trim().parse().map_err(invalid)?);
        }
    }
    Ok(found)
}

/// Messages up to the one that asks for an answer: Sync, a simple query, a function call; or the
/// farewell.
fn statement(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut end = 0;
    while let Some(length) = length_prefixed(&bytes[end..], 1)? {
        let kind = bytes[end];
        end += length;
        if matches!(kind, b'S' | b'Q' | b'F' | b'X') {
            return within_bound(end, bytes);
        }
    }
    within_bound(bytes.len() + 1, bytes)
}

/// A message of PostgreSQL: `before` bytes, then a length that counts itself but not those.
fn length_prefixed(bytes: &[u8], before: usize) -> io::Result<Option<usize>> {
    let Some(length) = bytes.get(before..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(invalid)?;
    if length < 4 {
        return Err(invalid("a message shorter than its own length"));
    }
    within_bound(before.saturating_add(length), bytes)
}

/// `length` once that many bytes are there.
fn within_bound(length: usize, bytes: &[u8]) -> io::Result<Option<usize>> {
    if length > FRAME_MAX_BYTES {
        return Err(invalid("a frame of more than 16 MiB"));
    }
    Ok((bytes.len() >= length).then_some(length))
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
