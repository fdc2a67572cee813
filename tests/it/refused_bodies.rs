//! What a refusal must never do: repeat what was sent, store a payment card, change anything.
//! What it does: it is kept, within bounds, where people can see it.

use http::{Method, Version};
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::till::Answer;

use crate::support::bodies::{full_swipe, kept, leaves, objects, set};
use crate::support::edge::{Hand, told};
use crate::support::service::{TestService, body, card, post, swipe};

/// A payment card in the spellings in which tills and people write them.
const PAYMENT_CARDS: [&str; 6] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "37\u{200b}8282246310005",
    "６０１１１１１１１１１１１１１７",
    "paid with 4111.1111.1111.1111, thanks",
];

/// An enrolment in which every field has a value.
fn full_enrolment() -> Value {
    json!({
        "card": card(1), "link_to": card(2),
        "member": {
            "given_name": "Ada", "family_name": "Example", "birthday": "1990-01-31",
            "email": "ada@example.com", "phone": "+1 555 0100", "consents": ["email-offers"],
        },
    })
}

/// A batch of one swipe and one void.
fn full_batch() -> Value {
    json!({ "items": [{ "swipe": full_swipe(1) }, { "void": "0367/03/2026-03-14/2" }] })
}

/// Every row of every table as text, where bytes stand in hexadecimal digits.
async fn whole_database(service: &TestService) -> String {
    let client = service.sql().await;
    let tables = client
        .query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'", &[])
        .await
        .expect("the list of tables");
    let mut text = String::new();
    for table in tables {
        let table: &str = table.get(0);
        let rows = client.query(&format!("SELECT t::text FROM \"{table}\" AS t"), &[]).await;
        for row in rows.expect("every table can be read") {
            text += row.get::<_, &str>(0);
            text.push('\n');
        }
    }
    assert!(text.contains("0367"), "the search finds what is there");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_card_is_refused_wherever_it_stands_and_is_stored_nowhere() {
    let service = TestService::start().await;
    let till = service.till();
    let mut sent = 0;
    for (path, whole) in [("/v1/swipes", full_swipe(1)), ("/v1/cards", full_enrolment())] {
        let mut places = Vec::new();
        leaves(&whole, "", &mut places);
        for place in places {
            for number in PAYMENT_CARDS {
                let mut changed = whole.clone();
                set(&mut changed, &place, number.into());
                let answer = till.post(path, changed.to_string()).await.expect("an answer");
                let expected = match &*place {
                    "/store_id" | "/workstation_id" if told(&answer).1 == "terminal-mismatch" => {
                        "terminal-mismatch"
                    }
                    _ => "payment-card-data-refused",
                };
                assert_eq!(told(&answer).1, expected, "{place}: {number}");
                sent += 1;
            }
        }
    }
    // As a number, under a name of its own, as a name, and where there is no swipe around it.
    let number = 4_111_111_111_111_111_u64;
    for changed in [
        json!({ "note": number }),
        json!({ "note": -4_111_111_111_111_111_i64 }),
        json!({ "note": 4.111_111_111_111_111e15 }),
        json!({ "4111111111111111": 1 }),
        json!([["4111111111111111"]]),
        json!("4111111111111111"),
        json!(number),
    ] {
        let answer = till.post("/v1/swipes", changed.to_string()).await.expect("an answer");
        assert_eq!(told(&answer).1, "payment-card-data-refused", "{changed}");
    }
    for place in ["/total_minor", "/points_spent", "/lines/0/amount_minor", "/lines/0/line"] {
        let mut changed = full_swipe(1);
        set(&mut changed, place, number.into());
        let answer = post(&till, &changed).await;
        assert_eq!(told(&answer).1, "payment-card-data-refused", "{place}");
    }
    // What cannot be read cannot be judged: not kept when digits of a card stand in it.
    for text in [
        "4111111111111111",
        "{\"a\":\"4111 1111 1111 1111\"",
        "{\"a\":\"\\u0034111111111111111\"",
        "a=4111111111111111&b=2",
    ] {
        let answer = till.post("/v1/swipes", text).await.expect("an answer");
        assert!(told(&answer).0 == 400 || told(&answer).1 == "payment-card-data-refused", "{text}");
    }
    // In a batch: each item by itself, and in what is not an item.
    for place in ["/items/0/swipe/operator_id", "/items/0/swipe/currency", "/items/1/void"] {
        let mut batch = full_batch();
        batch["items"][0]["swipe"]["store_id"] = "0367".into();
        set(&mut batch, place, "4111111111111111".into());
        let answer = till.post("/v1/swipes/batch", batch.to_string()).await.expect("an answer");
        let told = body(&answer)["outcomes"].to_string();
        assert!(told.contains("payment-card-data-refused"), "{place}: {told}");
    }
    let mut batch = full_batch();
    set(&mut batch, "/note", "4111111111111111".into());
    let answer = till.post("/v1/swipes/batch", batch.to_string()).await.expect("an answer");
    assert_eq!(told(&answer).1, "payment-card-data-refused");
    let void = "/v1/swipes/0367/03/2026-03-14/1/void";
    let answer = till.post(void, "{\"a\":\"4111111111111111\"}").await.expect("an answer");
    assert_eq!(told(&answer).1, "payment-card-data-refused");

    let stored = whole_database(&service).await;
    for number in ["4111111111111111", "5555555555554444", "378282246310005", "6011111111111117"] {
        let hexadecimal: String = number.bytes().map(|byte| format!("{byte:02x}")).collect();
        let digits: String =
            stored.chars().filter(|c| c.is_ascii_hexdigit() || *c == '\n').collect();
        assert!(!digits.contains(number) && !digits.contains(&hexadecimal), "{number}");
    }
    for text in PAYMENT_CARDS {
        let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!stored.contains(text) && !stored.contains(&hexadecimal), "{text}");
    }
    let problems = service.replica.app.metrics.problems.clone();
    let counted = problems.with_label_values(&["payment-card-data-refused"]).get();
    assert!(counted >= sent - 12, "{counted} of {sent} were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_enrolment_leaves_no_trace_of_a_person() {
    let service = TestService::start().await;
    let till = service.till();
    let mut wrong = full_enrolment();
    wrong["member"]["email"] = "no address".into();
    let mut misplaced = full_enrolment();
    misplaced["given_name"] = "Ada".into();
    let not_json = format!("{}}}", full_enrolment());
    for sent in [wrong.to_string(), misplaced.to_string(), not_json] {
        let answer = till.post("/v1/cards", sent).await.expect("an answer");
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    assert_eq!(kept(&service).await.len(), 3, "each is there to be seen, its person left out");
    let stored = whole_database(&service).await;
    for text in ["Ada", "Example", "1990-01-31", "ada@example.com", "555 0100", "no address"] {
        let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!stored.contains(text) && !stored.contains(&hexadecimal), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_repeats_what_was_sent() {
    const CANARY: &str = "Canary<b>\u{2603}Zwölf";
    let repeats = |answer: &Answer| {
        let body = String::from_utf8_lossy(&answer.body).to_lowercase();
        let headers = format!("{:?}", answer.headers).to_lowercase();
        ["canary", "zw\u{f6}lf", "\\u2603", "\u{2603}"]
            .iter()
            .any(|part| body.contains(part) || headers.contains(part))
    };
    let service = TestService::start().await;
    let till = service.till();
    let mut refused = 0;
    for (path, whole) in [
        ("/v1/swipes", full_swipe(1)),
        ("/v1/cards", full_enrolment()),
        ("/v1/swipes/batch", full_batch()),
        ("/v1/swipes/0367/03/2026-03-14/1/void", json!({})),
    ] {
        let (mut values, mut names) = (Vec::new(), Vec::new());
        leaves(&whole, "", &mut values);
        objects(&whole, "", &mut names);
        let names = names.into_iter().map(|place| format!("{place}/{CANARY}"));
        for place in values.into_iter().filter(|place| !place.is_empty()).chain(names) {
            for value in [json!(CANARY), json!({ CANARY: CANARY }), json!([CANARY])] {
                let mut changed = whole.clone();
                set(&mut changed, &place, value);
                let answer = till.post(path, changed.to_string()).await.expect("an answer");
                if path.ends_with("batch") && answer.status == 200 {
                    for outcome in body(&answer)["outcomes"].as_array().expect("a list") {
                        let said = outcome["problem"].to_string().to_lowercase();
                        assert!(!said.contains("canary"), "{path} {place}: {said}");
                        refused += u32::from(!outcome["problem"].is_null());
                    }
                } else if !answer.status.is_success() {
                    assert!(!repeats(&answer), "{path} {place}: {:?}", answer.body);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 150, "{refused}");

    let encoded = "Canary%3Cb%3E";
    for target in [
        format!("/v1/cards/{encoded}"),
        format!("/v1/swipes/{encoded}/03/2026-03-14/1"),
        format!("/v1/swipes/0367/{encoded}/2026-03-14/1"),
        format!("/v1/swipes/0367/03/{encoded}/1"),
        format!("/v1/swipes/0367/03/2026-03-14/{encoded}"),
        format!("/problems/{encoded}"),
        format!("/{encoded}"),
        format!("/v1/cards/1?{encoded}"),
    ] {
        let answer = till.get(&target).await.expect("an answer");
        assert!(answer.status.is_client_error() && !repeats(&answer), "{target}");
    }
    let text = swipe(1, None, 398).to_string();
    for name in ["tillside-deadline-ms", "content-type", "x-request-id", "signature", "accept"] {
        let mut hand = Hand::new(&service.replica, Method::POST, "/v1/swipes", &text).signed();
        hand.set(name, "Canary");
        let answer = till.send(hand.request(Version::HTTP_11)).await.expect("an answer");
        assert!(!repeats(&answer), "{name}: {answer:?}");
    }
    let not_json = format!("{{\"operator_id\": \"{CANARY}\", {CANARY}");
    let answer = till.post("/v1/swipes", not_json).await.expect("an answer");
    assert!(!repeats(&answer), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_refuses_every_other_content_and_changes_nothing() {
    let service = TestService::start().await;
    let till = service.till();
    let first = post(&till, &full_swipe(1)).await;
    assert_eq!(first.status, 201);
    let before = state(&service).await;

    let other = |place: &str, value: Value| {
        let mut changed = full_swipe(1);
        set(&mut changed, place, value);
        changed
    };
    let mut two_lines_swapped = full_swipe(1);
    let lines = two_lines_swapped["lines"].as_array_mut().expect("a list");
    lines.swap(0, 1);
    let mut without_redemption = full_swipe(1);
    without_redemption["redemptions"] = json!([]);
    let mut amount = other("/lines/0/amount_minor", 399.into());
    amount["total_minor"] = 118.into();
    let mut discount = other("/lines/0/discount_minor", 41.into());
    discount["total_minor"] = 116.into();
    let mut tax = other("/adjustments/0/amount_minor", 10.into());
    tax["total_minor"] = 118.into();
    let mut no_card = full_swipe(1);
    no_card.as_object_mut().expect("an object").remove("card");
    let mut sold_nowhere = full_swipe(1);
    sold_nowhere["lines"][1].as_object_mut().expect("an object").remove("returns");
    let mut paid = other("/points_spent", 9.into());
    paid["points_value_minor"] = 9.into();
    let others = [
        other("/occurred_at", "2026-03-14T11:53:27-05:00".into()),
        other("/card", card(2).into()),
        no_card,
        other("/entry_method", "keyed".into()),
        other("/entry_method", Value::Null),
        other("/operator_id", "18".into()),
        other("/operator_id", Value::Null),
        other("/training", true.into()),
        other("/lines/0/line", 3.into()),
        other("/lines/0/sku", "1095276".into()),
        other("/lines/0/quantity", "3".into()),
        amount,
        discount,
        sold_nowhere,
        other("/lines/1/returns/swipe", "0367/01/2026-03-10/55822".into()),
        other("/lines/1/returns/line", 5.into()),
        other("/adjustments/0/kind", "deposit".into()),
        tax,
        two_lines_swapped,
        without_redemption,
        other("/redemptions/0/coupon", "7K2M9QXA4TRB3X".into()),
        other("/redemptions/0/discount_minor", 41.into()),
        paid,
        other("/points_spent", 9.into()),
    ];
    for changed in &others {
        let answer = post(&till, changed).await;
        assert_eq!(told(&answer), (422, "swipe-name-reused".to_owned()), "{changed}");
        let text = changed.to_string();
        let kept = kept(&service).await;
        assert!(kept.iter().any(|kept| kept.body == text && kept.problem == "swipe-name-reused"));
    }
    assert_eq!(kept(&service).await.len(), others.len());
    assert_eq!(state(&service).await, before, "an account, a name or a card has changed");

    // Not content: how it came here, and other spellings of the same.
    let spellings = [
        other("/offline", true.into()),
        other("/lines/0/quantity", "2.000".into()),
        other("/occurred_at", "2026-03-14T16:53:26Z".into()),
        other("/lines/0/kind", Value::Null),
        full_swipe(1),
    ];
    for same in spellings {
        let answer = post(&till, &same).await;
        assert_eq!(answer.status, 200, "{same}");
        assert_eq!(answer.body, first.body);
        assert_eq!(answer.headers["idempotent-replayed"], "true");
    }
    assert_eq!(state(&service).await, before, "an account, a name or a card has changed");
}

/// Everything that swipes write, as text.
async fn state(service: &TestService) -> Vec<String> {
    let mut state = Vec::new();
    for table in ["account", "card", "swipe_key", "swipe", "entry", "profile"] {
        let sql = format!(
            "SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {table} AS t"
        );
        let row = service.sql().await.query_one(&sql, &[]).await.expect("a table");
        state.push(format!("{table}: {}", row.get::<_, &str>(0)));
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_keeps_the_newest_hundred_and_each_body_once() {
    let service = TestService::start().await;
    let till = service.till();
    let wrong = |n: i64| {
        let mut swipe = full_swipe(n);
        swipe["currency"] = "EUR".into();
        swipe
    };
    for n in 1..=103 {
        assert_eq!(told(&post(&till, &wrong(n)).await).0, 422);
    }
    let all = kept(&service).await;
    assert_eq!(all.len(), 100);
    let (newest, oldest) = (wrong(103).to_string(), wrong(4).to_string());
    assert_eq!((&all[0].body, &all[99].body), (&newest, &oldest));

    // The same body again is counted, and costs no other one its place.
    let first_id = all[50].request_id.clone();
    let again: Value = serde_json::from_str(&all[50].body).expect("it was JSON");
    let before = Timestamp::now();
    assert_eq!(told(&post(&till, &again).await).0, 422);
    let all = kept(&service).await;
    assert_eq!(all.len(), 100);
    assert_eq!((all[50].attempts, &all[50].request_id), (2, &first_id));
    assert!(all[50].last_at >= before && all[50].first_at < before);
    assert_eq!(all[50].errors, "/currency: this chain has another currency");
    // Also the oldest one, which is the first to go.
    let oldest: Value = serde_json::from_str(&all[99].body).expect("it was JSON");
    assert_eq!(told(&post(&till, &oldest).await).0, 422);
    let all = kept(&service).await;
    assert_eq!((all.len(), all[99].attempts), (100, 2));

    // Each terminal has its own hundred.
    let other = service.replica.till("0406", "01");
    assert_eq!(told(&post(&other, &json!({})).await).0, 422);
    assert_eq!(kept(&service).await.len(), 100);
    assert_eq!(service.count("SELECT count(*) FROM quarantine").await, 101);
    // Everything that was signed and refused comes here, whatever it was for.
    for (path, wrong) in [
        ("/v1/swipes/batch", "{\"swipes\":[]}"),
        ("/v1/swipes/batch", "{\"items\":[]}"),
        ("/v1/swipes/batch", "{\"items\":[{\"void\":\"x\"}]}"),
        ("/v1/cards", "{\"link_to\":\"x\"}"),
        ("/v1/swipes/0406/01/2026-03-14/1/void", "{\"reason\":1}"),
    ] {
        let answer = other.post(path, wrong).await.expect("an answer");
        assert!([200, 422].contains(&told(&answer).0), "{path}");
    }
    assert_eq!(service.count("SELECT count(*) FROM quarantine").await, 106);
    assert_eq!(service.count("SELECT sum(attempts)::bigint FROM quarantine").await, 108);
}
