//! Batches: what tills stored while they were offline, each item judged by itself.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::flow::{
    at, audit, basket, name, on, outcome, outcomes, points_of, post_batch, returned_from, slug,
    slug_of,
};
use crate::support::service::{TestService, card, post, swipe};

fn item(swipe: Value) -> Value {
    json!({ "swipe": swipe })
}

fn voiding(sequence_number: i64) -> Value {
    json!({ "void": name(sequence_number) })
}

fn statuses(outcomes: &[Value]) -> Vec<u64> {
    outcomes.iter().map(|outcome| outcome["status"].as_u64().expect("a status")).collect()
}

/// The same swipe at another minute of the day: batches are put into the order of time.
fn at_minute(mut swipe: Value, minute: usize) -> Value {
    swipe["occurred_at"] =
        format!("2026-03-14T{:02}:{:02}:00-04:00", minute / 60, minute % 60).into();
    swipe["offline"] = true.into();
    swipe
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_items_are_recorded_once_each_and_replayed_byte_for_byte() {
    let service = TestService::start().await;
    let till = service.till();
    let sales: Vec<Value> = (0..500)
        .map(|n| {
            let sequence = i64::try_from(n).expect("small");
            // In no order of time: 7 and 500 have no common factor.
            let sale = swipe(sequence, Some(&card(sequence.unsigned_abs() % 60)), 100 + sequence);
            at_minute(sale, n * 7 % 500)
        })
        .collect();
    let items: Vec<Value> = sales.iter().cloned().map(item).collect();
    let answer = post_batch(&till, &items).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let first = outcomes(&answer);
    assert_eq!(statuses(&first), vec![201; 500]);
    for (sale, outcome) in sales.iter().zip(&first) {
        assert_eq!(outcome["receipt"]["swipe"], name(sale["sequence_number"].as_i64().expect("n")));
        assert_eq!(outcome["replayed"], json!(null));
    }

    let replica = service.replica().await;
    let again = outcomes(&post_batch(&replica.till("0367", "03"), &items).await);
    assert_eq!(statuses(&again), vec![200; 500]);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(again["replayed"], true);
        assert_eq!(first["receipt"], again["receipt"]);
    }
    // Within the batch stand the very bytes that a single repetition gets.
    let text = std::str::from_utf8(&answer.body).expect("JSON");
    for sale in [&sales[0], &sales[123], &sales[499]] {
        let mut online = sale.clone();
        online["offline"] = false.into();
        let single = post(&till, &online).await;
        assert_eq!(single.status, StatusCode::OK);
        assert!(text.contains(std::str::from_utf8(&single.body).expect("JSON")));
    }
    let earned: i64 = (0..500).map(|n| (100 + n) / 100).sum();
    assert_eq!(service.count("SELECT sum(total_points)::bigint FROM account").await, earned);
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 500);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_one_card_are_booked_in_the_order_in_which_they_happened() {
    let service = TestService::start().await;
    let sales: Vec<Value> =
        (0..20).map(|n| at_minute(swipe(n, Some(&card(1)), 100), 600)).collect();
    // The till sends the newest first. Times are equal; numbers tell.
    let items: Vec<Value> = sales.iter().rev().cloned().map(item).collect();
    let answered = outcomes(&post_batch(&service.till(), &items).await);
    let balances: Vec<i64> = answered
        .iter()
        .rev()
        .map(|outcome| outcome["receipt"]["points"]["balance"].as_i64().expect("a number"))
        .collect();
    assert_eq!(balances, (1..=20).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_voids_and_reused_names_inside_a_batch_have_outcomes_of_their_own() {
    let service = TestService::start().await;
    let till = service.till();
    let items = vec![
        voiding(2),
        item(at_minute(swipe(1, Some(&card(1)), 500), 10)),
        item(at_minute(swipe(2, Some(&card(1)), 900), 20)),
        item(at_minute(swipe(1, Some(&card(1)), 500), 10)),
        // Later and other content: the earlier one has the name.
        item(at_minute(swipe(1, Some(&card(1)), 700), 30)),
        voiding(2),
        voiding(3),
    ];
    let answered = outcomes(&post_batch(&till, &items).await);
    let mut pair = [answered[1]["status"].clone(), answered[3]["status"].clone()];
    pair.sort_by_key(Value::as_u64);
    assert_eq!(pair, [200, 201], "of two equals one is the first");
    assert_eq!(answered[1]["receipt"], answered[3]["receipt"]);
    assert_eq!(answered[2]["status"], 201);
    assert_eq!(answered[4]["status"], 422);
    assert_eq!(slug_of(&answered[4]["problem"]), "swipe-name-reused");
    let mut pair = [answered[0]["status"].clone(), answered[5]["status"].clone()];
    pair.sort_by_key(Value::as_u64);
    assert_eq!(pair, [200, 201]);
    assert_eq!(answered[0]["receipt"], answered[5]["receipt"]);
    assert_eq!(answered[0]["voided"], true);
    assert_eq!(answered[0]["receipt"]["points"]["reversed"], 9);
    assert_eq!((&answered[6]["status"], &answered[6]["voided"]), (&json!(201), &json!(true)));
    assert_eq!(points_of(&service.sql().await, &card(1)).await, 5);

    let again = outcomes(&post_batch(&till, &items).await);
    assert_eq!(statuses(&again), [200, 200, 200, 200, 422, 200, 200]);
    assert_eq!(again[2]["voided"], true);
    for at in [0, 1, 2, 3, 5, 6] {
        assert_eq!(answered[at]["receipt"], again[at]["receipt"], "item {at}");
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_harms_nobody_but_itself() {
    let service = TestService::start().await;
    let mut items: Vec<Value> = (0..30).map(|n| item(swipe(n, Some(&card(1)), 100))).collect();
    let mut wrong_sum = swipe(100, Some(&card(1)), 100);
    wrong_sum["total_minor"] = 101.into();
    let mut no_card = swipe(101, None, 100);
    no_card["card"] = "1".into();
    let bad = [
        (item(wrong_sum), 422, "validation-failed"),
        (item(no_card), 422, "card-invalid"),
        (item(at(swipe(102, None, 100), "0367", "01")), 403, "terminal-mismatch"),
        (item(on(swipe(103, None, 100), "2026-02-30")), 422, "timestamp-out-of-range"),
        (json!({ "swipe": swipe(104, None, 100), "void": name(1) }), 422, "validation-failed"),
        (json!({}), 422, "validation-failed"),
        (json!({ "void": "0406/03/2026-03-14/1" }), 403, "terminal-mismatch"),
        (json!({ "void": "0367/99/2026-03-14/1" }), 404, "not-found"),
        (json!({ "void": "nothing" }), 422, "validation-failed"),
    ];
    let places: Vec<usize> = (0..bad.len()).map(|n| n * 3).collect();
    for (place, (bad, ..)) in places.iter().zip(&bad) {
        items.insert(*place, bad.clone());
    }
    let answered = outcomes(&post_batch(&service.till(), &items).await);
    assert_eq!(answered.len(), items.len());
    for (place, (_, status, slug)) in places.iter().zip(&bad) {
        assert_eq!(answered[*place]["status"], *status, "{}", answered[*place]);
        assert_eq!(slug_of(&answered[*place]["problem"]), *slug);
        assert_eq!(answered[*place]["receipt"], json!(null));
    }
    let good = statuses(&answered).iter().filter(|status| **status == 201).count();
    assert_eq!(good, 30);
    assert_eq!(points_of(&service.sql().await, &card(1)).await, 30);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_finds_its_sale_in_the_same_batch() {
    let service = TestService::start().await;
    // At this discount an unknown sale would have earned more than this one did: what was
    // taken back tells whether the sale was found.
    let mut sale = at_minute(swipe(1, Some(&card(1)), 900), 10);
    sale["lines"][0]["discount_minor"] = 500.into();
    sale["total_minor"] = 400.into();
    let back = basket(2, Some(&card(1)), vec![returned_from(1, 900, &name(1))]);
    let items = vec![item(at_minute(back, 20)), item(sale)];
    let answered = outcomes(&post_batch(&service.till(), &items).await);
    assert_eq!(answered[0]["receipt"]["points"]["reversed"], 4);
    assert_eq!(answered[0]["receipt"]["points"]["balance"], 0);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_one_to_five_hundred_items() {
    let service = TestService::start().await;
    let till = service.till();
    let many: Vec<Value> = (0..501).map(|n| item(swipe(n, None, 100))).collect();
    for items in [&many[..], &[]] {
        let refused = post_batch(&till, items).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(slug(&refused), "validation-failed");
    }
    assert_eq!(outcome(&till, &name(0)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.count("SELECT count(*) FROM swipe_key").await, 0);
}
