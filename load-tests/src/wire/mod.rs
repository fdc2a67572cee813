//! One keep-alive connection, and the least of HTTP/1.1 that a till needs: thousands of requests
//! a second must leave the machine to the service. Of a receipt it understands the first coupon
//! and nothing else.

pub(crate) mod http2;

use std::io::{self, Write as _};
use std::net::SocketAddr;

use bytes::BytesMut;
use tillside::http::signature::{Unsigned, sign};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::Workstation;

/// Headers of an answer.
const HEADERS_MAX: usize = 32;
/// Longest answer, with its head.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

const PATH: &str = "/v1/swipes";

/// What the service answered, as far as a till under load cares.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after_s: Option<u64>,
    /// The last part of the problem's type; empty when it is none.
    pub(crate) slug: String,
    /// What a receipt gives the customer to take home, the first of it.
    pub(crate) coupon: Option<Given>,
    /// Whether the connection may be used again.
    pub(crate) keeps: bool,
}

/// A coupon of an offer of the stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) code: String,
    /// An article that it is for.
    pub(crate) sku: String,
}

/// A connection that carries one request after the other.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: BytesMut,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: BytesMut::with_capacity(2_048) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        loop {
            if let Some((answer, length)) = answer_in(&self.unread)? {
                let _ = self.unread.split_to(length);
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Writes a swipe as it goes over the wire, signed now, over what `request` held.
pub(crate) fn write_request(
    request: &mut Vec<u8>,
    authority: &str,
    till: &Workstation,
    body: &[u8],
    created_s: i64,
) {
    let unsigned = Unsigned { method: "POST", authority, path: PATH, query: None, body };
    let signed = sign(&unsigned, &till.keyid, &till.secret, created_s);
    request.clear();
    for text in ["POST ", PATH, " HTTP/1.1\r\nhost: ", authority, "\r\n"] {
        request.extend_from_slice(text.as_bytes());
    }
    for (name, value) in signed.headers() {
        for bytes in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend_from_slice(bytes);
        }
    }
    let length = body.len();
    write!(request, "content-length: {length}\r\n\r\n").expect("a Vec takes everything");
    request.extend_from_slice(body);
}

/// The answer that `bytes` begin with and its length, once all of it is there.
fn answer_in(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|error| invalid(&error.to_string()))?;
    let httparse::Status::Complete(head_length) = parsed else { return Ok(None) };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let body_length = header("content-length").and_then(|text| text.parse::<usize>().ok());
    let length = head_length + body_length.ok_or_else(|| invalid("no Content-Length"))?;
    if length > ANSWER_MAX_BYTES {
        return Err(invalid("an answer longer than any receipt"));
    }
    let Some(body) = bytes.get(head_length..length) else { return Ok(None) };
    let status = head.code.unwrap_or_default();
    let answer = Answer {
        status,
        retry_after_s: header("retry-after").and_then(|text| text.parse().ok()),
        slug: slug(status, body).unwrap_or_default().to_owned(),
        coupon: coupon(status, body),
        keeps: header("connection").is_none_or(|text| !text.eq_ignore_ascii_case("close")),
    };
    Ok(Some((answer, length)))
}

/// What follows `/problems/` in the type of a problem. Receipts are not searched for it.
fn slug(status: u16, body: &[u8]) -> Option<&str> {
    if status < 400 {
        return None;
    }
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("/problems/")?;
    rest.split('"').next()
}

/// The first coupon of a new receipt, where its offer is one of [`crate::stock::offers`].
fn coupon(status: u16, body: &[u8]) -> Option<Given> {
    if status != 201 {
        return None;
    }
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("\"coupons\":[{\"coupon\":\"")?;
    let (code, rest) = rest.split_once("\",\"offer\":\"")?;
    let (sku, _) = rest.strip_prefix(crate::stock::OFFER_PREFIX)?.split_once('"')?;
    Some(Given { code: code.to_owned(), sku: sku.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_once_it_is_whole() {
        let problem = r#"{"type":"http://pos/problems/overloaded","status":503}"#;
        let whole = format!(
            "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\ncontent-length: {}\r\n\r\n{problem}next",
            problem.len()
        );
        let length = whole.len() - "next".len();
        for part in 0..length {
            assert!(answer_in(&whole.as_bytes()[..part]).expect("well-formed").is_none());
        }
        let (answer, taken) = answer_in(whole.as_bytes()).expect("well-formed").expect("whole");
        assert_eq!((answer.status, answer.retry_after_s, taken), (503, Some(3), length));
        assert_eq!((&*answer.slug, answer.coupon), ("overloaded", None));
        assert!(answer.keeps);
    }

    #[test]
    fn of_a_new_receipt_the_first_coupon_is_taken() {
        let receipt = br#"{"swipe":"1","redemptions":[],"coupons":[{"coupon":"07K2M9QXA4TRB3",
            "offer":"for-1000014"},{"coupon":"17K2M9QXA4TRB3","offer":"for-1000028"}]}"#;
        let receipt: Vec<u8> = receipt.iter().copied().filter(|byte| *byte > b' ').collect();
        let (code, sku) = ("07K2M9QXA4TRB3".to_owned(), "1000014".to_owned());
        assert_eq!(coupon(201, &receipt), Some(Given { code, sku }));
        assert_eq!(coupon(200, &receipt), None, "it has been taken home already");
        assert_eq!(coupon(201, br#"{"coupons":[]}"#), None);
    }
}
