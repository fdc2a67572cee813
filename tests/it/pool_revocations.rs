//! What is left of a pool of codes, taken back in one call: no till redeems a code of it after the
//! answer, fetched or not, whoever was at it that moment, and whatever is voided.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::domain::coupon::Code;
use tillside::office::Role;
use tokio::sync::Barrier;

use crate::codes::{fetched, known, made, of_pool};
use crate::coupons::{offer as offered, outcomes, with};
use crate::desk::{desk, verified};
use crate::support::flow::{audit, name_of, on, slug, until, void};
use crate::support::gate::answers;
use crate::support::office::{Person, person};
use crate::support::service::{Replica, TestService, body, card, post, swipe};
use crate::support::tap::Tap;

/// Has the pool of a file taken back; the pool.
async fn revoke(someone: &Person, file: &str) -> Value {
    let path = file.replace("/file", "/revoke");
    let answer = someone.post(&path, "", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    body(&answer)
}

/// A sale of today with a code.
fn sale(service: &TestService, sequence: i64, number: u64, code: &str) -> Value {
    let today = service.replica.app.today().to_string();
    with(on(swipe(sequence, Some(&card(number)), 300), &today), &[code])
}

async fn service() -> (TestService, Person) {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    offered(&service, of_pool("leaflet")).await;
    (service, admin)
}

/// A replica at the end of a line of its own, which can be held back.
async fn slow(service: &TestService) -> (Tap, Replica) {
    let tap = Tap::open(&service.config.database.url);
    let replica = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.commit.statement_timeout_ms = 60_000;
        })
        .await;
    known(&replica, "leaflet").await;
    (tap, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_code_of_a_pool_that_was_taken_back_is_redeemed_nor_told_and_others_are() {
    let (service, admin) = service().await;
    let till = service.till();
    let (file, codes) = made(&admin, "leaflet", 4).await;
    let (_, others) = made(&admin, "leaflet", 5).await;
    let unfetched = admin.post("/v1/offers/leaflet/codes", "never", &json!({ "codes": 7 })).await;
    let unfetched = format!(
        "/v1/offers/leaflet/codes/{}/file",
        body(&unfetched)["pool"].as_str().expect("a pool")
    );
    let used = sale(&service, 1, 1, &codes[0]);
    assert_eq!(outcomes(&post(&till, &used).await), ["redeemed"]);
    let voided = sale(&service, 2, 2, &codes[1]);
    assert_eq!(outcomes(&post(&till, &voided).await), ["redeemed"]);
    assert_eq!(void(&till, &name_of(&voided)).await.status, StatusCode::CREATED);

    let revoked = revoke(&admin, &file).await;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(revoke(&admin, &file).await, revoked, "once and for all");
    revoke(&admin, &unfetched).await;
    let trail = "SELECT count(*) FROM audit WHERE action = 'offer.codes.revoke'
                 AND object = 'offer:leaflet' AND user_no IS NOT NULL";
    assert_eq!(service.count(trail).await, 2);
    for file in [&file, &unfetched] {
        let refused = fetched(&admin, file).await;
        assert_eq!(
            (refused.status, slug(&refused)),
            (StatusCode::CONFLICT, "codes-revoked".into())
        );
    }
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 9);
    let nowhere = admin.post("/v1/offers/leaflet/codes/none/revoke", "", &json!({})).await;
    assert_eq!(slug(&nowhere), "not-found");

    let took = async |sequence, number, code: &str| {
        outcomes(&post(&till, &sale(&service, sequence, number, code)).await)
    };
    assert_eq!(took(3, 3, &codes[2]).await, ["revoked"]);
    assert_eq!(took(4, 2, &codes[1]).await, ["revoked"], "what a void had opened");
    assert_eq!(took(5, 1, &codes[0]).await, ["already-redeemed"]);
    assert_eq!(took(6, 3, &others[0]).await, ["redeemed"]);
    let state = async |code: &str| {
        let life = body(&admin.get(&format!("/v1/coupons/{code}")).await);
        (life["state"].clone(), life["pool"].clone())
    };
    assert_eq!(state(&codes[0]).await, ("redeemed".into(), revoked["pool"].clone()));
    assert_eq!(state(&codes[3]).await, ("revoked".into(), revoked["pool"].clone()));
    let single = admin.post(&format!("/v1/coupons/{}/revoke", codes[3]), "", &json!({})).await;
    assert_eq!(single.status, StatusCode::OK, "it is taken back: {:?}", single.body);

    // A void opens it no more.
    assert_eq!(void(&till, &name_of(&used)).await.status, StatusCode::CREATED);
    assert_eq!(took(7, 1, &codes[0]).await, ["revoked"]);
    assert_eq!(state(&codes[0]).await.0, "revoked");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_whose_sale_comes_after_the_answer_is_told_so_though_its_replica_had_decided() {
    let (service, admin) = service().await;
    let (file, codes) = made(&admin, "leaflet", 4).await;
    // Of somebody's by a void as well: no row of it changes when its pool is taken back.
    let voided = sale(&service, 1, 2, &codes[1]);
    assert_eq!(outcomes(&post(&service.till(), &voided).await), ["redeemed"]);
    assert_eq!(void(&service.till(), &name_of(&voided)).await.status, StatusCode::CREATED);
    let mut held = Vec::new();
    for (sequence, number, code) in [(10, 1, &codes[0]), (11, 2, &codes[1])] {
        let (tap, replica) = slow(&service).await;
        let till = replica.till("0367", "03");
        let sale = sale(&service, sequence, number, code);
        // It has read the code as open and decided, when it is held back.
        tap.hold("commit::commit_batch");
        let posting = tokio::spawn(async move { post(&till, &sale).await });
        until("the replica stands still", async || tap.is_holding()).await;
        held.push((tap, replica, posting));
    }
    revoke(&admin, &file).await;
    for (tap, _replica, posting) in held {
        tap.let_go();
        assert_eq!(outcomes(&posting.await.expect("no panic")), ["revoked"]);
    }
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_a_pool_back_waits_for_the_code_at_hand() {
    let (service, admin) = service().await;
    let (file, codes) = made(&admin, "leaflet", 2).await;
    // As the statement of a till that is not committed yet.
    let client = service.sql().await;
    let locked = "BEGIN; SELECT 1 FROM code_pool FOR SHARE";
    client.batch_execute(locked).await.expect(locked);
    let revoking = tokio::spawn(async move { revoke(&admin, &file).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                 AND query LIKE '%offer::codes::revoke%' AND datname = current_database()";
    until("it waits", async || service.count(waits).await == 1).await;
    // Nothing was answered, so what is at hand may still be redeemed.
    let sold = post(&service.till(), &sale(&service, 1, 1, &codes[0])).await;
    assert_eq!(outcomes(&sold), ["redeemed"]);
    client.batch_execute("COMMIT").await.expect("the lock goes");
    assert!(revoking.await.expect("no panic")["revoked_at"].is_string());
    let late = post(&service.till(), &sale(&service, 2, 1, &codes[1])).await;
    assert_eq!(outcomes(&late), ["revoked"]);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_tills_that_redeem_while_a_pool_is_taken_back_none_does_after_the_answer() {
    const TILLS: usize = 32;
    let (service, admin) = service().await;
    let replica = service.replica().await;
    known(&replica, "leaflet").await;
    let (file, codes) = made(&admin, "leaflet", 96).await;
    let service = Arc::new(service);
    let tills = [service.till(), replica.till("0367", "03")];
    let barrier = Arc::new(Barrier::new(TILLS + 1));
    let race = |round: usize| {
        let posting = (0..TILLS).map(|at| {
            let (till, barrier) = (tills[at % 2].clone(), Arc::clone(&barrier));
            let number = round * TILLS + at;
            let (sequence, of_card) = (i64::try_from(number).expect("few") + 1_000, number as u64);
            let sale = sale(&service, sequence, of_card, &codes[number]);
            tokio::spawn(async move {
                barrier.wait().await;
                post(&till, &sale).await
            })
        });
        answers(posting.collect())
    };
    let counted = "SELECT count(*) FROM coupon WHERE state = 1";
    let (before, ()) = tokio::join!(race(0), async {
        barrier.wait().await;
    });
    assert!(before.iter().all(|answer| outcomes(answer) == ["redeemed"]));
    let (during, at_the_answer) = tokio::join!(race(1), async {
        barrier.wait().await;
        revoke(&admin, &file).await;
        service.count(counted).await
    });
    let seen: Vec<String> = during.iter().flat_map(outcomes).collect();
    assert!(seen.iter().all(|it| it == "redeemed" || it == "revoked"), "{seen:?}");
    let redeemed = TILLS + seen.iter().filter(|it| *it == "redeemed").count();
    // Whatever was redeemed was so when it was answered.
    assert_eq!(at_the_answer, i64::try_from(redeemed).expect("few"));
    assert_eq!(service.count(counted).await, at_the_answer);
    let (after, ()) = tokio::join!(race(2), async {
        barrier.wait().await;
    });
    assert!(after.iter().all(|answer| outcomes(answer) == ["revoked"]));
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_under_way_gets_no_page_more_when_its_pool_was_taken_back() {
    let (service, admin) = service().await;
    let (file, codes) = made(&admin, "leaflet", 2).await;
    let page: Vec<Code> = codes.iter().map(|text| Code::parse(text).expect("a code")).collect();
    let number = "SELECT pool_no FROM code_pool";
    let pool_no: i32 = service.sql().await.query_one(number, &[]).await.expect(number).get(0);
    // As if it had not been fetched.
    service.sql().await.batch_execute("DELETE FROM coupon").await.expect("no coupons");
    let store = async || desk(&service.config).store_codes(&page, pool_no).await.expect("it works");
    assert!(store().await);
    service.sql().await.batch_execute("DELETE FROM coupon").await.expect("no coupons");
    revoke(&admin, &file).await;
    assert!(!store().await);
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 0);
}
