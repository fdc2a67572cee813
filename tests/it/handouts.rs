//! Handouts: coupons for all accounts that a question means. Who gets one and who does not; once
//! under a name, whoever works at it and wherever it is cut off; never beyond the budget; by
//! people who may.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::metrics::Metrics;
use tillside::offer::handouts::{self, Worker};
use tillside::office::Role;
use tokio::task::JoinHandle;

use crate::desk::verified;
use crate::offers_api::{forty, made};
use crate::openapi::{document, findings};
use crate::support::flow::{account_of, audit, enrol, on, slug, until};
use crate::support::office::{Person, person};
use crate::support::service::{Replica, TestService, body, card, post, swipe};

const COUPONS: &str = "SELECT count(*) FROM coupon";

/// A service where nobody is held out, with an offer for everybody, and six customers: 1 and 2
/// have agreed to mail, 3 has not, 4 to 6 are not enrolled. 1 to 5 came today, 6 ninety-five days
/// ago; the n-th spent n times 1,000.
pub(crate) async fn service() -> (TestService, Person) {
    let service = TestService::start_with(|config| config.coupons.hold_out_percent = 0).await;
    let (till, admin) = (service.till(), person(&service, Role::Admin).await);
    let today = service.replica.app.today();
    for number in 1..=6_u64 {
        let days = if number == 6 { 95 } else { 0 };
        let day = today.saturating_sub(jiff::Span::new().days(days)).to_string();
        let amount_minor = i64::try_from(number).expect("small") * 1_000;
        let sale = swipe(amount_minor, Some(&card(number)), amount_minor);
        let answer = post(&till, &on(sale, &day)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
    for (number, consents) in [(1, json!(["mail"])), (2, json!(["mail", "sms"])), (3, json!([]))] {
        let member = json!({ "given_name": "Ada", "consents": consents });
        enrol(&till, &json!({ "card": card(number), "member": member })).await;
    }
    made(&service, &admin, forty("forty", &[])).await;
    (service, admin)
}

/// Lets a replica work at handouts, as `serve` does.
pub(crate) fn works(replica: &Replica) -> JoinHandle<()> {
    tokio::spawn(handouts::keep_working(Arc::clone(&replica.app)))
}

pub(crate) fn order(name: &str, filters: Value) -> Value {
    json!({ "handout": name, "offer": "forty", "where": filters })
}

pub(crate) async fn look(someone: &Person, name: &str) -> Value {
    body(&someone.get(&format!("/v1/handouts/{name}")).await)
}

/// Waits until a handout is in a state; the handout.
pub(crate) async fn is(someone: &Person, name: &str, state: &str) -> Value {
    until(&format!("{name} is {state}"), async || look(someone, name).await["state"] == state)
        .await;
    look(someone, name).await
}

pub(crate) async fn issue(someone: &Person, name: &str) -> Value {
    let answer = someone.post(&format!("/v1/handouts/{name}/issue"), "", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    body(&answer)
}

/// Makes a handout and waits until its accounts are known.
pub(crate) async fn ready(someone: &Person, name: &str, filters: Value) -> Value {
    let answer = someone.post("/v1/handouts", name, &order(name, filters)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    is(someone, name, "ready").await
}

/// Which of the customers have coupons, and how many.
async fn holders(service: &TestService) -> Vec<(u64, i64)> {
    let sql = service.sql().await;
    let mut holders = Vec::new();
    for number in 1..=6 {
        let account_id = account_of(&sql, &card(number)).await;
        let count = "SELECT count(*) FROM coupon WHERE account_id = $1";
        let count: i64 = sql.query_one(count, &[&account_id]).await.expect(count).get(0);
        if count > 0 {
            holders.push((number, count));
        }
    }
    holders
}

/// Nobody has a claim any more, as after a minute without a word.
pub(crate) async fn forget_claims(service: &TestService) {
    let aged = "UPDATE handout SET worked_until = '-infinity'";
    service.sql().await.batch_execute(aged).await.expect(aged);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whom_a_question_means_get_one_coupon_each_and_nobody_else() {
    let (service, admin) = service().await;
    let work = works(&service.replica);
    let mail = order("spring", json!({ "consent": "mail" }));
    let answer = admin.post("/v1/handouts", "k1", &mail).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let counted = is(&admin, "spring", "ready").await;
    assert_eq!((&counted["accounts"], &counted["held_out"]), (&json!(2), &json!(0)));
    assert_eq!(service.count(COUPONS).await, 0, "nobody has said that it is to be issued");
    issue(&admin, "spring").await;
    let done = is(&admin, "spring", "done").await;
    assert_eq!(
        (&done["done"], &done["issued"], &done["left_out"]),
        (&json!(2), &json!(2), &json!(0))
    );
    assert_eq!(holders(&service).await, [(1, 1), (2, 1)]);
    let document = document(&service.till()).await;
    for (schema, value) in [("HandoutOrder", &mail), ("Handout", &done)] {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        assert_eq!(findings(&document, &schema, value, ""), [""; 0]);
    }

    // Asked again, by whoever and however: nobody gets a second one under the name.
    assert_eq!(issue(&admin, "spring").await["state"], "done");
    assert_eq!(admin.post("/v1/handouts", "k1", &mail).await.status, StatusCode::CREATED);
    assert_eq!(slug(&admin.post("/v1/handouts", "k2", &mail).await), "handout-exists");
    assert_eq!(service.count(COUPONS).await, 2);
    ready(&admin, "summer", json!({ "enrolled": true })).await;
    issue(&admin, "summer").await;
    is(&admin, "summer", "done").await;
    assert_eq!(holders(&service).await, [(1, 2), (2, 2), (3, 1)]);

    // The trail says who, and says it before the first coupon.
    let trail = body(&admin.get("/v1/audit?limit=200").await);
    let lines = trail["audit"].as_array().expect("a list");
    let own = lines.iter().filter(|line| line["user"] == admin.user);
    let mut actions: Vec<&str> = own.map(|line| line["action"].as_str().expect("text")).collect();
    actions.reverse();
    assert_eq!(
        actions,
        [
            "offer.add",
            "handout.add",
            "handout.issue",
            "coupon.issue",
            "coupon.issue",
            "handout.add",
            "handout.issue",
            "coupon.issue",
            "coupon.issue",
            "coupon.issue"
        ]
    );
    let code = lines[0]["object"].as_str().expect("text").replace("coupon:", "");
    let life = body(&admin.get(&format!("/v1/coupons/{code}")).await);
    assert_eq!((&life["actor"], &life["offer"]), (&json!("handout:summer"), &json!("forty")));
    work.abort();
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_means_the_accounts_that_an_export_shows() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    let today = service.replica.app.today().to_string();
    for (number, (filters, expected)) in [
        (json!({}), 6),
        (json!({ "enrolled": true }), 3),
        (json!({ "enrolled": false }), 3),
        (json!({ "consent": "sms" }), 1),
        (json!({ "visited_since": today }), 5),
        (json!({ "not_visited_since": today }), 1),
        (json!({ "points_min": 31 }), 3),
        (json!({ "visits_90d_min": 1 }), 5),
        (json!({ "spend_90d_minor_min": 3_000 }), 3),
        (json!({ "tier": "Gold" }), 0),
        (json!({ "enrolled": true, "spend_90d_minor_min": 2_000, "consent": "mail" }), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let pair = |(name, value): (&String, &Value)| match value.as_str() {
            Some(text) => format!("&{name}={text}"),
            None => format!("&{name}={value}"),
        };
        let query: String = filters.as_object().expect("an object").iter().map(pair).collect();
        let file = admin.get(&format!("/v1/exports/accounts?format=ndjson{query}")).await;
        assert_eq!(file.status, StatusCode::OK, "{query}: {:?}", file.body);
        let shown = file.body.iter().filter(|byte| **byte == b'\n').count();
        let counted = ready(&admin, &format!("h{number}"), filters.clone()).await;
        assert_eq!((&counted["accounts"], shown), (&json!(expected), expected), "{filters}");
    }
    // For nobody it is done at once.
    issue(&admin, "h9").await;
    assert_eq!(is(&admin, "h9", "done").await["issued"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_handout_is_pointed_at() {
    let (service, admin) = service().await;
    let mut leaflet = forty("leaflet", &[]);
    leaflet["delivery"] = "code-pool".into();
    made(&service, &admin, leaflet).await;
    made(&service, &admin, forty("over", &[])).await;
    admin.post("/v1/offers/over/end", "", &json!({})).await;
    for (change, pointer) in [
        (json!({ "handout": "A" }), "/handout"),
        (json!({ "handout": "" }), "/handout"),
        (json!({ "offer": "none" }), "/offer"),
        (json!({ "offer": "leaflet" }), "/offer"),
        (json!({ "offer": "over" }), "/offer"),
        (json!({ "where": { "consent": "E-mail" } }), "/where/consent"),
        (json!({ "where": { "points": 3 } }), "/where/points"),
        (json!({ "where": { "points_min": "3" } }), "/where/points_min"),
    ] {
        let mut wanted = order("one", json!({}));
        for (name, value) in change.as_object().expect("an object") {
            wanted[name] = value.clone();
        }
        let refused = admin.post("/v1/handouts", "k", &wanted).await;
        assert_eq!(slug(&refused), "validation-failed", "{change}");
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{change}");
    }
    // Nobody works here: its accounts are never known.
    admin.post("/v1/handouts", "k", &order("one", json!({}))).await;
    let early = admin.post("/v1/handouts/one/issue", "", &json!({})).await;
    assert_eq!((early.status, slug(&early)), (StatusCode::CONFLICT, "handout-not-ready".into()));
    assert_eq!(slug(&admin.get("/v1/handouts/two").await), "not-found");
    // What was a mistake is ended for good, and keeps its name.
    assert_eq!(body(&admin.delete("/v1/handouts/one").await)["state"], "done");
    assert_eq!(issue(&admin, "one").await["state"], "done");
    assert_eq!(
        slug(&admin.post("/v1/handouts", "j", &order("one", json!({}))).await),
        "handout-exists"
    );
    assert_eq!(service.count(COUPONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_work_at_one_handout_give_each_account_one_coupon() {
    let (service, admin) = service().await;
    let other = service.replica().await;
    for number in 10..=200_u64 {
        let sequence = i64::try_from(number).expect("small");
        post(&service.till(), &swipe(sequence, Some(&card(number)), 100)).await;
    }
    let _work = works(&service.replica);
    ready(&admin, "all", json!({})).await;
    let _other_work = works(&other);
    issue(&admin, "all").await;
    // Every claim is forgotten again and again, so that both are at it at the same time.
    while look(&admin, "all").await["state"] == "issuing" {
        forget_claims(&service).await;
        other.app.handouts.notify_one();
        service.replica.app.handouts.notify_one();
    }
    let done = look(&admin, "all").await;
    assert_eq!(
        (&done["state"], &done["done"], &done["issued"]),
        (&json!("done"), &json!(197), &json!(197))
    );
    let accounts = "SELECT count(DISTINCT account_id) FROM coupon";
    assert_eq!((service.count(COUPONS).await, service.count(accounts).await), (197, 197));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_cut_off_is_finished_by_whoever_works_next() {
    let (service, admin) = service().await;
    let work = works(&service.replica);
    ready(&admin, "all", json!({})).await;
    // Somebody holds an account: the handout stands still in its middle.
    let order = "SELECT account_ids[4] FROM handout_page";
    let held = service.count(order).await;
    let sql = service.sql().await;
    let hold = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {held} FOR UPDATE");
    sql.batch_execute(&hold).await.expect("nobody else has it");
    issue(&admin, "all").await;
    until("three have theirs", async || service.count(COUPONS).await == 3).await;
    work.abort();
    assert!(work.await.is_err_and(|ended| ended.is_cancelled()));
    sql.batch_execute("ROLLBACK").await.expect("it was open");
    let halfway = look(&admin, "all").await;
    assert_eq!((&halfway["state"], &halfway["done"]), (&json!("issuing"), &json!(0)));
    // While the claim holds nobody else begins; then somebody does, by itself.
    let other = service.replica().await;
    let mut idle = Worker::new(&service.config, service.pool.clone(), Arc::new(Metrics::new()));
    let current = || other.app.catalogue.current();
    assert!(!idle.work(None, current, |_| ()).await.expect("asked"));
    forget_claims(&service).await;
    let mut steps = 0;
    assert!(idle.work(None, current, |_| steps += 1).await.expect("worked"));
    let done = look(&admin, "all").await;
    assert_eq!(
        (&done["state"], &done["done"], &done["issued"]),
        (&json!("done"), &json!(6), &json!(6))
    );
    assert_eq!(holders(&service).await, [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)]);
    assert!(steps > 0);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_coupons_are_issued_than_the_budget_has_and_more_budget_is_gone_on_with() {
    let (service, admin) = service().await;
    let mut few = forty("few", &[]);
    few["budget"] = json!({ "coupons": 4 });
    made(&service, &admin, few).await;
    let other = service.replica().await;
    let _works = (works(&service.replica), works(&other));
    // Two handouts of one offer, for more accounts together than the offer has coupons.
    let names = ["one", "two"];
    for name in names {
        let mut wanted = order(name, json!({}));
        wanted["offer"] = "few".into();
        admin.post("/v1/handouts", name, &wanted).await;
        is(&admin, name, "ready").await;
    }
    tokio::join!(issue(&admin, "one"), issue(&admin, "two"));
    let mut issued = 0;
    for name in names {
        let stopped = is(&admin, name, "stopped").await;
        assert_eq!(stopped["stopped_why"], "budget-spent");
        assert_eq!(stopped["issued"], stopped["done"]);
        issued += stopped["issued"].as_i64().expect("a number");
    }
    assert!(issued <= 4, "{issued}");
    assert_eq!(service.count(COUPONS).await, issued);
    // What the one had in hand is there again when it has stopped.
    issue(&admin, "one").await;
    is(&admin, "one", "stopped").await;
    assert_eq!(service.count(COUPONS).await, 4);

    let more = admin.post("/v1/offers/few/budget", "more", &json!({ "coupons": 12 })).await;
    assert_eq!(more.status, StatusCode::CREATED, "{:?}", more.body);
    for name in names {
        issue(&admin, name).await;
        let done = is(&admin, name, "done").await;
        assert_eq!((&done["issued"], &done["left_out"]), (&json!(6), &json!(0)));
        assert_eq!(done["stopped_why"], Value::Null);
    }
    let budgets = body(&admin.get("/v1/offers/few/budgets").await);
    assert_eq!(budgets["budgets"][0]["spent"], 12, "{budgets}");
    assert_eq!(holders(&service).await, [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2)]);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_a_consent_back_before_the_coupon_gets_none() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    ready(&admin, "mail", json!({ "consent": "mail" })).await;
    let account_id = account_of(&service.sql().await, &card(2)).await;
    let back = format!("UPDATE member SET consents = '{{sms}}' WHERE account_id = {account_id}");
    service.sql().await.batch_execute(&back).await.expect(&back);
    issue(&admin, "mail").await;
    let done = is(&admin, "mail", "done").await;
    assert_eq!((&done["issued"], &done["left_out"]), (&json!(1), &json!(1)));
    assert_eq!(holders(&service).await, [(1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_held_out_are_counted_and_left_out_unless_somebody_says_otherwise() {
    let (service, admin) = service().await;
    // The share and the draw are settings, so one replica with another share does for a test.
    let other = service.replica_with(|config| config.coupons.hold_out_percent = 50).await;
    let hold_out = other.app.config.coupons.hold_out();
    let sql = service.sql().await;
    let mut held_out = 0;
    for number in 1..=6 {
        held_out += i32::from(hold_out.holds(account_of(&sql, &card(number)).await));
    }
    let _work = works(&other);
    let admin = admin.at(&other.base_url);
    let counted = ready(&admin, "most", json!({})).await;
    assert_eq!(
        (&counted["accounts"], &counted["held_out"]),
        (&json!(6 - held_out), &json!(held_out))
    );
    issue(&admin, "most").await;
    is(&admin, "most", "done").await;
    for (number, _) in holders(&service).await {
        assert!(!hold_out.holds(account_of(&sql, &card(number)).await), "{number}");
    }
    let mut all = order("all", json!({}));
    all["held_out_too"] = true.into();
    admin.post("/v1/handouts", "all", &all).await;
    let counted = is(&admin, "all", "ready").await;
    assert_eq!((&counted["accounts"], &counted["held_out"]), (&json!(6), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_hands_out_offers_of_own_stores_and_sees_no_others() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    let manager = person(&service, Role::Manager).await;
    for (name, stores) in [("own", &["0367"][..]), ("both", &["0367", "0406"]), ("far", &["0406"])]
    {
        made(&service, &admin, forty(name, stores)).await;
        let wanted = json!({ "handout": format!("by-{name}"), "offer": name, "where": {} });
        let answer = manager.post("/v1/handouts", name, &wanted).await;
        let expected = match name {
            "own" => 201,
            "both" => 403,
            _ => 422,
        };
        assert_eq!(answer.status, expected, "{name}: {:?}", answer.body);
        let wanted = json!({ "handout": name, "offer": name, "where": {} });
        admin.post("/v1/handouts", name, &wanted).await;
        is(&admin, name, "ready").await;
    }
    let listed = body(&manager.get("/v1/handouts").await);
    let listed = listed["handouts"].as_array().expect("a list").iter();
    let names: Vec<&str> = listed.map(|it| it["handout"].as_str().expect("text")).collect();
    assert_eq!(names, ["both", "own", "by-own"]);
    for call in ["issue", "stop"] {
        let both = manager.post(&format!("/v1/handouts/both/{call}"), "", &json!({})).await;
        let far = manager.post(&format!("/v1/handouts/far/{call}"), "", &json!({})).await;
        assert_eq!((slug(&both), slug(&far)), ("forbidden".into(), "not-found".into()), "{call}");
    }
    assert_eq!(slug(&manager.delete("/v1/handouts/both").await), "forbidden");
    is(&manager, "by-own", "ready").await;
    issue(&manager, "by-own").await;
    is(&manager, "by-own", "done").await;
    assert_eq!(service.count(COUPONS).await, 6);
}
