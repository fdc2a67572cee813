//! Coupons of accounts that were merged into others: the heir's, each once, whoever else comes at
//! that moment.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use tillside::commit::{Order, Ordered};
use tillside::domain::coupon::Code;
use tillside::offer;
use tokio::sync::Barrier;

use crate::coupons::{issued, offer as offered, outcomes, plain, took, with};
use crate::desk::{desk, verified};
use crate::support::caches::{ALL, replicas};
use crate::support::flow::{audit, enrol, look_up, name, until, void};
use crate::support::gate::answers;
use crate::support::service::{TestService, body, card, post, swipe};

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_of_an_account_that_was_merged_is_redeemed_by_its_heir_and_by_nobody_else() {
    let service = TestService::start().await;
    let till = service.till();
    for number in [1, 2, 3] {
        let sequence = i64::try_from(number).expect("small");
        post(&till, &swipe(sequence, Some(&card(number)), 100)).await;
    }
    assert_eq!(enrol(&till, &json!({ "card": card(1) })).await.status, StatusCode::CREATED);
    let mut limited = plain("forty");
    limited["budget"] = json!({ "value_minor": 1_000 });
    offered(&service, limited).await;
    let coupons = issued(&service, 2, "forty", 3).await;
    let [early, late, back] = [&*coupons[0], &*coupons[1], &*coupons[2]];
    assert_eq!(took(&till, 10, 2, &[early]).await, ["redeemed"]);
    assert_eq!(took(&till, 11, 1, &[late]).await, ["not-yours"], "before they are one");
    let link = json!({ "card": card(2), "link_to": card(1) });
    assert_eq!(enrol(&till, &link).await.status, StatusCode::CREATED);

    assert_eq!(took(&till, 12, 3, &[late]).await, ["not-yours"]);
    assert_eq!(took(&till, 13, 1, &[early, late]).await, ["already-redeemed", "redeemed"]);
    assert_eq!(took(&till, 14, 2, &[late]).await, ["already-redeemed"]);
    let life = offer::life(&service.pool, Code::parse(late).expect("a code")).await;
    assert_eq!(life.expect("read").expect("issued").redeemed_by, Some(name(13)));
    verified(&service).await;

    // The sale of the merged account opens its coupon for the heir, whose void opens it again.
    assert_eq!(void(&till, &name(10)).await.status, StatusCode::CREATED);
    verified(&service).await;
    assert_eq!(took(&till, 15, 2, &[early, late]).await, ["redeemed", "already-redeemed"]);
    assert_eq!(void(&till, &name(15)).await.status, StatusCode::CREATED);
    verified(&service).await;
    assert_eq!(took(&till, 16, 1, &[early]).await, ["redeemed"]);

    let revoke = Order::Revoke(Code::parse(back).expect("a code"));
    let snapshot = service.replica.app.catalogue.current();
    let mut desk = desk(&service.config);
    let revoked = desk.order(&snapshot, &revoke, Timestamp::now()).await;
    assert_eq!(revoked.expect("answered"), Ordered::Revoked);
    assert_eq!(took(&till, 17, 1, &[back]).await, ["revoked"]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heirs_version_of_the_same_number_as_the_issue_is_nothing_to_a_coupon() {
    let service = TestService::start().await;
    let till = service.till();
    for sequence in 1..=12 {
        post(&till, &swipe(sequence, Some(&card(2)), 100)).await;
    }
    post(&till, &swipe(20, Some(&card(1)), 100)).await;
    assert_eq!(enrol(&till, &json!({ "card": card(1) })).await.status, StatusCode::CREATED);
    offered(&service, plain("forty")).await;
    let coupon = issued(&service, 2, "forty", 1).await.remove(0);
    let link = json!({ "card": card(2), "link_to": card(1) });
    assert_eq!(enrol(&till, &link).await.status, StatusCode::CREATED);
    let issue = service.count("SELECT issued_version FROM coupon").await;
    let version = async || service.count("SELECT version FROM account WHERE state = 1").await;
    for sequence in 30.. {
        if version().await == issue - 1 {
            break;
        }
        assert!(version().await < issue, "the heir is younger");
        post(&till, &swipe(sequence, Some(&card(1)), 100)).await;
    }
    assert_eq!(took(&till, 50, 1, &[&coupon]).await, ["redeemed"]);
    assert_eq!(version().await, issue);
    verified(&service).await;
    assert_eq!(void(&till, &name(50)).await.status, StatusCode::CREATED);
    verified(&service).await;
    assert_eq!(took(&till, 51, 1, &[&coupon]).await, ["redeemed"], "opened again, not revoked");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_shows_the_coupons_of_all_accounts_that_became_its_own() {
    let service = TestService::start().await;
    let till = service.till();
    for number in [1, 2, 3] {
        let sequence = i64::try_from(number).expect("small");
        post(&till, &swipe(sequence, Some(&card(number)), 100)).await;
    }
    for number in [1, 3] {
        let enrolment = json!({ "card": card(number) });
        assert_eq!(enrol(&till, &enrolment).await.status, StatusCode::CREATED);
    }
    // A card shows what counts today, by the clock.
    let mut lasting = plain("forty");
    lasting["valid_days"] = 3_650.into();
    offered(&service, lasting).await;
    let mut theirs = issued(&service, 2, "forty", 2).await;
    theirs.extend(issued(&service, 1, "forty", 1).await);
    let others = issued(&service, 3, "forty", 1).await;
    theirs.sort_unstable();
    let shown = async |number: u64| {
        let told = body(&look_up(&till, &card(number)).await);
        let told = told["coupons"].as_array().expect("a list").iter();
        let code = |it: &serde_json::Value| it["coupon"].as_str().expect("a code").to_owned();
        let mut shown: Vec<String> = told.map(code).collect();
        shown.sort_unstable();
        shown
    };
    assert_eq!(shown(1).await.len(), 1);
    let link = json!({ "card": card(2), "link_to": card(1) });
    assert_eq!(enrol(&till, &link).await.status, StatusCode::CREATED);
    for number in [1, 2] {
        assert_eq!(shown(number).await, theirs);
    }
    assert_eq!(shown(3).await, others);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_redeemed_once_while_its_account_is_merged() {
    const TILLS: u64 = 12;
    const ROUNDS: u64 = 8;
    for caches in ALL {
        let (service, replica) = replicas(caches, &[card(1)]).await;
        let tills = [service.till(), replica.till("0367", "03")];
        post(&tills[0], &swipe(0, Some(&card(1)), 100)).await;
        assert_eq!(enrol(&tills[0], &json!({ "card": card(1) })).await.status, StatusCode::CREATED);
        offered(&service, plain("forty")).await;
        let there = &replica.app.catalogue;
        until("both know the offer", async || there.current().offer_named("forty").is_some()).await;
        for round in 1..=ROUNDS {
            let (joining, first) = (10 + round, i64::try_from(round * 100).expect("small"));
            post(&tills[0], &swipe(first, Some(&card(joining)), 100)).await;
            let coupon = issued(&service, joining, "forty", 1).await.remove(0);
            let barrier = Arc::new(Barrier::new(usize::try_from(TILLS).expect("small") + 1));
            let posting = (0..TILLS).zip(first + 1..).map(|(n, sequence)| {
                let (till, barrier) = (tills[usize::from(n % 4 < 2)].clone(), Arc::clone(&barrier));
                let of = if n % 2 == 0 { card(1) } else { card(joining) };
                let sale = with(swipe(sequence, Some(&of), 300), &[&coupon]);
                tokio::spawn(async move {
                    barrier.wait().await;
                    post(&till, &sale).await
                })
            });
            let posting: Vec<_> = posting.collect();
            barrier.wait().await;
            let link = json!({ "card": card(joining), "link_to": card(1) });
            assert_eq!(enrol(&tills[1], &link).await.status, StatusCode::CREATED);
            let seen: Vec<String> = answers(posting).await.iter().flat_map(outcomes).collect();
            let redeemed = seen.iter().filter(|it| *it == "redeemed").count();
            assert_eq!(redeemed, 1, "{caches:?}: {seen:?}");
        }
        audit(&service).await;
        verified(&service).await;
    }
}
