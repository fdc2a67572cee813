//! Bodies that nobody thought of: a good swipe, mutated at random. Whatever comes out, the
//! service is never at fault, and a success means exactly one row.

use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::support::bodies::{full_swipe, leaves, objects};
use crate::support::edge::told;
use crate::support::service::{TestService, body};

const CASES: u32 = 300;

/// One change of a body.
#[derive(Clone, Debug)]
enum Mutation {
    /// Takes a field or an element away.
    Drop(Index),
    /// Writes an element twice, or a field under a second name.
    Duplicate(Index, String),
    /// Puts another value into a place.
    Replace(Index, Value),
    /// Puts one part of the body into the place of another.
    Move(Index, Index),
    /// Spoils the text.
    Byte(Index, u8),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3_i64..500).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9]{1,20}".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))?"
            .prop_map(Value::from),
        prop::sample::select(vec!["sale", "return", "tax", "USD", "0367", "03", "\u{0}", "0"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{0,12}", inner), 0..4).prop_map(Value::from_iter),
        ]
    })
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        3 => any::<Index>().prop_map(Mutation::Drop),
        2 => (any::<Index>(), "[a-z_]{1,12}").prop_map(|(at, name)| Mutation::Duplicate(at, name)),
        6 => (any::<Index>(), value()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(at, from)| Mutation::Move(at, from)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
    ]
}

/// Every place of a body, the outermost apart.
fn places(whole: &Value) -> Vec<String> {
    let mut places = Vec::new();
    leaves(whole, "", &mut places);
    objects(whole, "", &mut places);
    places.retain(|place| !place.is_empty());
    places
}

fn mutated(mutations: &[Mutation], sequence_number: i64) -> Vec<u8> {
    let mut whole = full_swipe(sequence_number);
    let mut spoilt = Vec::new();
    for mutation in mutations {
        let places = places(&whole);
        if places.is_empty() {
            break;
        }
        let chosen = |at: &Index| places[at.index(places.len())].clone();
        match mutation {
            Mutation::Drop(at) => {
                change_parent(&mut whole, &chosen(at), |parent, name| match parent {
                    Value::Object(fields) => drop(fields.remove(name)),
                    Value::Array(items) => drop(items.remove(name.parse().expect("an index"))),
                    _ => {}
                })
            }
            Mutation::Duplicate(at, second) => {
                change_parent(&mut whole, &chosen(at), |parent, name| match parent {
                    Value::Object(fields) => {
                        let value = fields[name].clone();
                        fields.insert(second.clone(), value);
                    }
                    Value::Array(items) => {
                        let value = items[name.parse::<usize>().expect("an index")].clone();
                        items.push(value);
                    }
                    _ => {}
                });
            }
            Mutation::Replace(at, value) => {
                *whole.pointer_mut(&chosen(at)).expect("a place") = value.clone();
            }
            Mutation::Move(at, from) => {
                let value = whole.pointer(&chosen(from)).expect("a place").clone();
                *whole.pointer_mut(&chosen(at)).expect("a place") = value;
            }
            Mutation::Byte(at, byte) => spoilt.push((*at, *byte)),
        }
    }
    let mut text = whole.to_string().into_bytes();
    for (at, byte) in spoilt {
        let at = at.index(text.len());
        text[at] = byte;
    }
    text
}

fn change_parent(whole: &mut Value, place: &str, change: impl FnOnce(&mut Value, &str)) {
    let (parent, name) = place.rsplit_once('/').expect("a pointer");
    // Pointers escape two characters.
    let name = name.replace("~1", "/").replace("~0", "~");
    change(whole.pointer_mut(parent).expect("a place"), &name);
}

#[test]
fn no_body_is_ever_the_services_fault_and_a_success_is_exactly_one_row() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let service = runtime.block_on(TestService::start());
    let till = service.till();
    let next = AtomicI64::new(1);
    let (recorded, refused) = (AtomicI64::new(0), AtomicI64::new(0));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mutations = prop::collection::vec(mutation(), 0..4);
    let outcome = TestRunner::new(config).run(&mutations, |mutations| {
        let sequence_number = next.fetch_add(1, Ordering::Relaxed);
        let sent = mutated(&mutations, sequence_number);
        runtime.block_on(async {
            let before = service.count("SELECT count(*) FROM swipe").await;
            let answer = till.post("/v1/swipes", sent.clone()).await.expect("an answer");
            let after = service.count("SELECT count(*) FROM swipe").await;
            let shown = String::from_utf8_lossy(&sent);
            let (status, slug) = told(&answer);
            prop_assert!(status < 500, "{status} {slug}: {shown}");
            if answer.status.is_success() {
                let receipt = body(&answer);
                prop_assert_eq!(after, before + i64::from(status == 201), "{}", shown);
                prop_assert!(
                    receipt["swipe"].as_str().is_some_and(|it| it.starts_with("0367/03/"))
                );
                recorded.fetch_add(after - before, Ordering::Relaxed);
            } else {
                prop_assert_eq!(after, before, "{}", shown);
                prop_assert!(!slug.is_empty(), "{status} is no problem: {}", shown);
                refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    });
    outcome.expect("holds for every body");
    let (recorded, refused) = (recorded.into_inner(), refused.into_inner());
    // Both happen, or the mutations are too tame or too wild to show anything.
    assert!(recorded > 20 && refused > 100, "{recorded} recorded, {refused} refused");
    let unbalanced = "SELECT count(*) FROM account AS a WHERE total_points <>
        (SELECT coalesce(sum(points), 0) FROM entry AS e WHERE e.account_id = a.account_id)";
    assert_eq!(runtime.block_on(service.count(unbalanced)), 0);
}
