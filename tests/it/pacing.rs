//! Pacing: tills spread the coupons of an offer over its days, over all replicas, and say so
//! afterwards; people are not held up.

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde_json::{Value, json};
use tillside::commit::{Order, Ordered};
use tillside::metrics::Metrics;
use tillside::office::Role;
use tillside::receipt::account_text;

use crate::decisions::{asked, verdicts};
use crate::desk::{of_card, verified};
use crate::support::flow::{account_of, audit, enrol, name_of, on, slug, until};
use crate::support::office::person;
use crate::support::service::{TestService, body, card, today};
use crate::till_coupons::{bought, bring, certain, of_skus, offer_of, offer_with, service_with};

const CUSTOMERS: u64 = 10;
/// How many visits so far, so that each has a name of its own.
type Visits = std::cell::Cell<i64>;

/// A day of the offer, the first being 0: a week after everybody came once.
fn day(nth: i64) -> String {
    today().saturating_add(Span::new().days(7 + nth)).to_string()
}

/// A basket of milk at a till, which the offers have nothing to do with but by brand.
fn milk(visits: &Visits, customer: u64, (store, workstation): (&str, &str), date: &str) -> Value {
    visits.set(visits.get() + 1);
    let mut swipe = on(bought(visits.get(), &["3"]), date);
    swipe["card"] = card(customer).into();
    (swipe["store_id"], swipe["workstation_id"]) = (store.into(), workstation.into());
    swipe
}

fn counted(metrics: &Metrics, sample: &str) -> f64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(sample)).expect(sample);
    line.trim().parse().expect("a number")
}

async fn of_bread(service: &TestService) -> i64 {
    let sql = "SELECT count(*) FROM coupon JOIN offer USING (offer_no) WHERE offer_id = 'bread'";
    service.count(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_give_each_day_its_part_of_a_budget_and_say_pacing_of_what_they_did_not_give() {
    let service = service_with(|coupons| {
        *coupons = certain();
        (coupons.per_swipe, coupons.open_max) = (1, 40);
    })
    .await;
    let replica = service.replica().await;
    let visits = Visits::new(CUSTOMERS.cast_signed());
    let tills = [(service.till(), ("0367", "03")), (replica.till("0406", "01"), ("0406", "01"))];
    // Two of six on each of three days; and something for whoever gets none of them.
    let bread = json!({ "scope": of_skus(&["4"]), "push": 1, "budget": { "coupons": 6 },
                        "since": day(0), "until": day(2) });
    offer_with(&service, "bread", bread).await;
    offer_of(&service, "plain", of_skus(&["1"])).await;
    let known = async || replica.app.catalogue.current().offer_named("plain").is_some();
    until("both know", known).await;
    for customer in 1..=CUSTOMERS {
        enrol(&tills[0].0, &json!({ "card": card(customer) })).await;
        let mut first = bought(customer.cast_signed(), &["1", "4"]);
        first["card"] = card(customer).into();
        bring(&tills[0].0, &first).await;
    }
    // Whoever has no lease in hand gives nothing and asks for one: everybody comes often.
    let round = async |date: &str| {
        for customer in 1..=CUSTOMERS {
            for (till, place) in &tills {
                bring(till, &milk(&visits, customer, *place, date)).await;
            }
        }
        of_bread(&service).await
    };
    until("the first day's part is given", async || round(&day(0)).await >= 2).await;
    assert_eq!(round(&day(0)).await, 2);

    // The next best takes the place, and what was held back is noted.
    let admin = person(&service, Role::Admin).await;
    let sql = service.sql().await;
    let explained = async |date: &str| {
        let mut told = Vec::new();
        for customer in 1..=CUSTOMERS {
            let (till, place) = &tills[usize::from(customer % 2 == 0)];
            let visit = milk(&visits, customer, *place, date);
            bring(till, &visit).await;
            let account = account_text(account_of(&sql, &card(customer)).await);
            told.push(asked(&admin, &account, &name_of(&visit), "").await);
        }
        told
    };
    let says_pacing = |told: &Value| verdicts(told).contains(&("bread", "pacing"));
    until("somebody is told so", async || {
        let told = explained(&day(0)).await;
        assert!(told.iter().all(|it| it["decision"]["agrees"] == true), "{told:?}");
        told.iter().any(says_pacing)
    })
    .await;
    let plain = "SELECT count(*) FROM coupon JOIN offer USING (offer_no) WHERE offer_id = 'plain'";
    until("everybody has the next best, those with bread later", async || {
        explained(&day(0)).await;
        service.count(plain).await == CUSTOMERS.cast_signed()
    })
    .await;
    let held_back = "tillside_offers_held_back_total{why=\"pacing\"}";
    let apps = [&service.replica.app, &replica.app];
    let sum = |sample| apps.map(|app| counted(&app.metrics, sample)).iter().sum::<f64>();
    assert!(sum(held_back) >= 1.0);
    assert!(sum("tillside_leases_total{event=\"paced\"}") >= 1.0);

    // Nothing is used up by asking in vain.
    let numbers = "SELECT last_value - (SELECT count(*) FROM budget) FROM budget_budget_no_seq";
    assert_eq!(service.count(numbers).await, 0);

    // People are not held up, but what they issue counts: so tills give one less on the next day.
    let (snapshot, date) = (service.replica.app.catalogue.current(), day(0));
    let issue = Order::Issue {
        whose: of_card(1),
        offer: "bread".into(),
        count: 1,
        actor: "somebody".into(),
        on: date.parse::<Date>().expect("a date"),
    };
    let desk = &service.replica.app.desk;
    let ordered = desk.lock().await.order(&snapshot, &issue, Timestamp::now()).await;
    assert!(matches!(ordered, Ok(Ordered::Issued { .. })), "{ordered:?}");
    assert_eq!(round(&day(0)).await, 3);
    until("the second day's part is given", async || round(&day(1)).await >= 4).await;
    assert_eq!(round(&day(1)).await, 4);
    // Yesterday's business date, as in a store that closes after midnight, opens nothing.
    assert_eq!(round(&day(0)).await, 4);
    desk.lock().await.give_back().await.expect("the database answers");
    until("everything is given", async || round(&day(2)).await >= 6).await;
    assert_eq!(round(&day(2)).await, 6);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_say_how_much_is_for_the_days_so_far_unless_somebody_wants_no_pace() {
    let service = service_with(|_| {}).await;
    let admin = person(&service, Role::Admin).await;
    let bread = json!({ "scope": of_skus(&["4"]), "push": 1, "budget": { "coupons": 6 },
                        "since": day(0), "until": day(2) });
    offer_with(&service, "bread", bread).await;
    offer_of(&service, "plain", of_skus(&["1"])).await;

    // All of its days are over by the date of the service.
    let told = body(&admin.get("/v1/offers/bread/budgets").await);
    assert_eq!(told["budgets"][0]["by_today"], 6, "{told}");
    let path = "/v1/offers/bread/budget";
    let changed = body(&admin.post(path, "k1", &json!({ "pacing": "none" })).await);
    let budget = &changed["definition"]["budget"];
    assert_eq!(budget, &json!({ "coupons": 6, "pacing": "none" }), "{changed}");
    until("the change is known", async || {
        let told = body(&admin.get("/v1/offers/bread/budgets").await);
        told["budgets"][0].get("by_today").is_none()
    })
    .await;
    let refused = admin.post("/v1/offers/plain/budget", "k2", &json!({ "pacing": "even" })).await;
    assert_eq!(slug(&refused), "validation-failed", "it has no end to spread anything to");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spent_gives_its_place_to_the_next_best_on_every_replica_till_there_is_more() {
    let service = service_with(|coupons| {
        *coupons = certain();
        (coupons.per_swipe, coupons.open_max) = (1, 40);
    })
    .await;
    let replica = service.replica().await;
    let visits = Visits::new(CUSTOMERS.cast_signed());
    let tills = [(service.till(), ("0367", "03")), (replica.till("0406", "01"), ("0406", "01"))];
    let budget = json!({ "coupons": 2 });
    let bread = json!({ "scope": of_skus(&["4"]), "push": 1, "budget": budget });
    offer_with(&service, "bread", bread).await;
    offer_of(&service, "plain", of_skus(&["1"])).await;
    let known = async || replica.app.catalogue.current().offer_named("plain").is_some();
    until("both know", known).await;
    for customer in 1..=CUSTOMERS {
        enrol(&tills[0].0, &json!({ "card": card(customer) })).await;
        let mut first = bought(customer.cast_signed(), &["1", "4"]);
        first["card"] = card(customer).into();
        bring(&tills[0].0, &first).await;
    }
    let (admin, sql) = (person(&service, Role::Admin).await, service.sql().await);
    let round = async || {
        let mut told = Vec::new();
        for customer in 1..=CUSTOMERS {
            for (till, place) in &tills {
                let visit = milk(&visits, customer, *place, &day(0));
                bring(till, &visit).await;
                let account = account_text(account_of(&sql, &card(customer)).await);
                told.push(asked(&admin, &account, &name_of(&visit), "").await);
            }
        }
        assert!(told.iter().all(|it| it["decision"]["agrees"] == true), "{told:?}");
        told
    };
    // By its push bread would have every place, for whoever does not hold it.
    let plain = "SELECT count(*) FROM coupon JOIN offer USING (offer_no) WHERE offer_id = 'plain'";
    let beside = |told: &Value| {
        let verdicts = verdicts(told);
        verdicts.contains(&("bread", "no-room")) && verdicts.contains(&("plain", "given"))
    };
    let mut seen = false;
    until("everybody has the next best", async || {
        seen |= round().await.iter().any(beside);
        service.count(plain).await == CUSTOMERS.cast_signed()
    })
    .await;
    assert!(seen, "and the receipts' decisions say what was held back");
    assert_eq!(of_bread(&service).await, 2);
    let no_room = "tillside_offers_held_back_total{why=\"no-room\"}";
    for app in [&service.replica.app, &replica.app] {
        assert!(counted(&app.metrics, no_room) >= 1.0);
    }

    let more = admin.post("/v1/offers/bread/budget", "more", &json!({ "coupons": 4 })).await;
    assert_eq!(more.status, http::StatusCode::CREATED, "{:?}", more.body);
    until("what is there again is given", async || {
        round().await;
        of_bread(&service).await == 4
    })
    .await;
    audit(&service).await;
    verified(&service).await;
}
