//! Signed bodies that are wrong: the exact answer to each, nothing recorded, nothing repeated,
//! and each kept where people can see it, except what carries a payment card.

use serde_json::{Value, json};
use tillside::config::Config;

use crate::support::bodies::{full_swipe, kept, nothing_recorded, pointers, set};
use crate::support::edge::{slug, told};
use crate::support::service::{TestService, card, post, swipe};

const MALFORMED: (u16, &str) = (400, "malformed-json");
const FAILED: (u16, &str) = (422, "validation-failed");
const CARD: (u16, &str) = (422, "card-invalid");
const PAN: (u16, &str) = (422, "payment-card-data-refused");
const TIME: (u16, &str) = (422, "timestamp-out-of-range");
const MISMATCH: (u16, &str) = (403, "terminal-mismatch");

/// The full swipe with one place changed.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut swipe = full_swipe(1);
    set(&mut swipe, pointer, value);
    swipe.to_string().into_bytes()
}

fn without(pointer: &str) -> Vec<u8> {
    let mut swipe = full_swipe(1);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = swipe.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    parent.remove(field).expect("it was there");
    swipe.to_string().into_bytes()
}

/// The full swipe as text, with one piece of it replaced.
fn spelled(from: &str, to: &str) -> Vec<u8> {
    let text = full_swipe(1).to_string();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// One body with its status, slug and pointers.
type Row = (Vec<u8>, (u16, &'static str), &'static [&'static str]);

/// Posts each body, compares the answer, and looks for it in the quarantine.
async fn refuse_all(service: &TestService, path: &str, rows: &[Row]) {
    let till = service.till();
    assert!(rows.len() <= 100, "the quarantine holds 100: make two tests of it");
    for (sent, expected, places) in rows {
        let shown = String::from_utf8_lossy(&sent[..sent.len().min(400)]).into_owned();
        let answer = till.post(path, sent.clone()).await.expect("an answer");
        let (status, slug) = told(&answer);
        assert_eq!((status, &*slug), *expected, "{shown}\n{:?}", answer.body);
        assert_eq!(pointers(&answer), *places, "{shown}");
        let kept = kept(service).await;
        let text = String::from_utf8_lossy(sent);
        let found = kept.iter().find(|kept| kept.body == text);
        if [PAN, MISMATCH].contains(expected) {
            assert!(found.is_none(), "kept: {shown}");
            continue;
        }
        let found = found.unwrap_or_else(|| panic!("not kept: {shown}"));
        assert_eq!((&*found.problem, &*found.route), (expected.1, path), "{shown}");
        let id = answer.headers["x-request-id"].to_str().expect("text");
        assert!(found.attempts > 1 || found.request_id == id, "{shown}");
    }
    nothing_recorded(service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_malformed() {
    let service = TestService::start().await;
    let utf_16: Vec<u8> =
        full_swipe(1).to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut truncated = full_swipe(1).to_string();
    truncated.pop();
    let trailing = format!("{} x", full_swipe(1));
    let two = format!("{0}{0}", full_swipe(1));
    let many_keys = (0..6_000).map(|n| format!("\"a{n}\":1")).collect::<Vec<_>>().join(",");
    let many_same_keys = "\"a\":1,".repeat(6_000);
    let depth = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let deep_inside = spelled("\"17\"", std::str::from_utf8(&depth(129)).expect("ASCII"));
    let rows: Vec<Row> = vec![
        (b" ".to_vec(), MALFORMED, &[]),
        (b"{".to_vec(), MALFORMED, &[]),
        (b"hello".to_vec(), MALFORMED, &[]),
        (truncated.into_bytes(), MALFORMED, &[]),
        (trailing.into_bytes(), MALFORMED, &[]),
        (two.into_bytes(), MALFORMED, &[]),
        ([b"\xef\xbb\xbf", full_swipe(1).to_string().as_bytes()].concat(), MALFORMED, &[]),
        (utf_16, MALFORMED, &[]),
        (b"{\"operator_id\":\"\xff\"}".to_vec(), MALFORMED, &[]),
        (spelled("\"17\"", "\"\\ud800\""), MALFORMED, &[]),
        (spelled("\"17\"", "\"\\x\""), MALFORMED, &[]),
        (spelled("\"17\"", "\"\u{1}\""), MALFORMED, &[]),
        (spelled("398", "1e400"), MALFORMED, &[]),
        (spelled("398", "NaN"), MALFORMED, &[]),
        (spelled("398", "Infinity"), MALFORMED, &[]),
        (spelled("398", "0398"), MALFORMED, &[]),
        (spelled("398", "+398"), MALFORMED, &[]),
        (spelled("398", "0x18e"), MALFORMED, &[]),
        (spelled("398", "3_98"), MALFORMED, &[]),
        (spelled("398", "398."), MALFORMED, &[]),
        (spelled("398", &"9".repeat(60_000)), MALFORMED, &[]),
        (spelled("398", "398/*minor*/"), MALFORMED, &[]),
        (spelled("\"17\"", "'17'"), MALFORMED, &[]),
        (spelled("\"points_spent\":0", "\"points_spent\":0,"), MALFORMED, &[]),
        (spelled("\"points_spent\":0", "\"points_spent\":0,\"points_spent\":0"), MALFORMED, &[]),
        (
            spelled("\"amount_minor\":398", "\"amount_minor\":1,\"amount_minor\":398"),
            MALFORMED,
            &[],
        ),
        (spelled("\"kind\":\"tax\"", "\"kind\":\"tax\",\"ki\\u006ed\":\"tax\""), MALFORMED, &[]),
        (spelled("\"17\"", "{\"a\":1,\"a\":2}"), MALFORMED, &[]),
        (format!("{{{many_same_keys}\"a\":1}}").into_bytes(), MALFORMED, &[]),
        (depth(129), MALFORMED, &[]),
        (depth(30_000), MALFORMED, &[]),
        (b"[".repeat(60_000), MALFORMED, &[]),
        (b"{\"a\":".repeat(10_000), MALFORMED, &[]),
        (deep_inside, MALFORMED, &[]),
        // JSON, though not a swipe.
        (format!("{{{many_keys}}}").into_bytes(), FAILED, &["/?"]),
        (b"null".to_vec(), FAILED, &[""]),
        (b"1".to_vec(), FAILED, &[""]),
        (b"\"a\"".to_vec(), FAILED, &[""]),
        (b"[]".to_vec(), FAILED, &[""]),
        (b"{}".to_vec(), FAILED, &["/store_id"]),
    ];
    refuse_all(&service, "/v1/swipes", &rows).await;
    // Without a body there is nothing that a signature could have covered, nor to be kept.
    let answer = service.till().post("/v1/swipes", "").await.expect("an answer");
    assert_eq!(told(&answer), (400, "malformed-json".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_unknown_missing_or_of_another_type_are_pointed_at() {
    let service = TestService::start().await;
    let by_position = json!([1, "sale", "1095275", "2", 398, 40, null]);
    let rows: Vec<Row> = vec![
        (with("/points", json!(5)), FAILED, &["/points"]),
        (with("/customer_id", json!("x")), FAILED, &["/customer_id"]),
        (with("/is_admin", json!(true)), FAILED, &["/is_admin"]),
        (with("/Card", json!("x")), FAILED, &["/?"]),
        (with("/__proto__", json!({})), FAILED, &["/__proto__"]),
        (with("/lines/0/points", json!(5)), FAILED, &["/lines/0/points"]),
        (with("/lines/1/returns/account", json!(5)), FAILED, &["/lines/1/returns/account"]),
        (with("/adjustments/0/rate", json!(5)), FAILED, &["/adjustments/0/rate"]),
        (with("/redemptions/0/outcome", json!("x")), FAILED, &["/redemptions/0/outcome"]),
        (without("/store_id"), FAILED, &["/store_id"]),
        (without("/workstation_id"), FAILED, &["/workstation_id"]),
        (without("/business_date"), FAILED, &["/business_date"]),
        (without("/sequence_number"), FAILED, &["/sequence_number"]),
        (without("/occurred_at"), FAILED, &["/occurred_at"]),
        (without("/currency"), FAILED, &["/currency"]),
        (without("/total_minor"), FAILED, &["/total_minor"]),
        (without("/lines"), FAILED, &["/lines"]),
        (without("/lines/0/line"), FAILED, &["/lines/0/line"]),
        (without("/lines/0/sku"), FAILED, &["/lines/0/sku"]),
        (without("/lines/0/quantity"), FAILED, &["/lines/0/quantity"]),
        (without("/lines/0/amount_minor"), FAILED, &["/lines/0/amount_minor"]),
        (without("/lines/1/returns/swipe"), FAILED, &["/lines/1/returns/swipe"]),
        (without("/lines/1/returns/line"), FAILED, &["/lines/1/returns/line"]),
        (without("/adjustments/0/kind"), FAILED, &["/adjustments/0/kind"]),
        (without("/adjustments/0/amount_minor"), FAILED, &["/adjustments/0/amount_minor"]),
        (without("/redemptions/0/coupon"), FAILED, &["/redemptions/0/coupon"]),
        (with("/store_id", json!(367)), FAILED, &["/store_id"]),
        (with("/sequence_number", json!("1")), FAILED, &["/sequence_number"]),
        (with("/sequence_number", json!(1.0)), FAILED, &["/sequence_number"]),
        (with("/sequence_number", Value::Null), FAILED, &["/sequence_number"]),
        (with("/business_date", json!(20260314)), FAILED, &["/business_date"]),
        (with("/occurred_at", json!(1773500000)), FAILED, &["/occurred_at"]),
        (with("/card", json!(2990000000019_u64)), FAILED, &["/card"]),
        (with("/training", json!("false")), FAILED, &["/training"]),
        (with("/training", json!(0)), FAILED, &["/training"]),
        (with("/offline", Value::Null), FAILED, &["/offline"]),
        (with("/lines", Value::Null), FAILED, &["/lines"]),
        (with("/lines", json!({})), FAILED, &["/lines"]),
        (with("/lines/0", Value::Null), FAILED, &["/lines/0"]),
        (with("/lines/0", json!([])), FAILED, &["/lines/0"]),
        (with("/lines/0", by_position), FAILED, &["/lines/0"]),
        (
            with("/lines/1/returns", json!(["0367/01/2026-03-10/55821", 4])),
            FAILED,
            &["/lines/1/returns"],
        ),
        (with("/adjustments/0", json!(["tax", 9])), FAILED, &["/adjustments/0"]),
        (with("/redemptions/0", json!(["7K2M9QXA4TRB3W", 40])), FAILED, &["/redemptions/0"]),
        (with("/lines/0/line", json!(65_536)), FAILED, &["/lines/0/line"]),
        (with("/lines/0/line", json!(-1)), FAILED, &["/lines/0/line"]),
        (with("/lines/0/quantity", json!(2)), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/amount_minor", json!(398.0)), FAILED, &["/lines/0/amount_minor"]),
        (with("/lines/0/amount_minor", json!(3.98)), FAILED, &["/lines/0/amount_minor"]),
        (with("/lines/0/amount_minor", json!("398")), FAILED, &["/lines/0/amount_minor"]),
        (with("/lines/0/amount_minor", Value::Null), FAILED, &["/lines/0/amount_minor"]),
        (spelled("398", "398e0"), FAILED, &["/lines/0/amount_minor"]),
        (spelled("398", "9223372036854775808"), FAILED, &["/lines/0/amount_minor"]),
        (spelled("398", "18446744073709551616"), FAILED, &["/lines/0/amount_minor"]),
        (spelled("398", &"9".repeat(300)), FAILED, &["/lines/0/amount_minor"]),
    ];
    refuse_all(&service, "/v1/swipes", &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn amounts_quantities_and_lists_that_do_not_hold_together_are_pointed_at() {
    let service = TestService::start().await;
    let line =
        |number: usize| json!({ "line": number, "sku": "a", "quantity": "1", "amount_minor": 0 });
    let lines = |count: usize| (1..=count).map(line).collect::<Vec<_>>();
    let rows: Vec<Row> = vec![
        (with("/lines/0/amount_minor", json!(-398)), FAILED, &["/lines/0/amount_minor"]),
        (
            with("/lines/0/amount_minor", json!(1_000_000_000_001_i64)),
            FAILED,
            &["/lines/0/amount_minor"],
        ),
        (
            with("/lines/0/amount_minor", json!((1_i64 << 53) + 1)),
            FAILED,
            &["/lines/0/amount_minor"],
        ),
        (with("/lines/0/amount_minor", json!(i64::MAX)), FAILED, &["/lines/0/amount_minor"]),
        (with("/lines/0/amount_minor", json!(i64::MIN)), FAILED, &["/lines/0/amount_minor"]),
        (with("/lines/0/discount_minor", json!(-1)), FAILED, &["/lines/0/discount_minor"]),
        (with("/lines/0/discount_minor", json!(i64::MIN)), FAILED, &["/lines/0/discount_minor"]),
        (
            with("/adjustments/0/amount_minor", json!(i64::MIN)),
            FAILED,
            &["/adjustments/0/amount_minor"],
        ),
        (
            with("/adjustments/0/amount_minor", json!(i64::MAX)),
            FAILED,
            &["/adjustments/0/amount_minor"],
        ),
        (with("/total_minor", json!(118)), FAILED, &["/total_minor"]),
        (with("/total_minor", json!(-117)), FAILED, &["/total_minor"]),
        (with("/total_minor", json!(i64::MAX)), FAILED, &["/total_minor"]),
        (with("/total_minor", json!(i64::MIN)), FAILED, &["/total_minor"]),
        (
            with("/redemptions/0/discount_minor", json!(-1)),
            FAILED,
            &["/redemptions/0/discount_minor"],
        ),
        (with("/points_spent", json!(-1)), FAILED, &["/points_spent"]),
        (with("/points_spent", json!(1_000_000_000_001_i64)), FAILED, &["/points_spent"]),
        (with("/points_value_minor", json!(-1)), FAILED, &["/points_value_minor"]),
        (with("/points_value_minor", json!(1)), FAILED, &["/points_value_minor"]),
        (with("/currency", json!("EUR")), FAILED, &["/currency"]),
        (with("/currency", json!("usd")), FAILED, &["/currency"]),
        (with("/currency", json!("XXX")), FAILED, &["/currency"]),
        (with("/currency", json!("")), FAILED, &["/currency"]),
        (with("/sequence_number", json!(-1)), FAILED, &["/sequence_number"]),
        (with("/sequence_number", json!(1_i64 << 53)), FAILED, &["/sequence_number"]),
        (with("/lines/0/quantity", json!("-1")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!("1000000000")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!("0.4201")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!("1e3")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!("1,5")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!("")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!("２")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/quantity", json!(" 2")), FAILED, &["/lines/0/quantity"]),
        (with("/lines/0/line", json!(0)), FAILED, &["/lines/0/line"]),
        (with("/lines/0/line", json!(2)), FAILED, &["/lines"]),
        (with("/lines/0/kind", json!("gift")), FAILED, &["/lines/0/kind"]),
        (with("/lines/0/kind", json!("return")), FAILED, &["/total_minor"]),
        (with("/lines/1/kind", json!("sale")), FAILED, &["/lines/1/returns"]),
        (
            with("/lines/1/returns/swipe", json!("0367/01/2026-03-10")),
            FAILED,
            &["/lines/1/returns"],
        ),
        (
            with("/lines/1/returns/swipe", json!("0367/01/2026-02-30/1")),
            FAILED,
            &["/lines/1/returns"],
        ),
        (with("/lines/1/returns/line", json!(0)), FAILED, &["/lines/1/returns"]),
        (with("/lines/0/sku", json!("")), FAILED, &["/lines/0/sku"]),
        (with("/lines/0/sku", json!("x".repeat(33))), FAILED, &["/lines/0/sku"]),
        (with("/lines/0/sku", json!("a\u{0}b")), FAILED, &["/lines/0/sku"]),
        (with("/lines/0/sku", json!("a\nb")), FAILED, &["/lines/0/sku"]),
        (with("/operator_id", json!("")), FAILED, &["/operator_id"]),
        (with("/operator_id", json!("\u{0}")), FAILED, &["/operator_id"]),
        (with("/operator_id", json!("x".repeat(33))), FAILED, &["/operator_id"]),
        (with("/entry_method", json!("guessed")), FAILED, &["/entry_method"]),
        (with("/entry_method", json!("")), FAILED, &["/entry_method"]),
        (with("/redemptions/0/coupon", json!("")), FAILED, &["/redemptions/0/coupon"]),
        (with("/redemptions/0/coupon", json!("\u{0}")), FAILED, &["/redemptions/0/coupon"]),
        (with("/redemptions/0/coupon", json!("x".repeat(65))), FAILED, &["/redemptions/0/coupon"]),
        (with("/adjustments/0/kind", json!("tip")), FAILED, &["/adjustments/0/kind"]),
        (with("/lines", json!([])), FAILED, &["/lines"]),
        (with("/lines", json!(lines(501))), FAILED, &["/lines"]),
        (
            with("/adjustments", json!(vec![json!({"kind":"tax","amount_minor":0}); 101])),
            FAILED,
            &["/adjustments"],
        ),
        (
            with("/redemptions", json!(vec![json!({"coupon":"a","discount_minor":0}); 101])),
            FAILED,
            &["/redemptions"],
        ),
        // Several at once are all told at once.
        (
            String::from_utf8(with("/lines/0/quantity", json!("x")))
                .expect("JSON")
                .replace("\"tax\"", "\"tip\"")
                .replace("\"USD\"", "\"EUR\"")
                .into_bytes(),
            FAILED,
            &["/currency", "/lines/0/quantity", "/adjustments/0/kind"],
        ),
    ];
    refuse_all(&service, "/v1/swipes", &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_times_and_terminals_that_are_not_ours_are_refused() {
    let service = TestService::start().await;
    let rows: Vec<Row> = vec![
        (with("/card", json!("2990000000018")), CARD, &["/card"]),
        (with("/card", json!("299000000001")), CARD, &["/card"]),
        (with("/card", json!("29900000000190")), CARD, &["/card"]),
        (with("/card", json!("2980000000010")), CARD, &["/card"]),
        (with("/card", json!("２９９００００００００１９")), CARD, &["/card"]),
        (with("/card", json!("2990000000019\u{200f}")), CARD, &["/card"]),
        (with("/card", json!("\u{202e}2990000000019")), CARD, &["/card"]),
        (with("/card", json!(" 2990000000019")), CARD, &["/card"]),
        (with("/card", json!("2990000000019\u{0}")), CARD, &["/card"]),
        (with("/card", json!("")), CARD, &["/card"]),
        (with("/card", json!("2".repeat(10_000))), CARD, &["/card"]),
        (with("/business_date", json!("2026-02-30")), TIME, &["/business_date"]),
        (with("/business_date", json!("2026-3-14")), TIME, &["/business_date"]),
        (with("/business_date", json!("20260314")), TIME, &["/business_date"]),
        (with("/business_date", json!("0000-01-01")), TIME, &["/business_date"]),
        (with("/business_date", json!("1899-12-31")), TIME, &["/business_date"]),
        (with("/business_date", json!("9999-12-31")), TIME, &["/business_date"]),
        (with("/business_date", json!("")), TIME, &["/business_date"]),
        (with("/business_date", json!("2026-03-14T00:00:00Z")), TIME, &["/business_date"]),
        (with("/business_date", json!("2026-03-16")), TIME, &["/occurred_at"]),
        (with("/business_date", json!("2026-03-11")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-14T11:53:26")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-14 11:53:26Z")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-14T11:53:60Z")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-14T25:00:00Z")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-14T11:53:26+25:00")), TIME, &["/occurred_at"]),
        (
            with("/occurred_at", json!("2026-03-14T11:53:26[America/New_York]")),
            TIME,
            &["/occurred_at"],
        ),
        (with("/occurred_at", json!("0000-01-01T00:00:00Z")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("9999-12-31T23:59:59Z")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-12T23:59:59-04:00")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("2026-03-17T00:00:00-04:00")), TIME, &["/occurred_at"]),
        (with("/occurred_at", json!("")), TIME, &["/occurred_at"]),
        (with("/store_id", json!("0406")), MISMATCH, &[]),
        (with("/store_id", json!("367")), MISMATCH, &[]),
        (with("/store_id", json!("0367\u{0}")), MISMATCH, &[]),
        (with("/store_id", json!("")), MISMATCH, &[]),
        (with("/workstation_id", json!("01")), MISMATCH, &[]),
        (with("/workstation_id", json!("3")), MISMATCH, &[]),
    ];
    refuse_all(&service, "/v1/swipes", &rows).await;

    // Reading and voiding: the same store suffices, another store's transactions are not ours.
    let till = service.till();
    for (answer, expected) in [
        (till.get("/v1/swipes/0406/01/2026-03-14/1").await, (403, "terminal-mismatch")),
        (till.post("/v1/swipes/0406/01/2026-03-14/1/void", "").await, (403, "terminal-mismatch")),
        (till.get("/v1/swipes/0367/01/2026-03-14/1").await, (404, "not-found")),
        (till.get("/v1/swipes/0367/99/2026-03-14/1").await, (404, "not-found")),
        (till.get("/v1/swipes/0367/03/2026-02-30/1").await, (404, "not-found")),
        (till.get("/v1/swipes/0367/03/2026-03-14/01").await, (404, "not-found")),
        (till.get("/v1/swipes/0367/03/2026-03-14/9007199254740992").await, (404, "not-found")),
        (till.get("/v1/swipes/0367/%ff/2026-03-14/1").await, (404, "not-found")),
        (till.get("/v1/cards/2990000000018").await, (422, "card-invalid")),
        (till.get("/v1/cards/%00").await, (422, "card-invalid")),
        (till.get("/v1/cards/%ff").await, (404, "not-found")),
        (till.get("/v1/cards/4111111111111111").await, (422, "payment-card-data-refused")),
        (till.get(&format!("/v1/cards/{}", card(1))).await, (404, "not-found")),
    ] {
        let (status, slug) = told(&answer.expect("an answer"));
        assert_eq!((status, &*slug), expected);
    }
    nothing_recorded(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn business_dates_lie_within_the_window_that_is_set() {
    let windowed = |config: &mut Config| {
        config.swipe.age_max_days = 400;
        config.swipe.ahead_max_days = 2;
    };
    let service = TestService::start_with(windowed).await;
    let till = service.till();
    let mut sequence_number = 0;
    // A table that is interrupted by midnight is gone through again.
    loop {
        let today = service.replica.app.today();
        let mut told_all = Vec::new();
        for days in [-401, -400, -1, 0, 1, 2, 3] {
            sequence_number += 1;
            let date = today.saturating_add(jiff::Span::new().days(days));
            let mut sent = swipe(sequence_number, Some(&card(1)), 398);
            sent["business_date"] = date.to_string().into();
            sent["occurred_at"] = format!("{date}T12:00:00Z").into();
            let answer = post(&till, &sent).await;
            told_all.push((days, told(&answer).0, slug(&answer), pointers(&answer)));
        }
        if service.replica.app.today() != today {
            continue;
        }
        for (days, status, slug, places) in told_all {
            if (-400..=2).contains(&days) {
                assert_eq!((status, &*slug), (201, ""), "{days} days");
            } else {
                assert_eq!((status, &*slug), TIME, "{days} days");
                assert_eq!(places, ["/business_date"]);
            }
        }
        return;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_negative_totals_and_unusual_spellings_are_legal() {
    let service = TestService::start().await;
    let till = service.till();
    let one_line = |line: Value, total_minor: i64| {
        move |sequence_number: i64| {
            let mut sent = swipe(sequence_number, Some(&card(1)), 0);
            sent["lines"] = json!([line]);
            sent["total_minor"] = total_minor.into();
            sent
        }
    };
    let zero = json!({ "line": 1, "sku": "a", "quantity": "0", "amount_minor": 0 });
    let free =
        json!({ "line": 9, "sku": "a", "quantity": "1", "amount_minor": 50, "discount_minor": 50 });
    let over =
        json!({ "line": 1, "sku": "a", "quantity": "1", "amount_minor": 50, "discount_minor": 60 });
    let back =
        json!({ "line": 1, "kind": "return", "sku": "a", "quantity": "1", "amount_minor": 250 });
    let sku = "ß\u{301}🥖 <b>'\"\\";
    let unknown = json!({ "line": 65535, "sku": sku, "quantity": "999999.999", "amount_minor": 1 });
    let most =
        json!({ "line": 1, "sku": "a", "quantity": "1", "amount_minor": 1_000_000_000_000_i64 });
    let at = |text: &'static str| {
        move |sequence_number: i64| {
            let mut sent = swipe(sequence_number, Some(&card(1)), 398);
            sent["occurred_at"] = text.into();
            sent
        }
    };
    let many = |count: i64| {
        move |sequence_number: i64| {
            let line = |n| json!({ "line": n, "sku": "a", "quantity": "1", "amount_minor": 1 });
            let mut sent = swipe(sequence_number, Some(&card(1)), count);
            sent["lines"] = (1..=count).map(line).collect::<Vec<_>>().into();
            sent
        }
    };
    let legal: Vec<Box<dyn Fn(i64) -> Value>> = vec![
        Box::new(one_line(zero, 0)),
        Box::new(one_line(free, 0)),
        Box::new(one_line(over, -10)),
        Box::new(one_line(back, -250)),
        Box::new(one_line(unknown, 1)),
        Box::new(one_line(most, 1_000_000_000_000)),
        Box::new(at("2026-03-13T00:00:00-04:00")),
        Box::new(at("2026-03-16T23:59:59.999999999-04:00")),
        Box::new(at("2026-03-14t15:53:26z")),
        Box::new(at("2026-03-14T15:53:26-00:00")),
        Box::new(many(500)),
        Box::new(full_swipe),
        Box::new(|n| swipe(n, None, 0)),
        Box::new(|n| {
            let mut sent = swipe(n, None, 0);
            sent["card"] = Value::Null;
            sent["operator_id"] = Value::Null;
            sent
        }),
    ];
    for (at, make) in legal.iter().enumerate() {
        let sent = make(i64::try_from(at).expect("a few"));
        let answer = post(&till, &sent).await;
        assert_eq!(told(&answer), (201, String::new()), "{sent}\n{:?}", answer.body);
    }
    let mut last = swipe((1 << 53) - 1, Some(&card(1)), 398);
    last["total_minor"] = json!(398);
    assert_eq!(told(&post(&till, &last).await).0, 201);
    let rows = service.count("SELECT count(*) FROM swipe").await;
    assert_eq!(usize::try_from(rows).expect("a few"), legal.len() + 1);
    assert!(kept(&service).await.is_empty());
}
