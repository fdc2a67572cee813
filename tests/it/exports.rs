//! Exports: true to one moment while tills go on, bounded, harmless in a spreadsheet, traced, and
//! never seeming whole when they are not.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::import::{self, Importer};
use tillside::office::Role;

use crate::support::flow::{basket, enrol, name, on, slug, sold, until, void};
use crate::support::office::person;
use crate::support::service::{TestService, body, card, post, swipe};

/// The lines of an NDJSON file, by account.
fn lines(answer: &tillside::till::Answer) -> HashMap<String, Value> {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    let line = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let all = text.lines().map(line);
    all.map(|line| (line["account"].as_str().expect("text").to_owned(), line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_of_each_account_what_the_database_says() {
    let service = TestService::start().await;
    let till = service.till();
    let days = |days: i32| {
        let today = service.replica.app.today();
        today.saturating_sub(jiff::Span::new().days(days)).to_string()
    };
    catalogue(&service).await;
    for (sequence, days_ago, amount) in [(1, 5, 700), (2, 60, 300), (3, 200, 100), (4, 400, 50)] {
        let mut sale = basket(sequence, Some(&card(1)), vec![sold(1, "milk", amount)]);
        if sequence == 2 {
            let lines =
                vec![sold(1, "milk", 100), sold(2, "test-kit", 100), sold(3, "=bread", 100)];
            sale = basket(sequence, Some(&card(1)), lines);
        }
        let answer = post(&till, &on(sale, &days(days_ago))).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
    let voided = on(swipe(5, Some(&card(1)), 9_900), &days(4));
    post(&till, &voided).await;
    void(&till, &name(5).replace("2026-03-14", &days(4))).await;
    let member = json!({ "given_name": "Zyxwvutsrq", "consents": ["email-offers", "post"] });
    enrol(&till, &json!({ "card": card(1), "member": member })).await;
    post(&till, &on(swipe(6, Some(&card(2)), 100), &days(1))).await;

    let marketing = person(&service, Role::Marketing).await;
    let all = lines(&marketing.get("/v1/exports/accounts?format=ndjson").await);
    assert_eq!(all.len(), 2);
    let enrolled = all.values().find(|line| line["state"] == "enrolled").expect("one");
    for (field, value) in [
        ("points", json!(11)),
        ("baskets", json!(4)),
        ("sales_minor", json!(1_150)),
        ("visits_30d", json!(1)),
        ("spend_30d_minor", json!(700)),
        ("visits_90d", json!(2)),
        ("spend_90d_minor", json!(1_000)),
        ("visits_365d", json!(3)),
        ("spend_365d_minor", json!(1_100)),
        ("last_visit", json!(days(5))),
        // What is sensitive is not there, though it was bought as often as bread.
        ("top_categories", json!(["Dairy", "=Bakery"])),
        ("consents", json!(["email-offers", "post"])),
    ] {
        assert_eq!(enrolled[field], value, "{field}: {enrolled}");
    }

    let csv = marketing.get("/v1/exports/accounts").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let text = String::from_utf8(csv.body.to_vec()).expect("UTF-8");
    assert_eq!(text.lines().count(), 3);
    assert!(text.starts_with("account,state,points,spendable,"), "{text}");
    assert!(!text.contains("Zyxwvutsrq") && !text.contains(&card(1)), "{text}");

    for (filter, expected) in [
        ("enrolled=true", 1),
        ("enrolled=false", 1),
        ("consent=post", 1),
        ("consent=sms", 0),
        ("points_min=2", 1),
        ("points_min=1", 2),
        (&*format!("visited_since={}", days(3)), 1),
    ] {
        let path = format!("/v1/exports/accounts?format=ndjson&{filter}");
        assert_eq!(lines(&marketing.get(&path).await).len(), expected, "{filter}");
    }
    for wrong in ["format=xml", "points_min=x", "consent=A", "visited_since=yesterday", "who=me"] {
        let answer = marketing.get(&format!("/v1/exports/accounts?{wrong}")).await;
        assert_eq!(slug(&answer), "validation-failed", "{wrong}");
    }
    let traced = "SELECT count(*) FROM audit WHERE action = 'export.accounts'";
    assert_eq!(service.count(traced).await, 9, "each export, and no refusal");
}

/// Three articles, one of them sensitive, known to the replica.
async fn catalogue(service: &TestService) {
    let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    let csv = "sku,name,category,sensitive\nmilk,Milk,Dairy,\ntest-kit,Kit,Tests,true\n\
               =bread,Bread,=Bakery,\n";
    std::fs::write(file.path(), csv).expect("just created");
    let read = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let now = jiff::Timestamp::now();
    let mut importer = Importer::connect(&service.config.database, now).await.expect("it is up");
    let today = service.replica.app.today();
    importer.catalogue(&read, today, "test", |_| ()).await.expect("the articles are new");
    until("the articles are known", async || {
        let current = service.replica.app.catalogue.current();
        current.epoch(1).is_some_and(|epoch| current.product("milk", epoch).product_no > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_a_spreadsheet_would_run_is_only_a_text() {
    let service = TestService::start().await;
    catalogue(&service).await;
    let today = service.replica.app.today().to_string();
    let sale = basket(1, Some(&card(1)), vec![sold(1, "=bread", 100)]);
    post(&service.till(), &on(sale, &today)).await;
    let admin = person(&service, Role::Admin).await;
    let csv = admin.get("/v1/exports/accounts?format=csv").await;
    let text = String::from_utf8(csv.body.to_vec()).expect("UTF-8");
    assert!(text.contains(",'=Bakery,"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_true_to_one_moment_while_tills_go_on() {
    let service = TestService::start().await;
    let till = service.till();
    // Each customer has as many points as every other at each moment between two rounds.
    const CUSTOMERS: u64 = 450;
    let sql = service.sql().await;
    for number in 0..CUSTOMERS {
        let sequence = i64::try_from(number).expect("small");
        post(&till, &swipe(sequence, Some(&card(number)), 100)).await;
    }
    let admin = person(&service, Role::Admin).await;
    let reading = {
        let admin = admin.clone();
        tokio::spawn(async move {
            let mut files = Vec::new();
            for _ in 0..6 {
                files.push(admin.get("/v1/exports/accounts?format=ndjson").await);
            }
            files
        })
    };
    // One statement moves all accounts at once: no snapshot may lie in the midst of it.
    let mut round = 0;
    while !reading.is_finished() {
        round += 1;
        let all = "UPDATE account SET baskets = baskets + 1, sales_minor = sales_minor + 1
                   WHERE state = 0";
        sql.batch_execute(all).await.expect(all);
    }
    assert!(round > 1);
    let mut seen = std::collections::HashSet::new();
    for file in reading.await.expect("read") {
        let lines = lines(&file);
        assert_eq!(lines.len() as u64, CUSTOMERS);
        let baskets: std::collections::HashSet<i64> =
            lines.values().map(|line| line["baskets"].as_i64().expect("a number")).collect();
        assert_eq!(baskets.len(), 1, "of one moment: {baskets:?}");
        seen.extend(baskets);
    }
    assert!(seen.len() > 1, "the moments differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_snapshot_is_lost_breaks_off_and_the_third_at_a_time_must_wait() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let admin = person(&service, Role::Admin).await;
    // What an export reads is locked away, so that it is under way for as long as we like.
    let mut rogue = service.sql().await;
    let held = rogue.transaction().await.expect("begun");
    held.batch_execute("LOCK TABLE member IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let mut under_way = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let admin = admin.clone();
        under_way.spawn(async move { admin.try_get("/v1/exports/accounts").await.is_err() });
    }
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE application_name = 'tillside export' AND wait_event_type = 'Lock'
                      AND datname = current_database()";
    until("both wait", async || service.count(sessions).await == 2).await;
    let third = admin.get("/v1/exports/accounts").await;
    assert_eq!(
        (third.status, slug(&third)),
        (StatusCode::SERVICE_UNAVAILABLE, "overloaded".to_owned())
    );
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'tillside export' AND datname = current_database()";
    service.sql().await.batch_execute(end).await.expect(end);
    let broken = under_way.join_all().await;
    assert_eq!(broken, [true, true], "neither seemed whole");
    drop(held);
    drop(rogue);
    until("there is room again", async || {
        admin.get("/v1/exports/accounts").await.status == StatusCode::OK
    })
    .await;
    let _ = body(&admin.get("/v1/stores").await);
}
