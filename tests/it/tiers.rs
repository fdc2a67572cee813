//! Tiers with tills: reached and shown on receipts, kept by accounts that are merged, undone by
//! voids and returns, exported, explained, and added up again by the audit.

use jiff::Timestamp;
use jiff::civil::date;
use serde_json::{Value, json};
use tillside::domain::name::SwipeName;
use tillside::domain::tally::{Counted, Tally, month_of};
use tillside::office::Role;
use tillside::programme::explain::explain;
use tillside::programme::file::File;
use tillside::programme::{Programmes, Start};

use crate::desk::verified;
use crate::support::flow::{
    account_of, basket, enrol, look_up, name, name_of, on, returned_from, sold, until, void,
};
use crate::support::office::person;
use crate::support::service::{TestService, body, card, post, swipe};

const RULES: &str = r#"
[earn]
points = 1
per_minor = 100

[tier_policy]
window_months = 3
grace_months = 1

[[tiers]]
name = "Silver"
threshold_minor = 10_000

[[tiers]]
name = "Gold"
threshold_minor = 30_000

[[rules]]
name = "silver doubles"
tiers = ["Silver"]
multiplier = "2"
"#;

async fn programmes(service: &TestService) -> Programmes {
    Programmes::connect(&service.config.database, Timestamp::now()).await.expect("it is up")
}

/// With these rules in force since the first of January 2026.
async fn service(text: &str) -> TestService {
    let service = TestService::start().await;
    let start = Start { on: date(2026, 1, 1), today: date(2026, 1, 1), note: "test" };
    let rules = File::read(text).unwrap_or_else(|found| panic!("{found:?}")).rules;
    let published = programmes(&service).await.publish(&rules, &start).await.expect("published");
    until("the replica knows the epoch", async || {
        service.replica.app.catalogue.current().epoch(published.epoch).is_some()
    })
    .await;
    service
}

fn tier(answer: &tillside::till::Answer) -> Value {
    body(answer)["tier"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_is_reached_shown_earns_more_and_goes_with_what_is_taken_back() {
    let service = service(RULES).await;
    let till = service.till();
    let first = post(&till, &swipe(1, Some(&card(1)), 9_000)).await;
    assert_eq!(tier(&first), json!({ "name": null, "to_next_minor": 1_000 }));
    // The one that reaches it still earns as before.
    let second = body(&post(&till, &swipe(2, Some(&card(1)), 2_000)).await);
    assert_eq!(second["tier"], json!({ "name": "Silver", "to_next_minor": 19_000 }));
    assert_eq!(second["points"]["earned"], 20);
    assert!(second["messages"].to_string().contains("You have reached Silver."), "{second}");
    let third = body(&post(&till, &swipe(3, Some(&card(1)), 1_000)).await);
    assert_eq!(
        (&third["points"]["earned"], &third["tier"]["name"]),
        (&json!(20), &"Silver".into())
    );
    assert!(!third["messages"].to_string().contains("reached"), "{third}");
    let fourth = body(&post(&till, &swipe(4, Some(&card(1)), 20_000)).await);
    assert_eq!(fourth["tier"], json!({ "name": "Gold", "to_next_minor": null }));

    let explanation = explain(&programmes(&service).await, &named(3)).await.expect("recorded");
    assert!(explanation.agrees, "{explanation}");
    let shown = explanation.to_string();
    assert!(shown.contains("The customer held Silver before."), "{shown}");
    assert!(shown.contains("base rate 10 + silver doubles 10"), "{shown}");

    // A return takes back what the line of its sale had counted, the void of that gives it again.
    let back = basket(5, Some(&card(1)), vec![returned_from(1, 20_000, &name(4))]);
    assert_eq!(tier(&post(&till, &back).await)["name"], "Silver");
    void(&till, &name(5)).await;
    let held = async |sequence| tier(&post(&till, &swipe(sequence, Some(&card(1)), 0)).await);
    assert_eq!(held(6).await["name"], "Gold");
    void(&till, &name(4)).await;
    assert_eq!(held(7).await["name"], "Silver");
    for sequence in [2, 3] {
        void(&till, &name(sequence)).await;
    }
    assert_eq!(held(8).await, json!({ "name": null, "to_next_minor": 1_000 }));
    verified(&service).await;
}

fn named(sequence_number: i64) -> SwipeName {
    name(sequence_number).parse().expect("a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn months_leave_the_window_and_late_baskets_still_count_for_their_month() {
    let service = service(RULES).await;
    let till = service.till();
    let buy = async |sequence, amount, day: &str| {
        let line = vec![sold(1, "1095275", amount)];
        tier(&post(&till, &on(basket(sequence, Some(&card(1)), line), day)).await)
    };
    assert_eq!(buy(1, 12_000, "2026-01-05").await["name"], "Silver");
    // Within the window until March, and a month of grace.
    assert_eq!(
        buy(2, 100, "2026-04-30").await,
        json!({ "name": "Silver", "to_next_minor": 29_900 })
    );
    assert_eq!(buy(3, 100, "2026-05-01").await["name"], json!(null));
    // What a till had kept for itself: February no longer counts for itself, but March does.
    assert_eq!(buy(4, 9_900, "2026-03-20").await["name"], json!("Silver"));
    // January has been forgotten: its void takes nothing back.
    void(&till, "0367/03/2026-01-05/1").await;
    assert_eq!(buy(5, 100, "2026-05-02").await["name"], json!("Silver"));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_merged_hands_its_tier_on_and_voids_follow_it() {
    let service = service(RULES).await;
    let (till, sql) = (service.till(), service.sql().await);
    // An enrolment moves the clocks to today.
    let today = service.replica.app.today();
    let buy = |sequence, number: Option<&str>, amount| {
        on(swipe(sequence, number, amount), &today.to_string())
    };
    post(&till, &buy(1, Some(&card(1)), 6_000)).await;
    enrol(&till, &json!({ "card": card(1) })).await;
    let second = buy(2, Some(&card(2)), 7_000);
    post(&till, &second).await;
    let left = account_of(&sql, &card(2)).await;
    let merged = enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    assert_eq!(tier(&merged), json!({ "name": "Silver", "to_next_minor": 17_000 }));
    let held = format!("SELECT count(*) FROM account WHERE account_id = {left} AND tally IS NULL");
    assert_eq!(service.count(&held).await, 1, "nothing is counted twice");
    verified(&service).await;
    void(&till, &name_of(&second)).await;
    assert_eq!(tier(&look_up(&till, &card(1)).await)["name"], json!(null));
    verified(&service).await;
    // Without a card nothing is counted for anybody.
    let third = post(&till, &buy(3, None, 50_000)).await;
    assert_eq!(tier(&third), json!(null));
    let houses = "SELECT count(*) FROM account WHERE state = 2 AND tally IS NOT NULL";
    assert_eq!(service.count(houses).await, 0);
    verified(&service).await;

    // What an heir has not inherited is seen.
    let heir = account_of(&sql, &card(1)).await;
    let mut tally = Tally::default();
    tally.count(&Counted { qualifying: vec![(month_of(today), 5_999)], ..Counted::default() });
    let forged = "UPDATE account SET tally = $1 WHERE account_id = $2";
    sql.execute(forged, &[&tally.encode(), &heir]).await.expect(forged);
    let report = tillside::verify::Audit::begin(&service.config.database, 0..=255).await;
    let report = report.expect("it is up").run(|_| ()).await.expect("read");
    assert_eq!(report.broken[0].invariant, "tally-differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_tiers_and_files_have_them() {
    let service = service(RULES).await;
    let till = service.till();
    let today = service.replica.app.today().to_string();
    let line = |amount| vec![sold(1, "1095275", amount)];
    post(&till, &on(basket(1, Some(&card(1)), line(40_000)), &today)).await;
    post(&till, &on(basket(2, Some(&card(2)), line(40)), &today)).await;
    let marketing = person(&service, Role::Marketing).await;
    let account = body(&marketing.get(&format!("/v1/accounts?card={}", card(1))).await);
    assert_eq!(account["tier"], json!({ "name": "Gold", "to_next_minor": null }));
    let file = marketing.get("/v1/exports/accounts?format=ndjson").await;
    let text = String::from_utf8(file.body.to_vec()).expect("UTF-8");
    let mut tiers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["tier"].clone())
        .collect();
    tiers.sort_by_key(Value::is_null);
    assert_eq!(tiers, [json!("Gold"), json!(null)]);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_programme_without_tiers_store_nothing_for_them() {
    let service = TestService::start().await;
    let till = service.till();
    let first = post(&till, &swipe(1, Some(&card(1)), 9_000)).await;
    assert_eq!(tier(&first), json!(null));
    assert_eq!(service.count("SELECT count(*) FROM account WHERE tally IS NOT NULL").await, 0);
}
