//! Any order, any number of times, by any way: the points of an account do not tell how its
//! transactions came in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde_json::{Value, json};
use tillside::till::{Answer, Till};
use tokio::task::JoinSet;

use crate::support::flow::{
    audit, basket, name, outcomes, points_of, post_batch, returned_from, sold, void,
};
use crate::support::service::{TestService, body, card, post};

const CARDS: u64 = 4;
const SALES: i64 = 60;

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("small");
        usize::try_from(self.next() % bound).expect("small")
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// What a till sends.
#[derive(Clone, Debug)]
enum Message {
    Swipe(Value),
    Void(i64),
}

impl Message {
    /// What answers to the same message have in common.
    fn key(&self) -> String {
        match self {
            Self::Swipe(swipe) => swipe["sequence_number"].to_string(),
            Self::Void(sequence_number) => format!("void {sequence_number}"),
        }
    }

    fn item(&self) -> Value {
        match self {
            Self::Swipe(swipe) => json!({ "swipe": swipe }),
            Self::Void(sequence_number) => json!({ "void": name(*sequence_number) }),
        }
    }

    async fn send(&self, till: &Till) -> Answer {
        match self {
            Self::Swipe(swipe) => post(till, swipe).await,
            Self::Void(sequence_number) => void(till, &name(*sequence_number)).await,
        }
    }
}

/// A history, and the points that it leaves each card with.
///
/// What is returned is not voided and the other way round: there the order would matter, since
/// a return of a voided sale takes nothing.
fn history(random: &mut Random) -> (Vec<Message>, HashMap<u64, i64>) {
    let mut messages = Vec::new();
    let mut points: HashMap<u64, i64> = HashMap::new();
    for sequence in 0..SALES {
        let number = random.next() % CARDS;
        let mut change = |points_change: i64| *points.entry(number).or_default() += points_change;
        let minor = 100 * i64::try_from(random.below(9)).expect("small");
        let sale = basket(
            sequence,
            Some(&card(number)),
            vec![sold(1, "1095275", minor), sold(2, "1", 100)],
        );
        messages.push(Message::Swipe(sale));
        match random.below(4) {
            0 => messages.push(Message::Void(sequence)),
            1 => {
                change(minor / 100 + 1);
                let back = vec![returned_from(1, minor, &name(sequence)), sold(2, "1", 100)];
                messages.push(Message::Swipe(basket(1_000 + sequence, Some(&card(number)), back)));
                if random.below(2) == 0 {
                    messages.push(Message::Void(1_000 + sequence));
                } else {
                    change(1 - minor / 100);
                }
            }
            _ => change(minor / 100 + 1),
        }
    }
    (messages, points)
}

/// Answers by message: the first one stands, and every further one must be the same.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<HashMap<String, Value>>>);

impl Answers {
    fn note(&self, message: &Message, answer: Value) {
        let mut answers = self.0.lock().expect("nobody panicked with it");
        let first = answers.entry(message.key()).or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "{message:?}");
    }
}

async fn deliver(till: Till, parcel: Vec<Message>, answers: Answers) {
    if let [message] = &parcel[..] {
        let answer = message.send(&till).await;
        assert!(answer.status.is_success(), "{message:?}: {:?}", answer.body);
        answers.note(message, body(&answer));
        return;
    }
    let items: Vec<Value> = parcel.iter().map(Message::item).collect();
    let outcomes = outcomes(&post_batch(&till, &items).await);
    for (message, outcome) in parcel.iter().zip(outcomes) {
        assert!(outcome["status"] == 200 || outcome["status"] == 201, "{message:?}: {outcome}");
        answers.note(message, outcome["receipt"].clone());
    }
}

async fn any_delivery_ends_the_same(seed: u64) {
    let mut random = Random(seed);
    let service = TestService::start().await;
    let rules = "UPDATE programme SET rules = rules - 'expire_after_months'
                 || '{\"expire_after_months\": null}'";
    service.sql().await.batch_execute(rules).await.expect("changed");
    let replicas = [service.replica().await, service.replica().await];
    let tills = replicas.each_ref().map(|replica| replica.till("0367", "03"));
    let (messages, points) = history(&mut random);

    let mut deliveries: Vec<Message> = Vec::new();
    for message in &messages {
        deliveries.extend(vec![message.clone(); 1 + random.below(3)]);
    }
    random.shuffle(&mut deliveries);
    let answers = Answers::default();
    let mut tasks = JoinSet::new();
    while !deliveries.is_empty() {
        let size = if random.below(2) == 0 { 1 } else { 1 + random.below(20) };
        let parcel = deliveries.split_off(deliveries.len().saturating_sub(size));
        let till = tills[random.below(2)].clone();
        tasks.spawn(deliver(till, parcel, answers.clone()));
        if tasks.len() > 6 {
            tasks.join_next().await.expect("there are some").expect("everything is answered");
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("everything is answered");
    }

    let sql = service.sql().await;
    for (number, points) in points {
        assert_eq!(points_of(&sql, &card(number)).await, points, "seed {seed}, card {number}");
    }
    for message in &messages {
        let again = message.send(&tills[random.below(2)]).await;
        assert_eq!(again.status, StatusCode::OK, "seed {seed}: {message:?}");
        answers.note(message, body(&again));
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_doubled_and_split_transactions_end_in_the_same_points() {
    for seed in 1..=4 {
        any_delivery_ends_the_same(seed).await;
    }
}
