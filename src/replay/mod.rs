//! Replaying recorded baskets through the front door: signed, over HTTP, in the order of time.
//!
//! Owns the pace and the retries. Baskets of one card are sent one after another, each only
//! when the one before it was answered; different cards go side by side. A basket that got
//! no answer, or 503, is sent again with the same bytes until it has one: its name makes that
//! safe, and makes a whole replay repeatable. Never writes a basket past the service.

mod body;
pub mod keys;
mod sql;
pub mod statistics;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Method, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::body::SwipeBody;
pub use self::body::Taken;
use self::keys::Terminal;
pub use self::sql::ShiftMemory;
use self::statistics::Statistics;
use crate::journey::transactions::{RecordedBasket, Transactions};
use crate::journey::{self, business_date};
use crate::till::{Answer, Till, TillError};

/// Baskets that wait for one connection: few, so that no card runs far ahead of the others.
const WAITING: usize = 8;

/// How long a basket is sent again before the replay gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The same while nobody has answered yet: the address may well be wrong.
const PATIENCE_FIRST: Duration = Duration::from_secs(10);

/// Between two attempts, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long a service may take to hear of keys that were made a moment ago, and how often it
/// is asked.
const KEYS_KNOWN_AFTER: Duration = Duration::from_secs(10);
const KEYS_ASKED_EVERY: Duration = Duration::from_millis(100);

/// A replay waits longer than a customer would: the most that the service allows.
const DEADLINE: (&str, &str) = ("tillside-deadline-ms", "5000");

/// How the baskets are to be sent.
#[derive(Debug)]
pub struct Plan {
    /// Such as `http://127.0.0.1:8080`.
    pub server: String,
    /// The terminal of each store.
    pub terminals: HashMap<String, Terminal>,
    /// How many requests may be under way.
    pub connections: usize,
    /// How many times faster than it happened; `None`: as fast as the service answers.
    pub speed: Option<f64>,
    /// By how much times and dates are moved.
    pub shift_weeks: i32,
    /// Coupons that the tills took, by the number of the basket. Part of what is sent, so they
    /// must be the same whenever the baskets are replayed.
    pub redemptions: Arc<HashMap<i64, Vec<Taken>>>,
}

/// Why a replay ended before its last basket.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No key for a store.
    #[error("no terminal key for store {0}: give --keys with a file that has one, or --prepare")]
    NoTerminal(String),
    /// The address or a key cannot be used.
    #[error(transparent)]
    Till(#[from] TillError),
    /// The service was away, or too busy, for too long.
    #[error(
        "basket {basket} got no answer within {} s ({problem}); once the service is well, the \
         same replay goes on where it stopped",
        waited.as_secs()
    )]
    GaveUp {
        /// Its name.
        basket: String,
        /// What happened last.
        problem: String,
        /// For how long it was tried.
        waited: Duration,
    },
    /// A 2xx without a receipt for what was sent.
    #[error("basket {0} was answered with something that is not its receipt")]
    NotAReceipt(String),
    /// A date left the calendar.
    #[error("{0} weeks move the baskets out of the calendar")]
    Shift(i32),
}

/// Sends every basket and returns what the answers add up to. `done` is called for each.
///
/// # Errors
/// [`ReplayError`]; what was answered until then is recorded, and a further replay says so.
pub async fn run(
    baskets: Arc<Transactions>,
    plan: &Plan,
    done: Arc<dyn Fn() + Send + Sync>,
) -> Result<Statistics, ReplayError> {
    let terminals = Arc::new(signers(&baskets, plan)?);
    // Any terminal's connections can carry the requests of all: the address is the same, and
    // hundreds of terminals with connections of their own would use up the file descriptors.
    let Some(carrier) = terminals.values().next().cloned() else {
        return Ok(Statistics::default());
    };
    until_known(&carrier).await;
    let started = Instant::now();
    let mut workers = JoinSet::new();
    let mut queues = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections.max(1) {
        let (queue, waiting) = mpsc::channel(WAITING);
        queues.push(queue);
        let worker = Worker {
            baskets: Arc::clone(&baskets),
            terminals: Arc::clone(&terminals),
            carrier: carrier.clone(),
            shift_weeks: plan.shift_weeks,
            redemptions: Arc::clone(&plan.redemptions),
            done: Arc::clone(&done),
            statistics: Statistics::default(),
        };
        workers.spawn(worker.run(waiting));
    }
    hand_out(baskets.baskets(), queues, plan.speed).await;
    let mut total = Statistics::default();
    while let Some(ended) = workers.join_next().await {
        // An error drops the set, and with it the workers that are left.
        total.add(&ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
    }
    total.elapsed = started.elapsed();
    Ok(total)
}

/// Waits until the service knows the keys: it hears of new ones within seconds. A key that it
/// does not know even then is the answer to the first basket.
async fn until_known(till: &Till) {
    let deadline = Instant::now() + KEYS_KNOWN_AFTER;
    let unknown = |answer: &Answer| answer.status == StatusCode::UNAUTHORIZED;
    // No card has this number; what matters is whether the signature is proven.
    while till.get("/v1/cards/0").await.is_ok_and(|answer| unknown(&answer)) {
        if Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(KEYS_ASKED_EVERY).await;
    }
}

/// The business date of a basket after moving it.
///
/// # Errors
/// [`ReplayError::Shift`].
pub fn shifted_date(basket: &RecordedBasket, weeks: i32) -> Result<Date, ReplayError> {
    moved_date(business_date(basket.occurred_at), weeks)
}

/// A day after moving it.
///
/// # Errors
/// [`ReplayError::Shift`].
pub fn moved_date(date: Date, weeks: i32) -> Result<Date, ReplayError> {
    let days = i64::from(weeks).saturating_mul(7);
    jiff::Span::new()
        .try_days(days)
        .and_then(|span| date.checked_add(span))
        .map_err(|_| ReplayError::Shift(weeks))
}

/// The most weeks by which the last basket can be moved and still lie before `today`.
pub fn weeks_until_yesterday(last: Date, today: Date) -> i32 {
    let days = (today - last).get_days() - 1;
    days.div_euclid(7)
}

fn shifted_time(basket: &RecordedBasket, weeks: i32) -> Result<Timestamp, ReplayError> {
    jiff::Span::new()
        .try_hours(i64::from(weeks).saturating_mul(7 * 24))
        .and_then(|span| basket.occurred_at.checked_add(span))
        .map_err(|_| ReplayError::Shift(weeks))
}

/// A signer for each store of the baskets.
fn signers(baskets: &Transactions, plan: &Plan) -> Result<HashMap<u32, Till>, ReplayError> {
    let mut signers = HashMap::new();
    for basket in baskets.baskets() {
        if signers.contains_key(&basket.store) {
            continue;
        }
        let id = journey::store_id(basket.store);
        let terminal =
            plan.terminals.get(&id).ok_or_else(|| ReplayError::NoTerminal(id.clone()))?;
        signers.insert(basket.store, Till::new(&plan.server, &terminal.keyid, *terminal.secret)?);
    }
    Ok(signers)
}

/// Hands each basket, when its time has come, to the worker of its card.
async fn hand_out(
    baskets: &[RecordedBasket],
    queues: Vec<mpsc::Sender<usize>>,
    speed: Option<f64>,
) {
    let started = Instant::now();
    let first = baskets.first().map(|basket| basket.occurred_at).unwrap_or_default();
    for (number, basket) in baskets.iter().enumerate() {
        if let Some(speed) = speed {
            let recorded = basket.occurred_at.duration_since(first).unsigned_abs();
            tokio::time::sleep_until(started + recorded.div_f64(speed)).await;
        }
        let worker = basket.household_id as usize % queues.len();
        if queues[worker].send(number).await.is_err() {
            // The worker gave up; its result says why.
            return;
        }
    }
}

/// One connection's worth of work.
struct Worker {
    baskets: Arc<Transactions>,
    terminals: Arc<HashMap<u32, Till>>,
    carrier: Till,
    shift_weeks: i32,
    redemptions: Arc<HashMap<i64, Vec<Taken>>>,
    done: Arc<dyn Fn() + Send + Sync>,
    statistics: Statistics,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<usize>) -> Result<Statistics, ReplayError> {
        let baskets = Arc::clone(&self.baskets);
        while let Some(number) = waiting.recv().await {
            self.send(&baskets, &baskets.baskets()[number]).await?;
            (self.done)();
        }
        Ok(self.statistics)
    }

    async fn send(
        &mut self,
        all: &Transactions,
        basket: &RecordedBasket,
    ) -> Result<(), ReplayError> {
        let taken = self.redemptions.get(&basket.basket_id).map_or(&[][..], Vec::as_slice);
        let body = SwipeBody::new(
            basket,
            all.lines_of(basket),
            taken,
            shifted_date(basket, self.shift_weeks)?,
            shifted_time(basket, self.shift_weeks)?,
        );
        let answer = self.answer(basket.store, &body).await?;
        if !answer.status.is_success() {
            self.statistics.refused(slug(&answer));
            return Ok(());
        }
        let name = body.name();
        let receipt: Receipt = serde_json::from_slice(&answer.body)
            .ok()
            .filter(|receipt: &Receipt| receipt.swipe == name)
            .ok_or(ReplayError::NotAReceipt(name))?;
        let is_new = answer.status == StatusCode::CREATED;
        self.statistics.accepted(is_new, body.lines(), body.total_minor(), &receipt);
        Ok(())
    }

    /// Sends a basket until the service has decided about it.
    async fn answer(&mut self, store: u32, body: &SwipeBody) -> Result<Answer, ReplayError> {
        let bytes = Bytes::from(body.to_json());
        let signer = self.terminals.get(&store).expect("made for every store of the baskets");
        let began = Instant::now();
        let mut pause = BACKOFF.0;
        loop {
            let mut request =
                signer.sign(Method::POST, "/v1/swipes", bytes.clone(), Timestamp::now())?;
            request.headers_mut().insert(DEADLINE.0, HeaderValue::from_static(DEADLINE.1));
            let sent = Instant::now();
            let mut patience = PATIENCE;
            let problem = match self.carrier.send(request).await {
                Ok(answer) if !answer.status.is_server_error() => {
                    self.statistics.answered(sent.elapsed());
                    return Ok(answer);
                }
                Ok(answer) => format!("status {}", answer.status.as_u16()),
                Err(error @ (TillError::Address | TillError::KeyId | TillError::Path)) => {
                    return Err(error.into());
                }
                Err(error) => {
                    if matches!(error, TillError::Unreachable(_)) && !self.statistics.has_answers()
                    {
                        patience = PATIENCE_FIRST;
                    }
                    error.to_string()
                }
            };
            let waited = began.elapsed();
            if waited > patience {
                return Err(ReplayError::GaveUp { basket: body.name(), problem, waited });
            }
            self.statistics.retried();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

/// What a replay looks at in a receipt.
#[derive(Deserialize)]
struct Receipt {
    swipe: String,
    points: ReceiptPoints,
    #[serde(default)]
    redemptions: Vec<ReceiptRedemption>,
    #[serde(default)]
    coupons: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct ReceiptPoints {
    earned: i64,
}

#[derive(Deserialize)]
struct ReceiptRedemption {
    outcome: String,
}

/// The reason of a refusal: the last part of the problem's type, else the status.
fn slug(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
    }
    let problem = serde_json::from_slice::<Problem>(&answer.body).ok();
    let slug = problem.as_ref().and_then(|problem| problem.kind.rsplit('/').next());
    slug.map_or_else(|| format!("status {}", answer.status.as_u16()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_last_basket_comes_to_lie_in_the_week_before_today() {
        let last = date(2017, 12, 31);
        for (today, weeks) in [
            (date(2018, 1, 1), 0),
            (date(2018, 1, 7), 0),
            (date(2018, 1, 8), 1),
            (date(2026, 11, 22), 463),
            (date(2017, 12, 31), -1),
        ] {
            assert_eq!(weeks_until_yesterday(last, today), weeks, "{today}");
        }
    }

    #[test]
    fn refusals_are_named_by_their_slug() {
        let answer = |status, body: &'static str| Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let problem = r#"{"type":"http://127.0.0.1:8080/problems/swipe-name-reused","status":422}"#;
        assert_eq!(slug(&answer(StatusCode::UNPROCESSABLE_ENTITY, problem)), "swipe-name-reused");
        assert_eq!(slug(&answer(StatusCode::BAD_REQUEST, "")), "status 400");
    }
}
