//! A handout that somebody ends on one replica while another works at it: nothing of it is left,
//! and no coupon is issued afterwards.

use http::StatusCode;
use serde_json::json;

use crate::desk::verified;
use crate::handouts::{is, issue, look, service, works};
use crate::support::flow::{audit, until};
use crate::support::office::Person;
use crate::support::service::{TestService, card, post, swipe};

const PAGES: &str = "SELECT count(*) FROM handout_page";
const COUPONS: &str = "SELECT count(*) FROM coupon";

/// Whether a statement waits for somebody's lock.
async fn waits(service: &TestService, statement: &str) -> bool {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
           AND query LIKE '%{statement}%'"
    );
    service.count(&waiting).await == 1
}

async fn made(admin: &Person) {
    let wanted = json!({ "handout": "all", "offer": "forty", "where": {} });
    let answer = admin.post("/v1/handouts", "all", &wanted).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ended_while_its_accounts_are_written_down_keeps_none_of_them() {
    let (service, admin) = service().await;
    let other = service.replica().await;
    made(&admin).await;
    // The worker has claimed it and wants to look at accounts.
    let sql = service.sql().await;
    sql.batch_execute("BEGIN; LOCK TABLE account").await.expect("nobody reads");
    let _work = works(&service.replica);
    until("the worker waits", async || waits(&service, "segment::page").await).await;
    // Somebody is about to write the first page: the worker has to wait with its own, in the
    // middle of a statement that holds the handout.
    let writing = service.sql().await;
    let page = "BEGIN; INSERT INTO handout_page (handout_no, page_no, account_ids)
                       SELECT handout_no, 0, '{}' FROM handout";
    writing.batch_execute(page).await.expect("there is one");
    sql.batch_execute("ROLLBACK").await.expect("it was open");
    until("the worker waits again", async || waits(&service, "handouts::counted").await).await;
    let there = admin.at(&other.base_url);
    let ending = tokio::spawn(async move { there.delete("/v1/handouts/all").await });
    until("whoever ends it waits", async || waits(&service, "handouts::end").await).await;
    writing.batch_execute("ROLLBACK").await.expect("it was open");

    assert_eq!(ending.await.expect("asked").status, StatusCode::OK);
    assert_eq!(look(&admin, "all").await["state"], "done");
    assert_eq!(service.count(PAGES).await, 0, "the page that came in between is gone as well");
    assert_eq!(service.count(COUPONS).await, 0);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ended_while_it_is_issued_goes_no_further() {
    let (service, admin) = service().await;
    let other = service.replica().await;
    // More than are taken in hand at once.
    for number in 10..=200_u64 {
        let sequence = i64::try_from(number).expect("small");
        post(&service.till(), &swipe(sequence, Some(&card(number)), 100)).await;
    }
    let _work = works(&service.replica);
    made(&admin).await;
    is(&admin, "all", "ready").await;
    // Somebody has an account of the first handful, and the worker waits for it.
    let held = service.count("SELECT account_ids[4] FROM handout_page").await;
    let sql = service.sql().await;
    let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {held} FOR UPDATE");
    sql.batch_execute(&hold).await.expect("nobody else has it");
    issue(&admin, "all").await;
    until("three have theirs", async || service.count(COUPONS).await == 3).await;
    let ended = admin.at(&other.base_url).delete("/v1/handouts/all").await;
    assert_eq!(ended.status, StatusCode::OK, "{:?}", ended.body);
    assert_eq!(service.count(PAGES).await, 0);
    sql.batch_execute("ROLLBACK").await.expect("it was open");

    // Each coupon asks whether its handout goes on, so the others of the handful get none.
    other.app.handouts.notify_one();
    let _other_work = works(&other);
    let after = json!({ "handout": "after", "offer": "forty", "where": { "enrolled": true } });
    assert_eq!(admin.post("/v1/handouts", "after", &after).await.status, StatusCode::CREATED);
    is(&admin, "after", "ready").await;
    issue(&admin, "after").await;
    is(&admin, "after", "done").await;
    let of_all = "SELECT count(*) FROM coupon WHERE actor = 'handout:all'";
    assert_eq!(service.count(of_all).await, 3);
    assert_eq!(service.count(COUPONS).await, 3 + 3, "whoever is free worked at the next one");
    let stands = look(&admin, "all").await;
    assert_eq!((&stands["state"], &stands["stopped_why"]), (&json!("done"), &json!("people")));
    assert_eq!(service.count(PAGES).await, 0);
    audit(&service).await;
    verified(&service).await;
}
