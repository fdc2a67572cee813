//! Answers that never arrived: whoever asks again, in whatever way and whenever, gets the very
//! bytes of the first answer, and nothing happens in the database.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tillside::domain::content;
use tillside::swipe::wire::{Rules, SwipeIn};
use tillside::till::Answer;
use tokio::time::timeout;

use crate::support::flow::{
    audit, basket, enrol, name, name_of, on, outcome, outcomes, post_batch, post_within,
    returned_from, slug, slug_of, sold, until, void,
};
use crate::support::service::{Replica, TestService, body, card, post, swipe};
use crate::support::tap::Tap;

/// Every row of every table, as text.
async fn dump(service: &TestService) -> BTreeMap<String, Vec<String>> {
    let sql = service.sql().await;
    let tables =
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                  WHERE n.nspname = 'public' AND c.relkind = 'r'";
    let mut dump = BTreeMap::new();
    for row in sql.query(tables, &[]).await.expect(tables) {
        let table: String = row.get(0);
        let rows = format!("SELECT t::text FROM {table} AS t ORDER BY 1");
        let rows = sql.query(&rows, &[]).await.expect("it is there");
        dump.insert(table, rows.iter().map(|row| row.get(0)).collect());
    }
    dump
}

/// The tables in which something is different now.
async fn changed_since(
    service: &TestService,
    before: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let now = dump(service).await;
    let changed = now.iter().filter(|(table, rows)| before.get(*table) != Some(*rows));
    changed.map(|(table, _)| table.clone()).collect()
}

fn is_marked(answer: &Answer, header: &str) -> bool {
    answer.headers.get(header).is_some_and(|value| value == "true")
}

/// Asks these replicas again for a transaction of store 0367, workstation 03: by its name, with
/// the same bytes, and as something that was stored at the till. All of them answer what was
/// answered first, and nothing happens.
async fn asked_again(
    replicas: &[&Replica],
    service: &TestService,
    sale: &Value,
    first: &Bytes,
    voided: bool,
) {
    let before = dump(service).await;
    for replica in replicas {
        let till = replica.till("0367", "03");
        let again = post(&till, sale).await;
        assert!(is_marked(&again, "idempotent-replayed"), "{:?}", again.body);
        let by_name = outcome(&till, &name_of(sale)).await;
        let next_to_it = outcome(&replica.till("0367", "01"), &name_of(sale)).await;
        for answer in [again, by_name, next_to_it] {
            assert_eq!((answer.status, &answer.body), (StatusCode::OK, first));
            assert_eq!(is_marked(&answer, "tillside-voided"), voided);
        }
        let mut stored = sale.clone();
        stored["offline"] = true.into();
        let batch =
            post_batch(&till, &[json!({ "swipe": stored }), json!({ "swipe": sale })]).await;
        let text = std::str::from_utf8(&batch.body).expect("JSON");
        let receipt = std::str::from_utf8(first).expect("JSON");
        assert_eq!(text.matches(receipt).count(), 2, "{text}");
        for outcome in outcomes(&batch) {
            assert_eq!((&outcome["status"], &outcome["replayed"]), (&json!(200), &json!(true)));
            assert_eq!(outcome["voided"] == true, voided, "{outcome}");
        }
    }
    assert_eq!(changed_since(service, &before).await, Vec::<String>::new());
}

/// Asks these replicas again for the void of a transaction.
async fn voided_again(replicas: &[&Replica], service: &TestService, name: &str, first: &Bytes) {
    let before = dump(service).await;
    for replica in replicas {
        for till in [replica.till("0367", "03"), replica.till("0367", "01")] {
            let again = void(&till, name).await;
            assert_eq!((again.status, &again.body), (StatusCode::OK, first));
            assert!(is_marked(&again, "idempotent-replayed"));
            let batch = post_batch(&till, &[json!({ "void": name })]).await;
            let text = std::str::from_utf8(&batch.body).expect("JSON");
            assert!(text.contains(std::str::from_utf8(first).expect("JSON")), "{text}");
        }
    }
    assert_eq!(changed_since(service, &before).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_database_gave_and_nobody_heard_is_given_again_in_every_way() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let tapped = service.replica_with(|config| config.database.url = tap.url()).await;
    let till = tapped.till("0367", "03");
    enrol(&till, &json!({ "card": card(1) })).await;
    post(&till, &swipe(1, Some(&card(1)), 900)).await;
    void(&till, &name(6)).await;
    let mut training = swipe(5, Some(&card(1)), 300);
    training["training"] = true.into();
    let exchange = vec![returned_from(1, 900, &name(1)), sold(2, "902192", 300)];
    let sales = [
        swipe(2, Some(&card(1)), 500),
        swipe(3, Some(&card(2)), 500),
        swipe(4, None, 500),
        training,
        swipe(6, Some(&card(1)), 500),
        basket(7, Some(&card(1)), exchange),
    ];
    for (sale, cuts) in sales.iter().zip(1..) {
        tap.cut_after("commit::commit_batch");
        let first = post(&till, sale).await;
        assert_eq!(tap.cuts(), cuts);
        assert!(first.status.is_success(), "{:?}", first.body);
        let cold = service.replica().await;
        let replicas = [&tapped, &service.replica, &cold];
        asked_again(&replicas, &service, sale, &first.body, sale["sequence_number"] == 6).await;
    }
    tap.cut_after("COMMIT");
    let undone = void(&till, &name(2)).await;
    assert!(undone.status.is_success(), "{:?}", undone.body);
    voided_again(&[&tapped, &service.replica], &service, &name(2), &undone.body).await;
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_after_its_till_was_told_that_nobody_knows_is_found_in_every_way() {
    let service = TestService::start_with(|config| {
        config.commit.lock_timeout_ms = 20_000;
        config.commit.statement_timeout_ms = 20_000;
    })
    .await;
    let replica = service.replica().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let rogue = service.sql().await;
    let lock = "BEGIN; SELECT 1 FROM account WHERE state = 0 FOR UPDATE";
    rogue.batch_execute(lock).await.expect("locked");
    let sale = swipe(2, Some(&card(1)), 500);
    let unknown = post_within(&till, "/v1/swipes", sale.to_string(), 50).await;
    assert_eq!(slug(&unknown), "outcome-unknown");
    rogue.batch_execute("COMMIT").await.expect("let go");
    until("it is recorded without anybody asking", async || {
        outcome(&till, &name(2)).await.status == StatusCode::OK
    })
    .await;
    let first = outcome(&till, &name(2)).await;
    assert_eq!(body(&first)["points"]["balance"], 6);
    asked_again(&[&service.replica, &replica], &service, &sale, &first.body, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_later_the_answer_is_still_the_same() {
    let service = TestService::start().await;
    let till = service.till();
    let sale = on(swipe(1, Some(&card(1)), 500), "2024-01-15");
    let first = post(&till, &sale).await;
    let gone = on(swipe(2, Some(&card(1)), 500), "2024-01-16");
    post(&till, &gone).await;
    let undone = void(&till, &name_of(&gone)).await;
    // By now all of that has run out, and the programme is another one.
    let later = post(&till, &on(swipe(3, Some(&card(1)), 100), "2026-06-01")).await;
    assert_eq!(body(&later)["points"]["balance"], 1);
    let rules = r#"UPDATE programme SET rules = '{"earn": {"points": 9, "per_minor": 100}}'"#;
    service.sql().await.batch_execute(rules).await.expect("changed");
    // Nor is a transaction of that date taken any more when it is new.
    let strict = service.replica_with(|config| config.swipe.age_max_days = 30).await;
    let new = on(swipe(4, Some(&card(1)), 500), "2024-01-15");
    let refused = post(&strict.till("0367", "03"), &new).await;
    assert_eq!(slug(&refused), "timestamp-out-of-range");
    let other = on(swipe(1, Some(&card(1)), 501), "2024-01-15");
    assert_eq!(slug(&post(&strict.till("0367", "03"), &other).await), "swipe-name-reused");
    let replicas = [&service.replica, &strict];
    asked_again(&replicas, &service, &sale, &first.body, false).await;
    voided_again(&replicas, &service, &name_of(&gone), &undone.body).await;
    audit(&service).await;
}

/// The hash of the content of a transaction of store 0367, workstation 03, whatever today's rules
/// say of it.
fn hash_of(service: &TestService, sale: &Value) -> Vec<u8> {
    let app = &service.replica.app;
    let (currency, cards) = (&*app.config.chain.currency, &app.cards);
    let rules = Rules { currency, cards, window: None, only_read: true };
    let text = sale.to_string();
    let wire: SwipeIn<'_> = serde_json::from_str(&text).expect("a swipe");
    let snapshot = app.catalogue.current();
    let workstation = snapshot.workstation("0367", "03").expect("there is one");
    content::hash(&wire.into_swipe(workstation, &rules).expect("readable")).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_when_other_rules_held_is_answered_and_nothing_else_is() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    let refused: [(&str, Value, &str); 3] = [
        // What a till gave for points without saying how many.
        ("points_value_minor", json!(50), "validation-failed"),
        ("card", json!("2990000000018"), "card-invalid"),
        ("occurred_at", json!("2026-03-01T11:53:26-04:00"), "timestamp-out-of-range"),
    ];
    let mut recorded = Vec::new();
    for ((field, value, problem), sequence) in refused.into_iter().zip(1..) {
        let mut sale = swipe(sequence, Some(&card(1)), 500);
        let first = post(&till, &sale).await;
        sale[field] = value;
        // An older version has taken it as it is.
        let recording = "UPDATE swipe_key SET content_hash = $1 WHERE sequence_number = $2";
        sql.execute(recording, &[&hash_of(&service, &sale), &sequence]).await.expect(recording);
        recorded.push((sale, first.body, problem));
    }
    let cold = service.replica().await;
    for (sale, first, problem) in &recorded {
        asked_again(&[&service.replica, &cold], &service, sale, first, false).await;
        let mut unheard_of = sale.clone();
        unheard_of["sequence_number"] = json!(99);
        assert_eq!(slug(&post(&till, &unheard_of).await), *problem);
        let mut other = sale.clone();
        other["operator_id"] = json!("17");
        let other = slug(&post(&till, &other).await);
        assert_eq!(other, if problem.starts_with('t') { "swipe-name-reused" } else { problem });
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_old_transactions_is_looked_up_at_once() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let strict = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.swipe.age_max_days = 30;
        })
        .await;
    let sale = |sequence| on(swipe(sequence, Some(&card(1)), 500), "2024-01-15");
    let mut firsts = Vec::new();
    for sequence in 1..=20 {
        firsts.push(body(&post(&service.till(), &sale(sequence)).await));
    }
    let items: Vec<Value> = (1..=40).map(|sequence| json!({ "swipe": sale(sequence) })).collect();
    tap.take("");
    let answered = outcomes(&post_batch(&strict.till("0367", "03"), &items).await);
    assert_eq!(tap.take("swipe::"), ["swipe::find_contents"]);
    let (recorded, unheard_of) = answered.split_at(20);
    for (outcome, first) in recorded.iter().zip(&firsts) {
        assert_eq!((&outcome["status"], &outcome["receipt"]), (&json!(200), first));
    }
    for (outcome, at) in unheard_of.iter().zip(20..) {
        assert_eq!(slug_of(&outcome["problem"]), "timestamp-out-of-range");
        let place = &outcome["problem"]["errors"][0]["pointer"];
        assert_eq!(place, &json!(format!("/items/{at}/swipe/business_date")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_for_an_old_transaction_takes_no_longer_than_its_till_waits() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let strict = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.database.statement_timeout_ms = 60_000;
            config.swipe.age_max_days = 30;
        })
        .await;
    let sale = on(swipe(1, Some(&card(1)), 500), "2024-01-15");
    let first = post(&service.till(), &sale).await;
    let till = strict.till("0367", "03");
    let items = json!({ "items": [{ "swipe": sale }, { "swipe": swipe(2, None, 100) }] });
    for (path, text) in [("/v1/swipes", sale.to_string()), ("/v1/swipes/batch", items.to_string())]
    {
        tap.mute_after("swipe::find_contents");
        let waiting = post_within(&till, path, text, 100);
        let answer = timeout(Duration::from_secs(30), waiting).await.expect("its time is up");
        let (single, status) = (path == "/v1/swipes", answer.status);
        assert_eq!(status, if single { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK });
        let late = if single { body(&answer) } else { outcomes(&answer)[0]["problem"].clone() };
        assert_eq!(slug_of(&late), "deadline-exceeded", "{late}");
    }
    let again = post(&till, &sale).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_sale_keeps_its_receipt_and_is_marked_in_every_way() {
    let service = TestService::start().await;
    let replica = service.replica().await;
    let till = service.till();
    let sale = swipe(1, Some(&card(1)), 500);
    let first = post(&till, &sale).await;
    assert!(!is_marked(&first, "tillside-voided"));
    let undone = void(&replica.till("0367", "01"), &name(1)).await;
    // The account goes on meanwhile.
    post(&till, &swipe(2, Some(&card(1)), 300)).await;
    let replicas = [&service.replica, &replica];
    asked_again(&replicas, &service, &sale, &first.body, true).await;
    voided_again(&replicas, &service, &name(1), &undone.body).await;
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_for_an_account_that_was_merged_since_keeps_its_answers() {
    let service = TestService::start().await;
    let replica = service.replica().await;
    let till = service.till();
    enrol(&till, &json!({ "card": card(9) })).await;
    let sales = [1, 2, 3].map(|sequence| swipe(sequence, Some(&card(1)), 500));
    let mut firsts = Vec::new();
    for sale in &sales {
        firsts.push(post(&till, sale).await);
    }
    let before_it = void(&till, &name(2)).await;
    let link = json!({ "card": card(1), "link_to": card(9) });
    let linked = enrol(&replica.till("0406", "01"), &link).await;
    assert_eq!(linked.status, StatusCode::CREATED, "{:?}", linked.body);
    let after_it = void(&replica.till("0367", "01"), &name(3)).await;
    assert_eq!(body(&after_it)["points"]["balance"], 5);
    let replicas = [&service.replica, &replica];
    for ((sale, first), voided) in sales.iter().zip(&firsts).zip([false, true, true]) {
        asked_again(&replicas, &service, sale, &first.body, voided).await;
    }
    voided_again(&replicas, &service, &name(2), &before_it.body).await;
    voided_again(&replicas, &service, &name(3), &after_it.body).await;
    let before = dump(&service).await;
    assert_eq!(enrol(&till, &link).await.status, StatusCode::OK);
    assert_eq!(changed_since(&service, &before).await, Vec::<String>::new());
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_was_lost_is_answered_again_item_by_item() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let tapped = service.replica_with(|config| config.database.url = tap.url()).await;
    let sales: Vec<Value> =
        (0..60).map(|n| swipe(n, Some(&card(n.unsigned_abs() % 7)), 100)).collect();
    let mut items: Vec<Value> = sales.iter().map(|sale| json!({ "swipe": sale })).collect();
    items.extend([1, 5, 99].map(|sequence| json!({ "void": name(sequence) })));
    // The database is not heard, and then the till has gone.
    tap.cut_after("commit::commit_batch");
    let hung_up = {
        let (till, items) = (tapped.till("0367", "03"), items.clone());
        tokio::spawn(async move { post_batch(&till, &items).await })
    };
    until("something is recorded", async || service.count("SELECT count(*) FROM swipe").await > 0)
        .await;
    hung_up.abort();
    let replica = service.replica().await;
    let first = post_batch(&replica.till("0367", "03"), &items).await;
    let first = outcomes(&first);
    assert!(first.iter().all(|it| it["status"] == 200 || it["status"] == 201), "{first:?}");

    let before = dump(&service).await;
    for replica in [&replica, &tapped, &service.replica] {
        let again = post_batch(&replica.till("0367", "03"), &items).await;
        for (first, again) in first.iter().zip(outcomes(&again)) {
            assert_eq!((&again["status"], &again["replayed"]), (&json!(200), &json!(true)));
            assert_eq!(again["receipt"], first["receipt"]);
        }
    }
    assert_eq!(changed_since(&service, &before).await, Vec::<String>::new());
    for (sale, outcome) in sales.iter().zip(&first) {
        let single = post(&tapped.till("0367", "03"), sale).await;
        assert_eq!((single.status, body(&single)), (StatusCode::OK, outcome["receipt"].clone()));
    }
    let earned: i64 = 60 - 2;
    let total = "SELECT sum(total_points)::bigint FROM account";
    assert_eq!(service.count(total).await, earned);
    audit(&service).await;
}
