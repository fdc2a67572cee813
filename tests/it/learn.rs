//! What the till chooses with, learned from a history in which the truth is known: published, it
//! changes what tills choose; rolled back, it does not any more; from little nothing is learned.

use std::process::Command;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tillside::config::Config;
use tillside::decision;
use tillside::domain::offer::Definition;
use tillside::domain::selection::offers::BUILT_IN;
use tillside::import::{self, Importer};
use tillside::learn::{LearnError, Learned, Learner, Part, Published, Start};
use tillside::offer;
use tillside::office::Role;
use tillside::till::Till;

use crate::desk::verified;
use crate::support::database::launcher;
use crate::support::flow::{basket, enrol, on, outcomes, post_batch, slug, sold, until};
use crate::support::office::person;
use crate::support::service::{TestService, body, card, post, today};

/// A day before a model is published, and the day from which it counts.
const BEFORE: &str = "2026-03-19";
const SINCE: &str = "2026-03-21";
const ALL: Part = Part::All { even_if_worse: false };
/// Customers of whom there is history.
const CUSTOMERS: u64 = 100;

/// Yoghurts 1 and 2, milk 3, bread 4; nobody is held out and nothing is drawn by lot.
async fn service() -> TestService {
    let certain = |config: &mut Config| {
        (config.coupons.hold_out_percent, config.coupons.explore_percent) = (0, 0);
    };
    let service = TestService::start_with(certain).await;
    let csv = "sku,name,department,category,type,brand,sensitive\n\
               1,Plain yoghurt,DAIRY,YOGHURT,PLAIN,ALMA,false\n\
               2,Fruit yoghurt,DAIRY,YOGHURT,FRUIT,ALMA,false\n\
               3,Milk,DAIRY,MILK,WHOLE,ALMA,false\n\
               4,Bread,BAKERY,BREAD,RYE,KORN,false\n";
    let mut file = NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, csv.as_bytes()).expect("written");
    let read = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let now = Timestamp::now();
    let mut importer = Importer::connect(&service.config.database, now).await.expect("it is up");
    importer.catalogue(&read, today(), "test", |_| ()).await.expect("imported");
    let catalogue = &service.replica.app.catalogue;
    until("the catalogue is known", async || catalogue.current().skus().count() == 4).await;
    service
}

/// A basket of one each.
fn bought(sequence: i64, customer: u64, skus: &[&str], day: &str) -> Value {
    let lines = (1..).zip(skus).map(|(line, sku)| sold(line, sku, 200)).collect();
    on(basket(sequence, Some(&card(customer)), lines), day)
}

/// Everybody buys plain yoghurt twice.
async fn history(till: &Till) {
    for day in ["2025-12-20", "2025-12-27"] {
        let baskets: Vec<Value> = (1..=CUSTOMERS)
            .map(|customer| bought(customer.cast_signed(), customer, &["1"], day))
            .collect();
        record(till, &baskets).await;
    }
}

async fn record(till: &Till, baskets: &[Value]) {
    let items: Vec<Value> = baskets.iter().map(|basket| json!({ "swipe": basket })).collect();
    let recorded = outcomes(&post_batch(till, &items).await);
    assert_eq!(recorded.len(), items.len());
    assert!(recorded.iter().all(|outcome| outcome["status"] == 201), "{:?}", recorded[0]);
}

/// Offers of 50 % off plain yoghurt, which everybody buys, and off the other, which nobody does.
async fn offers(service: &TestService) {
    for (name, sku) in [("bought", "1"), ("new", "2")] {
        let definition: Definition = serde_json::from_value(json!({
            "offer": name, "headline": format!("Half off: {name}"), "delivery": "personal",
            "valid_days": 14, "at_the_till": true, "scope": { "skus": [sku] },
            "reward": { "kind": "percent-off", "percent": 50 },
            "funding": { "party": "chain", "share_percent": 100 },
        }))
        .expect("a definition");
        let catalogue = &service.replica.app.catalogue;
        let snapshot = catalogue.current();
        offer::add(&service.pool, &snapshot, definition, Timestamp::now()).await.expect("sound");
        until("the offer is known", async || catalogue.current().offer_named(name).is_some()).await;
    }
}

/// The truth: everybody redeems what is new to them, and nobody what they buy anyway. Written past
/// the service, since tills would not have given these.
async fn campaign(service: &TestService, number: i64, first: &str, last: &str) {
    let dates = [first, last].map(|day| day.parse::<Date>().expect("a date"));
    let sql = "
        INSERT INTO coupon (code, account_id, issued_version, issued_at, offer_no, valid_from,
                            valid_until, redeemed_on, bucket, state, actor)
        SELECT ((a.account_id & 255) << 56) | ($1::bigint * 1000000 + row_number() OVER ()),
               a.account_id, a.version, now(), o.offer_no, $2::date, $3::date,
               CASE WHEN o.offer_id = 'new' THEN $2::date END, a.bucket,
               CASE WHEN o.offer_id = 'new' THEN 1 ELSE 0 END, 'test'
        FROM account AS a JOIN card AS c USING (account_id) CROSS JOIN offer AS o
        WHERE a.baskets = 2";
    let issued =
        service.sql().await.execute(sql, &[&number, &dates[0], &dates[1]]).await.expect(sql);
    assert_eq!(issued, CUSTOMERS * 2);
}

/// Two campaigns of which both have ended.
async fn campaigns(service: &TestService) {
    campaign(service, 1, "2026-01-05", "2026-01-18").await;
    campaign(service, 2, "2026-02-02", "2026-02-15").await;
}

async fn learner(service: &TestService) -> Learner {
    Learner::connect(&service.config.database, Timestamp::now()).await.expect("it is up")
}

async fn learned(service: &TestService) -> Learned {
    learner(service).await.learn(today(), |_| ()).await.expect("read")
}

fn start(from: &str) -> Start<'static> {
    Start { from: Some(from.parse().expect("a date")), today: today(), note: "test" }
}

/// Waits until the till knows which model counts on [`SINCE`].
async fn in_force(service: &TestService, published: Published) {
    let catalogue = &service.replica.app.catalogue;
    until("the model is known", async || {
        let snapshot = catalogue.current();
        let epoch = snapshot.epoch_on(SINCE.parse().expect("a date"));
        epoch.is_some_and(|epoch| {
            epoch.epoch == published.epoch && snapshot.model_of(epoch.epoch).0 == published.model_no
        })
    })
    .await;
}

/// The offer that the till thinks likeliest when a customer buys milk, by the model that it chose
/// with, as it explains the choice.
async fn likeliest(service: &TestService, customer: u64, day: &str) -> String {
    let sequence = i64::try_from(1_000 + customer).expect("small");
    let answer = post(&service.till(), &bought(sequence, customer, &["3"], day)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    explained(service, &body(&answer)).await
}

/// The same of a swipe with this receipt, told now.
async fn explained(service: &TestService, receipt: &Value) -> String {
    let app = &service.replica.app;
    let name = receipt["swipe"].as_str().expect("text").parse().expect("a name");
    let explained = decision::explain(&app.pool, &app.catalogue.current(), &name, None).await;
    let explained = explained.expect("it is up").expect("it is recorded");
    assert!(explained.agrees, "{explained:#?}");
    let first = explained.offers.iter().min_by_key(|offer| offer.numbers.rank);
    first.expect("there are offers").offer.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_changes_what_tills_choose_until_it_is_rolled_back() {
    let service = service().await;
    let till = service.till();
    history(&till).await;
    for customer in 201..=204 {
        enrol(&till, &json!({ "card": card(customer) })).await;
        let first = bought(customer.cast_signed(), customer, &["1", "4"], "2026-03-14");
        assert_eq!(post(&till, &first).await.status, StatusCode::CREATED);
    }
    offers(&service).await;
    campaigns(&service).await;
    assert_eq!(likeliest(&service, 201, SINCE).await, "bought", "as it is built in");

    let learned = learned(&service).await;
    assert_eq!((learned.sources.coupons, learned.sources.redeemed), (400, 200));
    assert_eq!((learned.sources.accounts, learned.sources.baskets), (100, 200));
    let judged = learned.fitted.as_ref().expect("enough").judged;
    assert_eq!(judged.held_out_from.to_string(), "2026-02-02");
    assert_eq!((judged.held_out.issued, judged.learned_from.redeemed), (200, 100));
    assert!(judged.in_force.auc < 0.1, "{judged:?}");
    assert!(judged.learned.auc > 0.99 && judged.learned.ndcg_at_5 > 0.99, "{judged:?}");

    let mut learner = learner(&service).await;
    let published = learner.publish(&learned, ALL, &start(SINCE)).await.expect("published");
    assert_eq!(published.model_no, Some(1));
    in_force(&service, published).await;
    assert_eq!(likeliest(&service, 202, BEFORE).await, "bought", "the day before it counts");
    assert_eq!(likeliest(&service, 203, SINCE).await, "new");

    let back = learner.roll_back(&start(SINCE)).await.expect("rolled back");
    assert_eq!((back.model_no, back.epoch), (None, published.epoch + 1));
    in_force(&service, back).await;
    assert_eq!(likeliest(&service, 204, SINCE).await, "bought");
    let again = learner.roll_back(&start(SINCE)).await.expect("rolled back");
    assert_eq!(again.model_no, Some(1), "twice is undone");

    let versions = learner.versions().await.expect("read");
    let models: Vec<Option<i32>> = versions.iter().map(|version| version.model_no).collect();
    assert_eq!(models, [Some(1), None, Some(1)]);
    assert_eq!(versions[0].sources, Some(learned.sources));
    let sql = "SELECT action || ' ' || object FROM audit WHERE action LIKE 'model.%' ORDER BY 1";
    let trail = service.sql().await.query(sql, &[]).await.expect(sql);
    let trail: Vec<String> = trail.iter().map(|row| row.get(0)).collect();
    let expected = ["model.publish model:1", "model.roll-back model:1"];
    assert_eq!([&*trail[0], &*trail[1]], expected);
    assert_eq!(trail[2..], ["model.roll-back model:built-in"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_is_explained_by_its_model_however_many_came_after_it() {
    let service = service().await;
    let till = service.till();
    history(&till).await;
    for customer in [203, 204] {
        enrol(&till, &json!({ "card": card(customer) })).await;
        let first = bought(customer.cast_signed(), customer, &["1", "4"], "2026-03-14");
        assert_eq!(post(&till, &first).await.status, StatusCode::CREATED);
    }
    offers(&service).await;
    campaigns(&service).await;
    let built_in = post(&till, &bought(1_203, 203, &["3"], SINCE)).await;
    let (learned, mut learner) = (learned(&service).await, learner(&service).await);
    let published = learner.publish(&learned, ALL, &start(SINCE)).await.expect("published");
    in_force(&service, published).await;
    let by_model = post(&till, &bought(1_204, 204, &["3"], SINCE)).await;
    // None of the three starts that tills hold is of that model, and none of what is built in.
    learner.roll_back(&start(SINCE)).await.expect("rolled back");
    for _ in 0..3 {
        let part = Part::Popularity;
        let further = learner.publish(&learned, part, &start(SINCE)).await.expect("published");
        in_force(&service, further).await;
    }
    let (_, replaced) = service.replica.app.catalogue.current().model_of(published.epoch);
    assert_eq!(replaced.weights, BUILT_IN, "it is not held any more");
    assert_eq!(explained(&service, &body(&built_in)).await, "bought");
    assert_eq!(explained(&service, &body(&by_model)).await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_do_clearly_worse_are_published_only_when_somebody_insists() {
    let service = service().await;
    history(&service.till()).await;
    offers(&service).await;
    campaigns(&service).await;
    let mut learner = learner(&service).await;
    let first = learned(&service).await;
    learner.publish(&first, ALL, &start(SINCE)).await.expect("better than what is built in");
    // As if customers had been otherwise before the campaign by which weights are judged.
    let turned = "
        UPDATE coupon
        SET state = 1 - state, redeemed_on = CASE state WHEN 0 THEN valid_from END
        WHERE valid_from = '2026-01-05'";
    assert_eq!(service.sql().await.execute(turned, &[]).await.expect(turned), CUSTOMERS * 2);
    let worse = learned(&service).await;
    let refused = learner.publish(&worse, ALL, &start(SINCE)).await.expect_err("worse");
    assert!(matches!(refused, LearnError::ClearlyWorse(_)), "{refused}");
    assert!(refused.to_string().contains("--even-if-worse insists"), "{refused}");
    assert_eq!(service.count("SELECT count(*) FROM model_since").await, 1);
    let insisting = Part::All { even_if_worse: true };
    let published = learner.publish(&worse, insisting, &start(SINCE)).await.expect("insisted");
    assert_eq!(published.model_no, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_the_back_office_list_models_and_roll_back_once() {
    let service = service().await;
    history(&service.till()).await;
    let marketing = person(&service, Role::Marketing).await;
    let none = marketing.get("/v1/models").await;
    assert_eq!(body(&none), json!({ "in_force": null, "versions": [] }));
    let path = "/v1/models/roll-back";
    let nothing = marketing.post(path, "k0", &json!({})).await;
    assert_eq!((nothing.status, slug(&nothing)), (StatusCode::CONFLICT, "model-unchanged".into()));
    let (learned, mut learner) = (learned(&service).await, learner(&service).await);
    for from in ["2026-03-14", "9000-01-01"] {
        learner.publish(&learned, Part::Popularity, &start(from)).await.expect("published");
    }
    let listed = body(&marketing.get("/v1/models").await);
    assert_eq!(listed["in_force"], 1);
    let states: Vec<&Value> =
        listed["versions"].as_array().expect("a list").iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["in-force", "coming"]);
    assert_eq!(listed["versions"][0]["version"]["sources"]["baskets"], 200);

    let note = json!({ "note": "spring went badly" });
    let back = marketing.post(path, "k1", &note).await;
    assert_eq!(back.status, StatusCode::CREATED, "{:?}", back.body);
    assert_eq!(body(&back)["model_no"], 1);
    let again = marketing.post(path, "k1", &note).await;
    assert_eq!(again.body, back.body, "once");
    let listed = body(&marketing.get("/v1/models").await);
    let newest = &listed["versions"][2]["version"];
    assert_eq!((&newest["note"], &newest["model_no"]), (&json!("spring went badly"), &json!(1)));
    assert!(newest["user"].is_i64() && listed["versions"][1]["version"]["user"].is_null());
    for (wrong, pointer) in
        [(json!({ "note": "" }), "/note"), (json!({ "on": "2026-03-13" }), "/on")]
    {
        let refused = marketing.post(path, &format!("k{pointer}"), &wrong).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer);
    }
    let trail =
        "SELECT count(*) FROM audit WHERE action = 'model.roll-back' AND user_no IS NOT NULL";
    assert_eq!(service.count(trail).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_after_a_coupon_is_issued_has_no_part_in_what_is_learned_of_it() {
    let service = service().await;
    let till = service.till();
    history(&till).await;
    offers(&service).await;
    campaigns(&service).await;
    let before = learned(&service).await.fitted.expect("enough").judged;
    // Everybody takes a liking to what was new.
    let later: Vec<Value> = (1..=CUSTOMERS)
        .map(|customer| bought(500 + customer.cast_signed(), customer, &["2", "4"], "2026-03-01"))
        .collect();
    record(&till, &later).await;
    let after = learned(&service).await;
    assert_eq!(after.sources.baskets, 300);
    assert_eq!(after.fitted.expect("enough").judged, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_was_given_and_who_refuses_profiling_are_no_examples() {
    let service = service().await;
    history(&service.till()).await;
    offers(&service).await;
    campaigns(&service).await;
    let before = learned(&service).await.sources;
    // Codes of a pool, one of them used; a use of a shared code; and a customer's refusal.
    let sql = "
        INSERT INTO coupon (code, account_id, issued_version, changed_version, changed_account,
                            issued_at, offer_no, valid_from, valid_until, redeemed_on, bucket,
                            state, actor)
        SELECT 7::bigint << 56 | n, 7, 0, CASE n WHEN 1 THEN 9 ELSE 0 END,
               CASE n WHEN 1 THEN (SELECT min(account_id) FROM account WHERE baskets = 2) END,
               now(), (SELECT min(offer_no) FROM offer), '2026-01-05', '2026-01-18',
               CASE n WHEN 1 THEN '2026-01-06'::date END, 7, (n = 1)::integer, 'test'
        FROM generate_series(1, 3) AS n;
        INSERT INTO coupon (code, account_id, issued_version, changed_version, issued_at,
                            offer_no, valid_from, valid_until, redeemed_on, bucket, state, actor)
        SELECT bucket::bigint << 56 | 77, account_id, 9, 9, now(),
               (SELECT min(offer_no) FROM offer), '2026-01-05', '2026-01-18', '2026-01-06',
               bucket, 1, 'shared-code'
        FROM account WHERE baskets = 2 ORDER BY account_id LIMIT 1";
    let client = service.sql().await;
    client.batch_execute(sql).await.expect(sql);
    assert_eq!(learned(&service).await.sources, before);
    let refusal = "
        INSERT INTO member (bucket, account_id, member_no, consents, joined_on)
        SELECT bucket, account_id, 7, '{no-profiling}', '2026-01-01'
        FROM account WHERE baskets = 2 ORDER BY account_id LIMIT 1";
    client.batch_execute(refusal).await.expect(refusal);
    let after = learned(&service).await.sources;
    assert_eq!(after.coupons, before.coupons - 4, "two offers in two campaigns");
    assert_eq!(after.redeemed, before.redeemed - 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_too_little_no_weights_are_learned() {
    let service = service().await;
    let till = service.till();
    history(&till).await;
    offers(&service).await;
    let none = learned(&service).await;
    assert!(none.fitted.expect_err("nothing").to_string().contains("no coupon has ended"));
    // One campaign: nothing had ended before it by which it could be judged.
    campaign(&service, 1, "2026-01-05", "2026-01-18").await;
    let little = learned(&service).await;
    let mut learner = learner(&service).await;
    let refused = learner.publish(&little, ALL, &start(SINCE)).await.expect_err("little");
    assert!(matches!(refused, LearnError::TooLittle(_)), "{refused}");
    for words in ["before 2026-01-05 0 of 0 were redeemed", "100 of 200", "80 redeemed", "20 not"] {
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert_eq!(service.count("SELECT count(*) FROM model_since").await, 0);
    // What is popular is known from baskets alone.
    let published =
        learner.publish(&little, Part::Popularity, &start(SINCE)).await.expect("published");
    in_force(&service, published).await;
    let (_, model) = service.replica.app.catalogue.current().model_of(published.epoch);
    assert_eq!(model.weights, BUILT_IN);
    assert_eq!(model.popularity.iter().copied().fold(0.0, f32::max), 1.0, "everybody's yoghurt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_has_passed_or_comes_before_the_newest_epoch_is_refused() {
    let service = service().await;
    let learned = learned(&service).await;
    let mut learner = learner(&service).await;
    let nothing = learner.roll_back(&start(SINCE)).await.expect_err("nothing");
    assert!(matches!(nothing, LearnError::NothingBefore), "{nothing}");
    let passed = learner.publish(&learned, Part::Popularity, &start("2026-03-13")).await;
    assert!(passed.expect_err("passed").to_string().contains("give --from 2026-03-14 or later"));
    learner.publish(&learned, Part::Popularity, &start(SINCE)).await.expect("published");
    let early = learner.publish(&learned, Part::Popularity, &start(BEFORE)).await;
    assert!(
        early.expect_err("early").to_string().contains("the newest epoch starts on 2026-03-21")
    );
    verified(&service).await;
}

/// What the command prints, or what it complains of.
fn command(service: &TestService, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(launcher())
        .env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal())
        .arg("learn")
        .args(arguments)
        .output()
        .expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_learns_publishes_lists_and_rolls_back() {
    let service = service().await;
    history(&service.till()).await;
    let list = command(&service, &["--list"]).expect("nothing yet");
    assert!(list.contains("* what is built in"), "{list}");
    let words = command(&service, &[]).expect("it only looks");
    assert!(words.contains("read: 200 baskets") && words.contains("too little history"), "{words}");
    let refused = command(&service, &["--publish"]).expect_err("too little");
    assert!(refused.contains("too little history"), "{refused}");
    offers(&service).await;
    campaigns(&service).await;
    let words = command(&service, &["--publish", "--from", "9000-01-01", "--note", "winter"]);
    let words = words.expect("published");
    assert!(words.contains("in force: what is built in"), "{words}");
    assert!(words.contains("model 1 counts from 9000-01-01"), "{words}");
    let json = command(&service, &["--json"]).expect("learned");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["in_force"], &json["sources"]["redeemed"]), (&json!(1), &json!(200)));
    assert_eq!(json["weights"].as_array().map(Vec::len), Some(BUILT_IN.len()));
    let back = command(&service, &["--roll-back", "--json"]).expect("rolled back");
    let back: Value = serde_json::from_str(&back).expect("JSON");
    assert_eq!((&back["model_no"], &back["starts_on"]), (&Value::Null, &json!("9000-01-01")));
    let list = command(&service, &["--list"]).expect("listed");
    assert!(list.contains("winter") && list.contains("model rolled back"), "{list}");
    let wrong = command(&service, &["--from", "9000-01-01"]).expect_err("no publication");
    assert!(wrong.contains("give --publish with it"), "{wrong}");
}
