//! Budgets: what is issued stays within them however many issue at once and whoever stands still
//! meanwhile; what tills have given is counted all the same, and marked where it did not fit.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::commit::{Desk, Ordered};
use tillside::domain::coupon::Code;
use tillside::error::Error;
use tillside::offer;
use tillside::till::Till;
use tokio::sync::{Barrier, Mutex};

use crate::coupons::{issue, issued, offer as offered, outcomes, plain, took, with};
use crate::desk::{desk, of_card, verified};
use crate::offer_costs::costs;
use crate::support::flow::{at, audit, name, until, void};
use crate::support::gate::answers;
use crate::support::service::{Replica, TestService, card, post, swipe};
use crate::support::tap::Tap;

/// An offer of 40 minor units off anything, with a budget.
fn limited(name: &str, budget: Value) -> Value {
    let mut offer = plain(name);
    offer["budget"] = budget;
    offer
}

/// One coupon for a card, by this desk.
async fn one(
    service: &TestService,
    desk: &Mutex<Desk>,
    number: u64,
    count: u16,
) -> Result<Ordered, Error> {
    let snapshot = service.replica.app.catalogue.current();
    let order = issue(of_card(number), "few", count);
    desk.lock().await.order(&snapshot, &order, Timestamp::now()).await
}

/// As if the time of all leases had passed.
async fn time_passes(service: &TestService) {
    let sql = "UPDATE lease SET expires_at = now() - interval '1 second'";
    service.sql().await.batch_execute(sql).await.expect(sql);
}

/// Amount, spent and leased of the only budget, and the sums of its open leases.
async fn standing(service: &TestService) -> (i64, i64, i64, i64) {
    let sql = "SELECT b.amount, (b.spent + coalesce(sum(l.spent), 0))::bigint, b.leased,
                      coalesce(sum(l.amount), 0)::bigint
               FROM budget AS b LEFT JOIN lease AS l USING (budget_no) GROUP BY b.budget_no";
    let row = service.sql().await.query_one(sql, &[]).await.expect("one budget");
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

/// Accounts of so many cards.
async fn accounts(service: &TestService, cards: u64) {
    let till = service.till();
    let posting = (0..cards).zip(1..).map(|(number, sequence)| {
        let till = till.clone();
        tokio::spawn(async move { post(&till, &swipe(sequence, Some(&card(number)), 100)).await })
    });
    for answer in answers(posting.collect()).await {
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
}

/// A desk whose next commit for a card is kept back, on a line of its own, after it has taken a
/// lease of so many coupons.
async fn paused(
    service: &Arc<TestService>,
    number: u64,
    count: u16,
) -> (Tap, tokio::task::JoinHandle<Result<Ordered, Error>>) {
    let mut config = service.config.clone();
    let tap = Tap::open(&config.database.url);
    config.database.url = tap.url();
    config.commit.statement_timeout_ms = 60_000;
    let desk = Mutex::new(desk(&config));
    tap.hold("commit::commit_batch");
    let service = Arc::clone(service);
    let ordering = tokio::spawn(async move { one(&service, &desk, number, count).await });
    until("the desk stands still", async || tap.is_holding()).await;
    (tap, ordering)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_issuers_at_the_last_fifty_coupons_fifty_get_one_whoever_stands_still() {
    const ISSUERS: u64 = 200;
    const LEFT: i64 = 50;
    let service = Arc::new(TestService::start().await);
    let replica = service.replica().await;
    accounts(&service, ISSUERS + 1).await;
    offered(&service, limited("few", json!({ "coupons": LEFT }))).await;
    // It has 30 of them in hand when it is paused; they are nobody else's until its lease runs out.
    // Its account is nobody else's either, since it has that locked.
    let (tap, pausing) = paused(&service, ISSUERS, 30).await;
    assert_eq!(standing(&service).await, (LEFT, 0, 30, 30));

    let desks: Vec<Arc<Mutex<Desk>>> =
        (0..10).map(|_| Arc::new(Mutex::new(desk(&service.config)))).collect();
    let round = async |issuers: std::ops::Range<u64>| {
        let barrier = Arc::new(Barrier::new(issuers.clone().count()));
        let issuing = issuers.map(|number| {
            let (service, barrier) = (Arc::clone(&service), Arc::clone(&barrier));
            let desks = desks.clone();
            let of_app = usize::try_from(number).expect("small") % 12;
            let app = Arc::clone(if of_app == 10 { &service.replica.app } else { &replica.app });
            tokio::spawn(async move {
                barrier.wait().await;
                let desk = desks.get(of_app).map_or(&app.desk, |desk| desk);
                one(&service, desk, number, 1).await.expect("the database answers")
            })
        });
        let mut got = 0;
        for issuing in issuing.collect::<Vec<_>>() {
            match issuing.await.expect("no panic") {
                Ordered::Issued { codes, .. } => got += codes.len(),
                other => assert_eq!(other, Ordered::BudgetSpent),
            }
        }
        got
    };
    assert_eq!(round(0..100).await, 20, "what the paused one does not hold");
    time_passes(&service).await;
    assert_eq!(round(100..ISSUERS).await, 30, "nothing is lost for good");
    tap.let_go();
    let late = pausing.await.expect("no panic");
    assert_eq!(late.expect("the database answers"), Ordered::BudgetSpent);

    assert_eq!(service.count("SELECT count(*) FROM coupon").await, LEFT);
    for desk in &desks {
        desk.lock().await.give_back().await.expect("the database answers");
    }
    time_passes(&service).await;
    assert_eq!(one(&service, &desks[0], 0, 1).await.expect("answered"), Ordered::BudgetSpent);
    assert_eq!(standing(&service).await, (LEFT, LEFT, 0, 0));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_shrink_and_what_a_desk_does_not_need_goes_back() {
    let service = TestService::start().await;
    accounts(&service, 2).await;
    offered(&service, limited("few", json!({ "coupons": 640 }))).await;
    let one_desk = Mutex::new(desk(&service.config));
    let is_issued = |ordered: Ordered| matches!(ordered, Ordered::Issued { .. });
    assert!(is_issued(one(&service, &one_desk, 0, 1).await.expect("answered")));
    assert_eq!(standing(&service).await, (640, 1, 20, 20), "a part of what is left");
    assert!(is_issued(one(&service, &one_desk, 1, 19).await.expect("answered")));
    assert_eq!(standing(&service).await, (640, 20, 20, 20), "nothing new was taken");
    assert!(is_issued(one(&service, &one_desk, 1, 100).await.expect("answered")));
    assert_eq!(standing(&service).await, (640, 120, 100, 100), "as much as was needed");
    // Another takes all but the last few, of which no more is leased than is asked for.
    let other = Mutex::new(desk(&service.config));
    for _ in 0..5 {
        assert!(is_issued(one(&service, &other, 0, 100).await.expect("answered")));
    }
    assert!(is_issued(one(&service, &other, 0, 18).await.expect("answered")));
    assert!(is_issued(one(&service, &one_desk, 0, 1).await.expect("answered")));
    assert_eq!(one(&service, &other, 0, 2).await.expect("answered"), Ordered::BudgetSpent);
    assert!(is_issued(one(&service, &other, 0, 1).await.expect("answered")));
    assert_eq!(one(&service, &one_desk, 0, 1).await.expect("answered"), Ordered::BudgetSpent);
    for desk in [&one_desk, &other] {
        desk.lock().await.give_back().await.expect("answered");
    }
    assert_eq!(standing(&service).await, (640, 640, 0, 0));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_was_lost_draws_on_the_budget_once() {
    let service = TestService::start().await;
    accounts(&service, 1).await;
    offered(&service, limited("few", json!({ "coupons": 3 }))).await;
    for ending in [Tap::cut_after, Tap::mute_after] {
        let mut config = service.config.clone();
        let tap = Tap::open(&config.database.url);
        config.database.url = tap.url();
        config.commit.statement_timeout_ms = 500;
        let desk = Mutex::new(desk(&config));
        ending(&tap, "COMMIT");
        let ordered = one(&service, &desk, 0, 1).await.expect("answered in the end");
        assert!(matches!(ordered, Ordered::Issued { .. }), "{ordered:?}");
    }
    assert_eq!(service.count("SELECT count(*) FROM coupon").await, 2);
    time_passes(&service).await;
    let desk = Mutex::new(desk(&service.config));
    assert_eq!(one(&service, &desk, 0, 2).await.expect("answered"), Ordered::BudgetSpent);
    assert!(matches!(one(&service, &desk, 0, 1).await, Ok(Ordered::Issued { .. })));
    verified(&service).await;
}

/// One committer, so that each test knows who holds what.
async fn lone() -> TestService {
    TestService::start_with(|config| config.commit.committers = 1).await
}

async fn is_over(service: &TestService, coupon: &str) -> bool {
    let code = Code::parse(coupon).expect("a code");
    offer::life(&service.pool, code).await.expect("read").expect("issued").over_budget
}

fn over_budget(replica: &Replica) -> u64 {
    replica.app.metrics.redeemed_over_budget.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tills_gave_is_counted_and_what_does_not_fit_is_booked_marked_and_reported() {
    let service = lone().await;
    let till = service.till();
    accounts(&service, 1).await;
    offered(&service, limited("few", json!({ "value_minor": 100 }))).await;
    let coupons = issued(&service, 0, "few", 5).await;
    for (coupon, sequence) in coupons[..3].iter().zip(1_000..) {
        assert_eq!(took(&till, sequence, 0, &[coupon]).await, ["redeemed"]);
    }
    let marked = async || {
        let mut marked = Vec::new();
        for coupon in &coupons {
            marked.push(is_over(&service, coupon).await);
        }
        marked
    };
    assert_eq!(marked().await, [false, false, true, false, false]);
    assert_eq!(over_budget(&service.replica), 1);
    assert_eq!(standing(&service).await.1, 80);
    verified(&service).await;

    // A retry counts nothing, and a void gives back what its sale drew.
    let again = with(swipe(1_000, Some(&card(0)), 300), &[&coupons[0]]);
    assert_eq!(post(&till, &again).await.status, StatusCode::OK);
    assert_eq!(void(&till, &name(1_000)).await.status, StatusCode::CREATED);
    assert_eq!(standing(&service).await.1, 40);
    // That of a sale over the budget gives back nothing.
    assert_eq!(void(&till, &name(1_002)).await.status, StatusCode::CREATED);
    assert_eq!(standing(&service).await.1, 40);
    verified(&service).await;
    time_passes(&service).await;
    assert_eq!(took(&till, 1_003, 0, &[&coupons[0], &coupons[2]]).await, ["redeemed"; 2]);
    let over = marked().await;
    assert_eq!(over.iter().filter(|over| **over).count(), 1, "one of the two fits: {over:?}");
    assert_eq!(standing(&service).await.1, 80);
    audit(&service).await;
    verified(&service).await;

    let few = costs(&service).await.remove(0);
    assert_eq!((few.issued, few.redeemed, few.value_minor), (5, 3, 120));
    assert_eq!((few.over_budget, few.over_budget_minor), (1, 40));
    assert_eq!((few.party_minor, few.chain_minor), (120, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_has_a_budget_of_its_own_beside_the_chains() {
    let service = lone().await;
    accounts(&service, 1).await;
    let budget = json!({
        "value_minor": 120,
        "each_store": { "value_minor": 40 },
        "stores": { "0406": { "value_minor": 80 } },
    });
    offered(&service, limited("few", budget)).await;
    let coupons = issued(&service, 0, "few", 6).await;
    let elsewhere = service.replica.till("0406", "03");
    let take = async |till: &Till, store: &str, coupon: &str, sequence| {
        let sale = with(swipe(sequence, Some(&card(0)), 300), &[coupon]);
        let taken = post(till, &at(sale, store, "03")).await;
        assert_eq!(outcomes(&taken), ["redeemed"]);
        is_over(&service, coupon).await
    };
    let here = service.till();
    assert!(!take(&here, "0367", &coupons[0], 1_000).await);
    assert!(take(&here, "0367", &coupons[1], 1_001).await, "the store has spent its own");
    assert!(!take(&elsewhere, "0406", &coupons[2], 1_002).await, "another one has more");
    assert!(!take(&elsewhere, "0406", &coupons[3], 1_003).await);
    assert!(take(&elsewhere, "0406", &coupons[4], 1_004).await);
    verified(&service).await;
    // The void of the first leaves room in its store and in the chain, which both count it.
    assert_eq!(void(&here, &name(1_000)).await.status, StatusCode::CREATED);
    time_passes(&service).await;
    assert!(!take(&here, "0367", &coupons[5], 1_005).await);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_whose_lease_is_reclaimed_under_it_is_decided_again_and_counted_once() {
    let service = TestService::start().await;
    accounts(&service, 2).await;
    offered(&service, limited("few", json!({ "value_minor": 100 }))).await;
    let coupons = issued(&service, 0, "few", 2).await;
    let other = issued(&service, 1, "few", 1).await.remove(0);
    let tap = Tap::open(&service.config.database.url);
    let replica = service
        .replica_with(|config| {
            config.database.url = tap.url();
            config.commit.committers = 1;
            config.commit.statement_timeout_ms = 60_000;
        })
        .await;
    let till = replica.till("0367", "03");
    assert_eq!(took(&till, 1_000, 0, &[&coupons[0]]).await, ["redeemed"]);
    tap.hold("commit::commit_batch");
    let paused = tokio::spawn({
        let coupon = coupons[1].clone();
        async move { took(&till, 1_001, 0, &[&coupon]).await }
    });
    until("the replica stands still", async || tap.is_holding()).await;
    // Its lease runs out, and another replica spends what is left.
    time_passes(&service).await;
    assert_eq!(took(&service.till(), 1_002, 1, &[&other]).await, ["redeemed"]);
    assert!(!is_over(&service, &other).await);
    tap.let_go();
    assert_eq!(paused.await.expect("no panic"), ["redeemed"]);
    assert!(is_over(&service, &coupons[1]).await, "nothing was left of the budget");
    assert_eq!(replica.app.metrics.leases.with_label_values(&["lost"]).get(), 1);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tills_over_two_replicas_spend_a_budget_to_the_end_and_never_beyond() {
    const TILLS: u64 = 60;
    let service = TestService::start().await;
    let replica = service.replica().await;
    accounts(&service, TILLS).await;
    // Enough for 30 of 60.
    offered(&service, limited("few", json!({ "value_minor": 30 * 40 }))).await;
    let there = &replica.app.catalogue;
    until("both know the offer", async || there.current().offer_named("few").is_some()).await;
    let tills = [service.till(), replica.till("0367", "03")];
    let mut posting = Vec::new();
    for (number, sequence) in (0..TILLS).zip(1_000..) {
        let coupon = issued(&service, number, "few", 1).await.remove(0);
        let till = tills[usize::from(number % 2 == 0)].clone();
        posting.push(tokio::spawn(async move {
            let sale = with(swipe(sequence, Some(&card(number)), 300), &[&coupon]);
            post(&till, &sale).await
        }));
    }
    for answer in answers(posting).await {
        assert_eq!(outcomes(&answer), ["redeemed"]);
    }
    let within = "SELECT count(*) FROM coupon WHERE state = 1 AND NOT over_budget";
    let (amount, spent, ..) = standing(&service).await;
    assert_eq!(service.count(within).await * 40, spent);
    assert!(spent <= amount && spent >= amount - 4 * 40 * 2, "{spent} of {amount}");
    let over = over_budget(&service.replica) + over_budget(&replica);
    assert_eq!(i64::try_from(over).expect("few"), 60 - spent / 40);
    audit(&service).await;
    verified(&service).await;
}
