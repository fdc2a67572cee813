//! How a till speaks: signs with its own wrong clock, sends, writes down what it was answered,
//! and sends again where it was not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tillside::till::{Answer, Till};
use tokio::time::{sleep, timeout};

use super::Floor;
use crate::baskets::Sale;
use crate::error::HarnessError;
use crate::journal::{Acked, Asked, Hash, Line, Sent};
use crate::world::Workstation;

/// How long a till waits for an answer. The service answers within 400 ms or says 503.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Between attempts, at least and at most, times the number of the attempt up to four.
const PAUSE_MS: std::ops::Range<u64> = 5..80;

/// A till's place: its workstation, its clock and its ways to the replicas.
pub(super) struct Desk {
    pub(super) floor: Arc<Floor>,
    pub(super) workstation: Workstation,
    skew: SignedDuration,
    ways: Vec<Till>,
}

/// What is sent until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) asked: Asked,
    pub(super) body: Bytes,
    /// The same, marked as stored while offline; nothing but sales is marked.
    pub(super) offline_body: Option<String>,
    announced: bool,
}

/// How sending ended.
pub(super) enum Delivery {
    /// It was answered, and that is written down.
    Answered,
    /// It was not: it goes into the next batch.
    Stored(Request),
}

impl Request {
    /// A request that was acknowledged before, byte for byte.
    pub(super) fn again(id: u64, sale: &Sale) -> Self {
        let Sale { points, total_minor, has_run_out, .. } = *sale;
        let card = sale.card.clone();
        Self {
            id,
            name: sale.name.clone(),
            asked: Asked::Sale { card, points, total_minor, has_run_out },
            body: sale.body(false).into(),
            offline_body: Some(sale.body(true)),
            announced: true,
        }
    }
}

impl Desk {
    pub(super) fn new(
        floor: Arc<Floor>,
        workstation: Workstation,
        skew: SignedDuration,
    ) -> Result<Self, HarnessError> {
        let way = |base_url: &String| Till::new(base_url, &workstation.keyid, workstation.secret);
        let ways: Result<Vec<Till>, _> = floor.base_urls.iter().map(way).collect();
        let ways = ways.map_err(HarnessError::doing("making a till"))?;
        Ok(Self { floor, workstation, skew, ways })
    }

    pub(super) fn request(&self, name: &str, asked: Asked, body: impl Into<Bytes>) -> Request {
        let id = self.floor.next_id.fetch_add(1, Ordering::Relaxed);
        let (name, body) = (name.to_owned(), body.into());
        Request { id, name, asked, body, offline_body: None, announced: false }
    }

    pub(super) fn sale(&self, sale: &Sale) -> Request {
        let id = self.floor.next_id.fetch_add(1, Ordering::Relaxed);
        Request { announced: false, ..Request::again(id, sale) }
    }

    pub(super) fn void(&self, name: &str) -> Request {
        self.request(name, Asked::Void, Bytes::new())
    }

    pub(super) fn enrolment(&self, card: &str, link_to: Option<String>) -> Request {
        let mut message = json!({ "card": card });
        if let Some(link_to) = &link_to {
            message["link_to"] = link_to.as_str().into();
        }
        self.request(card, Asked::Enrol { link_to }, message.to_string())
    }

    /// Writes down that it will be sent, before the first attempt.
    pub(super) async fn announce(&self, request: &mut Request) {
        if !request.announced {
            let (name, asked) = (request.name.clone(), request.asked.clone());
            let sent = Sent { id: request.id, name, asked, body: Hash::of(&request.body) };
            self.floor.journal.write(&Line::Sent(sent)).await;
            request.announced = true;
        }
    }

    /// Sends until it is answered, to the one replica or the other. A till that is not answered
    /// may ask by name, or put the transaction aside for a batch.
    pub(super) async fn deliver(&self, rng: &mut Rng, mut request: Request) -> Delivery {
        self.announce(&mut request).await;
        let home = rng.usize(0..self.ways.len());
        for attempt in 0.. {
            let way = if attempt == 0 { home } else { rng.usize(0..self.ways.len()) };
            if self.attempt(way, &request).await.is_some() {
                return Delivery::Answered;
            }
            self.pause(rng, attempt).await;
            let is_sale = matches!(request.asked, Asked::Sale { .. });
            let goes_into_batches = is_sale || request.asked == Asked::Void;
            match rng.u8(0..10) {
                0 if is_sale && self.ask(rng, &request).await == Some(StatusCode::OK) => {
                    return Delivery::Answered;
                }
                1 | 2 if goes_into_batches && attempt > 0 => {
                    return Delivery::Stored(request);
                }
                _ => {}
            }
        }
        unreachable!("attempts are counted for as long as it takes")
    }

    /// Sends once. The answer, if there was one that says what became of it, written down.
    pub(super) async fn attempt(&self, way: usize, request: &Request) -> Option<StatusCode> {
        let path = match request.asked {
            Asked::Void => format!("/v1/swipes/{}/void", request.name),
            Asked::Sale { .. } | Asked::Reuse => "/v1/swipes".to_owned(),
            Asked::Enrol { .. } => "/v1/cards".to_owned(),
            Asked::Adjust { .. } => unreachable!("a till corrects no points: the clerk does"),
        };
        let answer = self.call(way, Method::POST, &path, request.body.clone()).await?;
        self.settle(request, answer.status, &answer.body).await.then_some(answer.status)
    }

    /// Asks what became of a transaction that has been acknowledged, until there is an answer.
    pub(super) async fn ask_until_answered(&self, rng: &mut Rng, request: &Request) {
        for attempt in 0.. {
            if let Some(status) = self.ask(rng, request).await {
                if status == StatusCode::NOT_FOUND {
                    self.acknowledge(request, status, b"").await;
                }
                return;
            }
            self.pause(rng, attempt).await;
        }
    }

    /// Asks by name once. A receipt is as good as an acknowledgement, and written down as one;
    /// what "not found" means is for the caller to know.
    async fn ask(&self, rng: &mut Rng, request: &Request) -> Option<StatusCode> {
        let way = rng.usize(0..self.ways.len());
        let path = format!("/v1/swipes/{}", request.name);
        let answer = self.call(way, Method::GET, &path, Bytes::new()).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Some(StatusCode::NOT_FOUND),
            status => self.settle(request, status, &answer.body).await.then_some(status),
        }
    }

    /// Signs and sends. Nothing when there was no complete answer.
    pub(super) async fn call(
        &self,
        way: usize,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Option<Answer> {
        let till = &self.ways[way % self.ways.len()];
        let created = Timestamp::now() + self.skew;
        let request = till.sign(method, path, body, created).expect("names make good paths");
        let answer = timeout(ANSWER_TIMEOUT, till.send(request)).await;
        let answer = answer.ok().and_then(Result::ok);
        if answer.is_none() {
            self.floor.tally.unknown.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Whether an answer says what became of the request; then it is written down.
    pub(super) async fn settle(&self, request: &Request, status: StatusCode, body: &[u8]) -> bool {
        let tally = &self.floor.tally;
        if !status.is_success() {
            tally.problem(&slug(status, body));
        }
        let open = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
        if open {
            return false;
        }
        self.acknowledge(request, status, body).await;
        match status {
            StatusCode::CREATED => tally.recorded(),
            StatusCode::OK => {
                tally.replayed.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        true
    }

    pub(super) async fn pause(&self, rng: &mut Rng, attempt: u64) {
        sleep(Duration::from_millis(rng.u64(PAUSE_MS) * (attempt + 1).min(4))).await;
    }

    async fn acknowledge(&self, request: &Request, status: StatusCode, body: &[u8]) {
        let acked = Acked { id: request.id, status: status.as_u16(), body: Hash::of(body) };
        self.floor.journal.write(&Line::Acked(acked)).await;
    }
}

/// The last part of a problem's type, or its status where there is none.
fn slug(status: StatusCode, body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let kind = problem.as_ref().and_then(|problem| problem["type"].as_str());
    let slug = kind.and_then(|kind| kind.rsplit('/').next());
    slug.map_or_else(|| status.as_u16().to_string(), str::to_owned)
}
