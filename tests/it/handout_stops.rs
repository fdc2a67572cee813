//! Where handouts stop, fail or leave somebody out: what was issued until then stays as it is, and
//! nobody else is kept waiting.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tillside::domain::offer::Offer;
use tillside::metrics::Metrics;
use tillside::offer::handouts::Worker;

use crate::handouts::{forget_claims, is, issue, look, order, ready, service, works};
use crate::offers_api::{forty, made};
use crate::support::flow::{slug, until};
use crate::support::service::{TestService, card, post, swipe};

const COUPONS: &str = "SELECT count(*) FROM coupon";

/// A worker that works only when it is asked to.
fn worker(service: &TestService) -> Worker {
    Worker::new(&service.config, service.pool.clone(), Arc::new(Metrics::new()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_ends_stops_its_handout() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    ready(&admin, "all", json!({})).await;
    let sql = service.sql().await;
    let held = service.count("SELECT account_ids[2] FROM handout_page").await;
    let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {held} FOR UPDATE");
    sql.batch_execute(&hold).await.expect("nobody else has it");
    issue(&admin, "all").await;
    until("one has theirs", async || service.count(COUPONS).await == 1).await;
    admin.post("/v1/offers/forty/end", "", &json!({})).await;
    let catalogue = &service.replica.app.catalogue;
    until("the replica knows", async || {
        let until = |offer: &Offer| offer.definition.until.is_some();
        catalogue.current().offer_named("forty").is_some_and(until)
    })
    .await;
    sql.batch_execute("ROLLBACK").await.expect("it was open");
    // The handful at hand was decided on before; it was all of them here.
    until("it has stopped or is done", async || look(&admin, "all").await["state"] != "issuing")
        .await;
    let ended = look(&admin, "all").await;
    let is_done = ended["state"] == "done";
    assert_eq!(ended["stopped_why"] == "offer-ended", !is_done, "{ended}");
    assert_eq!(ended["issued"], ended["done"]);
    assert_eq!(ended["issued"], service.count(COUPONS).await);
    made(&service, &admin, forty("fifty", &[])).await;
    let mut wanted = order("fifty", json!({}));
    wanted["offer"] = "fifty".into();
    admin.post("/v1/handouts", "fifty", &wanted).await;
    is(&admin, "fifty", "ready").await;
    admin.post("/v1/offers/fifty/end", "", &json!({})).await;
    let refused = admin.post("/v1/handouts/fifty/issue", "", &json!({})).await;
    assert_eq!(slug(&refused), "validation-failed", "an offer that is over is not begun with");
    // One that ended after somebody had it issued, and before anybody worked at it.
    let begun =
        "UPDATE handout SET state = 3, counts_from = current_date WHERE handout_id = 'fifty'";
    let before = service.count(COUPONS).await;
    until("the replica knows", async || {
        let until = |offer: &Offer| offer.definition.until.is_some();
        catalogue.current().offer_named("fifty").is_some_and(until)
    })
    .await;
    sql.batch_execute(begun).await.expect(begun);
    service.replica.app.handouts.notify_one();
    let stopped = is(&admin, "fifty", "stopped").await;
    assert_eq!((&stopped["stopped_why"], &stopped["done"]), (&json!("offer-ended"), &json!(0)));
    assert_eq!(service.count(COUPONS).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handout_that_runs_past_its_offers_last_day_issues_nothing_more() {
    let (service, admin) = service().await;
    let work = works(&service.replica);
    ready(&admin, "all", json!({})).await;
    work.abort();
    issue(&admin, "all").await;
    // It was begun yesterday, which is the offer's last day.
    let sql = service.sql().await;
    sql.batch_execute("UPDATE handout SET counts_from = counts_from - 1").await.expect("changed");
    admin.post("/v1/offers/forty/end", "", &json!({})).await;
    let catalogue = &service.replica.app.catalogue;
    let ended = |it: &Offer| it.definition.until.is_some();
    until("the replica knows", async || {
        catalogue.current().offer_named("forty").is_some_and(ended)
    })
    .await;
    let worked = worker(&service).work(None, || catalogue.current(), |_| ()).await;
    assert!(worked.expect("nothing failed"));
    let stopped = look(&admin, "all").await;
    assert_eq!((&stopped["state"], &stopped["done"]), (&json!("stopped"), &json!(0)));
    assert_eq!(stopped["stopped_why"], "offer-ended");
    assert_eq!(service.count(COUPONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handout_that_fails_keeps_no_other_waiting() {
    let (service, admin) = service().await;
    let work = works(&service.replica);
    for name in ["damaged", "sound"] {
        ready(&admin, name, json!({})).await;
    }
    work.abort();
    for name in ["damaged", "sound"] {
        issue(&admin, name).await;
    }
    let sql = service.sql().await;
    let damage = "DELETE FROM handout_page WHERE handout_no =
                      (SELECT handout_no FROM handout WHERE handout_id = 'damaged')";
    sql.batch_execute(damage).await.expect(damage);
    let (mut worker, catalogue) = (worker(&service), &service.replica.app.catalogue);
    assert!(worker.work(None, || catalogue.current(), |_| ()).await.is_err());
    // Its pause is over before anybody looks again.
    let over = "UPDATE handout SET worked_until = now() - interval '1 second'
                WHERE handout_id = 'damaged'";
    sql.batch_execute(over).await.expect(over);
    assert!(worker.work(None, || catalogue.current(), |_| ()).await.expect("the other one"));
    assert_eq!(look(&admin, "sound").await["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_damaged_is_left_out_of_a_question() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    let damage = "UPDATE account SET lots = '\\x09'
                  WHERE account_id = (SELECT min(account_id) FROM account WHERE state = 0)";
    service.sql().await.batch_execute(damage).await.expect(damage);
    assert_eq!(ready(&admin, "all", json!({})).await["accounts"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_handout_gives_its_turn_to_what_is_taken_back() {
    let (service, admin) = service().await;
    let work = works(&service.replica);
    ready(&admin, "mistake", json!({ "enrolled": true })).await;
    issue(&admin, "mistake").await;
    is(&admin, "mistake", "done").await;
    // More than are taken in hand at once.
    for number in 10..=100_u64 {
        let sequence = i64::try_from(number).expect("small");
        post(&service.till(), &swipe(sequence, Some(&card(number)), 100)).await;
    }
    ready(&admin, "large", json!({})).await;
    work.abort();
    forget_claims(&service).await;
    issue(&admin, "large").await;
    let (mut worker, catalogue) = (worker(&service), &service.replica.app.catalogue);
    worker.turn = Duration::ZERO;
    let mut turn = async || worker.work(None, || catalogue.current(), |_| ()).await;
    assert!(turn().await.expect("a handful is issued"));
    let large = look(&admin, "large").await;
    assert_eq!((&large["state"], &large["done"]), (&json!("issuing"), &json!(64)));
    admin.post("/v1/handouts/mistake/revoke", "", &json!({})).await;
    assert!(turn().await.expect("some are taken back"));
    assert_eq!(look(&admin, "mistake").await["revocation"]["revoked"], 3);
    assert_eq!(look(&admin, "large").await["done"], 64, "it waits meanwhile");
    while turn().await.expect("nothing failed") {}
    assert_eq!(look(&admin, "mistake").await["revocation"]["done"], true);
    assert_eq!(look(&admin, "large").await["state"], "done");
}
