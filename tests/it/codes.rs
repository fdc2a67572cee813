//! Codes: one for everybody, counted exactly, and pools of them for print and mail, each for one
//! use; whoever comes at the same moment, and whatever is voided.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::commit::{Order, Ordered};
use tillside::domain::coupon::Code;
use tillside::offer::{self, AddError};
use tillside::office::Role;
use tillside::till::{Answer, Till};
use tokio::sync::Barrier;

use crate::coupons::{issue, offer as offered, outcomes, plain, took, with};
use crate::desk::{desk, of_card, verified};
use crate::support::caches::{ALL, replicas};
use crate::support::flow::{audit, name, name_of, on, slug, until, void};
use crate::support::gate::answers;
use crate::support::office::{Person, person};
use crate::support::service::{Replica, TODAY, TestService, body, card, post, swipe};

/// 40 minor units off for whoever has the code.
fn shared(name: &str, code: &str, max_uses: Option<i64>) -> Value {
    let mut offer = plain(name);
    offer["delivery"] = "shared-code".into();
    offer["shared_code"] = json!({ "code": code });
    if let Some(max_uses) = max_uses {
        offer["shared_code"]["max_uses"] = max_uses.into();
    }
    offer
}

pub(crate) fn of_pool(name: &str) -> Value {
    let mut offer = plain(name);
    offer["delivery"] = "code-pool".into();
    offer
}

pub(crate) async fn known(replica: &Replica, offer: &str) {
    let catalogue = &replica.app.catalogue;
    until("the offer is known", async || catalogue.current().offer_named(offer).is_some()).await;
}

async fn ordered(service: &TestService, order: &Order) -> Ordered {
    let snapshot = service.replica.app.catalogue.current();
    let ordered = desk(&service.config).order(&snapshot, order, Timestamp::now()).await;
    ordered.expect("the database answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_code_is_for_everybody_with_a_card_within_its_limits() {
    // One committer, so that what a void gives back is in the hands of whoever needs it next.
    let service = TestService::start_with(|config| config.commit.committers = 1).await;
    let till = service.till();
    let mut welcome = shared("welcome", "WELCOME10", Some(3));
    welcome["limits"] = json!({ "per_account": 1 });
    offered(&service, welcome.clone()).await;
    // A card that nobody has enrolled will do; written in small letters too.
    assert_eq!(took(&till, 1, 1, &["WELCOME10"]).await, ["redeemed"]);
    assert_eq!(took(&till, 2, 2, &["welcome10"]).await, ["redeemed"]);
    assert_eq!(took(&till, 3, 2, &["WELCOME10"]).await, ["over-limit"], "once an account");
    assert_eq!(took(&till, 4, 3, &["WELCOME11"]).await, ["unknown"]);
    let nobodys = post(&till, &with(swipe(5, None, 300), &["WELCOME10"])).await;
    assert_eq!(outcomes(&nobodys), ["not-yours"]);
    let sale = with(swipe(6, Some(&card(3)), 300), &["WELCOME10"]);
    let first = post(&till, &sale).await;
    assert_eq!(outcomes(&first), ["redeemed"]);
    assert_eq!(post(&till, &sale).await.body, first.body, "a retry uses nothing");
    assert_eq!(took(&till, 7, 4, &["WELCOME10"]).await, ["over-limit"], "three in all");
    verified(&service).await;

    // The void gives its use back, to the account and to everybody.
    assert_eq!(void(&till, &name(6)).await.status, StatusCode::CREATED);
    verified(&service).await;
    assert_eq!(took(&till, 8, 3, &["WELCOME10"]).await, ["redeemed"]);
    // So does that of what was not counted, which was nobody's.
    assert_eq!(void(&till, &name(7)).await.status, StatusCode::CREATED);
    assert_eq!(took(&till, 9, 5, &["WELCOME10"]).await, ["over-limit"]);
    let used = "SELECT count(*) FROM coupon WHERE state = 1 AND NOT over_limit";
    assert_eq!(service.count(used).await, 3);

    // People issue none of it, and no other offer gets the code.
    let issuing = ordered(&service, &issue(of_card(1), "welcome", 1)).await;
    assert_eq!(issuing, Ordered::NotPersonal);
    let snapshot = service.replica.app.catalogue.current();
    welcome["offer"] = "again".into();
    let definition = serde_json::from_value(welcome).expect("a definition");
    let again = offer::add(&service.pool, &snapshot, definition, Timestamp::now()).await;
    assert!(matches!(again, Err(AddError::CodeTaken)), "{again:?}");
    audit(&service).await;
    verified(&service).await;
}

/// So many tills bring the same code at the same moment, half of them to either replica, each for
/// a card of its own from `first` on.
async fn race(
    tills: &[Till; 2],
    first: u64,
    count: u64,
    codes: &[String],
    day: &str,
) -> Vec<String> {
    let barrier = Arc::new(Barrier::new(usize::try_from(count).expect("few")));
    let posting = (first..first + count).map(|number| {
        let at = usize::try_from(number).expect("few");
        let (till, barrier) = (tills[at % 2].clone(), Arc::clone(&barrier));
        let sequence = i64::try_from(number).expect("few") + 1_000;
        let code = &codes[at % codes.len()];
        let sale = on(with(swipe(sequence, Some(&card(number)), 300), &[code]), day);
        tokio::spawn(async move {
            barrier.wait().await;
            post(&till, &sale).await
        })
    });
    let answers: Vec<Answer> = answers(posting.collect()).await;
    let mut seen: Vec<String> = answers.iter().flat_map(outcomes).collect();
    seen.sort_unstable();
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_tills_at_once_as_many_count_as_a_shared_code_may() {
    const TILLS: u64 = 64;
    const MAX: i64 = 20;
    let service = TestService::start().await;
    let replica = service.replica().await;
    offered(&service, shared("welcome", "WELCOME10", Some(MAX))).await;
    known(&replica, "welcome").await;
    let tills = [service.till(), replica.till("0367", "03")];
    let code = ["WELCOME10".to_owned()];
    let seen = race(&tills, 0, TILLS, &code, TODAY).await;
    let redeemed = |seen: &[String]| seen.iter().filter(|it| *it == "redeemed").count();
    let counted = "SELECT count(*) FROM coupon WHERE state = 1 AND NOT over_limit";
    let first = redeemed(&seen);
    assert!(seen.iter().all(|it| it == "redeemed" || it == "over-limit"), "{seen:?}");
    assert_eq!(service.count(counted).await, i64::try_from(first).expect("few"));
    assert!(first <= 20, "{first}");
    verified(&service).await;
    // What committers still held of it is there again in the end: twenty count, and no more.
    let sql = "UPDATE lease SET expires_at = now() - interval '1 second'";
    service.sql().await.batch_execute(sql).await.expect(sql);
    let fresh = service.replica_with(|config| config.commit.committers = 1).await;
    let late = fresh.till("0367", "03");
    let mut count = first;
    for number in TILLS..TILLS + 25 {
        let sequence = i64::try_from(number).expect("few") + 1_000;
        count += redeemed(&took(&late, sequence, number, &["WELCOME10"]).await);
    }
    assert_eq!(count, 20);
    assert_eq!(service.count(counted).await, MAX);
    audit(&service).await;
    verified(&service).await;
}

/// Makes so many codes of an offer, and fetches their file.
pub(crate) async fn made(by: &Person, offer: &str, codes: u32) -> (String, Vec<String>) {
    let path = format!("/v1/offers/{offer}/codes");
    let answer = by.post(&path, &format!("make-{codes}"), &json!({ "codes": codes })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let pool = body(&answer)["pool"].as_str().expect("a name").to_owned();
    let file = format!("{path}/{pool}/file");
    (file.clone(), lines(&fetched(by, &file).await))
}

pub(crate) async fn fetched(by: &Person, file: &str) -> Answer {
    by.send(Method::POST, file, None, None).await
}

fn lines(file: &Answer) -> Vec<String> {
    assert_eq!(file.status, StatusCode::OK, "{:?}", file.body);
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    let text = String::from_utf8(file.body.to_vec()).expect("UTF-8");
    let mut lines = text.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some("code"));
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_made_once_and_its_file_is_the_same_each_time() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let manager = person(&service, Role::Manager).await;
    offered(&service, of_pool("leaflet")).await;
    offered(&service, plain("forty")).await;
    let (file, codes) = made(&admin, "leaflet", 2_500).await;
    assert_eq!(codes.len(), 2_500);
    let mut distinct: Vec<Code> =
        codes.iter().map(|text| Code::parse(text).expect("a code")).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 2_500);
    assert_eq!(lines(&fetched(&admin, &file).await), codes);
    assert_eq!(made(&admin, "leaflet", 2_500).await, (file.clone(), codes.clone()));
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 2_500);

    for (path, request, pointer) in [
        ("/v1/offers/leaflet/codes", json!({ "codes": 0 }), "/codes"),
        ("/v1/offers/leaflet/codes", json!({ "codes": 1_000_001 }), "/codes"),
        ("/v1/offers/leaflet/codes", json!({ "codes": "5" }), "/codes"),
        ("/v1/offers/forty/codes", json!({ "codes": 5 }), ""),
    ] {
        let refused = admin.post(path, "k", &request).await;
        assert_eq!(slug(&refused), "validation-failed", "{path} {request}");
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{path} {request}");
    }
    let nowhere = admin.post("/v1/offers/fifty/codes", "k", &json!({ "codes": 5 })).await;
    assert_eq!(slug(&nowhere), "not-found");
    // It counts everywhere, and so not in the manager's own store alone.
    let foreign = manager.post("/v1/offers/leaflet/codes", "k", &json!({ "codes": 5 })).await;
    assert_eq!(slug(&foreign), "forbidden");
    assert_eq!(slug(&fetched(&manager, &file).await), "forbidden");
    let trail = "SELECT count(*) FROM audit WHERE action = 'offer.codes' AND user_no IS NOT NULL";
    assert_eq!(service.count(trail).await, 1);
    let trail = "SELECT count(*) FROM audit WHERE action = 'offer.codes.file'";
    assert_eq!(service.count(trail).await, 3);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_a_pool_is_used_once_and_is_then_of_the_account_that_used_it() {
    let service = TestService::start().await;
    let till = service.till();
    let admin = person(&service, Role::Admin).await;
    let mut leaflet = of_pool("leaflet");
    leaflet["limits"] = json!({ "per_account": 2 });
    offered(&service, leaflet).await;
    let (_, codes) = made(&admin, "leaflet", 5).await;
    let [one, two, three, four, five] = &codes[..] else { panic!("five") };
    let life = async |code: &str| body(&admin.get(&format!("/v1/coupons/{code}")).await);
    assert_eq!(life(one).await["account"], Value::Null);

    // Codes count from the day on which people made them.
    let day = service.replica.app.today().to_string();
    let sale = |sequence, card: Option<&str>, codes: &[&str]| {
        on(with(swipe(sequence, card, 300), codes), &day)
    };
    let took = async |till: &Till, sequence, number, codes: &[&str]| {
        outcomes(&post(till, &sale(sequence, Some(&card(number)), codes)).await)
    };
    let nobodys = post(&till, &sale(1, None, &[one])).await;
    assert_eq!(outcomes(&nobodys), ["not-yours"], "without a card it is nobody's");
    assert_eq!(took(&till, 2, 1, &[one]).await, ["redeemed"]);
    assert!(life(one).await["account"].is_string());
    assert_eq!(took(&till, 3, 2, &[one]).await, ["not-yours"]);
    assert_eq!(took(&till, 4, 1, &[one]).await, ["already-redeemed"]);
    // Opened again it is still that account's.
    assert_eq!(void(&till, &name_of(&sale(2, None, &[]))).await.status, StatusCode::CREATED);
    verified(&service).await;
    assert_eq!(took(&till, 5, 2, &[one]).await, ["not-yours"]);
    assert_eq!(took(&till, 6, 1, &[one, two]).await, ["redeemed", "redeemed"]);
    assert_eq!(took(&till, 7, 1, &[three]).await, ["over-limit"], "two an account");

    // Taken back before anybody has used it; what was used stays used.
    let revoke = |text: &str| Order::Revoke(Code::parse(text).expect("a code"));
    assert_eq!(ordered(&service, &revoke(four)).await, Ordered::Revoked);
    assert_eq!(ordered(&service, &revoke(four)).await, Ordered::Revoked);
    assert_eq!(ordered(&service, &revoke(two)).await, Ordered::Redeemed);
    assert_eq!(took(&till, 8, 3, &[four]).await, ["revoked"]);
    assert_eq!(took(&till, 9, 3, &[five]).await, ["redeemed"]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_tills_with_one_code_of_a_pool_exactly_one_redeems_it() {
    const TILLS: u64 = 64;
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(0), card(1)]).await;
        let admin = person(&service, Role::Admin).await;
        offered(&service, of_pool("leaflet")).await;
        known(&replica, "leaflet").await;
        let (_, codes) = made(&admin, "leaflet", 8).await;
        let tills = [service.till(), replica.till("0367", "03")];
        let day = service.replica.app.today().to_string();
        // Everybody brings the same one; then all bring a few of them, in any order.
        let seen = race(&tills, 0, TILLS, &codes[..1], &day).await;
        assert_eq!(seen.iter().filter(|it| *it == "redeemed").count(), 1, "{caches:?}: {seen:?}");
        assert!(seen.iter().all(|it| it == "redeemed" || it == "not-yours"), "{seen:?}");
        let seen = race(&tills, TILLS, TILLS, &codes[1..], &day).await;
        assert_eq!(seen.iter().filter(|it| *it == "redeemed").count(), 7, "{caches:?}: {seen:?}");
        assert_eq!(service.count("SELECT count(*) FROM coupon WHERE state = 1").await, 8);
        audit(&service).await;
        verified(&service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_of_a_shared_code_is_not_read_with_its_account_and_counts_beside_those_of_before() {
    let service = TestService::start().await;
    let till = service.till();
    let mut welcome = shared("welcome", "WELCOME10", None);
    welcome["limits"] = json!({ "per_account": 2 });
    offered(&service, welcome).await;
    assert_eq!(took(&till, 1, 1, &["WELCOME10"]).await, ["redeemed"]);
    let set_apart = "SELECT count(*) FROM coupon WHERE actor = 'shared-code' AND state = 1
                     AND valid_from = '1970-01-01' AND valid_until = '1970-01-01'";
    assert_eq!(service.count(set_apart).await, 1);
    // As an older version has kept it.
    let before = "UPDATE coupon SET valid_from = '2026-03-14', valid_until = '2026-03-14'";
    service.sql().await.batch_execute(before).await.expect(before);
    verified(&service).await;
    assert_eq!(took(&till, 2, 1, &["WELCOME10"]).await, ["redeemed"]);
    assert_eq!(service.count(set_apart).await, 1);
    assert_eq!(took(&till, 3, 1, &["WELCOME10"]).await, ["over-limit"]);
    // Whichever of them is voided is given back.
    for (voided, next) in [(1, 4), (2, 5)] {
        assert_eq!(void(&till, &name(voided)).await.status, StatusCode::CREATED);
        assert_eq!(took(&till, next, 1, &["WELCOME10"]).await, ["redeemed"], "{voided}");
    }
    assert_eq!(took(&till, 6, 1, &["WELCOME10"]).await, ["over-limit"]);
    audit(&service).await;
    verified(&service).await;
}
