//! What a receipt carries beyond the score: who is held out, how often somebody is given
//! something, what was ignored; and why, told afterwards for every swipe.

use std::process::Command;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tillside::domain::coupon::Code;
use tillside::domain::selection::showcase::HoldOut;
use tillside::offer;
use tillside::office::{Role, TokenScope};
use tillside::receipt::account_text;
use tillside::till::Till;

use crate::desk::verified;
use crate::openapi::{document, findings};
use crate::support::database::launcher;
use crate::support::flow::{account_of, at, audit, enrol, name_of, on, slug, until, void};
use crate::support::office::{Person, person, person_of};
use crate::support::service::{TestService, body, card, post, today};
use crate::till_coupons::{
    bought, bring, brought, certain, enrolled, of_skus, offer_of, offer_with, service_with,
};

/// The test's day, and so many days later.
fn later(days: i64) -> String {
    today().saturating_add(jiff::Span::new().days(days)).to_string()
}

/// A customer's basket.
fn of(customer: u64, mut swipe: Value) -> Value {
    swipe["card"] = card(customer).into();
    swipe
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_held_out_gets_nothing_but_goodwill_on_any_replica_and_it_is_noted() {
    let service = service_with(|coupons| {
        *coupons = certain();
        coupons.hold_out_percent = 40;
        coupons.hold_out_round = 7;
    })
    .await;
    let (till, replica) = (service.till(), service.replica().await);
    let elsewhere = replica.till("0367", "03");
    offer_of(&service, "bread", of_skus(&["4"])).await;
    offer_with(&service, "pushed", json!({ "scope": of_skus(&["2"]), "push": 1 })).await;
    let goodwill = json!({ "scope": of_skus(&["3"]), "goodwill": true });
    offer_with(&service, "sorry", goodwill).await;
    until("both know", async || replica.app.catalogue.current().offer_named("sorry").is_some())
        .await;
    let (sql, hold_out) = (service.sql().await, HoldOut { percent: 40, round: 7 });
    let (mut held, mut withheld) = (0, 0);
    for customer in 1..=20 {
        enrol(&till, &json!({ "card": card(customer) })).await;
        let sequence = customer.cast_signed() * 10;
        let first = of(customer, on(bought(sequence, &["3", "4"]), &later(-40)));
        bring(&till, &first).await;
        let second = of(customer, bought(sequence + 1, &["6"]));
        let (one, other) = tokio::join!(post(&till, &second), post(&elsewhere, &second));
        assert_eq!(one.body, other.body, "whoever was first");
        let given: Vec<String> = brought(&body(&one)).into_iter().map(|it| it.0).collect();
        let account_id = account_of(&sql, &card(customer)).await;
        if hold_out.holds(account_id) {
            held += 1;
            assert!(given.iter().all(|offer| offer == "sorry"), "{given:?}");
            // Of the first visit the one that is pushed, and what the second lacks.
            withheld += 1 + 2 - given.len();
        } else {
            assert_eq!((given.len(), &*given[0]), (2, "pushed"));
        }
    }
    assert!((3..=14).contains(&held), "{held} of 20");
    let counted =
        [&service.replica.app, &replica.app].map(|app| app.metrics.coupons_withheld.get());
    assert_eq!(counted.iter().sum::<u64>(), withheld as u64, "what would have been given");
    // What people give is theirs to give.
    let admin = person(&service, Role::Admin).await;
    let all: Vec<String> = (1..=20).map(card).collect();
    let order = json!({ "offer": "bread", "to": all });
    let issued = body(&admin.post("/v1/coupons", "k", &order).await);
    assert_eq!(issued["issued"], 20, "{issued}");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_given_more_in_a_week_than_the_settings_allow() {
    let service = service_with(|coupons| {
        *coupons = certain();
        (coupons.per_swipe, coupons.per_week) = (1, 2);
    })
    .await;
    let till = enrolled(&service).await;
    for sku in ["1", "2", "3", "4"] {
        offer_of(&service, &format!("offer-{sku}"), of_skus(&[sku])).await;
    }
    bring(&till, &on(bought(1, &["1", "2", "3", "4"]), &later(-40))).await;
    let mut given = Vec::new();
    for (sequence, day) in [(2, 0), (3, 1), (4, 2), (5, 6), (6, 7), (7, 7)] {
        given.push(bring(&till, &on(bought(sequence, &["6"]), &later(day))).await.len());
    }
    assert_eq!(given, [1, 1, 0, 0, 1, 0], "two in seven days");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ignored_three_times_is_left_alone_for_a_while() {
    let service = service_with(|coupons| *coupons = certain()).await;
    let till = enrolled(&service).await;
    let bread = json!({ "scope": of_skus(&["4"]), "valid_days": 7 });
    offer_with(&service, "bread", bread).await;
    bring(&till, &on(bought(1, &["4"]), &later(-40))).await;
    // Every other visit is at a replica that has just started and knows what the database knows.
    let mut given = Vec::new();
    for (sequence, day) in (2..).zip([0, 8, 16, 24, 40, 90, 91]) {
        let fresh = service.replica().await;
        let cold = fresh.till("0367", "03");
        let till = if sequence % 2 == 0 { &till } else { &cold };
        given.push(bring(till, &on(bought(sequence, &["6"]), &later(day))).await.len());
    }
    // The first ran out on day 6, and is forgotten 84 days later.
    assert_eq!(given, [1, 1, 1, 0, 0, 0, 1]);
    verified(&service).await;
}

pub(crate) async fn asked(someone: &Person, account: &str, name: &str, query: &str) -> Value {
    let path = format!("/v1/accounts/{account}/decisions/{name}{query}");
    let answer = someone.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {:?}", answer.body);
    body(&answer)
}

/// What became of each offer: its name and the verdict.
pub(crate) fn verdicts(page: &Value) -> Vec<(&str, &str)> {
    let offers = page["decision"]["offers"].as_array().expect("a list");
    let text = |it: &'_ Value| it.as_str().map(|_| ()).is_some();
    assert!(offers.iter().all(|it| text(&it["offer"]) && text(&it["verdict"])));
    let mut told: Vec<(&str, &str)> = offers
        .iter()
        .filter_map(|it| Some((it["offer"].as_str()?, it["verdict"].as_str()?)))
        .collect();
    told.sort_unstable();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn every_offer_that_was_not_given_can_be_asked_why() {
    let service = service_with(|coupons| *coupons = certain()).await;
    let till = enrolled(&service).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    offer_of(&service, "plain", of_skus(&["1"])).await;
    offer_with(&service, "pushed", json!({ "scope": of_skus(&["2"]), "push": 2 })).await;
    offer_of(&service, "also-plain", json!({ "types": ["PLAIN"] })).await;
    let elsewhere = json!({ "scope": of_skus(&["3"]), "stores": ["0406"] });
    offer_with(&service, "elsewhere", elsewhere).await;
    let over = json!({ "scope": of_skus(&["3"]), "until": "2026-03-01" });
    offer_with(&service, "over", over).await;
    offer_of(&service, "kits", of_skus(&["5"])).await;
    let spent = json!({ "scope": of_skus(&["3"]), "budget": { "coupons": 0 }, "push": 1 });
    offer_with(&service, "spent", spent).await;
    let first = on(bought(1, &["1", "3", "4", "5"]), &later(-40));
    bring(&till, &first).await;
    let second = bought(2, &["4"]);
    let given = bring(&till, &second).await;
    assert_eq!(given.len(), 1, "{given:?}");

    let admin = person(&service, Role::Admin).await;
    let account = account_text(account_of(&service.sql().await, &card(1)).await);
    let told = asked(&admin, &account, &name_of(&second), "").await;
    let schema = json!({ "$ref": "#/components/schemas/CouponDecisionPage" });
    let document = document(&till).await;
    assert_eq!(findings(&document, &schema, &told, ""), [""; 0], "{told}");
    let (other, chosen) =
        if given[0].0 == "plain" { ("also-plain", "plain") } else { ("plain", "also-plain") };
    let mut expected = vec![
        ("bread", "just-bought"),
        ("elsewhere", "other-store"),
        ("kits", "nothing-in-common"),
        ("over", "not-live"),
        ("pushed", "outranked"),
        ("spent", "no-room"),
        (other, "same-type"),
        (chosen, "given"),
    ];
    expected.sort_unstable();
    assert_eq!(verdicts(&told), expected, "{told}");
    let decision = &told["decision"];
    assert_eq!((&decision["agrees"], &decision["most"]), (&json!(true), &json!(2)));
    assert!(!told.to_string().contains("Test kit"), "what is sensitive is not spoken of");
    let of_offer = |offer: &str| {
        let offers = decision["offers"].as_array().expect("a list");
        offers.iter().find(|it| it["offer"] == offer).expect("each is there").clone()
    };
    assert_eq!(of_offer(other)["beside"], chosen);
    let coupon = of_offer(chosen);
    assert_eq!((&coupon["slot"], &coupon["propensity"]), (&"repeat".into(), &json!(1.0)));
    assert_eq!(coupon["numbers"]["days_since"], 40);
    // The life of the coupon says the same.
    let code = coupon["coupon"].as_str().expect("a code");
    let life = body(&admin.get(&format!("/v1/coupons/{code}")).await);
    assert_eq!((&life["reason"], &life["why"]), (&coupon["reason"], &coupon["sentence"]));

    // Held now; and page by page it is the same.
    let third = on(bought(3, &["6"]), &later(1));
    bring(&till, &third).await;
    let whole = asked(&admin, &account, &name_of(&third), "").await;
    assert!(verdicts(&whole).contains(&(chosen, "held")), "{whole}");
    let (mut after, mut paged) = (String::new(), Vec::new());
    loop {
        let query = format!("?limit=3{after}");
        let page = asked(&admin, &account, &name_of(&third), &query).await;
        paged.extend(page["decision"]["offers"].as_array().expect("a list").clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(json!(paged), whole["decision"]["offers"]);

    // A manager asks about own stores, and sees the offers that count there.
    let manager = person(&service, Role::Manager).await;
    let seen = asked(&manager, &account, &name_of(&third), "").await;
    assert!(!verdicts(&seen).iter().any(|(offer, _)| *offer == "elsewhere"), "{seen}");
    let other = person_of(&service, Role::Manager, &["0406"], TokenScope::Full).await;
    let path = format!("/v1/accounts/{account}/decisions/{}", name_of(&third));
    assert_eq!(slug(&other.get(&path).await), "forbidden");
    for path in [
        path.replace(&account, "acc_000000000A1KV"),
        path.replace(&name_of(&third), "0367/03/2026-03-14/99"),
        path.replace(&name_of(&third), "0367/99/2026-03-14/2"),
        path.replace(&name_of(&third), "0367/03/2026-99-14/2"),
    ] {
        assert_eq!(slug(&admin.get(&path).await), "not-found", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_chosen_it_says_so() {
    let service = service_with(|coupons| *coupons = certain()).await;
    let till = service.till();
    offer_of(&service, "bread", of_skus(&["4"])).await;
    let early = bought(1, &["4"]);
    bring(&till, &early).await;
    enrol(&till, &json!({ "card": card(1) })).await;
    let mut stored = bought(2, &["4"]);
    stored["offline"] = true.into();
    bring(&till, &stored).await;
    let admin = person(&service, Role::Admin).await;
    let account = account_text(account_of(&service.sql().await, &card(1)).await);
    for (swipe, why) in [(early, "not enrolled"), (stored, "had stored it")] {
        let told = asked(&admin, &account, &name_of(&swipe), "").await;
        let said = told["decision"]["nothing_chosen"].as_str().expect("a reason");
        assert!(said.contains(why), "{said}");
        assert_eq!(told["decision"]["offers"], json!([]));
    }
}

/// Numbers that are the same in every run.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// Ten days after another, customers come to two replicas, use coupons, and change their minds;
/// offers come and go. Returns what was recorded with each swipe.
async fn history(service: &TestService, tills: &[Till]) -> Vec<(u64, Value, Value)> {
    let (mut drawn, mut recorded) = (Drawn(42), Vec::new());
    let mut open: Vec<Vec<String>> = vec![Vec::new(); 6];
    for day in 0..30 {
        let date = later(day * 4);
        if day == 10 {
            let until: Date = later(36).parse().expect("a date");
            let now = Timestamp::now();
            let ended = offer::end(&service.pool, "bread", until, until, None, now).await;
            ended.expect("ended").expect("there is one");
            offer_of(service, "milk", json!({ "categories": ["MILK"] })).await;
        }
        for customer in 0..6_u64 {
            let skus: Vec<&str> = ["1", "2", "3", "4", "5", "6"]
                .into_iter()
                .filter(|_| drawn.below(3) == 0)
                .collect();
            let skus = if skus.is_empty() { vec!["6"] } else { skus };
            let sequence = day * 10 + customer.cast_signed() + 1;
            let mut swipe = of(customer + 1, on(bought(sequence, &skus), &date));
            let which = usize::try_from(drawn.below(2)).expect("small");
            if which == 1 {
                swipe = at(swipe, "0406", "01");
            }
            let mine = &mut open[usize::try_from(customer).expect("small")];
            if drawn.below(3) == 0
                && let Some(code) = mine.pop()
            {
                swipe["redemptions"] = json!([{ "coupon": code, "discount_minor": 1 }]);
            }
            let answer = post(&tills[which], &swipe).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
            let receipt = body(&answer);
            let codes = receipt["coupons"].as_array().expect("a list").iter();
            mine.extend(codes.filter_map(|it| it["coupon"].as_str().map(str::to_owned)));
            if drawn.below(12) == 0 {
                assert_eq!(void(&tills[which], &name_of(&swipe)).await.status, StatusCode::CREATED);
            }
            recorded.push((customer + 1, swipe, receipt));
        }
    }
    recorded
}

#[tokio::test(flavor = "multi_thread")]
async fn the_choice_made_again_is_what_stands_on_the_receipt_for_every_swipe_of_a_history() {
    let service = service_with(|coupons| {
        *coupons = certain();
        (coupons.hold_out_percent, coupons.explore_percent) = (50, 50);
        (coupons.per_swipe, coupons.open_max, coupons.per_week) = (3, 2, 4);
    })
    .await;
    let replica = service.replica().await;
    let tills = [service.till(), replica.till("0406", "01")];
    for customer in 1..=6 {
        enrol(&tills[0], &json!({ "card": card(customer) })).await;
    }
    for (offer, more) in [
        ("plain", json!({ "scope": of_skus(&["1"]) })),
        ("fruit", json!({ "scope": of_skus(&["2"]), "valid_days": 5 })),
        ("dairy", json!({ "scope": { "departments": ["DAIRY"] }, "valid_days": 5 })),
        ("bread", json!({ "scope": of_skus(&["4"]), "valid_days": 4 })),
        ("kits", json!({ "scope": of_skus(&["5"]) })),
        ("near", json!({ "scope": of_skus(&["3"]), "stores": ["0367"] })),
        ("few", json!({ "scope": of_skus(&["3"]), "budget": { "coupons": 3 } })),
        ("korn", json!({ "scope": { "brands": ["KORN"] }, "push": 4, "valid_days": 3 })),
        ("spring", json!({ "scope": of_skus(&["1"]), "since": later(40), "until": later(60) })),
    ] {
        offer_with(&service, offer, more).await;
    }
    let known = async || replica.app.catalogue.current().offer_named("spring").is_some();
    until("both know", known).await;
    let recorded = history(&service, &tills).await;
    let admin = person(&service, Role::Admin).await;
    let sql = service.sql().await;
    let mut seen: std::collections::BTreeMap<String, usize> = Default::default();
    for (customer, swipe, receipt) in &recorded {
        let account = account_text(account_of(&sql, &card(*customer)).await);
        let told = asked(&admin, &account, &name_of(swipe), "").await;
        let decision = &told["decision"];
        assert_eq!(decision["agrees"], true, "{told:#}\n{receipt:#}");
        let on_receipt = receipt["coupons"].as_array().expect("a list");
        let given: Vec<&Value> = decision["offers"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|it| it["verdict"] == "given")
            .collect();
        assert_eq!(given.len(), on_receipt.len(), "{told:#}\n{receipt:#}");
        for (coupon, told) in on_receipt.iter().zip(given) {
            assert_eq!(coupon["offer"], told["offer"], "in the order of the receipt");
            assert_eq!(coupon["coupon"], told["coupon"]);
            assert_eq!(coupon["reason"]["code"], told["reason"]);
        }
        for (_, verdict) in verdicts(&told) {
            *seen.entry(verdict.to_owned()).or_default() += 1;
        }
    }
    for verdict in [
        "given",
        "held-out",
        "no-room",
        "not-live",
        "other-store",
        "held",
        "just-bought",
        "tired",
        "nothing-in-common",
        "no-place",
        "same-type",
        "outranked",
    ] {
        assert!(seen.contains_key(verdict), "{verdict} never happened: {seen:?}");
    }
    audit(&service).await;
    verified(&service).await;

    // The command says the same, and that a coupon is not what the choice gives when it is not.
    let (_, swipe, receipt) = recorded
        .iter()
        .find(|(_, _, receipt)| !receipt["coupons"].as_array().expect("a list").is_empty())
        .expect("somebody got something");
    let explained = || {
        let mut command = Command::new(launcher());
        command.env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal());
        command.args(["explain", &name_of(swipe)]).output().expect("it runs")
    };
    let output = explained();
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    assert!(text.ends_with("Made again, the choice is what was given.\n"), "{text}");
    let code = receipt["coupons"][0]["coupon"].as_str().expect("a code");
    let number = Code::parse(code).expect("a code").number();
    let damage = "UPDATE coupon SET reason = 4 WHERE code = $1";
    sql.execute(damage, &[&number]).await.expect(damage);
    assert!(!explained().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_before_the_weights_were_fitted_again_is_made_again_with_those_of_then() {
    /// What the program of then noted as the score of this very coupon, in hundredths.
    const SCORE_OF_THEN: i16 = -153;
    let service = service_with(|coupons| *coupons = certain()).await;
    let till = enrolled(&service).await;
    offer_of(&service, "yoghurt", of_skus(&["1"])).await;
    post(&till, &on(bought(1, &["1", "4"]), &later(-20))).await;
    let swipe = on(bought(2, &["4"]), &later(0));
    assert_eq!(bring(&till, &swipe).await.len(), 1);
    let (admin, sql) = (person(&service, Role::Admin).await, service.sql().await);
    let account = account_text(account_of(&sql, &card(1)).await);
    let decision = async || {
        let told = asked(&admin, &account, &name_of(&swipe), "").await;
        let mut command = Command::new(launcher());
        command.env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal());
        let output = command.args(["explain", &name_of(&swipe)]).output().expect("it runs");
        (told["decision"]["agrees"].clone(), output.status.success())
    };
    assert_eq!(decision().await, (json!(true), true), "the weights that are built in now");
    // As an older program has noted it: the bit is not set, and its weights said another score.
    let damage = "UPDATE swipe SET decision = set_byte(decision, 1, get_byte(decision, 1) & ~8)
                  WHERE decision IS NOT NULL AND sequence_number = 2";
    assert_eq!(sql.execute(damage, &[]).await.expect(damage), 1);
    assert_eq!(decision().await, (json!(false), false), "not those of then");
    // So it stood on the receipt of then: in the last two of its bytes.
    let [high, low] = SCORE_OF_THEN.to_be_bytes();
    let then = format!(
        "UPDATE coupon SET evidence = set_byte(set_byte(evidence, 11, {high}), 12, {low})
         WHERE state = 0"
    );
    assert_eq!(sql.execute(&then, &[]).await.expect("damaged"), 1);
    assert_eq!(decision().await, (json!(true), true), "those of then");
}
