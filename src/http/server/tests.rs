//! What a socket can do to us, and what must go on working meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, Request, StatusCode};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::config::Config;
use crate::http::problem::{self, Problem};
use crate::http::request::{Policy, read_signed};
use crate::http::signature::TerminalKey;
use crate::till::Till;

const SECRET: [u8; 32] = [9; 32];
/// Longer than anything here takes, shorter than a person waits.
const BOUND: Duration = Duration::from_secs(10);
const LONG_MS: u64 = 60_000;
const SHORT_MS: u64 = 150;
const BODY_MAX_BYTES: usize = 64;

struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    /// A permit lets one request to `/wait` go on.
    gate: Arc<Semaphore>,
    /// A permit comes for each request that reached `/wait`, or was given up on `/endless`.
    waiting: Arc<Semaphore>,
}

fn limits() -> config::Http {
    config::Http {
        header_timeout_ms: LONG_MS,
        body_timeout_ms: LONG_MS,
        idle_timeout_ms: LONG_MS,
        drain_timeout_ms: LONG_MS,
        ..config::Http::default()
    }
}

fn keys(keyid: &str) -> Option<TerminalKey> {
    (keyid == "0367/03.1").then(|| TerminalKey {
        workstation_no: 1,
        store_id: "0367".into(),
        workstation_id: "03".into(),
        key_no: 1,
        secret: SECRET.into(),
    })
}

async fn start(limits: config::Http) -> Server {
    let config = Config { http: limits.clone(), ..Config::default() };
    let policy = Policy::new(&config).body_max_bytes(BODY_MAX_BYTES);
    let signed = async move |request: Request<Body>| -> Result<Bytes, Problem> {
        let (parts, body) = request.into_parts();
        let request = read_signed(&parts, body, &policy, keys, Timestamp::now()).await?;
        Ok(if request.body.is_empty() {
            request.deadline_ms.to_string().into()
        } else {
            request.body
        })
    };
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(Semaphore::new(0));
    let gone = Arc::clone(&waiting);
    let (goes, waits) = (Arc::clone(&gate), Arc::clone(&waiting));
    let wait = async move || {
        waits.add_permits(1);
        goes.acquire().await.expect("never closed").forget();
        "done"
    };
    let panic = async || -> &'static str { panic!("on purpose") };
    let router = Router::new()
        .route("/", get("hello"))
        .route("/signed", post(signed).get(signed))
        .route("/wait", get(wait))
        .route("/panic", get(panic))
        .route("/endless", get(async move || Body::from_stream(endless(Gone(Arc::clone(&gone))))))
        .merge(problem::pages());
    let router = crate::http::edge(router, "https://pos.example", &limits, Arc::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        serve(listener, router, &limits, async { drop(stopped.await) }).await;
    });
    Server { address, stop, serving, gate, waiting }
}

/// Tells that an answer was given up.
struct Gone(Arc<Semaphore>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

fn endless(gone: Gone) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::repeat_with(move || {
        let _held = &gone;
        Ok(Bytes::from_static(&[b'x'; 65_536]))
    })
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.expect("it listens")
    }

    /// Sends bytes on a new connection and reads until the server closes it.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.expect("the kernel takes it");
        until_closed(&mut stream).await
    }

    fn till(&self) -> Till {
        Till::new(&format!("http://{}", self.address), "0367/03.1", SECRET).expect("good values")
    }

    async fn until_waiting(&self) {
        within(self.waiting.acquire()).await.expect("never closed").forget();
    }

    async fn stop(self) {
        self.stop.send(()).expect("it is serving");
        within(self.serving).await.expect("it does not panic");
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("it happens in time")
}

async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is a way of closing too; what came before it counts.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer with a body of known length, and leaves the connection open.
async fn one_answer(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut bytes = [0; 1024];
        let length = within(stream.read(&mut bytes)).await.expect("open");
        assert!(length > 0, "closed after {text:?}");
        text += &String::from_utf8_lossy(&bytes[..length]);
    }
    text
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: pos\r\n\r\n")
}

fn post_request(headers: &str, body: &str) -> String {
    format!(
        "POST /signed HTTP/1.1\r\nHost: pos\r\nContent-Type: application/json\r\n\
         {headers}\r\n{body}"
    )
}

#[tokio::test]
async fn dribbled_heads_are_cut() {
    let server = start(config::Http { header_timeout_ms: SHORT_MS, ..limits() }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.expect("sent");
    let (mut reader, mut writer) = stream.into_split();
    let dribble = tokio::spawn(async move {
        while writer.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = within(reader.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    dribble.abort();
    // Also when the first request on the connection was a good one.
    let mut stream = server.connect().await;
    stream.write_all(get_request("/").as_bytes()).await.expect("sent");
    one_answer(&mut stream, "hello").await;
    stream.write_all(b"GET").await.expect("sent");
    assert!(until_closed(&mut stream).await.starts_with("HTTP/1.1 408 "));
    // And when nobody can tell yet which HTTP it will be.
    assert!(server.exchange("PRI * HT").await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn idle_connections_outlive_the_head_timeout_but_not_their_own() {
    let idle_timeout_ms = 6 * SHORT_MS;
    let server =
        start(config::Http { header_timeout_ms: SHORT_MS, idle_timeout_ms, ..limits() }).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(get_request("/").as_bytes()).await.expect("open");
        one_answer(&mut stream, "hello").await;
        tokio::time::sleep(Duration::from_millis(2 * SHORT_MS)).await;
    }
    let idle = std::time::Instant::now();
    assert_eq!(until_closed(&mut stream).await, "", "closed without a word");
    assert!(idle.elapsed() < Duration::from_millis(idle_timeout_ms));
    let mut silent = server.connect().await;
    assert_eq!(until_closed(&mut silent).await, "");
}

#[tokio::test]
async fn requests_that_take_long_are_not_idle() {
    let server = start(config::Http { idle_timeout_ms: SHORT_MS, ..limits() }).await;
    let mut stream = server.connect().await;
    stream.write_all(get_request("/wait").as_bytes()).await.expect("sent");
    server.until_waiting().await;
    tokio::time::sleep(Duration::from_millis(3 * SHORT_MS)).await;
    server.gate.add_permits(1);
    assert!(until_closed(&mut stream).await.ends_with("done"), "answered, then idle");
}

#[tokio::test]
async fn heads_have_limits() {
    let server = start(limits()).await;
    let many = "X-A: 1\r\n".repeat(65);
    let large = format!("X-A: {}\r\n", "a".repeat(17 * 1024));
    for headers in [many, large] {
        let answer = server.exchange(format!("GET / HTTP/1.1\r\nHost: pos\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer = server.exchange(get_request(&format!("/?{}", "a".repeat(2_048)))).await;
    assert!(answer.starts_with("HTTP/1.1 414 ") && answer.contains("/problems/uri-too-long"));
    let two_hosts = "GET http://elsewhere/ HTTP/1.1\r\nHost: pos\r\n\r\n";
    assert!(server.exchange(two_hosts).await.starts_with("HTTP/1.1 421 "));
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let server = start(limits()).await;
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Content-Length : 5\r\n",
        "X-A: a\r\n folded\r\n",
        "X-A: a\0b\r\n",
        "X-A: a\rb\r\n",
    ] {
        let answer = server.exchange(post_request(headers, "hello")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers:?}: {answer}");
    }
    // With both, hyper goes by the chunks and closes (RFC 9112 section 6.1), so that
    // what follows is never taken for a request.
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let smuggled = format!("0\r\n\r\n{}", get_request("/"));
    let answer = server.exchange(post_request(both, &smuggled)).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn large_bodies_are_refused_before_they_are_read() {
    let server = start(limits()).await;
    let headers = "Content-Length: 65\r\nExpect: 100-continue\r\n";
    let answer = server.exchange(post_request(headers, "")).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && !answer.contains("100 Continue"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("body-too-large"));
    // A body on its way must not cost the sender the answer.
    let body = "a".repeat(100_000);
    let answer = server.exchange(post_request("Content-Length: 100000\r\n", &body)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunks = format!("20\r\n{0}\r\n20\r\n{0}\r\n1\r\na\r\n", "a".repeat(32));
    let answer = server.exchange(post_request("Transfer-Encoding: chunked\r\n", &chunks)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn dribbled_bodies_are_cut() {
    let server = start(config::Http { body_timeout_ms: SHORT_MS, ..limits() }).await;
    let answer = server.exchange(post_request("Content-Length: 9\r\n", "{")).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request-timeout"), "{answer}");
    let broken = post_request("Transfer-Encoding: chunked\r\n", "zz\r\n");
    assert!(server.exchange(broken).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn readers_that_take_nothing_are_cut() {
    let server = start(config::Http { body_timeout_ms: SHORT_MS, ..limits() }).await;
    let mut stream = server.connect().await;
    stream.write_all(get_request("/endless").as_bytes()).await.expect("sent");
    server.until_waiting().await;
}

#[tokio::test]
async fn media_types() {
    let server = start(limits()).await;
    let till = server.till();
    for (name, value, status) in [
        ("content-type", "application/json", 200),
        ("content-type", "text/plain", 415),
        ("content-type", "application/json; charset=latin1", 415),
        ("content-type", "application/jsonx", 415),
        ("content-encoding", "gzip", 415),
        // Correct as such, but not what was signed.
        ("content-type", "application/json; charset=UTF-8", 401),
    ] {
        let mut request =
            till.sign(Method::POST, "/signed", "{}".into(), Timestamp::now()).expect("a good path");
        request.headers_mut().insert(name, value.parse().expect("header text"));
        let answer = within(till.send(request)).await.expect("an answer");
        assert_eq!(answer.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn unproven_requests_look_all_the_same() {
    let server = start(limits()).await;
    let till = server.till();
    let stranger = Till::new(&format!("http://{}", server.address), "0367/03.2", SECRET);
    let stranger = stranger.expect("good values");
    let unsigned =
        server.exchange("GET /signed HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n\r\n");
    let unsigned = unsigned.await;
    let unknown = within(stranger.post("/signed", "{}")).await.expect("an answer");
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert!(unknown.headers.contains_key("accept-signature"));
    assert!(unsigned.ends_with(std::str::from_utf8(&unknown.body).expect("JSON")), "{unsigned}");
    let late = till.sign(Method::GET, "/signed", Bytes::new(), Timestamp::UNIX_EPOCH);
    let late = within(till.send(late.expect("a good path"))).await.expect("an answer");
    assert!(String::from_utf8_lossy(&late.body).contains("clock-skew"), "the key is proven");
}

#[tokio::test]
async fn deadlines() {
    let server = start(limits()).await;
    let till = server.till();
    for (deadline, status) in
        [("20", 200), ("5000", 200), ("19", 422), ("5001", 422), ("+99", 422), ("", 422)]
    {
        let request = till.sign(Method::GET, "/signed", Bytes::new(), Timestamp::now());
        let mut request = request.expect("a good path");
        request.headers_mut().insert("tillside-deadline-ms", deadline.parse().expect("text"));
        let answer = within(till.send(request)).await.expect("an answer");
        assert_eq!(answer.status, status, "{deadline}");
    }
    let answer = within(till.get("/signed")).await.expect("an answer");
    assert_eq!(&*answer.body, b"400", "the default");
}

#[tokio::test]
async fn every_answer_of_ours_is_a_problem_with_an_id() {
    let server = start(limits()).await;
    let till = server.till();
    for (method, path, status, slug) in [
        (Method::GET, "/nowhere", 404, "not-found"),
        (Method::GET, "/problems/nothing", 404, "not-found"),
        (Method::DELETE, "/signed", 405, "method-not-allowed"),
        (Method::GET, "/panic", 500, "internal"),
    ] {
        let request = till.sign(method, path, Bytes::new(), Timestamp::now());
        let answer = within(till.send(request.expect("a good path"))).await.expect("an answer");
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["type"], format!("https://pos.example/problems/{slug}"));
        assert_eq!(body["instance"], answer.headers["x-request-id"].to_str().expect("text"));
    }
    let page = within(till.get("/problems/clock-skew")).await.expect("an answer");
    assert_eq!(page.status, StatusCode::OK);
    let list = within(till.get("/problems")).await.expect("an answer");
    assert!(String::from_utf8_lossy(&list.body).contains("href=\"problems/clock-skew\""));
}

#[tokio::test]
async fn http_2_by_prior_knowledge() {
    let server = start(limits()).await;
    let till = Till::new_http2(&format!("http://{}", server.address), "0367/03.1", SECRET);
    let till = till.expect("good values");
    let answer = within(till.post("/signed", "[1]")).await.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"[1]"[..]));
    let refused = within(till.post("/signed", vec![b' '; 65])).await.expect("an answer");
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn http_2_connections_may_be_idle_for_a_while() {
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0tillside";
    const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0tillside";
    let idle_timeout_ms = 6 * SHORT_MS;
    let server =
        start(config::Http { header_timeout_ms: SHORT_MS, idle_timeout_ms, ..limits() }).await;
    let mut stream = server.connect().await;
    let empty_settings = b"\0\0\0\x04\0\0\0\0\0";
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    stream.write_all(empty_settings).await.expect("sent");
    // Housekeeping is not a head that takes too long, nor does it make a peer less idle.
    tokio::time::sleep(Duration::from_millis(2 * SHORT_MS)).await;
    stream.write_all(PING).await.expect("open");
    let mut bytes = Vec::new();
    let _ = within(stream.read_to_end(&mut bytes)).await;
    assert!(bytes.windows(PONG.len()).any(|window| window == PONG), "{bytes:?}");
}

#[tokio::test]
async fn connections_over_the_cap_are_closed_at_once() {
    let server = start(config::Http { connections_max: 2, ..limits() }).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(get_request("/").as_bytes()).await.expect("sent");
        one_answer(&mut stream, "hello").await;
        kept.push(stream);
    }
    assert_eq!(server.exchange(get_request("/")).await, "");
    drop(kept.pop());
    // The place is free again as soon as the server has noticed.
    within(async {
        while !server.exchange("GET / HTTP/1.0\r\n\r\n").await.ends_with("hello") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn draining_lets_open_requests_finish() {
    let server = start(limits()).await;
    let (gate, address) = (Arc::clone(&server.gate), server.address.clone());
    let mut idle = server.connect().await;
    idle.write_all(get_request("/").as_bytes()).await.expect("sent");
    one_answer(&mut idle, "hello").await;
    let mut busy = server.connect().await;
    busy.write_all(get_request("/wait").as_bytes()).await.expect("sent");
    server.until_waiting().await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(until_closed(&mut idle).await, "", "an idle one is closed at once");
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
    gate.add_permits(1);
    assert!(until_closed(&mut busy).await.ends_with("done"));
    within(stopping).await.expect("it stops");
}

#[tokio::test]
async fn draining_has_an_end() {
    let server = start(config::Http { drain_timeout_ms: SHORT_MS, ..limits() }).await;
    let mut busy = server.connect().await;
    busy.write_all(get_request("/wait").as_bytes()).await.expect("sent");
    server.until_waiting().await;
    server.stop().await;
    assert_eq!(until_closed(&mut busy).await, "");
}
