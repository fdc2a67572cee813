//! Caps over days and accounts with tills: two replicas and a batch give no more than one till
//! would, what comes back gives room, people are told, and the audit adds it up again.

use jiff::Timestamp;
use jiff::civil::date;
use serde_json::{Value, json};
use tillside::domain::tally::{Counted, Tally};
use tillside::programme::explain::{Capped, CappedRule, explain};
use tillside::programme::file::File;
use tillside::programme::{Programmes, Start};

use crate::desk::verified;
use crate::support::flow::{
    account_of, basket, enrol, name, name_of, on, post_batch, returned_from, until, void,
};
use crate::support::service::{TestService, body, card, post, swipe};

const RULES: &str = r#"
cap_per_day = 100
cap_per_account = { points = 250, from = 2026-03-09, until = 2026-03-31 }

[earn]
points = 1
per_minor = 100
"#;

/// A rule that gives much up to its cap, and one that gives less without.
const OF_RULES: &str = r#"
[earn]
points = 1
per_minor = 100

[[rules]]
name = "triple"
multiplier = "3"
cap_per_swipe = 30

[[rules]]
name = "large baskets double"
minimum_minor = 5_000
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

fn earned(answer: &tillside::till::Answer) -> Value {
    body(answer)["points"]["earned"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_full_on_every_replica_and_what_comes_back_gives_room() {
    let service = service(RULES).await;
    let other = service.replica().await;
    let (here, there) = (service.till(), other.till("0367", "03"));
    // Each replica has the account in memory while the other one changes it.
    assert_eq!(earned(&post(&here, &swipe(1, Some(&card(1)), 4_000)).await), 40);
    assert_eq!(earned(&post(&there, &swipe(2, Some(&card(1)), 4_000)).await), 40);
    assert_eq!(earned(&post(&here, &swipe(3, Some(&card(1)), 4_000)).await), 20);
    assert_eq!(earned(&post(&there, &swipe(4, Some(&card(1)), 4_000)).await), 0);
    assert_eq!(earned(&post(&here, &swipe(5, Some(&card(2)), 4_000)).await), 40);

    let programmes = programmes(&service).await;
    let named = |sequence| name(sequence).parse().expect("a name");
    let third = explain(&programmes, &named(3)).await.expect("recorded");
    let capped = Capped { by: "cap_per_day", due: 40, earned_on_day: 80, earned_in_period: 80 };
    assert_eq!((third.agrees, third.capped), (true, Some(capped)), "{third}");
    let shown = third.to_string();
    let told = "cap_per_day leaves 20 of 40 points: 80 were earned on this day before.";
    assert!(shown.contains(told), "{shown}");
    assert_eq!(explain(&programmes, &named(2)).await.expect("recorded").capped, None);

    // A return of the first, a day later: the room is the day's on which it was bought.
    let tomorrow = "2026-03-15";
    let back = vec![returned_from(1, 4_000, &name(1))];
    let back = body(&post(&there, &on(basket(6, Some(&card(1)), back), tomorrow)).await);
    assert_eq!(back["points"]["reversed"], 40, "{back}");
    assert_eq!(earned(&post(&here, &swipe(7, Some(&card(1)), 9_000)).await), 40);
    void(&there, &name(2)).await;
    assert_eq!(earned(&post(&here, &swipe(8, Some(&card(1)), 9_000)).await), 40);
    // The void of the return fills its day again, beyond what the cap gives.
    void(&there, &format!("0367/03/{tomorrow}/6")).await;
    assert_eq!(earned(&post(&here, &swipe(9, Some(&card(1)), 9_000)).await), 0);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_no_more_of_its_period_and_a_batch_is_no_way_around() {
    let service = service(RULES).await;
    let till = service.till();
    let on_day = |sequence, day: &str| on(swipe(sequence, Some(&card(1)), 9_000), day);
    let days = ["2026-03-10", "2026-03-11", "2026-03-12", "2026-03-12"];
    let items: Vec<Value> =
        (1..).zip(days).map(|(sequence, day)| json!({ "swipe": on_day(sequence, day) })).collect();
    post_batch(&till, &items).await;
    let sum = "SELECT sum(earned_points)::bigint FROM swipe";
    assert_eq!(service.count(sum).await, 250, "90, 90, and what was left");
    assert_eq!(earned(&post(&till, &on_day(5, "2026-03-31")).await), 0);
    assert_eq!(earned(&post(&till, &on_day(6, "2026-04-01")).await), 90);
    let last = "0367/03/2026-03-31/5".parse().expect("a name");
    let last = explain(&programmes(&service).await, &last).await.expect("recorded");
    let shown = last.to_string();
    assert!(shown.contains("cap_per_account leaves 0 of 90 points: 250 were earned"), "{shown}");
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_has_what_both_have_had_and_the_audit_sees_what_nobody_earned() {
    let service = service(RULES).await;
    let (till, sql) = (service.till(), service.sql().await);
    // An enrolment moves the clocks to today.
    let today = service.replica.app.today();
    let buy = |sequence, number, amount| {
        on(swipe(sequence, Some(&card(number)), amount), &today.to_string())
    };
    post(&till, &buy(1, 1, 4_000)).await;
    enrol(&till, &json!({ "card": card(1) })).await;
    let second = buy(2, 2, 3_000);
    post(&till, &second).await;
    enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    assert_eq!(earned(&post(&till, &buy(3, 2, 9_000)).await), 30);
    void(&till, &name_of(&second)).await;
    assert_eq!(earned(&post(&till, &buy(4, 1, 9_000)).await), 30);
    verified(&service).await;

    let account = account_of(&sql, &card(1)).await;
    let mut tally = Tally::default();
    let day = tillside::domain::codec::days(today);
    let mut forged = Counted::default();
    forged.by_day.push((day, 99));
    tally.count(&forged);
    let statement = "UPDATE account SET tally = $1 WHERE account_id = $2";
    sql.execute(statement, &[&tally.encode(), &account]).await.expect(statement);
    let report = tillside::verify::Audit::begin(&service.config.database, 0..=255).await;
    let report = report.expect("it is up").run(|_| ()).await.expect("read");
    assert_eq!(report.broken[0].invariant, "tally-differs", "{:?}", report.broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_of_a_rule_is_told_and_added_up_again() {
    let service = service(OF_RULES).await;
    let till = service.till();
    let programmes = programmes(&service).await;
    for (sequence, amount_minor, earns, left, told) in [
        (1, 1_500, 45, None, "from"),
        (2, 2_000, 50, Some((40_000, 30)), "cap_per_swipe of triple leaves 30 of 40 points."),
        (3, 6_000, 120, Some((120_000, 0)), "triple stands back: others give more"),
    ] {
        let receipt = post(&till, &swipe(sequence, Some(&card(1)), amount_minor)).await;
        assert_eq!(earned(&receipt), earns);
        let named = name(sequence).parse().expect("a name");
        let explanation = explain(&programmes, &named).await.expect("recorded");
        let left = left.map(|(due_thousandths, given)| CappedRule {
            rule: "triple".to_owned(),
            due_thousandths,
            given,
        });
        assert_eq!(explanation.capped_rules, Vec::from_iter(left), "{explanation}");
        let shown = explanation.to_string();
        assert!(explanation.agrees && shown.contains(told), "{shown}");
    }
    // What comes back takes its share of what was left.
    let back = vec![returned_from(1, 2_000, &name(2))];
    let back = body(&post(&till, &basket(4, Some(&card(1)), back)).await);
    assert_eq!(back["points"]["reversed"], 50, "{back}");
    verified(&service).await;
}
