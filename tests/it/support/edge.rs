//! What the tests of the edge share: requests that are signed by hand, sockets without an HTTP
//! client, and answers taken apart. Nothing of the signer under test is used.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Request, Version};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tillside::till::{Answer, Till};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::service::Replica;

/// Longer than anything here takes, shorter than a person waits.
pub(crate) const BOUND: Duration = Duration::from_secs(20);
/// What a request without a body must cover.
pub(crate) const HEAD: &str = r#"("@method" "@authority" "@path" "@query")"#;
/// What a request with a body must cover.
pub(crate) const WHOLE: &str =
    r#"("@method" "@authority" "@path" "@query" "content-type" "content-digest")"#;

/// A request under a person's hands: everything in it can be changed before and after signing.
#[derive(Clone)]
pub(crate) struct Hand {
    pub(crate) method: Method,
    /// Path and query as they are sent.
    pub(crate) target: String,
    /// Where it goes, and on HTTP/2 the host that it names.
    pub(crate) authority: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) covered: String,
    pub(crate) params: String,
    pub(crate) label: String,
    pub(crate) secret: [u8; 32],
}

impl Hand {
    /// A good request of store 0367, workstation 03, not signed yet.
    pub(crate) fn new(replica: &Replica, method: Method, target: &str, body: &str) -> Self {
        let (keyid, secret) = replica.key("0367", "03");
        let authority = replica.base_url.trim_start_matches("http://").to_owned();
        let mut headers = vec![("host".to_owned(), authority.clone())];
        if !body.is_empty() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
            headers.push(("content-digest".to_owned(), digest(body.as_bytes())));
        }
        let created = Timestamp::now().as_second();
        Self {
            method,
            target: target.to_owned(),
            authority,
            headers,
            body: body.to_owned().into(),
            covered: if body.is_empty() { HEAD } else { WHOLE }.to_owned(),
            params: format!(r#";created={created};keyid="{keyid}";alg="hmac-sha256""#),
            label: "sig1".to_owned(),
            secret,
        }
    }

    /// Signs what stands there now.
    pub(crate) fn sign(&mut self) {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut base = String::new();
        for quoted in self.covered.trim_matches(['(', ')']).split_ascii_whitespace() {
            let value = match quoted.trim_matches('"') {
                "@method" => self.method.to_string(),
                "@authority" => self.header("host").to_lowercase(),
                "@path" => path.to_owned(),
                "@query" => format!("?{query}"),
                "content-length" => self.body.len().to_string(),
                header => self.header(header).to_owned(),
            };
            base += &format!("{quoted}: {value}\n");
        }
        base += &format!("\"@signature-params\": {}{}", self.covered, self.params);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length will do");
        mac.update(base.as_bytes());
        let mac = STANDARD.encode(mac.finalize().into_bytes());
        let label = self.label.clone();
        self.set("signature-input", &format!("{label}={}{}", self.covered, self.params));
        self.set("signature", &format!("{label}=:{mac}:"));
    }

    /// The same, signed.
    pub(crate) fn signed(mut self) -> Self {
        self.sign();
        self
    }

    /// The first value of a header; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Replaces a header.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    /// Adds a header beside those of the same name.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a header away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }

    /// For a client. On HTTP/2 the host stands in the address only.
    pub(crate) fn request(&self, version: Version) -> Request<Full<Bytes>> {
        let address = format!("http://{}{}", self.authority, self.target);
        let mut request = Request::builder().method(&self.method).uri(address).version(version);
        for (name, value) in &self.headers {
            if name != "host" || version < Version::HTTP_2 {
                request = request.header(name, value);
            }
        }
        request.body(Full::new(self.body.clone())).expect("the test writes a legal request")
    }

    /// As bytes on an HTTP/1.1 connection that is closed afterwards.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            text += &format!("content-length: {}\r\n", self.body.len());
        }
        text += "connection: close\r\n\r\n";
        [text.as_bytes(), &self.body].concat()
    }
}

/// The Content-Digest of a body.
pub(crate) fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// The till of store 0367, workstation 03, over both versions of HTTP.
pub(crate) fn tills(replica: &Replica) -> [(Version, Till); 2] {
    let (keyid, secret) = replica.key("0367", "03");
    let http2 = Till::new_http2(&replica.base_url, keyid, secret).expect("good values");
    [(Version::HTTP_11, replica.till("0367", "03")), (Version::HTTP_2, http2)]
}

/// The answer without what differs from one request to the next.
pub(crate) fn shown(answer: &Answer) -> (Vec<(String, String)>, Vec<u8>) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "x-request-id" && *name != "date")
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    headers.sort();
    (headers, answer.body.to_vec())
}

/// The slug of a problem; empty for any other answer.
pub(crate) fn slug(answer: &Answer) -> String {
    let problem =
        answer.headers.get("content-type").is_some_and(|it| it == "application/problem+json");
    if !problem {
        return String::new();
    }
    let body: Value = serde_json::from_slice(&answer.body).expect("a problem is JSON");
    let kind = body["type"].as_str().expect("a problem has a type");
    kind.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Status and slug.
pub(crate) fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), slug(answer))
}

/// Bounds a wait.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("it happens in time")
}

/// A connection to a replica.
pub(crate) async fn connect(replica: &Replica) -> TcpStream {
    let address = replica.base_url.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("it listens")
}

/// Sends bytes on a new connection and reads until the service closes it: every answer.
pub(crate) async fn exchange(replica: &Replica, bytes: impl AsRef<[u8]>) -> Vec<Answer> {
    let mut stream = connect(replica).await;
    // The service may have answered and closed before everything was sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    answers(&until_closed(&mut stream).await)
}

/// As [`exchange`], for the one answer that there must be.
pub(crate) async fn one(replica: &Replica, bytes: impl AsRef<[u8]>) -> Answer {
    let mut all = exchange(replica, bytes).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Everything that comes until the connection is closed.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is a way of closing too; what came before it counts.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    bytes
}

/// Takes a row of HTTP/1.1 answers apart.
pub(crate) fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("heads are ASCII");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let length = headers.get("content-length").map_or(0, |length| {
            length.to_str().expect("digits").parse::<usize>().expect("a number")
        });
        let body = Bytes::copy_from_slice(&bytes[end..end + length]);
        bytes = &bytes[end + length..];
        answers.push(Answer { status: status.parse().expect("a status"), headers, body });
    }
    answers
}
