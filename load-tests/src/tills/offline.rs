//! Uploading what was stored: in batches, again and again, until every item is settled.

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::desk::{Desk, Request};
use crate::journal::Asked;

/// Items of one batch; the service takes 500.
const BATCH_MAX: usize = 40;

#[derive(Deserialize)]
struct BatchAnswer<'a> {
    #[serde(borrow)]
    outcomes: Vec<ItemAnswer<'a>>,
}

#[derive(Deserialize)]
struct ItemAnswer<'a> {
    status: u16,
    #[serde(borrow)]
    receipt: Option<&'a RawValue>,
    #[serde(borrow)]
    problem: Option<&'a RawValue>,
}

/// Uploads what is stored, and returns when all of it is settled.
pub(super) async fn upload(desk: &Desk, rng: &mut Rng, mut stored: Vec<Request>) {
    // What was stored last may well arrive first.
    rng.shuffle(&mut stored);
    for attempt in 0.. {
        if stored.is_empty() {
            return;
        }
        let rest = stored.split_off(stored.len().min(BATCH_MAX));
        let way = rng.usize(0..usize::MAX);
        let mut open = send(desk, way, stored).await;
        let settled_all = open.is_empty();
        open.extend(rest);
        stored = open;
        if !settled_all {
            desk.pause(rng, attempt).await;
        }
    }
}

/// Sends one batch; what is still open comes back.
async fn send(desk: &Desk, way: usize, items: Vec<Request>) -> Vec<Request> {
    let body = Bytes::from(format!(r#"{{"items":[{}]}}"#, messages(&items).join(",")));
    let Some(answer) = desk.call(way, Method::POST, "/v1/swipes/batch", body).await else {
        return items;
    };
    if answer.status != StatusCode::OK {
        // Refused as a whole: each item learns it, and is judged by it.
        return settle_all(desk, items, answer.status, &answer.body).await;
    }
    let batch: BatchAnswer<'_> =
        serde_json::from_slice(&answer.body).expect("200 to a batch is a list of outcomes");
    assert_eq!(batch.outcomes.len(), items.len(), "one outcome for each item");
    let mut open = Vec::new();
    for (item, outcome) in items.into_iter().zip(batch.outcomes) {
        let status = StatusCode::from_u16(outcome.status).expect("outcomes have a status");
        let body = outcome.receipt.or(outcome.problem).map_or("", RawValue::get);
        if !desk.settle(&item, status, body.as_bytes()).await {
            open.push(item);
        }
    }
    open
}

async fn settle_all(
    desk: &Desk,
    items: Vec<Request>,
    status: StatusCode,
    body: &[u8],
) -> Vec<Request> {
    let mut open = Vec::new();
    for item in items {
        if !desk.settle(&item, status, body).await {
            open.push(item);
        }
    }
    open
}

fn messages(items: &[Request]) -> Vec<String> {
    let message = |item: &Request| match (&item.asked, &item.offline_body) {
        (Asked::Void, _) | (_, None) => format!(r#"{{"void":"{}"}}"#, item.name),
        (_, Some(swipe)) => format!(r#"{{"swipe":{swipe}}}"#),
    };
    items.iter().map(message).collect()
}
