//! Tills that lose patience: they sign, send, wait as long as a till waits, and come again when
//! they are told to or were not answered, a bounded number of times.
//!
//! Owns the pace. Requests go out when they are due, whatever became of those before them. An
//! attempt keeps the bytes of its swipe, so however often it arrives it counts once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::second::{Second, record};
use crate::baskets::Shop;
use crate::wire::{self, Answer, Wire};
use crate::world::Workstation;

/// How often a till sends a swipe before it puts it aside, to hand it in later.
const ATTEMPTS_MAX: u32 = 3;
/// A till that was not answered, or not told, comes again after this; the same again at random
/// comes on top of every wait, so that tills do not come back together.
const RETRY_AFTER_S: u64 = 1;
/// How long a connection is listened to: the deadline, and some more for the answer that says it
/// was missed.
const LISTENING: Duration = Duration::from_millis(1_000);
/// More requests at the same time are not sent, and counted.
const UNDER_WAY_MAX: usize = 6_000;
const TICK: Duration = Duration::from_millis(1);

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// So many new swipes each second, and what is repeated besides.
    PerSecond(f64),
    /// So many requests each second, those that are repeated among them.
    InAllPerSecond(f64),
}

/// All tills.
pub(super) struct Tills {
    shared: Arc<Shared>,
    service: u32,
    next_number: u64,
}

struct Shared {
    address: SocketAddr,
    authority: String,
    workstations: Vec<Workstation>,
    shop: Shop,
    opened_at: Timestamp,
    began: Instant,
    under_way: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    idle: Vec<Wire>,
    due: BinaryHeap<Reverse<Due>>,
    seconds: Vec<Second>,
    jitter: fastrand::Rng,
}

/// A swipe that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    number: u64,
    attempts: u32,
}

impl Tills {
    /// Tills of the service at `address`, whose process is `service`.
    pub(super) fn new(
        address: SocketAddr,
        service: u32,
        workstations: Vec<Workstation>,
        shop: Shop,
    ) -> Self {
        let state = State {
            idle: Vec::new(),
            due: BinaryHeap::new(),
            seconds: Vec::new(),
            jitter: fastrand::Rng::with_seed(1),
        };
        let shared = Arc::new(Shared {
            address,
            authority: address.to_string(),
            workstations,
            shop,
            opened_at: Timestamp::now(),
            began: Instant::now(),
            under_way: AtomicUsize::new(0),
            state: Mutex::new(state),
        });
        Self { shared, service, next_number: 1 }
    }

    /// Sends for so many seconds. Returns their numbers, once those before them are over.
    pub(super) async fn send(&mut self, load: Load, seconds: usize) -> Range<usize> {
        let first = self.shared.second_of(Instant::now()) + 1;
        let range = first..first + seconds;
        let begin = self.shared.began + Duration::from_secs(first as u64);
        let end = begin + Duration::from_secs(seconds as u64);
        self.shared.lock().seconds.resize(range.end, Second::new());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tokio::time::sleep_until(begin).await;
        let (mut slots, mut current) = (0_u32, first);
        loop {
            let now = ticks.tick().await.min(end);
            let second = self.shared.second_of(now);
            if second > current {
                self.shared.lock().seconds[current].usage(self.service);
                current = second;
            }
            if now == end {
                return range;
            }
            let due = |slots: u32, per_s: f64| begin + Duration::from_secs_f64(1.0 / per_s) * slots;
            match load {
                Load::PerSecond(per_s) => {
                    while due(slots, per_s) <= now {
                        self.new_swipe(due(slots, per_s));
                        slots += 1;
                    }
                    while let Some(repeated) = self.shared.repeated(now) {
                        self.shared.spawn(repeated);
                    }
                }
                Load::InAllPerSecond(per_s) => {
                    while due(slots, per_s) <= now {
                        let at = due(slots, per_s);
                        match self.shared.repeated(at) {
                            Some(repeated) => self.shared.spawn(Due { at, ..repeated }),
                            None => self.new_swipe(at),
                        }
                        slots += 1;
                    }
                }
            }
        }
    }

    /// What happened, second by second.
    pub(super) fn seconds(&self) -> Vec<Second> {
        self.shared.lock().seconds.clone()
    }

    fn new_swipe(&mut self, at: Instant) {
        self.shared.spawn(Due { at, number: self.next_number, attempts: 0 });
        self.next_number += 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// The number of the second that an instant lies in.
    fn second_of(&self, at: Instant) -> usize {
        usize::try_from((at - self.began).as_secs()).expect("a run takes minutes")
    }

    /// A swipe whose time to be sent again has come.
    fn repeated(&self, now: Instant) -> Option<Due> {
        let due = &mut self.lock().due;
        due.peek().filter(|Reverse(due)| due.at <= now)?;
        due.pop().map(|Reverse(due)| due)
    }

    fn spawn(self: &Arc<Self>, due: Due) {
        if self.under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
            self.note(due.at, |second| second.unsent += 1);
            return;
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let answer = timeout(LISTENING, shared.attempt(due)).await;
            shared.under_way.fetch_sub(1, Ordering::Relaxed);
            shared.take_note(due, answer.ok().flatten());
        });
    }

    /// Sends one request and waits for its answer.
    async fn attempt(&self, due: Due) -> Option<Answer> {
        let idle = self.lock().idle.pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::connect(self.address).await.ok()?,
        };
        let (till, body) = self.swipe(due.number);
        let mut request = Vec::new();
        let created_s = Timestamp::now().as_second();
        wire::write_request(&mut request, &self.authority, till, body.as_bytes(), created_s);
        let lag = due.at.elapsed();
        self.note(due.at, |second| record(&mut second.sending, lag));
        let answer = wire.ask(&request).await.ok()?;
        if answer.keeps {
            self.lock().idle.push(wire);
        }
        Some(answer)
    }

    fn take_note(&self, due: Due, answer: Option<Answer>) {
        let latency = due.at.elapsed();
        let retry_after_s = answer.as_ref().and_then(|answer| answer.retry_after_s);
        let mut again = false;
        self.note(due.at, |second| match answer {
            Some(Answer { status: 200..300, .. }) => second.receipt(latency),
            Some(Answer { status: 503, slug, .. }) => {
                second.refusal(slug, latency);
                again = true;
            }
            Some(Answer { status, .. }) => *second.others.entry(status).or_default() += 1,
            None => {
                second.unanswered += 1;
                again = true;
            }
        });
        let attempts = due.attempts + 1;
        if again && attempts < ATTEMPTS_MAX {
            let state = &mut *self.lock();
            let wait_s = retry_after_s.unwrap_or(RETRY_AFTER_S) as f64;
            let wait = Duration::from_secs_f64(wait_s * (1.0 + state.jitter.f64()));
            state.due.push(Reverse(Due { at: Instant::now() + wait, attempts, ..due }));
        } else if again {
            self.note(due.at, |second| second.given_up += 1);
        }
    }

    fn note(&self, at: Instant, note: impl FnOnce(&mut Second)) {
        let second = self.second_of(at);
        // What is repeated after the end of the run belongs to no second of it.
        if let Some(second) = self.lock().seconds.get_mut(second) {
            note(second);
        }
    }

    /// The same bytes for the same number, at each attempt.
    fn swipe(&self, number: u64) -> (&Workstation, String) {
        let mut rng = fastrand::Rng::with_seed(number);
        let till = &self.workstations[rng.usize(..self.workstations.len())];
        // In turn, so that all of them have an account and are known before anything is measured.
        let customers = self.shop.cards.len() as u64;
        let card = &self.shop.cards[usize::try_from(number % customers).expect("it is an index")];
        let date = self.shop.dates.last().expect("a shop is open on some day");
        let amount_minor = rng.u32(100..10_000);
        let body = json!({
            "store_id": till.store_id,
            "workstation_id": till.workstation_id,
            "business_date": date,
            "sequence_number": number,
            "occurred_at": self.opened_at,
            "currency": "USD",
            "card": card,
            "lines": [{
                "line": 1, "sku": "1095275", "quantity": "1", "amount_minor": amount_minor,
            }],
            "total_minor": amount_minor,
        });
        (till, body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::civil::date;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;

    const REFUSAL: &[u8] =
        b"HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 20\r\n\r\n\"/problems/overloaded";

    /// Refuses whatever comes on a connection, and tells the bodies.
    async fn refuse(mut stream: TcpStream, bodies: mpsc::Sender<String>) {
        let mut unread = Vec::new();
        while stream.read_buf(&mut unread).await.is_ok_and(|bytes| bytes > 0) {
            // A till sends nothing before it is answered, and small bodies come at once.
            let text = String::from_utf8_lossy(&unread);
            let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
            if body.ends_with('}') {
                bodies.send(body.to_owned()).await.expect("the test listens");
                stream.write_all(REFUSAL).await.expect("the till listens");
                unread.clear();
            }
        }
    }

    #[tokio::test]
    async fn a_refused_till_comes_again_with_the_same_bytes_and_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (tell, mut told) = mpsc::channel(10_000);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(refuse(stream, tell.clone()));
            }
        });
        let till = Workstation {
            store_id: "0001".to_owned(),
            workstation_id: "01".to_owned(),
            keyid: "0001/01.1".to_owned(),
            secret: [7; 32],
        };
        let shop = Shop::new(10, date(2026, 11, 24));
        let mut tills = Tills::new(address, std::process::id(), vec![till], shop);
        let range = tills.send(Load::PerSecond(100.0), 2).await;

        let mut attempts: HashMap<String, u32> = HashMap::new();
        while let Ok(body) = told.try_recv() {
            *attempts.entry(body).or_default() += 1;
        }
        // Each of the 200 swipes has bytes of its own; the last may still be due again.
        assert!(attempts.len() <= 200, "{}", attempts.len());
        assert!(attempts.values().all(|attempts| *attempts <= ATTEMPTS_MAX), "{attempts:?}");
        let seconds = tills.seconds();
        let given_up: u64 = seconds[range].iter().map(|second| second.given_up).sum();
        let at_their_last = attempts.values().filter(|attempts| **attempts == ATTEMPTS_MAX);
        assert!(given_up > 0 && given_up <= at_their_last.count() as u64);
        assert!(seconds.iter().all(|second| second.receipts.is_empty() && second.unsent == 0));
    }
}
