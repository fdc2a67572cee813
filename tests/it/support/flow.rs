//! What tests of the swipe flow share: transactions in all shapes, the calls of a till, and the
//! audit of everything that the flow has written.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tillside::domain::ledger::{LotKey, Lots};
use tillside::till::{Answer, Till};
use tokio_postgres::Client;

use super::service::{TODAY, TestService, body, swipe};

/// A line of sale.
pub(crate) fn sold(line: u16, sku: &str, amount_minor: i64) -> Value {
    json!({ "line": line, "sku": sku, "quantity": "1", "amount_minor": amount_minor })
}

/// A line that comes back, without saying from where.
pub(crate) fn returned(line: u16, sku: &str, amount_minor: i64) -> Value {
    let mut returned = sold(line, sku, amount_minor);
    returned["kind"] = "return".into();
    returned
}

/// A line that comes back from line 1 of a transaction.
pub(crate) fn returned_from(line: u16, amount_minor: i64, name: &str) -> Value {
    let mut returned = returned(line, "1095275", amount_minor);
    returned["returns"] = json!({ "swipe": name, "line": 1 });
    returned
}

/// A swipe with these lines, its total added up.
pub(crate) fn basket(sequence_number: i64, card: Option<&str>, lines: Vec<Value>) -> Value {
    let total_minor: i64 = lines
        .iter()
        .map(|line| {
            let minor = |field: &str| line[field].as_i64().unwrap_or(0);
            let net = minor("amount_minor") - minor("discount_minor");
            if line["kind"] == "return" { -net } else { net }
        })
        .sum();
    let mut swipe = swipe(sequence_number, card, 0);
    swipe["lines"] = lines.into();
    swipe["total_minor"] = total_minor.into();
    swipe
}

/// The same swipe on another business date.
pub(crate) fn on(mut swipe: Value, business_date: &str) -> Value {
    swipe["business_date"] = business_date.into();
    swipe["occurred_at"] = format!("{business_date}T11:53:26-04:00").into();
    swipe
}

/// The same swipe at another workstation.
pub(crate) fn at(mut swipe: Value, store_id: &str, workstation_id: &str) -> Value {
    swipe["store_id"] = store_id.into();
    swipe["workstation_id"] = workstation_id.into();
    swipe
}

/// The name of a swipe.
pub(crate) fn name_of(swipe: &Value) -> String {
    let text = |field: &str| swipe[field].as_str().expect("a text").to_owned();
    let (store, workstation, date) =
        (text("store_id"), text("workstation_id"), text("business_date"));
    format!("{store}/{workstation}/{date}/{}", swipe["sequence_number"])
}

/// The name of a swipe of store 0367, workstation 03.
pub(crate) fn name(sequence_number: i64) -> String {
    format!("0367/03/{TODAY}/{sequence_number}")
}

/// Voids the transaction with a name.
pub(crate) async fn void(till: &Till, name: &str) -> Answer {
    till.post(&format!("/v1/swipes/{name}/void"), "").await.expect("the service answers")
}

/// What became of the transaction with a name.
pub(crate) async fn outcome(till: &Till, name: &str) -> Answer {
    till.get(&format!("/v1/swipes/{name}")).await.expect("the service answers")
}

/// Looks a card up.
pub(crate) async fn look_up(till: &Till, card: &str) -> Answer {
    till.get(&format!("/v1/cards/{card}")).await.expect("the service answers")
}

/// Enrols or links a card.
pub(crate) async fn enrol(till: &Till, enrolment: &Value) -> Answer {
    till.post("/v1/cards", enrolment.to_string()).await.expect("the service answers")
}

/// Posts a batch.
pub(crate) async fn post_batch(till: &Till, items: &[Value]) -> Answer {
    let body = json!({ "items": items }).to_string();
    till.post("/v1/swipes/batch", body).await.expect("the service answers")
}

/// The outcomes of a batch.
pub(crate) fn outcomes(answer: &Answer) -> Vec<Value> {
    body(answer)["outcomes"].as_array().unwrap_or_else(|| panic!("{:?}", answer.body)).clone()
}

/// Posts with a deadline of the till's own.
pub(crate) async fn post_within(till: &Till, path: &str, body: String, ms: u64) -> Answer {
    let mut request = till
        .sign(Method::POST, path, Bytes::from(body), Timestamp::now())
        .expect("the path is well-formed");
    request.headers_mut().insert("tillside-deadline-ms", HeaderValue::from(ms));
    till.send(request).await.expect("the service answers")
}

/// The slug of a problem.
pub(crate) fn slug(answer: &Answer) -> String {
    slug_of(&body(answer))
}

/// The slug of a problem in a batch's outcome.
pub(crate) fn slug_of(problem: &Value) -> String {
    let url = problem["type"].as_str().unwrap_or_else(|| panic!("not a problem: {problem}"));
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Waits, for as long as it would take a person to lose patience, until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// The account of a card.
pub(crate) async fn account_of(client: &Client, card: &str) -> i64 {
    let sql = "SELECT account_id FROM card WHERE card = $1";
    client.query_one(sql, &[&card]).await.expect("somebody used the card").get(0)
}

/// Points of a card's account, as its row says.
pub(crate) async fn points_of(client: &Client, card: &str) -> i64 {
    let sql = "SELECT a.total_points FROM account a JOIN card c USING (account_id)
               WHERE c.card = $1";
    client.query_one(sql, &[&card]).await.expect("somebody used the card").get(0)
}

/// Checks everything that must hold between the tables after any history: Σ entries = Σ lots =
/// total for every account; every swipe is named once and every name leads to its swipe; the
/// entries of a version are those that its swipe says; counters equal the swipes.
pub(crate) async fn audit(service: &TestService) {
    let client = service.sql().await;
    let mut entries: HashMap<i64, Vec<(i64, LotKey)>> = HashMap::new();
    let sql = "SELECT account_id, points, lot_available, lot_expires FROM entry
               ORDER BY account_id, version, entry_no";
    for row in client.query(sql, &[]).await.expect(sql) {
        let (available_from, expires_on): (Date, Date) = (row.get(2), row.get(3));
        let lot = LotKey { available_from, expires_on };
        entries.entry(row.get(0)).or_default().push((row.get(1), lot));
    }
    let sql = "SELECT account_id, total_points, lots FROM account";
    for row in client.query(sql, &[]).await.expect(sql) {
        let (account_id, total): (i64, i64) = (row.get(0), row.get(1));
        let lots = Lots::decode(row.get(2)).expect("lots are readable");
        let booked = Lots::replay(entries.remove(&account_id).unwrap_or_default());
        assert_eq!(lots, booked, "lots and entries of account {account_id}");
        assert_eq!(lots.total(), total, "lots and total of account {account_id}");
    }
    assert!(entries.is_empty(), "entries without an account: {entries:?}");

    let mut broken = String::new();
    for (what, sql) in [
        (
            "names and swipes of sales",
            "SELECT count(*) FROM (SELECT workstation_no, business_date, sequence_number,
                                          account_id, version
                                   FROM swipe_key WHERE version > 0) k
             FULL JOIN (SELECT * FROM swipe WHERE kind <= 2) s
             USING (workstation_no, business_date, sequence_number, account_id, version)
             WHERE k.account_id IS NULL OR s.total_minor IS NULL",
        ),
        (
            "names and swipes of voids",
            "SELECT count(*) FROM (SELECT workstation_no, business_date, sequence_number,
                                          account_id, void_version AS version
                                   FROM swipe_key WHERE void_version > 0) k
             FULL JOIN (SELECT * FROM swipe WHERE kind > 2) s
             USING (workstation_no, business_date, sequence_number, account_id, version)
             WHERE k.account_id IS NULL OR s.total_minor IS NULL",
        ),
        (
            "versions beyond their account's",
            "SELECT count(*) FROM swipe s LEFT JOIN account a USING (bucket, account_id)
             WHERE a.version IS NULL OR s.version NOT BETWEEN 1 AND a.version",
        ),
        (
            "two things under one version",
            "SELECT count(*) FROM (SELECT 1 FROM swipe GROUP BY account_id, version
                                   HAVING count(*) > 1) twice",
        ),
        (
            "what swipes say and what was booked",
            "SELECT count(*) FROM swipe s LEFT JOIN (
                 SELECT account_id, version, sum(points) AS points FROM entry WHERE kind IN (1, 3)
                 GROUP BY account_id, version) e USING (account_id, version)
             WHERE coalesce(e.points, 0) <> s.earned_points - s.reversed_points",
        ),
        (
            "what swipes say that was paid with points and what was booked",
            "SELECT count(*) FROM swipe s LEFT JOIN (
                 SELECT account_id, version, sum(points) AS points FROM entry WHERE kind IN (2, 4)
                 GROUP BY account_id, version) e USING (account_id, version)
             WHERE coalesce(e.points, 0) <> -s.spent_points",
        ),
        (
            "counters and swipes",
            "SELECT count(*) FROM account a LEFT JOIN (
                 SELECT s.account_id, sum(s.total_minor) AS minor, count(*) AS baskets
                 FROM swipe s JOIN swipe_key k USING (account_id, version)
                 WHERE s.kind = 0 AND k.void_version = 0 GROUP BY s.account_id) s USING (account_id)
             WHERE a.sales_minor <> coalesce(s.minor, 0) OR a.baskets <> coalesce(s.baskets, 0)",
        ),
    ] {
        let rows: i64 = client.query_one(sql, &[]).await.expect(sql).get(0);
        if rows > 0 {
            writeln!(broken, "{what}: {rows} rows").expect("writing to a String cannot fail");
        }
    }
    assert!(broken.is_empty(), "{broken}");
}
