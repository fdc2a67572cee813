//! The tills against services that are made for the test: what a stall, a refusal and a silence
//! look like in the result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::civil::date;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, mpsc};

use super::*;

const RECEIPT: &str = "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
const REPLAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const REFUSAL: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 22\r\n\r\n\"/problems/overloaded\"";

/// What a service does with the swipe of a number, counted as they come.
type Answers = fn(u64) -> What;

enum What {
    Answer(&'static str),
    HangUp,
    /// Nobody is answered for so long; then they are.
    Stall(Duration),
}

/// Answers every connection until the test ends.
struct Service {
    address: SocketAddr,
    bodies: mpsc::Receiver<String>,
}

impl Service {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (tell, bodies) = mpsc::channel(100_000);
        let (gate, count) = (Arc::new(RwLock::new(())), Arc::new(AtomicU64::new(0)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
                tokio::spawn(serve(stream, answers, tell.clone(), gate, count));
            }
        });
        Self { address, bodies }
    }

    fn target(&self) -> Target {
        let till = |number: usize| Workstation {
            store_id: "0001".to_owned(),
            workstation_id: format!("{number:02}"),
            keyid: format!("0001/{number:02}.1"),
            secret: [7; 32],
        };
        Target {
            addresses: vec![self.address],
            tills: (0..4).map(till).collect(),
            cards: ["2990000000019".to_owned()].into(),
            today: date(2026, 3, 14),
            wallets: Arc::default(),
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Answers,
    tell: mpsc::Sender<String>,
    gate: Arc<RwLock<()>>,
    count: Arc<AtomicU64>,
) {
    let mut unread = Vec::new();
    while stream.read_buf(&mut unread).await.is_ok_and(|bytes| bytes > 0) {
        // A till sends nothing before it is answered, and small bodies come at once.
        let text = String::from_utf8_lossy(&unread);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        if !body.ends_with('}') {
            continue;
        }
        let _ = tell.send(body.to_owned()).await;
        unread.clear();
        let answer = match answers(count.fetch_add(1, Ordering::Relaxed)) {
            What::Answer(answer) => answer,
            What::HangUp => return,
            What::Stall(time) => {
                let _closed = gate.write().await;
                tokio::time::sleep(time).await;
                RECEIPT
            }
        };
        let _open = gate.read().await;
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn always(_: u64) -> What {
    What::Answer(RECEIPT)
}

fn load(shape: Shape) -> Load {
    Load {
        shape,
        warm_up_s: 0.2,
        seconds: 1.0,
        connections: 4,
        protocol: Protocol::Http1,
        pick: Pick::Uniform,
        basket: Basket::Lines(2),
        seed: 1,
        skus: ["1095275".to_owned()].into(),
    }
}

#[tokio::test]
async fn a_stall_is_charged_for_everybody_who_would_have_come_meanwhile() {
    // The warm-up has 100 swipes; the stall begins a tenth of a second after it.
    let stalling = Service::start(|count| match count {
        150 => What::Stall(Duration::from_millis(400)),
        _ => What::Answer(RECEIPT),
    });
    let load = load(Shape::Open { per_s: 500.0 });
    let measured = drive(&stalling.await.target(), &load, 1).await.expect("it can be made");
    assert!(measured.is_clean(), "{measured:?}");
    assert_eq!(measured.receipts.len(), 500);
    // Whoever was due in the first 350 ms of it has waited for 50 ms at least: 175 swipes, though
    // only four were under way when it began. A slower machine makes it more.
    let waited = measured.receipts.count_between(50_000, 10_000_000);
    assert!(waited >= 170, "{waited} of 500 waited");
    assert!(measured.receipts.max() >= 399_000, "{}", measured.receipts.max());
}

#[tokio::test]
async fn every_swipe_is_sent_once_with_a_number_of_its_own() {
    let mut service = Service::start(always).await;
    let load = load(Shape::Open { per_s: 300.0 });
    let measured = drive(&service.target(), &load, 1_000).await.expect("it can be made");
    assert_eq!(measured.next_sequence_number, 1_360);
    let mut numbers = Vec::new();
    while let Ok(body) = service.bodies.try_recv() {
        let message: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        numbers.push(message["sequence_number"].as_u64().expect("a number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1_000..1_360).collect::<Vec<_>>());
    // Warming up is not measured.
    assert_eq!(measured.receipts.len(), 300);
}

#[tokio::test]
async fn a_closed_loop_sends_as_soon_as_it_is_answered() {
    let mut service = Service::start(always).await;
    let load = load(Shape::Closed { connections: 2 });
    let measured = drive(&service.target(), &load, 1).await.expect("it can be made");
    assert!(measured.is_clean(), "{measured:?}");
    let mut sent = 0;
    while service.bodies.try_recv().is_ok() {
        sent += 1;
    }
    assert_eq!(measured.next_sequence_number, 1 + sent);
    assert!(measured.receipts.len() <= sent && measured.arrived > 0);
}

#[tokio::test]
async fn one_refusal_or_one_silence_among_many_is_not_clean() {
    let load = load(Shape::Open { per_s: 500.0 });
    let measured = async |answers: Answers| {
        let service = Service::start(answers).await;
        let measured = drive(&service.target(), &load, 1).await.expect("it can be made");
        assert!(!measured.is_clean());
        measured
    };
    let refused = |count| What::Answer(if count == 300 { REFUSAL } else { RECEIPT });
    let refused = measured(refused).await;
    assert_eq!((refused.refusals["overloaded"].len(), refused.receipts.len()), (1, 499));

    let silent = |count| if count == 300 { What::HangUp } else { What::Answer(RECEIPT) };
    let silent = measured(silent).await;
    assert_eq!((silent.unanswered, silent.receipts.len()), (1, 499));

    let replayed = |count| What::Answer(if count == 300 { REPLAY } else { RECEIPT });
    let replayed = measured(replayed).await;
    assert_eq!((replayed.replayed, replayed.receipts.len()), (1, 500));
}

#[tokio::test]
async fn nothing_is_sent_to_another_machine() {
    let service = Service::start(always).await;
    let target = Target { addresses: vec![([192, 0, 2, 1], 80).into()], ..service.target() };
    let error = drive(&target, &load(Shape::Open { per_s: 1.0 }), 1).await;
    assert!(error.expect_err("not loopback").to_string().contains("only this machine"));
}
