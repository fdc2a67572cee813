//! Bodies in which every field has a value, their places, and what became of refused ones.

use serde_json::{Value, json};
use tillside::quarantine::{self, Kept};
use tillside::till::Answer;

use super::service::{TODAY, TestService, body, card};

/// A swipe in which every field has a value.
pub(crate) fn full_swipe(sequence_number: i64) -> Value {
    json!({
        "store_id": "0367", "workstation_id": "03", "business_date": TODAY,
        "sequence_number": sequence_number, "occurred_at": format!("{TODAY}T11:53:26-05:00"),
        "currency": "USD", "card": card(1), "entry_method": "scanned", "operator_id": "17",
        "training": false, "offline": false,
        "lines": [
            { "line": 1, "kind": "sale", "sku": "1095275", "quantity": "2",
              "amount_minor": 398, "discount_minor": 40 },
            { "line": 2, "kind": "return", "sku": "902192", "quantity": "1",
              "amount_minor": 250, "discount_minor": 0,
              "returns": { "swipe": "0367/01/2026-03-10/55821", "line": 4 } },
        ],
        "adjustments": [{ "kind": "tax", "amount_minor": 9 }],
        "total_minor": 117,
        "redemptions": [{ "coupon": "7K2M9QXA4TRB3W", "discount_minor": 40 }],
        "points_spent": 0, "points_value_minor": 0,
    })
}

/// Sets a place that is there, or a field that is not there yet.
pub(crate) fn set(whole: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = whole.pointer_mut(pointer) {
        *place = value;
        return;
    }
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = whole.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    parent.insert(field.to_owned(), value);
}

/// Every place of a body that has a value, innermost ones only.
pub(crate) fn leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, value)| leaves(value, &format!("{pointer}/{name}"), found));
        }
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| leaves(value, &format!("{pointer}/{at}"), found)),
        _ => found.push(pointer.to_owned()),
    }
}

/// Every object of a body.
pub(crate) fn objects(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(pointer.to_owned());
            fields
                .iter()
                .for_each(|(name, value)| objects(value, &format!("{pointer}/{name}"), found));
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| objects(value, &format!("{pointer}/{at}"), found)),
        _ => {}
    }
}

/// What is kept of the till of store 0367, workstation 03.
pub(crate) async fn kept(service: &TestService) -> Vec<Kept> {
    quarantine::list(&service.pool, "0367", "03").await.expect("it can be read")
}

/// Nothing that a till sent has left a trace.
pub(crate) async fn nothing_recorded(service: &TestService) {
    for table in ["swipe", "swipe_key", "entry", "card", "member", "profile"] {
        let rows = service.count(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(rows, 0, "rows in {table}");
    }
}

/// The places that a problem points at.
pub(crate) fn pointers(answer: &Answer) -> Vec<String> {
    let findings = body(answer)["errors"].as_array().cloned().unwrap_or_default();
    findings.iter().map(|it| it["pointer"].as_str().expect("text").to_owned()).collect()
}
