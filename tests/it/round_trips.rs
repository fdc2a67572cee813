//! Round trips: how many statements a batch costs, and what is made of an answer of the database
//! that never arrives.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::config::Config;

use crate::coupons::{issued, offer as offered, plain, with};
use crate::spending::paid;
use crate::support::flow::{
    audit, basket, enrol, name, outcomes, points_of, post_batch, returned_from, until, void,
};
use crate::support::gate::{Gate, answers, spawn_post};
use crate::support::service::{Replica, TestService, body, card, post, swipe};
use crate::support::tap::Tap;

fn patient(config: &mut Config) {
    config.commit.committers = 1;
    config.commit.lock_timeout_ms = 20_000;
    config.commit.statement_timeout_ms = 20_000;
}

/// A service, and a replica behind a tap.
async fn tapped() -> (TestService, Tap, Replica) {
    let service = TestService::start_with(patient).await;
    let tap = Tap::open(&service.config.database.url);
    let replica = service.replica_with(|config| config.database.url = tap.url()).await;
    (service, tap, replica)
}

/// The statements of one batch of these swipes.
async fn cost_of(
    service: &TestService,
    tap: &Tap,
    replica: &Replica,
    number: i64,
    swipes: &[Value],
) -> Vec<String> {
    let till = replica.till("0367", "03");
    let gate = Gate::close(service, replica, number).await;
    let posted = swipes.iter().map(|swipe| spawn_post(&till, swipe.clone())).collect();
    gate.queued(i64::try_from(swipes.len()).expect("small")).await;
    tap.take("");
    gate.open().await;
    for answer in answers(posted).await {
        assert!(answer.status.is_success(), "{:?}", answer.body);
    }
    let mut statements = tap.take("");
    statements.retain(|name| !name.starts_with("catalogue::"));
    statements
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_statement_and_what_is_not_in_memory_one_more_each() {
    const COMMIT: &str = "commit::commit_batch";
    let (service, tap, replica) = tapped().await;
    let swipes = |first: i64| -> Vec<Value> {
        (first..first + 30).map(|n| swipe(n, Some(&card(n.unsigned_abs() % 10)), 100)).collect()
    };
    // The gate has the house account of its own loaded; this warms it up.
    Gate::close(&service, &replica, 0).await.open().await;

    let cost = cost_of(&service, &tap, &replica, 1, &swipes(0)).await;
    let numbers = "commit::next_numbers";
    let [names, cards] = ["commit::find_names", "commit::find_cards"];
    let unseen = [names, cards, numbers, "commit::resolve_cards", COMMIT];
    assert_eq!(cost, unseen, "cards that nobody has seen: names and cards in one breath");
    let cost = cost_of(&service, &tap, &replica, 2, &swipes(100)).await;
    assert_eq!(cost, [COMMIT], "everything in memory");
    let paying: Vec<Value> = swipes(150).into_iter().map(|swipe| paid(swipe, 2)).collect();
    let cost = cost_of(&service, &tap, &replica, 6, &paying).await;
    assert_eq!(cost, [COMMIT], "paid with points");

    let cold = service.replica_with(|config| config.database.url = tap.url()).await;
    Gate::close(&service, &cold, 3).await.open().await;
    let cost = cost_of(&service, &tap, &cold, 4, &swipes(200)).await;
    assert_eq!(
        cost,
        [names, cards, "commit::load_accounts", COMMIT],
        "known cards that this replica has not seen"
    );
    let mixed: Vec<Value> = (300..320)
        .map(|n| {
            let line = returned_from(1, 100, &name(n - 100));
            if n % 2 == 0 { basket(n, Some(&card(2)), vec![line]) } else { swipe(n, None, 100) }
        })
        .collect();
    let cost = cost_of(&service, &tap, &cold, 5, &mixed).await;
    assert_eq!(
        cost,
        ["commit::load_accounts", "commit::find_names", "commit::load_swipes", COMMIT],
        "returns of known sales, and a house account that was not in memory"
    );
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_its_account_holds_costs_nothing_more_and_others_a_statement() {
    const COMMIT: &str = "commit::commit_batch";
    let (service, tap, replica) = tapped().await;
    Gate::close(&service, &replica, 0).await.open().await;
    let till = replica.till("0367", "03");
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let limits = json!({ "per_account": 9, "per_day": 9, "per_swipe": 9 });
    let mut few = plain("few");
    few["limits"] = limits.clone();
    let mut welcome = plain("welcome");
    welcome["delivery"] = "shared-code".into();
    welcome["shared_code"] = json!({ "code": "WELCOME10" });
    welcome["limits"] = limits;
    for each in [plain("forty"), few, welcome] {
        offered(&service, each).await;
    }
    let there = &replica.app.catalogue;
    until("the replica knows them", async || there.current().offers().count() == 3).await;
    let forty = issued(&service, 1, "forty", 1).await.remove(0);
    let few = issued(&service, 1, "few", 1).await.remove(0);
    // What the desk has done to the account is known from here on.
    post(&till, &swipe(2, Some(&card(1)), 100)).await;

    let find = "commit::find_coupons";
    for (gate, coupons, cost) in [
        (1, &[&*forty][..], &[COMMIT][..]),
        (2, &[&*few], &[find, COMMIT]),
        (3, &["WELCOME10"], &["commit::find_uses", COMMIT]),
        (4, &["nothing"], &[COMMIT]),
    ] {
        let sale = with(swipe(100 + gate, Some(&card(1)), 300), coupons);
        assert_eq!(cost_of(&service, &tap, &replica, gate, &[sale]).await, cost, "{coupons:?}");
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_writes_nothing_and_takes_no_lock() {
    let (service, tap, replica) = tapped().await;
    let till = replica.till("0367", "03");
    let sale = swipe(1, Some(&card(1)), 100);
    post(&till, &sale).await;
    tap.take("");
    assert_eq!(post(&till, &sale).await.status, StatusCode::OK);
    let cost = tap.take("commit::");
    let expected = ["commit_batch", "find_names", "find_cards", "load_swipes"];
    assert_eq!(cost, expected.map(|name| format!("commit::{name}")));
    assert_eq!(service.count("SELECT version FROM account WHERE state = 0").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_database_that_is_lost_is_found_again_under_the_name() {
    let (service, tap, replica) = tapped().await;
    let till = replica.till("0367", "03");
    post(&till, &swipe(1, Some(&card(1)), 100)).await;

    tap.cut_after("commit::commit_batch");
    let receipt = post(&till, &swipe(2, Some(&card(1)), 100)).await;
    assert_eq!(tap.cuts(), 1);
    assert!(receipt.status.is_success(), "{:?}", receipt.body);
    assert_eq!(body(&receipt)["points"]["balance"], 2);
    let again = post(&till, &swipe(2, Some(&card(1)), 100)).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, receipt.body));

    // A whole batch at once.
    let items: Vec<Value> = (10..40)
        .map(|n| json!({ "swipe": swipe(n, Some(&card(n.unsigned_abs() % 7)), 100) }))
        .collect();
    tap.cut_after("commit::commit_batch");
    let first = outcomes(&post_batch(&till, &items).await);
    assert_eq!(tap.cuts(), 2);
    let again = outcomes(&post_batch(&till, &items).await);
    for (first, again) in first.iter().zip(&again) {
        assert!(first["status"] == 200 || first["status"] == 201, "{first}");
        assert_eq!((&again["status"], &again["receipt"]), (&json!(200), &first["receipt"]));
    }

    // A void, whose transaction ends with a COMMIT of its own.
    tap.cut_after("COMMIT");
    let undone = void(&till, &name(2)).await;
    assert_eq!(tap.cuts(), 3);
    assert!(undone.status.is_success(), "{:?}", undone.body);
    let again = void(&till, &name(2)).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, undone.body));

    // An enrolment, and the opening of accounts.
    tap.cut_after("COMMIT");
    let lost = enrol(&till, &json!({ "card": card(1) })).await;
    assert_eq!(tap.cuts(), 4);
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(enrol(&till, &json!({ "card": card(1) })).await.status, StatusCode::OK);
    tap.cut_after("commit::resolve_cards");
    let opened = post(&till, &swipe(50, Some(&card(90)), 100)).await;
    assert_eq!(tap.cuts(), 5);
    assert_eq!(opened.status, StatusCode::CREATED);
    assert_eq!(points_of(&service.sql().await, &card(90)).await, 1);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_is_given_up_and_the_answer_is_found_on_a_new_one() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let replica = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.commit.statement_timeout_ms = 200;
        })
        .await;
    let till = replica.till("0367", "03");
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    for (number, statement) in [(2, "commit::commit_batch"), (3, "BEGIN")] {
        tap.mute_after(statement);
        let receipt = match statement {
            "BEGIN" => void(&till, &name(1)).await,
            _ => post(&till, &swipe(number, Some(&card(1)), 100)).await,
        };
        assert!(receipt.status.is_success(), "{statement}: {:?}", receipt.body);
    }
    let made = replica.app.metrics.connections_made.get();
    assert!(made > 2, "nothing was given up: {made} connections");
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_pool_that_falls_silent_is_not_handed_out_again() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let replica = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.database.connections_max = 1;
            config.database.wait_timeout_ms = 20_000;
            config.database.statement_timeout_ms = 200;
        })
        .await;
    let till = replica.till("0367", "03");
    let receipt = post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let (swipe, card) = (format!("/v1/swipes/{}", name(1)), format!("/v1/cards/{}", card(1)));
    for (statement, target) in
        [("swipe::find_name", &swipe), ("card::load_account", &card), ("swipe::find_name", &swipe)]
    {
        tap.mute_after(statement);
        let silent = till.get(target).await.expect("the service answers");
        assert_eq!(silent.status, StatusCode::SERVICE_UNAVAILABLE, "{:?}", silent.body);
        let again = till.get(&swipe).await.expect("the service answers");
        assert_eq!((again.status, &again.body), (StatusCode::OK, &receipt.body));
    }
    // Nor does the one who hangs up leave his question to the next.
    tap.mute_after("swipe::find_name");
    let hung_up = tokio::spawn({
        let (till, swipe) = (till.clone(), swipe.clone());
        async move { till.get(&swipe).await }
    });
    until("the question is asked", async || tap.take("swipe::find_name").len() == 1).await;
    hung_up.abort();
    let again = till.get(&swipe).await.expect("the service answers");
    assert_eq!((again.status, &again.body), (StatusCode::OK, &receipt.body));
}
