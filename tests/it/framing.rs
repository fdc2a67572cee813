//! What a socket can do to the whole service: framing, limits by route, methods, media types,
//! slowness. Each with its exact answer, or with how the connection ends.

use http::Method;
use tillside::till::Answer;
use tokio::io::AsyncWriteExt as _;

use crate::support::edge::{
    Hand, answers, connect, digest, exchange, one, slug, told, until_closed,
};
use crate::support::service::{Replica, TestService, card, swipe};

/// Short enough to wait for, long enough for a busy machine to send a request in one piece.
const SHORT_MS: u64 = 500;
const KIB: usize = 1024;

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n{headers}\r\n")
}

fn post(target: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: pos\r\nContent-Type: application/json\r\n\
         {headers}\r\n{body}"
    )
}

fn assert_problem(answer: &Answer, status: u16, slug: &str, why: &str) {
    assert_eq!(told(answer), (status, slug.to_owned()), "{why}");
    let id = answer.headers["x-request-id"].to_str().expect("text");
    assert_eq!(id.len(), 32, "{why}");
}

/// A signed body, padded with spaces to a length.
fn padded(replica: &Replica, target: &str, body: &str, length: usize) -> Vec<u8> {
    let body = format!("{body}{}", " ".repeat(length - body.len()));
    Hand::new(replica, Method::POST, target, &body).signed().raw()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_the_limits_of_their_route() {
    let service = TestService::start().await;
    let one_swipe = swipe(1, Some(&card(1)), 398).to_string();
    let batch = format!("{{\"items\":[{{\"swipe\":{}}}]}}", swipe(2, Some(&card(1)), 398));
    let enrolment = format!("{{\"card\":\"{}\"}}", card(2));
    let void = "/v1/swipes/0367/03/2026-03-14/1/void";
    for (target, body, limit, status) in [
        ("/v1/swipes", &*one_swipe, 64 * KIB, 201),
        ("/v1/swipes/batch", &*batch, 2 * KIB * KIB, 200),
        ("/v1/cards", &*enrolment, 64 * KIB, 201),
        (void, "{}", 64 * KIB, 201),
    ] {
        let fits = one(&service.replica, padded(&service.replica, target, body, limit)).await;
        assert_eq!(told(&fits), (status, String::new()), "{target}");

        // Announced too long: answered at once, though nothing of it was sent.
        let announced = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", limit + 1);
        let refused = exchange(&service.replica, post(target, &announced, "")).await;
        assert_eq!(refused.len(), 1, "no 100 before it");
        assert_problem(&refused[0], 413, "body-too-large", target);
        assert_eq!(refused[0].headers["connection"], "close");

        // Signed and sent as a whole: the sender must not lose the answer.
        let whole = padded(&service.replica, target, body, limit + 1);
        let refused = one(&service.replica, whole).await;
        assert_problem(&refused, 413, "body-too-large", target);

        // Found out on the way.
        let chunk = format!("{limit:x}\r\n{}\r\n1\r\n \r\n", " ".repeat(limit));
        let chunks = post(target, "Transfer-Encoding: chunked\r\n", &chunk);
        let refused = one(&service.replica, chunks).await;
        assert_problem(&refused, 413, "body-too-large", target);
        assert_eq!(refused.headers["connection"], "close");
    }
    assert_eq!(service.count("SELECT count(*) FROM swipe WHERE kind = 0").await, 2);
    assert_eq!(service.count("SELECT count(*) FROM swipe WHERE kind = 3").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_limits() {
    let service = TestService::start().await;
    let replica = &service.replica;
    let query = |length: usize| format!("/docs?{}", "a".repeat(length - "/docs?".len()));
    assert_eq!(one(replica, get(&query(2 * KIB), "")).await.status, 200);
    let answer = one(replica, get(&query(2 * KIB + 1), "")).await;
    assert_problem(&answer, 414, "uri-too-long", "2 KiB and one");

    // Host and Connection are headers too.
    assert_eq!(one(replica, get("/docs", &"X-A: 1\r\n".repeat(62))).await.status, 200);
    // Here hyper answers: bare, and closes.
    let many = "X-A: 1\r\n".repeat(64);
    let large = format!("X-A: {}\r\n", "a".repeat(17 * KIB));
    for headers in [many, large] {
        let answer = one(replica, format!("GET / HTTP/1.1\r\nHost: pos\r\n{headers}\r\n")).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (431, &b""[..]));
    }
    let endless = get(&format!("/{}", "a".repeat(70 * KIB)), "");
    let answer = one(replica, endless).await;
    assert!([414, 431].contains(&answer.status.as_u16()), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_could_be_read_in_two_ways_is_refused() {
    let service = TestService::start().await;
    let replica = &service.replica;
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Content-Length : 5\r\n",
        "X-A: a\r\n folded\r\n",
        "X-A: a\0b\r\n",
        "X-A: a\rb\r\n",
        "X A: b\r\n",
    ] {
        let answer = one(replica, post("/v1/swipes", headers, "hello")).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (400, &b""[..]), "{headers:?}");
    }
    for line in
        ["GET / HTTP/1.1\rHost: pos", "GET  / HTTP/1.1", "GET / HTTP/9.9", "\u{16}\u{3}\u{1}"]
    {
        let answer = one(replica, format!("{line}\r\nHost: pos\r\n\r\n")).await;
        assert_eq!(answer.status, 400, "{line:?}");
    }
    // With both, hyper goes by the chunks and closes (RFC 9112 section 6.1): what follows is
    // never taken for a request of its own.
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let smuggled = format!("0\r\n\r\n{}", get("/docs", ""));
    let answer = one(replica, post("/v1/swipes", both, &smuggled)).await;
    assert_problem(&answer, 401, "signature-invalid", "both");
    let broken = post("/v1/swipes", "Transfer-Encoding: chunked\r\n", "zz\r\n");
    assert_problem(&one(replica, broken).await, 400, "malformed-request", "no chunk");
    let cut_off = "5\r\nhel";
    let mut stream = connect(replica).await;
    let request = post("/v1/swipes", "Transfer-Encoding: chunked\r\n", cut_off);
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("half-closed");
    let left = until_closed(&mut stream).await;
    assert!(left.is_empty() || told(&answers(&left)[0]).0 == 400, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_methods_and_hosts_that_are_not_ours() {
    let service = TestService::start().await;
    let replica = &service.replica;
    let name = "/v1/swipes/0367/03/2026-03-14/1";
    let void = format!("{name}/void");
    let card = format!("/v1/cards/{}", card(1));
    for (method, target, allow) in [
        ("GET", "/v1/swipes", "POST"),
        ("PUT", "/v1/swipes", "POST"),
        ("DELETE", "/v1/swipes/batch", "POST"),
        ("POST", name, "GET,HEAD"),
        ("GET", &*void, "POST"),
        ("DELETE", &*card, "GET,HEAD"),
        ("PATCH", "/v1/cards", "POST"),
        ("POST", "/openapi.json", "GET,HEAD"),
        ("POST", "/docs", "GET,HEAD"),
        ("POST", "/problems", "GET,HEAD"),
        ("TRACE", "/v1/swipes", "POST"),
        ("OPTIONS", "/v1/swipes", "POST"),
        ("PROPFIND", "/v1/swipes", "POST"),
        ("post", "/v1/swipes", "POST"),
    ] {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n\r\n");
        let answer = one(replica, request).await;
        assert_problem(&answer, 405, "method-not-allowed", &format!("{method} {target}"));
        assert_eq!(answer.headers["allow"], allow, "{method} {target}");
    }
    for target in [
        "/nowhere",
        "/v1",
        "/v1/swipes/",
        "//v1/swipes",
        "/v1/../v1/swipes",
        "/v1%2Fswipes",
        "/V1/swipes",
        "/v1/swipes/a/b/c",
        "/v1/swipes/a/b/c/d/e",
        "/problems/nothing",
        "/problems/%3Cscript%3E",
        "/metrics",
        "/livez",
        "/.env",
        "/%ff",
        "/a%00",
    ] {
        let answer = one(replica, get(target, "")).await;
        assert_problem(&answer, 404, "not-found", target);
    }
    let asterisk = "OPTIONS * HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n\r\n";
    assert_problem(&one(replica, asterisk).await, 404, "not-found", "the asterisk form");
    let tunnel = "CONNECT pos:443 HTTP/1.1\r\nHost: pos:443\r\nConnection: close\r\n\r\n";
    assert_problem(&one(replica, tunnel).await, 404, "not-found", "the authority form");

    for target in ["http://elsewhere/docs", "http://pos.example/docs", "http://pos:80/docs"] {
        assert_problem(&one(replica, get(target, "")).await, 421, "misdirected-request", target);
    }
    assert_eq!(one(replica, get("http://POS/docs", "")).await.status, 200);
    let two_hosts = get("/docs", "Host: elsewhere\r\n");
    assert_problem(&one(replica, two_hosts).await, 421, "misdirected-request", "two hosts");
    // Without a host nothing can have been signed.
    let no_host = "GET /v1/cards/1 HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_problem(&one(replica, no_host).await, 401, "signature-invalid", "no host");
    // In the absolute form the host of the target is the one that is signed.
    let mut hand = Hand::new(replica, Method::GET, "/v1/swipes/0367/03/2026-03-14/1", "").signed();
    hand.target = format!("http://{}{}", hand.authority, hand.target);
    assert_problem(&one(replica, hand.raw()).await, 404, "not-found", "the absolute form");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_json_that_is_not_compressed() {
    let service = TestService::start().await;
    let replica = &service.replica;
    let mut sequence_number = 0;
    for (content_type, encoding, expected) in [
        (Some("application/json"), None, (201, "")),
        (Some("Application/JSON"), None, (201, "")),
        (Some("application/json; charset=utf-8"), None, (201, "")),
        (Some("application/json;charset=\"UTF-8\""), None, (201, "")),
        (None, None, (415, "unsupported-media-type")),
        (Some("text/plain"), None, (415, "unsupported-media-type")),
        (Some("text/json"), None, (415, "unsupported-media-type")),
        (Some("application/jsonx"), None, (415, "unsupported-media-type")),
        (Some("application/problem+json"), None, (415, "unsupported-media-type")),
        (Some("application/json; charset=latin1"), None, (415, "unsupported-media-type")),
        (Some("application/json; charset=utf-16"), None, (415, "unsupported-media-type")),
        (Some("application/json; profile=x"), None, (415, "unsupported-media-type")),
        (Some("application/json, text/plain"), None, (415, "unsupported-media-type")),
        (Some("multipart/form-data; boundary=x"), None, (415, "unsupported-media-type")),
        (Some("application/x-www-form-urlencoded"), None, (415, "unsupported-media-type")),
        (Some("application/json"), Some("gzip"), (415, "unsupported-media-type")),
        (Some("application/json"), Some("identity"), (415, "unsupported-media-type")),
        (Some("application/json"), Some("zstd"), (415, "unsupported-media-type")),
    ] {
        sequence_number += 1;
        let body = swipe(sequence_number, None, 398).to_string();
        let mut hand = Hand::new(replica, Method::POST, "/v1/swipes", &body);
        hand.remove("content-type");
        if let Some(content_type) = content_type {
            hand.set("content-type", content_type);
        }
        if let Some(encoding) = encoding {
            hand.set("content-encoding", encoding);
        }
        let answer = one(replica, hand.signed().raw()).await;
        let (status, slug) = told(&answer);
        assert_eq!((status, &*slug), expected, "{content_type:?} {encoding:?}");
    }
    // A bomb is not defused, it is not opened.
    let mut bomb = Hand::new(replica, Method::POST, "/v1/swipes", "x");
    bomb.body = vec![0x1f; 60 * KIB].into();
    bomb.set("content-encoding", "gzip");
    bomb.set("content-digest", &digest(&bomb.body));
    let answer = one(replica, bomb.signed().raw()).await;
    assert_problem(&answer, 415, "unsupported-media-type", "a bomb");
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 4);

    // Whatever a client says that it likes, calls answer in JSON.
    for accept in ["text/html", "application/xml;q=1, */*;q=0", "image/*", ""] {
        let refused = one(replica, get("/v1/cards/1", &format!("Accept: {accept}\r\n"))).await;
        assert_problem(&refused, 401, "signature-invalid", accept);
        let nowhere = one(replica, get("/nowhere", &format!("Accept: {accept}\r\n"))).await;
        assert_problem(&nowhere, 404, "not-found", accept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_take_too_long_are_cut() {
    let slow_head =
        TestService::start_with(|config| config.http.header_timeout_ms = SHORT_MS).await;
    for head in ["GET / HTTP/1.1\r\nX-Slow: ", "G", "PRI * HT"] {
        let answer = one(&slow_head.replica, head).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (408, &b""[..]), "{head:?}");
        assert_eq!(answer.headers["connection"], "close");
    }

    let slow_body = TestService::start_with(|config| config.http.body_timeout_ms = SHORT_MS).await;
    let replica = &slow_body.replica;
    let halfway = post("/v1/swipes", "Content-Length: 9\r\n", "{");
    let mut signed = Hand::new(replica, Method::POST, "/v1/swipes", &swipe(1, None, 9).to_string())
        .signed()
        .raw();
    signed.truncate(signed.len() - 1);
    for request in [halfway.into_bytes(), signed] {
        let answer = one(replica, request).await;
        assert_problem(&answer, 408, "request-timeout", "the rest never comes");
        assert_eq!(answer.headers["connection"], "close");
    }
    assert_eq!(slow_body.count("SELECT count(*) FROM swipe").await, 0);

    let idle = TestService::start_with(|config| config.http.idle_timeout_ms = SHORT_MS).await;
    assert!(exchange(&idle.replica, "").await.is_empty(), "closed without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_an_id_of_ours_and_of_its_own() {
    let service = TestService::start().await;
    let replica = &service.replica;
    let body = swipe(1, None, 398).to_string();
    let recorded = Hand::new(replica, Method::POST, "/v1/swipes", &body).signed().raw();
    let mut ids = Vec::new();
    for request in [
        get("/", "X-Request-Id: mine\r\n").into_bytes(),
        get("/docs", "").into_bytes(),
        get("/openapi.json", "").into_bytes(),
        get("/problems", "").into_bytes(),
        get("/problems/clock-skew", "").into_bytes(),
        get("/nowhere", "").into_bytes(),
        recorded.clone(),
        recorded,
    ] {
        let answer = one(replica, request).await;
        let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        if slug(&answer) == "not-found" {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(body["instance"], id);
        }
        ids.push(id);
    }
    let made = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), made, "no id stands for two requests");
}
