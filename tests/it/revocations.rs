//! What a handout has issued, taken back in one call: all that is still open and nothing else,
//! whoever works at it and wherever it is cut off, while tills redeem, and by people who may.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::metrics::Metrics;
use tillside::offer::handouts::Worker;
use tillside::office::Role;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::coupons::{outcomes, with};
use crate::desk::verified;
use crate::handouts::{forget_claims, is, issue, look, ready, service, works};
use crate::offers_api::{forty, made};
use crate::openapi::{document, findings};
use crate::support::flow::{account_of, audit, enrol, name_of, on, slug, until, void};
use crate::support::gate::answers;
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};
use crate::support::tap::Tap;

/// Issues a handout to everybody and waits until all have theirs.
async fn issued(someone: &Person, name: &str) {
    ready(someone, name, json!({})).await;
    issue(someone, name).await;
    is(someone, name, "done").await;
}

/// Has a handout taken back; the handout.
async fn revoke(someone: &Person, name: &str) -> Value {
    let answer = someone.post(&format!("/v1/handouts/{name}/revoke"), "", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    body(&answer)
}

/// Waits until a handout has been taken back: gone through, revoked, redeemed, expired, failed.
async fn revoked(someone: &Person, name: &str) -> [i64; 5] {
    let is_done = async || look(someone, name).await["revocation"]["done"] == true;
    until("it is taken back", is_done).await;
    let revocation = &look(someone, name).await["revocation"];
    ["coupons", "revoked", "redeemed", "expired", "failed"]
        .map(|field| revocation[field].as_i64().expect("a number"))
}

/// The code of a customer's coupon of a handout.
async fn code_of(service: &TestService, name: &str, number: u64) -> String {
    let account_id = account_of(&service.sql().await, &card(number)).await;
    let code = format!(
        "SELECT code FROM coupon WHERE account_id = {account_id} AND actor = 'handout:{name}'"
    );
    tillside::domain::coupon::Code::from_number(service.count(&code).await).to_string()
}

/// A sale of today with these coupons.
fn sale(service: &TestService, sequence: i64, number: u64, coupons: &[&str]) -> Value {
    let today = service.replica.app.today().to_string();
    with(on(swipe(sequence, Some(&card(number)), 300), &today), coupons)
}

async fn traced(service: &TestService, action: &str) -> i64 {
    service.count(&format!("SELECT count(*) FROM audit WHERE action = '{action}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_taken_back_and_what_was_used_or_has_expired_stays() {
    let (service, admin) = service().await;
    let (till, _work) = (service.till(), works(&service.replica));
    issued(&admin, "spring").await;
    issued(&admin, "other").await;
    let used = code_of(&service, "spring", 1).await;
    let sold = sale(&service, 900, 1, &[&used]);
    assert_eq!(outcomes(&post(&till, &sold).await), ["redeemed"]);
    let before = code_of(&service, "spring", 2).await;
    let single = admin.post(&format!("/v1/coupons/{before}/revoke"), "", &json!({})).await;
    assert_eq!(single.status, StatusCode::OK, "{:?}", single.body);
    let account_id = account_of(&service.sql().await, &card(3)).await;
    let late = format!(
        "UPDATE coupon SET valid_from = '2020-01-01', valid_until = '2020-01-07'
         WHERE account_id = {account_id} AND actor = 'handout:spring'"
    );
    service.sql().await.batch_execute(&late).await.expect(&late);
    // Four was merged into an account that has one of its own; both are its.
    enrol(&till, &json!({ "card": card(4), "link_to": card(2) })).await;

    let asked = revoke(&admin, "spring").await;
    assert_eq!((&asked["state"], &asked["issued"]), (&json!("done"), &json!(6)));
    assert_eq!(revoked(&admin, "spring").await, [6, 4, 1, 1, 0]);
    let document = document(&till).await;
    let schema = json!({ "$ref": "#/components/schemas/Handout" });
    assert_eq!(findings(&document, &schema, &look(&admin, "spring").await, ""), [""; 0]);
    let open = "SELECT count(*) FROM coupon WHERE state = 0 AND actor = 'handout:spring'";
    assert_eq!(service.count(open).await, 1, "that which has expired");
    let others = "SELECT count(*) FROM coupon WHERE state = 0 AND actor = 'handout:other'";
    assert_eq!(service.count(others).await, 6);
    assert_eq!(
        (traced(&service, "handout.revoke").await, traced(&service, "coupon.revoke").await),
        (1, 4)
    );
    let code = code_of(&service, "spring", 5).await;
    assert_eq!(outcomes(&post(&till, &sale(&service, 901, 5, &[&code])).await), ["revoked"]);

    // The void opens a coupon of a mistake again; asked again it is taken back as well.
    assert_eq!(void(&till, &name_of(&sold)).await.status, StatusCode::CREATED);
    assert_eq!(service.count(open).await, 2);
    revoke(&admin, "spring").await;
    assert_eq!(revoked(&admin, "spring").await, [6, 5, 0, 1, 0]);
    // For good: nothing of it is issued any more.
    assert_eq!(issue(&admin, "spring").await["state"], "done");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_cut_off_is_taken_back_by_whoever_works_next_and_counted_once() {
    let (service, admin) = service().await;
    let work = works(&service.replica);
    issued(&admin, "all").await;
    // Somebody holds an account: all others are taken back, and this one is waited for.
    let fourth = "SELECT account_id FROM coupon ORDER BY bucket, code LIMIT 1 OFFSET 3";
    let held = service.count(fourth).await;
    let sql = service.sql().await;
    let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {held} FOR UPDATE");
    sql.batch_execute(&hold).await.expect("nobody else has it");
    revoke(&admin, "all").await;
    let back = "SELECT count(*) FROM coupon WHERE state = 2";
    until("five are taken back", async || service.count(back).await == 5).await;
    work.abort();
    assert!(work.await.is_err_and(|ended| ended.is_cancelled()));
    sql.batch_execute("ROLLBACK").await.expect("it was open");
    let halfway = look(&admin, "all").await;
    assert_eq!(
        (&halfway["revocation"]["done"], &halfway["revocation"]["coupons"]),
        (&json!(false), &json!(0))
    );
    // Asked again meanwhile nothing begins anew, and while the claim holds nobody else works.
    assert_eq!(revoke(&admin, "all").await["revocation"], halfway["revocation"]);
    let other = service.replica().await;
    let mut idle = Worker::new(&service.config, service.pool.clone(), Arc::new(Metrics::new()));
    let current = || other.app.catalogue.current();
    assert!(!idle.work(None, current, |_| ()).await.expect("asked"));
    forget_claims(&service).await;
    assert!(idle.work(None, current, |_| ()).await.expect("worked"));
    assert_eq!(revoked(&admin, "all").await, [6, 6, 0, 0, 0]);
    assert_eq!(
        (traced(&service, "handout.revoke").await, traced(&service, "coupon.revoke").await),
        (1, 6)
    );
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_tills_redeem_meanwhile_is_either_used_or_taken_back_and_the_file_says_which()
{
    const CUSTOMERS: u64 = 60;
    let (service, admin) = service().await;
    let other = service.replica().await;
    for number in 10..10 + CUSTOMERS {
        let sequence = i64::try_from(number).expect("small");
        post(&service.till(), &swipe(sequence, Some(&card(number)), 100)).await;
    }
    let _works = (works(&service.replica), works(&other));
    issued(&admin, "all").await;
    let tills = [service.till(), other.till("0367", "03")];
    let barrier = Arc::new(Barrier::new(usize::try_from(CUSTOMERS).expect("few") + 1));
    let mut posting = Vec::new();
    let mut codes = Vec::new();
    for number in 10..10 + CUSTOMERS {
        let code = code_of(&service, "all", number).await;
        let (till, barrier) = (tills[usize::from(number % 2 == 0)].clone(), Arc::clone(&barrier));
        let sequence = i64::try_from(number).expect("small") + 1_000;
        let sale = sale(&service, sequence, number, &[&code]);
        posting.push(tokio::spawn(async move {
            barrier.wait().await;
            post(&till, &sale).await
        }));
        codes.push(code);
    }
    barrier.wait().await;
    revoke(&admin, "all").await;
    let answers = answers(posting).await;
    let [coupons, back, used, expired, failed] = revoked(&admin, "all").await;
    assert_eq!((coupons, back + used, expired + failed), (66, 66, 0));

    let file = admin.get("/v1/handouts/all/file?format=ndjson").await;
    let file = String::from_utf8(file.body.to_vec()).expect("UTF-8");
    for (answer, code) in answers.iter().zip(&codes) {
        let outcome = outcomes(answer).remove(0);
        assert!(["redeemed", "revoked"].contains(&&*outcome), "{outcome}");
        let line = file.lines().find(|line| line.contains(code)).expect("it was issued");
        assert!(line.contains(&format!("\"state\":\"{outcome}\"")), "{outcome}: {line}");
    }
    let redeemed = answers.iter().filter(|answer| outcomes(answer) == ["redeemed"]).count();
    assert_eq!(i64::try_from(redeemed).expect("few"), used);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_whose_sale_comes_after_the_revocation_is_told_so_though_it_knew_the_coupon_as_open()
{
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    issued(&admin, "all").await;
    let tap = Tap::open(&service.config.database.url);
    let slow = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.commit.statement_timeout_ms = 60_000;
        })
        .await;
    let till = slow.till("0367", "03");
    // It has read the coupon as open and decided, when it is held back.
    tap.hold("commit::commit_batch");
    let code = code_of(&service, "all", 1).await;
    let sale = sale(&service, 900, 1, &[&code]);
    let posting = tokio::spawn(async move { post(&till, &sale).await });
    until("the replica stands still", async || tap.is_holding()).await;
    revoke(&admin, "all").await;
    assert_eq!(revoked(&admin, "all").await, [6, 6, 0, 0, 0]);
    tap.let_go();
    assert_eq!(outcomes(&posting.await.expect("no panic")), ["revoked"]);
    verified(&service).await;
}

/// A worker at the end of a line of its own, which has begun to issue a handout and is held back
/// before this statement.
async fn issuing_until(
    service: &Arc<TestService>,
    admin: &Person,
    statement: &str,
) -> (Tap, JoinHandle<bool>) {
    let work = works(&service.replica);
    ready(admin, "all", json!({})).await;
    work.abort();
    let tap = Tap::open(&service.config.database.url);
    let mut config = service.config.clone();
    config.database.url = tap.url();
    config.commit.statement_timeout_ms = 60_000;
    issue(admin, "all").await;
    tap.hold(statement);
    let service = Arc::clone(service);
    let working = tokio::spawn(async move {
        let mut worker = Worker::new(&config, service.pool.clone(), Arc::new(Metrics::new()));
        let current = || service.replica.app.catalogue.current();
        worker.work(None, current, |_| ()).await.expect("nothing failed")
    });
    until("the worker stands still", async || tap.is_holding()).await;
    (tap, working)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_issued_must_be_stopped_first_and_then_nothing_more_is_issued() {
    let (service, admin) = service().await;
    let service = Arc::new(service);
    let (tap, working) = issuing_until(&service, &admin, "commit::lock_free_accounts").await;
    let early = admin.post("/v1/handouts/all/revoke", "", &json!({})).await;
    assert_eq!((early.status, slug(&early)), (StatusCode::CONFLICT, "handout-issuing".into()));
    assert_eq!(look(&admin, "all").await["revocation"], Value::Null);
    assert_eq!(traced(&service, "handout.revoke").await, 0);

    let stopped = admin.post("/v1/handouts/all/stop", "", &json!({})).await;
    assert_eq!(body(&stopped)["state"], "stopped", "{:?}", stopped.body);
    assert_eq!(revoke(&admin, "all").await["state"], "done");
    // Whoever was in the middle of it finds out, also with its claim.
    tap.let_go();
    assert!(working.await.expect("no panic"));
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 0);
    let _work = works(&service.replica);
    assert_eq!(revoked(&admin, "all").await, [0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_a_handout_waits_for_the_coupons_at_hand_and_all_of_them_are_taken_back() {
    let (service, admin) = service().await;
    let service = Arc::new(service);
    let (tap, working) = issuing_until(&service, &admin, "commit::commit_batch").await;
    let stopping = {
        let admin = admin.clone();
        tokio::spawn(async move { admin.post("/v1/handouts/all/stop", "", &json!({})).await })
    };
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("somebody waits", async || service.count(waits).await > 0).await;
    tap.let_go();
    // Whether they are counted before it is stopped is a race; that they are there is none.
    let stopped = body(&stopping.await.expect("no panic"));
    assert!(stopped["state"] == "stopped" || stopped["state"] == "done", "{stopped}");
    assert!(working.await.expect("no panic"));
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 6, "the handful at hand");
    revoke(&admin, "all").await;
    let _work = works(&service.replica);
    assert_eq!(revoked(&admin, "all").await, [6, 6, 0, 0, 0]);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_of_a_damaged_account_is_counted_as_such_and_holds_up_no_other() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    issued(&admin, "all").await;
    let damaged = account_of(&service.sql().await, &card(2)).await;
    let damage = format!("UPDATE account SET lots = '\\x09' WHERE account_id = {damaged}");
    service.sql().await.batch_execute(&damage).await.expect(&damage);
    revoke(&admin, "all").await;
    assert_eq!(revoked(&admin, "all").await, [6, 5, 0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_get_nothing_back_and_many_coupons_are_gone_through_handful_by_handful() {
    let (service, admin) = service().await;
    for number in 10..=200_u64 {
        let sequence = i64::try_from(number).expect("small");
        post(&service.till(), &swipe(sequence, Some(&card(number)), 100)).await;
    }
    let mut few = forty("few", &[]);
    few["budget"] = json!({ "coupons": 500 });
    made(&service, &admin, few).await;
    let other = service.replica().await;
    let _works = (works(&service.replica), works(&other));
    let wanted = json!({ "handout": "few", "offer": "few", "where": {} });
    admin.post("/v1/handouts", "k", &wanted).await;
    is(&admin, "few", "ready").await;
    issue(&admin, "few").await;
    is(&admin, "few", "done").await;
    revoke(&admin, "few").await;
    // Every claim is forgotten again and again, so that both are at it at the same time.
    while look(&admin, "few").await["revocation"]["done"] == false {
        forget_claims(&service).await;
        other.app.handouts.notify_one();
        service.replica.app.handouts.notify_one();
    }
    assert_eq!(revoked(&admin, "few").await, [197, 197, 0, 0, 0]);
    assert_eq!(traced(&service, "coupon.revoke").await, 197);
    let budgets = body(&admin.get("/v1/offers/few/budgets").await);
    assert_eq!(budgets["budgets"][0]["spent"], 197, "{budgets}");
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_takes_back_what_counts_in_own_stores_and_nothing_else() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    let manager = person(&service, Role::Manager).await;
    for (name, stores) in [("own", &["0367"][..]), ("both", &["0367", "0406"]), ("far", &["0406"])]
    {
        made(&service, &admin, forty(name, stores)).await;
        let wanted = json!({ "handout": name, "offer": name, "where": {} });
        admin.post("/v1/handouts", name, &wanted).await;
        is(&admin, name, "ready").await;
        issue(&admin, name).await;
        is(&admin, name, "done").await;
    }
    let both = manager.post("/v1/handouts/both/revoke", "", &json!({})).await;
    let far = manager.post("/v1/handouts/far/revoke", "", &json!({})).await;
    assert_eq!((slug(&both), slug(&far)), ("forbidden".into(), "not-found".into()));
    let both = manager.get("/v1/handouts/both/file").await;
    let far = manager.get("/v1/handouts/far/file").await;
    assert_eq!((slug(&both), slug(&far)), ("forbidden".into(), "not-found".into()));
    assert_eq!(manager.get("/v1/handouts/own/file").await.status, StatusCode::OK);
    revoke(&manager, "own").await;
    assert_eq!(revoked(&manager, "own").await, [6, 6, 0, 0, 0]);
    assert_eq!(service.count("SELECT count(*) FROM coupon WHERE state = 0").await, 12);
}
