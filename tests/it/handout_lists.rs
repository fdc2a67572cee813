//! Lists of cards and accounts for a handout: taken as a whole or not at all, with the numbers of
//! the lines that are wrong, in whatever form and however long.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::domain::account::CLOCK_START;
use tillside::domain::bucket;
use tillside::domain::ledger::Lots;
use tillside::office::Role;
use tillside::receipt::account_text;

use crate::desk::verified;
use crate::handouts::{is, issue, look, service, works};
use crate::offers_api::{forty, made};
use crate::openapi::{document, findings};
use crate::support::flow::{account_of, enrol, slug, until};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card};

const LIST: &str = "/v1/handouts/post/list";
const COUPONS: &str = "SELECT count(*) FROM coupon";

/// A handout that waits for its list.
async fn waiting() -> (TestService, Person) {
    let (service, admin) = service().await;
    let wanted = json!({ "handout": "post", "offer": "forty" });
    let answer = admin.post("/v1/handouts", "k", &wanted).await;
    assert_eq!(body(&answer)["state"], "waiting", "{:?}", answer.body);
    (service, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_taken_as_a_whole_and_each_account_gets_one_coupon() {
    let (service, admin) = waiting().await;
    // Two cards of one account, one account by its name, a line twice, empty lines.
    enrol(&service.till(), &json!({ "card": card(7), "link_to": card(1) })).await;
    let account = account_text(account_of(&service.sql().await, &card(4)).await);
    let csv = format!(
        "card\r\n{}\r\n{}\r\n\r\n{account}\r\n\"{}\"\r\n{}\r\n",
        card(1),
        card(7),
        card(2),
        card(2)
    );
    let brought = admin.bring(LIST, "text/csv; charset=utf-8", csv).await;
    assert_eq!(brought.status, StatusCode::OK, "{:?}", brought.body);
    let brought = body(&brought);
    for (field, value) in [("lines", 5), ("duplicates", 2), ("unknown", 0)] {
        assert_eq!(brought[field], value, "{field}: {brought}");
    }
    assert_eq!(brought["handout"]["accounts"], 3);
    let document = document(&service.till()).await;
    let schema = json!({ "$ref": "#/components/schemas/HandoutList" });
    assert_eq!(findings(&document, &schema, &brought, ""), [""; 0]);

    // Until it is issued, a list replaces the one before.
    let ndjson = format!("{{\"card\":\"{}\"}}\n{{\"account\":\"{account}\"}}", card(3));
    let brought = body(&admin.bring(LIST, "application/x-ndjson", ndjson.clone()).await);
    assert_eq!((&brought["lines"], &brought["handout"]["accounts"]), (&json!(2), &json!(2)));
    let _work = works(&service.replica);
    issue(&admin, "post").await;
    assert_eq!(is(&admin, "post", "done").await["issued"], 2);
    for (number, expected) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        let account_id = account_of(&service.sql().await, &card(number)).await;
        let count = format!("{COUPONS} WHERE account_id = {account_id}");
        assert_eq!(service.count(&count).await, expected, "{number}");
    }
    let late = admin.bring(LIST, "application/x-ndjson", ndjson).await;
    assert_eq!((late.status, slug(&late)), (StatusCode::CONFLICT, "handout-not-ready".into()));
    let traced = "SELECT count(*) FROM audit WHERE action = 'handout.list'";
    assert_eq!(service.count(traced).await, 2);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lines_are_told_by_their_numbers_and_nothing_is_kept() {
    let (service, admin) = waiting().await;
    let house = "SELECT house_account FROM workstation LIMIT 1";
    let house = account_text(service.count(house).await);
    let csv = format!(
        "card\n{}\nbread\n{}\n{house}\n{},{}\nacc_0000000000000\n",
        card(1),
        card(99),
        card(2),
        card(3)
    );
    let refused = admin.bring(LIST, "text/csv", csv.clone()).await;
    assert_eq!(
        (refused.status, slug(&refused)),
        (StatusCode::UNPROCESSABLE_ENTITY, "validation-failed".into())
    );
    let errors = body(&refused)["errors"].clone();
    let errors = errors.as_array().expect("a list").iter();
    let mut lines: Vec<&str> = errors.map(|it| it["pointer"].as_str().expect("text")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["/3", "/4", "/5", "/6", "/7"]);
    assert_eq!(look(&admin, "post").await["state"], "waiting");
    assert_eq!(service.count("SELECT count(*) FROM handout_page").await, 0);

    // Who leads to nobody can be left out; what is no card stays wrong.
    let lenient = format!("{LIST}?leave_out_unknown=true");
    let refused = body(&admin.bring(&lenient, "text/csv", csv).await);
    let errors = refused["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 3, "{refused}");
    let csv = format!("card\n{}\n{}\nacc_0000000000000\n", card(1), card(99));
    let brought = body(&admin.bring(&lenient, "text/csv", csv).await);
    assert_eq!((&brought["unknown"], &brought["handout"]["accounts"]), (&json!(2), &json!(1)));

    for (media_type, text, expected) in [
        ("application/json", "[]", "unsupported-media-type"),
        ("text/csv", "card\n", "validation-failed"),
        ("text/csv", "", "validation-failed"),
        ("text/csv", "name\nAda\n", "validation-failed"),
        ("text/csv", "card\n4111111111111111\n", "payment-card-data-refused"),
        ("application/x-ndjson", "{\"card\":\"5500 0000 0000 0004\"}", "payment-card-data-refused"),
    ] {
        let answer = admin.bring(LIST, media_type, text.to_owned()).await;
        assert_eq!(slug(&answer), expected, "{media_type} {text:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("Ada"), "no input is repeated");
    }
    // What was kept before stays.
    assert_eq!(look(&admin, "post").await["accounts"], 1);
    let wanted = json!({ "handout": "asks", "offer": "forty", "where": {} });
    admin.post("/v1/handouts", "j", &wanted).await;
    let answer = admin.bring("/v1/handouts/asks/list", "text/csv", "card\n".into()).await;
    assert_eq!(slug(&answer), "handout-not-ready", "its accounts are those of a question");
    let manager = person(&service, Role::Manager).await;
    made(&service, &admin, forty("both", &["0367", "0406"])).await;
    admin.post("/v1/handouts", "b", &json!({ "handout": "both", "offer": "both" })).await;
    let text = format!("card\n{}\n", card(1));
    let answer = manager.bring("/v1/handouts/both/list", "text/csv", text).await;
    assert_eq!(slug(&answer), "forbidden");
    let many = "x\n".repeat(300);
    let refused = body(&admin.bring(LIST, "text/csv", many).await);
    assert_eq!(refused["errors"].as_array().map(Vec::len), Some(100), "the first hundred");
    assert!(
        refused["detail"].as_str().is_some_and(|detail| detail.starts_with("300 ")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_fifty_thousand_lines_is_taken_and_its_handout_can_be_stopped_and_gone_on_with() {
    const MANY: i64 = 50_000;
    let (service, admin) = waiting().await;
    let sql = service.sql().await;
    // Customers of before: cards and accounts as an import makes them.
    let cards: Vec<String> = (0..MANY).map(|n| card(1_000 + n.unsigned_abs())).collect();
    let ids: Vec<i64> = (0..MANY)
        .map(|n| {
            let number = 1_000_000 + n;
            bucket::account_id(number, bucket::of_number(number))
        })
        .collect();
    let card_buckets: Vec<i16> = cards.iter().map(|card| bucket::of_card(card).into()).collect();
    let account_buckets: Vec<i16> = ids.iter().map(|id| bucket::of_account(*id).into()).collect();
    let lots = Lots::default().encode();
    let accounts = "INSERT INTO account (bucket, account_id, version, total_points, sales_minor,
                                         baskets, clock, state, lots)
                    SELECT i.bucket, i.id, 0, 0, 0, 0, $3, 0, $4
                    FROM unnest($1::smallint[], $2::bigint[]) AS i (bucket, id)";
    sql.execute(accounts, &[&account_buckets, &ids, &CLOCK_START, &lots]).await.expect(accounts);
    let links = "INSERT INTO card (bucket, card, account_id, linked_at)
                 SELECT i.*, now() FROM unnest($1::smallint[], $2::text[], $3::bigint[]) AS i";
    sql.execute(links, &[&card_buckets, &cards, &ids]).await.expect(links);

    let mut csv = String::from("card\n");
    cards.iter().for_each(|card| writeln!(csv, "{card}").expect("a text takes all"));
    // One wrong line among them, and nothing is kept.
    let spoilt = format!("{csv}bread\n");
    let refused = body(&admin.bring(LIST, "text/csv", spoilt).await);
    assert_eq!(refused["errors"][0]["pointer"], "/50002", "{refused}");
    let brought = body(&admin.bring(LIST, "text/csv", csv).await);
    assert_eq!((&brought["lines"], &brought["duplicates"]), (&json!(MANY), &json!(0)));
    assert_eq!(brought["handout"]["accounts"], MANY);
    assert_eq!(service.count("SELECT count(*) FROM handout_page").await, 50);

    let _work = works(&service.replica);
    let issued = async || look(&admin, "post").await["issued"].as_i64().expect("a number");
    issue(&admin, "post").await;
    until("a few have theirs", async || issued().await >= 128).await;
    let stopped = admin.post("/v1/handouts/post/stop", "", &json!({})).await;
    assert_eq!(body(&stopped)["stopped_why"], "people", "{:?}", stopped.body);
    let at_stop = issued().await;
    // The handful at hand may still be given; it is counted when it is gone on with.
    let given = service.count(COUPONS).await;
    assert!((at_stop..=at_stop + 64).contains(&given), "{at_stop} {given}");
    issue(&admin, "post").await;
    until("it goes on", async || issued().await >= at_stop + 256).await;
    admin.post("/v1/handouts/post/stop", "", &json!({})).await;
    let twice =
        "SELECT count(*) FROM (SELECT 1 FROM coupon GROUP BY account_id HAVING count(*) > 1)
                 AS t";
    assert_eq!(service.count(twice).await, 0);
    let done: Value = look(&admin, "post").await;
    assert_eq!(done["left_out"], 0);
}
