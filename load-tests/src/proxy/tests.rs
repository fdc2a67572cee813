//! Each fault happens as described, and is counted: against a server of a few lines that writes
//! down what reached it. Durations are only ever checked to be no shorter than promised.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server that answers every request, and hands out what it got.
struct Upstream {
    address: SocketAddr,
    got: mpsc::Receiver<Bytes>,
}

impl Upstream {
    /// Answers the n-th request (from 0) with what `answer` says.
    async fn start(protocol: Protocol, answer: fn(usize) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (tell, got) = mpsc::channel(1_000);
        tokio::spawn(async move {
            let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            loop {
                let stream = listener.accept().await.expect("it listens").0;
                let (tell, answered) = (tell.clone(), Arc::clone(&answered));
                tokio::spawn(async move {
                    let mut client = Line::tcp(stream)?;
                    let mut first = true;
                    while let Some(request) =
                        client.next(|bytes| protocol.request(bytes, first)).await?
                    {
                        first = false;
                        tell.send(request).await.expect("the test listens");
                        let n = answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        client.write(&answer(n)).await?;
                    }
                    io::Result::Ok(())
                });
            }
        });
        Self { address, got }
    }

    /// A proxy before it.
    async fn behind(&self, protocol: Protocol, seed: u64) -> Proxy {
        let upstream = Endpoint::Tcp(self.address);
        Proxy::start(Endpoint::Tcp(LOOPBACK), upstream, protocol, seed).await.expect("started")
    }

    async fn got(&mut self) -> Bytes {
        self.got.recv().await.expect("the server runs")
    }

    fn got_nothing(&mut self) -> bool {
        self.got.is_empty()
    }
}

fn post(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1/swipes HTTP/1.1\r\nhost: pos\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

fn created(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 201 Created\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

fn same(_: usize) -> Vec<u8> {
    created("a receipt")
}

fn numbered(n: usize) -> Vec<u8> {
    created(&n.to_string())
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let Endpoint::Tcp(address) = proxy.address() else { panic!("these tests use TCP") };
    TcpStream::connect(address).await.expect("the proxy listens")
}

/// Sends one request on a connection of its own and reads until that ends or the answer is there.
async fn ask(proxy: &Proxy, request: &[u8], answer_length: usize) -> io::Result<Vec<u8>> {
    let mut till = connect(proxy).await;
    till.write_all(request).await?;
    let mut answer = Vec::new();
    till.take(answer_length as u64).read_to_end(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn without_faults_every_byte_passes() {
    let mut upstream = Upstream::start(Protocol::Http, numbered).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    let mut till = connect(&proxy).await;
    let large = "x".repeat(2 * 1024 * 1024);
    let requests = [post("{}"), post(""), b"GET /v1/cards/1 HTTP/1.1\r\n\r\n".into(), post(&large)];
    // All at once: a request that comes early waits for the answer before it.
    let all = requests.concat();
    let (mut answers, mut sending) = till.split();
    let mut received = vec![0; 4 * numbered(0).len()];
    let (sent, read) = tokio::join!(sending.write_all(&all), answers.read_exact(&mut received));
    sent.expect("sent");
    read.expect("answered");
    assert_eq!(received, [numbered(0), numbered(1), numbered(2), numbered(3)].concat());
    for request in requests {
        assert_eq!(upstream.got().await, request);
    }
    assert!(proxy.counts().values().all(|count| *count == 0));
}

#[tokio::test]
async fn a_cut_before_the_request_keeps_it_from_upstream() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { cut_before_request: 1.0, ..Faults::default() });
    assert_eq!(ask(&proxy, &post("lost"), 1).await.expect("closed in order"), b"");
    proxy.set_faults(Faults::default());
    ask(&proxy, &post("kept"), same(0).len()).await.expect("answered");
    assert_eq!(upstream.got().await, post("kept"));
    assert_eq!(proxy.counts()["cut_before_request"], 1);
}

#[tokio::test]
async fn a_cut_after_the_request_leaves_it_done_and_unanswered() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { cut_after_request: 1.0, ..Faults::default() });
    for n in 0..20 {
        let request = post(&n.to_string());
        assert_eq!(ask(&proxy, &request, 1).await.expect("closed in order"), b"");
        assert_eq!(upstream.got().await, request);
    }
    let counts = proxy.counts();
    assert_eq!(counts["cut_after_request"] + counts["cut_after_answer"], 20);
    assert!(counts["cut_after_request"] > 0 && counts["cut_after_answer"] > 0, "{counts:?}");
}

#[tokio::test]
async fn a_black_hole_swallows_the_request_and_closes_after_a_while() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { black_hole: 1.0, ..Faults::default() });
    let began = Instant::now();
    assert_eq!(ask(&proxy, &post("lost"), 1).await.expect("closed in order"), b"");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(upstream.got_nothing());
    assert_eq!(proxy.counts()["black_hole"], 1);
}

#[tokio::test]
async fn a_slow_answer_is_whole() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { slow: 1.0, ..Faults::default() });
    let began = Instant::now();
    let answer = ask(&proxy, &post("once"), same(0).len()).await.expect("answered");
    assert_eq!(answer, same(0));
    assert!(began.elapsed() >= Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!(upstream.got().await, post("once"));
    assert_eq!(proxy.counts()["slow"], 1);
}

#[tokio::test]
async fn a_reset_is_seen_as_one_whether_or_not_the_request_arrived() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { reset: 1.0, ..Faults::default() });
    for n in 0..20 {
        let error = ask(&proxy, &post(&n.to_string()), 1).await.expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(proxy.counts()["reset"], 20);
    proxy.set_faults(Faults::default());
    ask(&proxy, &post("last"), same(0).len()).await.expect("answered");
    let mut arrived = 0;
    while upstream.got().await != post("last") {
        arrived += 1;
    }
    assert!(arrived > 0 && arrived < 20, "{arrived}");
}

#[tokio::test]
async fn a_duplicate_is_sent_twice_and_answered_once() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { duplicate: 1.0, ..Faults::default() });
    let mut till = connect(&proxy).await;
    for n in 0..3 {
        let request = post(&n.to_string());
        till.write_all(&request).await.expect("sent");
        let mut answer = vec![0; same(0).len()];
        till.read_exact(&mut answer).await.expect("answered");
        assert_eq!(answer, same(0));
        assert_eq!(upstream.got().await, request);
        assert_eq!(upstream.got().await, request);
    }
    let counts = proxy.counts();
    assert_eq!((counts["duplicate"], counts["duplicate_differs"]), (3, 0));
}

#[tokio::test]
async fn duplicates_of_writes_with_different_good_answers_are_told() {
    let upstream = Upstream::start(Protocol::Http, numbered).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { duplicate: 1.0, ..Faults::default() });
    let read = b"GET /v1/cards/1 HTTP/1.1\r\n\r\n";
    ask(&proxy, read, numbered(0).len()).await.expect("answered");
    assert_eq!(proxy.counts()["duplicate_differs"], 0);
    ask(&proxy, &post("{}"), numbered(0).len()).await.expect("answered");
    assert_eq!(proxy.counts()["duplicate_differs"], 1);

    let refusing = |n| format!("HTTP/1.1 503 Busy\r\ncontent-length: 1\r\n\r\n{n}").into_bytes();
    let upstream = Upstream::start(Protocol::Http, refusing).await;
    proxy.retarget(Endpoint::Tcp(upstream.address));
    ask(&proxy, &post("{}"), refusing(0).len()).await.expect("answered");
    let counts = proxy.counts();
    assert_eq!((counts["duplicate"], counts["duplicate_differs"]), (3, 1));
}

#[tokio::test]
async fn a_delay_comes_before_upstream_sees_the_request() {
    let mut upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    proxy.set_faults(Faults { delay_ms: 70, ..Faults::default() });
    let began = Instant::now();
    ask(&proxy, &post("later"), same(0).len()).await.expect("answered");
    assert!(began.elapsed() >= Duration::from_millis(70), "{:?}", began.elapsed());
    assert_eq!(upstream.got().await, post("later"));
    assert_eq!(proxy.counts()["delay"], 1);
}

#[tokio::test]
async fn the_same_seed_draws_the_same_faults() {
    let upstream = Upstream::start(Protocol::Http, same).await;
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let proxy = upstream.behind(Protocol::Http, seed).await;
        proxy.set_faults(Faults { cut_before_request: 0.3, reset: 0.3, ..Faults::default() });
        let mut run = Vec::new();
        for _ in 0..40 {
            let answer = ask(&proxy, &post("{}"), same(0).len()).await;
            run.push(answer.map(|answer| answer.len()).map_err(|error| error.kind()));
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn what_is_not_understood_ends_only_its_own_connection() {
    let upstream = Upstream::start(Protocol::Http, same).await;
    let proxy = upstream.behind(Protocol::Http, 1).await;
    let mut till = connect(&proxy).await;
    for strange in [
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n",
        "what\0\r\n\r\n",
    ] {
        // Closed with or without a reset, as bytes of it are left unread or not.
        let answer = ask(&proxy, strange.as_bytes(), 1).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.is_empty()), "{strange:?}");
    }
    till.write_all(&post("fine")).await.expect("sent");
    let mut answer = vec![0; same(0).len()];
    till.read_exact(&mut answer).await.expect("answered");
}

#[tokio::test]
async fn a_till_that_hangs_up_is_heard_upstream() {
    let listener = TcpListener::bind(LOOPBACK).await.expect("loopback has free ports");
    let upstream = Endpoint::Tcp(listener.local_addr().expect("it is bound"));
    let proxy = Proxy::start(Endpoint::Tcp(LOOPBACK), upstream, Protocol::Http, 1).await;
    let proxy = proxy.expect("started");
    let mut till = connect(&proxy).await;
    till.write_all(&post("{}")).await.expect("sent");
    let mut server = listener.accept().await.expect("connected").0;
    let mut request = vec![0; post("{}").len()];
    server.read_exact(&mut request).await.expect("forwarded");
    drop(till);
    assert_eq!(server.read(&mut request).await.expect("closed in order"), 0);
}

#[tokio::test]
async fn a_proxy_that_is_dropped_takes_its_connections_and_its_socket_along() {
    let upstream = Upstream::start(Protocol::Http, same).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("socket");
    let listen = Endpoint::Unix(path.clone());
    let proxy = Proxy::start(listen, Endpoint::Tcp(upstream.address), Protocol::Http, 1).await;
    let proxy = proxy.expect("started");
    let mut till = tokio::net::UnixStream::connect(&path).await.expect("the proxy listens");
    till.write_all(&post("{}")).await.expect("sent");
    let mut answer = vec![0; same(0).len()];
    till.read_exact(&mut answer).await.expect("answered");
    drop(proxy);
    assert_eq!(till.read(&mut answer).await.expect("closed in order"), 0);
    assert!(!path.exists());
}

/// A message of PostgreSQL.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("small").to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

fn startup(code: u32) -> Vec<u8> {
    [8_u32.to_be_bytes(), code.to_be_bytes()].concat()
}

/// To the startup and to each statement alike: done, with a number, and ready for the next.
fn ready(n: usize) -> Vec<u8> {
    [message(b'C', &[u8::try_from(n).expect("few")]), message(b'Z', b"I")].concat()
}

#[tokio::test]
async fn a_statement_ends_with_sync_or_is_a_simple_query() {
    let mut upstream = Upstream::start(Protocol::Postgres, ready).await;
    let proxy = upstream.behind(Protocol::Postgres, 1).await;
    let mut client = connect(&proxy).await;
    let mut encryption = [0];
    client.write_all(&startup(80_877_103)).await.expect("sent");
    client.read_exact(&mut encryption).await.expect("refused");
    assert_eq!(&encryption, b"N");

    let prepared = [message(b'P', b"one\0SELECT 1\0"), message(b'S', b"")].concat();
    let bound = [message(b'B', b"\0one\0"), message(b'E', b"\0\0\0"), message(b'S', b"")].concat();
    let simple = message(b'Q', b"SELECT 2\0");
    let requests = [startup(196_608), prepared, bound, simple];
    client.write_all(&requests.concat()).await.expect("sent");
    let mut answers = vec![0; requests.len() * ready(0).len()];
    client.read_exact(&mut answers).await.expect("answered");
    assert_eq!(answers, [ready(0), ready(1), ready(2), ready(3)].concat());
    for request in requests {
        assert_eq!(upstream.got().await, request);
    }
}

#[tokio::test]
async fn of_statements_sent_together_a_fault_befalls_one() {
    let mut upstream = Upstream::start(Protocol::Postgres, ready).await;
    let proxy = upstream.behind(Protocol::Postgres, 1).await;
    let mut client = connect(&proxy).await;
    client.write_all(&startup(196_608)).await.expect("sent");
    let mut answer = vec![0; ready(0).len()];
    client.read_exact(&mut answer).await.expect("answered");
    proxy.set_faults(Faults { cut_before_request: 1.0, ..Faults::default() });
    let two = [message(b'Q', b"1\0"), message(b'Q', b"2\0")].concat();
    client.write_all(&two).await.expect("sent");
    assert_eq!(client.read(&mut answer).await.unwrap_or(0), 0);
    assert_eq!(upstream.got().await, startup(196_608));
    assert!(upstream.got_nothing());
    assert_eq!(proxy.counts()["cut_before_request"], 1);
    assert!(!proxy.counts().contains_key("duplicate"));
}
