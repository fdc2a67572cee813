//! Member prices: everybody with a card gets them and nobody else, each use is booked once with its
//! sale and given back with a void, within limits and budgets or marked; and tills learn what there
//! is for the price of a question.

use std::io::Write as _;

use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tillside::domain::name::SwipeName;
use tillside::import::offers::{OfferRecord, read_offers};
use tillside::import::{ImportError, Importer};
use tillside::offer;
use tillside::office::Role;
use tillside::programme::explain::explain;
use tillside::till::{Answer, Till};
use tillside::verify::{ALL_BUCKETS, Audit};

use crate::coupons::{issued, offer as offered, outcomes, plain, with};
use crate::desk::verified;
use crate::offer_costs::costs;
use crate::offer_limits::{programmes, stocked, stocked_with};
use crate::openapi;
use crate::support::flow::{
    account_of, at, audit, basket, enrol, name, on, slug, sold, until, void,
};
use crate::support::gate::answers;
use crate::support::office::person;
use crate::support::service::{TestService, body, card, post, swipe};

/// What everybody with a card gets of the milk, 4712, or of what `more` says.
fn member(name: &str, more: Value) -> Value {
    let mut offer = json!({
        "offer": name, "headline": "Milk 2.99 with your card", "delivery": "automatic",
        "reward": { "kind": "fixed-price", "price_minor": 299 }, "scope": { "skus": ["4712"] },
        "funding": { "party": "dairy", "share_percent": 60 },
    });
    for (field, value) in more.as_object().expect("fields") {
        offer[field] = value.clone();
    }
    offer
}

/// A milk of 3.99 for which the till gave something, naming an offer for each part of it.
fn milk(sequence: i64, card: Option<&str>, given: &[(&str, i64)]) -> Value {
    let mut line = sold(1, "4712", 399);
    line["discount_minor"] = given.iter().map(|(_, minor)| minor).sum::<i64>().into();
    let mut sale = basket(sequence, card, vec![line]);
    let redemption =
        |(offer, minor): &(&str, i64)| json!({ "offer": offer, "discount_minor": minor });
    sale["redemptions"] = given.iter().map(redemption).collect();
    sale
}

/// What becomes of one use of the milk, by a card.
async fn used(till: &Till, sequence: i64, number: u64) -> String {
    let sale = milk(sequence, Some(&card(number)), &[("member-milk", 100)]);
    outcomes(&post(till, &sale).await).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_with_a_card_gets_a_member_price_once_with_the_sale() {
    let service = stocked().await;
    let till = service.till();
    offered(&service, member("member-milk", json!({}))).await;
    offered(&service, plain("forty")).await;
    offered(&service, member("member-soon", json!({ "since": "2026-03-15" }))).await;
    offered(&service, member("member-past", json!({ "until": "2026-03-13" }))).await;
    offered(&service, member("member-there", json!({ "stores": ["0406"] }))).await;
    // 14 March 2026 is a Saturday.
    offered(&service, member("member-sunday", json!({ "weekdays": ["sun"] }))).await;
    offered(&service, member("member-two", json!({ "minimum_quantity": 2 }))).await;
    offered(&service, member("member-yoghurt", json!({ "scope": { "skus": ["4711"] } }))).await;

    // Nobody has enrolled the card: it is a card all the same. What is paid earns.
    let sale = milk(1, Some(&card(1)), &[("member-milk", 100)]);
    let first = post(&till, &sale).await;
    let receipt = body(&first);
    let told = json!([{ "offer": "member-milk", "outcome": "redeemed", "discount_minor": 100 }]);
    assert_eq!((&receipt["redemptions"], &receipt["points"]["earned"]), (&told, &json!(2)));
    let again = post(&till, &sale).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body), "counted once");
    let mut other = sale.clone();
    other["redemptions"] = json!([{ "coupon": "member-milk", "discount_minor": 100 }]);
    assert_eq!(
        slug(&post(&till, &other).await),
        "swipe-name-reused",
        "a coupon is another content"
    );
    let nobodys = milk(2, None, &[("member-milk", 100)]);
    assert_eq!(outcomes(&post(&till, &nobodys).await), ["not-yours"]);

    let given: Vec<(&str, i64)> = vec![
        ("member-cheese", 1),
        ("forty", 1),
        ("member-soon", 1),
        ("member-past", 1),
        ("member-there", 1),
        ("member-sunday", 1),
        ("member-two", 1),
        ("member-yoghurt", 1),
        ("member-milk", 60),
        ("member-milk", 30),
        ("member-milk", 11),
    ];
    let told = outcomes(&post(&till, &milk(3, Some(&card(2)), &given)).await);
    let wanted = [
        "unknown",
        "unknown",
        "not-yet-valid",
        "expired",
        "wrong-store",
        "wrong-day",
        "below-minimum",
        "not-in-basket",
        "redeemed",
        "redeemed",
        "over-value",
    ];
    assert_eq!(told, wanted);
    let uses = "SELECT count(*) FROM coupon WHERE state = 1 AND actor = 'automatic'";
    assert_eq!(service.count(uses).await, 4);

    // A void takes them back, once.
    for _ in 0..2 {
        assert!(void(&till, &name(3)).await.status.is_success());
    }
    assert_eq!(service.count(uses).await, 1);
    let swipe_name: SwipeName = name(1).parse().expect("a name");
    let explained = explain(&programmes(&service).await, &swipe_name).await.expect("recorded");
    assert!(explained.agrees, "{explained}");
    let said = explained.to_string();
    assert!(said.contains("For member-milk the till gave 100 minor units"), "{said}");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_names_a_coupon_or_an_offer_and_not_both() {
    let service = TestService::start().await;
    let till = service.till();
    let name = |name: Value| json!({ "offer": name, "discount_minor": 1 });
    let both = json!({ "coupon": "7K2M", "offer": "member-milk", "discount_minor": 1 });
    for (redemption, pointer) in [
        (both, "/redemptions/1/offer"),
        (json!({ "discount_minor": 1 }), "/redemptions/1/coupon"),
        (name(Value::Null), "/redemptions/1/coupon"),
        (name(json!("")), "/redemptions/1/offer"),
        (name(json!("a".repeat(65))), "/redemptions/1/offer"),
        (name(json!(5)), "/redemptions/1/offer"),
    ] {
        let mut sale = swipe(1, Some(&card(1)), 300);
        sale["redemptions"] = json!([name(json!("member-milk")), redemption]);
        let refused = post(&till, &sale).await;
        assert_eq!(slug(&refused), "validation-failed", "{redemption}");
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{redemption}");
    }
    let kept = "SELECT count(*) FROM quarantine";
    assert_eq!(service.count(kept).await, 6, "people can see them");
}

/// Offers as a file defines them.
fn read(csv: &str) -> Result<Vec<OfferRecord>, ImportError> {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(csv.as_bytes()).expect("written");
    read_offers(file.path(), |_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn member_prices_come_in_with_a_file_of_offers() {
    let service = stocked().await;
    let header = "offer,headline,delivery,reward,price_minor,points,skus,party,share_percent\n";
    let wrong = read(&format!(
        "{header}all,All 2.99,automatic,fixed-price,299,,,dairy,60\n\
         more,5 points,automatic,points-bonus,,5,4712,dairy,60\n"
    ));
    let Err(ImportError::Rows(findings)) = wrong else { panic!("{wrong:?}") };
    let expected = "line 2, column departments: scope must name the articles that have this \
                    price: without it everything would\n\
                    line 3, column reward: reward must be money: points for everybody who has a \
                    card are a rule of the programme";
    assert_eq!(findings.to_string(), expected);
    let row = "member-milk,Milk 2.99,automatic,fixed-price,299,,4712,dairy,60\n";
    let offers = read(&format!("{header}{row}")).expect("sound");
    let (database, now) = (&service.config.database, Timestamp::now());
    let mut importer = Importer::connect(database, now).await.expect("it is up");
    importer.offers(&offers, |_| ()).await.expect("imported");
    let catalogue = &service.replica.app.catalogue;
    let is_known = async || catalogue.current().automatic_offer("member-milk").is_some();
    until("it is known", is_known).await;
    assert_eq!(used(&service.till(), 1, 1).await, "redeemed");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_found_a_blocked_card_gets_none() {
    let service = stocked().await;
    let till = service.till();
    offered(&service, member("member-milk", json!({}))).await;
    enrol(&till, &json!({ "card": card(1), "member": {} })).await;
    assert_eq!(used(&till, 1, 1).await, "redeemed");
    let admin = person(&service, Role::Admin).await;
    let account = body(&admin.get(&format!("/v1/accounts?card={}", card(1))).await);
    let account = account["account"].as_str().expect("an id");
    let path = format!("/v1/accounts/{account}/cards/{}/block", card(1));
    assert_eq!(admin.post(&path, "", &json!({})).await.status, StatusCode::OK);
    assert_eq!(used(&till, 2, 1).await, "not-yours");
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_limits_and_budgets_was_given_and_is_booked_marked_and_reported() {
    // One committer, so that what a void gives back is in the hands of whoever needs it next.
    let service = stocked_with(|config| config.commit.committers = 1).await;
    let till = service.till();
    let limits = json!({ "per_account": 3, "per_day": 2 });
    let budget = json!({ "value_minor": 550 });
    let limited = member("member-milk", json!({ "limits": limits, "budget": budget }));
    offered(&service, limited).await;
    assert_eq!(used(&till, 1, 1).await, "redeemed");
    assert_eq!(used(&till, 2, 1).await, "redeemed");
    assert_eq!(used(&till, 3, 1).await, "over-limit", "the third of the day");
    let next_day = async |sequence| {
        let sale = milk(sequence, Some(&card(1)), &[("member-milk", 100)]);
        outcomes(&post(&till, &on(sale, "2026-03-15")).await).remove(0)
    };
    assert_eq!(next_day(4).await, "redeemed", "the third in all");
    assert_eq!(next_day(5).await, "over-limit", "the fourth");
    let free = on(milk(6, Some(&card(1)), &[("member-milk", 0)]), "2026-03-15");
    assert_eq!(outcomes(&post(&till, &free).await), ["limit-reached"], "nothing was given");
    // 500 are spent: over the limit is money all the same. The next does not fit.
    assert_eq!(used(&till, 7, 2).await, "redeemed");
    let report = async || {
        let report = costs(&service).await.remove(0);
        let over = (report.over_limit, report.over_budget, report.over_budget_minor);
        (report.redeemed, report.value_minor, report.party_minor, over)
    };
    assert_eq!(report().await, (6, 600, 360, (2, 1, 100)));
    assert_eq!(service.replica.app.metrics.redeemed_over_limit.get(), 2);
    assert_eq!(service.replica.app.metrics.redeemed_over_budget.get(), 1);
    verified(&service).await;

    // A void gives both back: the account may again, and there is money again.
    assert_eq!(void(&till, &name(1)).await.status, StatusCode::CREATED);
    assert_eq!(used(&till, 8, 1).await, "redeemed");
    assert_eq!(void(&till, &name(7)).await.status, StatusCode::CREATED);
    assert_eq!(void(&till, &name(2)).await.status, StatusCode::CREATED);
    assert_eq!(used(&till, 9, 3).await, "redeemed");
    assert_eq!(report().await, (5, 500, 300, (2, 0, 0)));
    audit(&service).await;
    verified(&service).await;
}

/// Of an offer that counts so often, for an account or for everybody, so many uses count and no
/// more, whoever comes at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn tills_over_two_replicas_never_count_more_uses_than_there_may_be() {
    const TILLS: u64 = 32;
    let service = stocked().await;
    let replica = service.replica().await;
    offered(&service, member("member-milk", json!({ "limits": { "per_account": 5 } }))).await;
    offered(&service, member("member-few", json!({ "budget": { "coupons": 9 } }))).await;
    let there = &replica.app.catalogue;
    until("both know them", async || there.current().automatic_offer("member-few").is_some()).await;
    let tills = [service.till(), replica.till("0367", "03")];
    for (offer, is_one_card, most) in [("member-milk", true, 5), ("member-few", false, 9)] {
        let posting = (0..TILLS).map(|number| {
            let till = tills[usize::from(number % 2 == 0)].clone();
            let by = card(if is_one_card { 1 } else { 100 + number });
            let sequence = i64::try_from(number).expect("few") + most * 1_000;
            let sale = milk(sequence, Some(&by), &[(offer, 100)]);
            tokio::spawn(async move { post(&till, &sale).await })
        });
        let answers: Vec<Answer> = answers(posting.collect()).await;
        let seen: Vec<String> = answers.iter().flat_map(outcomes).collect();
        let counted = seen.iter().filter(|it| *it == "redeemed").count();
        // What another committer has in hand of a budget may be left over, never the other way.
        let most = usize::try_from(most).expect("few");
        let is_left_over = !is_one_card && (1..most).contains(&counted);
        assert!(counted == most || is_left_over, "{offer}: {seen:?}");
        assert!(seen.iter().all(|it| it == "redeemed" || it == "over-limit"), "{seen:?}");
    }
    audit(&service).await;
    verified(&service).await;
}

/// However often a customer comes, member prices push nothing out of what is kept in mind of an
/// account, and are nothing that a customer holds.
#[tokio::test(flavor = "multi_thread")]
async fn uses_are_not_kept_in_mind() {
    let service = stocked().await;
    let till = service.till();
    let until_next_year = json!({ "until": "2027-12-31" });
    offered(&service, member("member-milk", until_next_year)).await;
    offered(&service, plain("forty")).await;
    assert_eq!(used(&till, 1, 1).await, "redeemed");
    let coupon = issued(&service, 1, "forty", 1).await.remove(0);
    assert_eq!(used(&till, 2, 1).await, "redeemed");
    let fresh = service.replica().await;
    let late = fresh.till("0367", "03");
    assert_eq!(used(&late, 3, 1).await, "redeemed");
    let account_id = account_of(&service.sql().await, &card(1)).await;
    let kept: Vec<String> = fresh
        .app
        .accounts
        .get(account_id)
        .expect("just used")
        .open
        .iter()
        .map(|open| open.code.to_string())
        .collect();
    assert_eq!(kept, std::slice::from_ref(&coupon));
    let both = with(swipe(4, Some(&card(1)), 300), &[&coupon]);
    assert_eq!(outcomes(&post(&late, &both).await), ["redeemed"]);
    verified(&service).await;
}

/// Asks for member prices, with the tag of the answer that the till has.
async fn asked(till: &Till, query: &str, tag: Option<&HeaderValue>) -> Answer {
    let path = format!("/v1/member-prices{query}");
    let (method, body) = (Method::GET, bytes::Bytes::new());
    let mut request = till.sign(method, &path, body, Timestamp::now()).expect("a path");
    if let Some(tag) = tag {
        request.headers_mut().insert(header::IF_NONE_MATCH, tag.clone());
    }
    till.send(request).await.expect("an answer")
}

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let offers = body(answer)["offers"].as_array().cloned().expect("a list");
    offers.iter().map(|it| it["offer"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_learns_what_holds_in_its_store_and_asks_again_for_nothing() {
    let service = stocked().await;
    let till = service.till();
    let day = "?business_date=2026-03-14";
    assert_eq!(names(&asked(&till, day, None).await), [""; 0]);
    let limits = json!({ "per_day": 2 });
    let group = json!({ "group": "spring", "priority": 2 });
    let more = json!({ "limits": limits, "stacking": group, "until": "2026-03-31" });
    offered(&service, member("member-milk", more)).await;
    let percent = json!({ "kind": "percent-off", "percent": 10 });
    // The gift card is never discounted, and the whisky is for those who name it.
    offered(&service, member("member-all", json!({ "reward": percent, "scope": {} }))).await;
    let spirits = json!({ "reward": percent, "scope": { "departments": ["SPIRITS"] } });
    offered(&service, member("member-whisky", spirits)).await;
    offered(&service, member("member-there", json!({ "stores": ["0406"] }))).await;
    offered(&service, member("member-soon", json!({ "since": "2026-03-15" }))).await;
    offered(&service, member("member-sunday", json!({ "weekdays": ["sun"] }))).await;
    offered(&service, plain("forty")).await;

    let answer = asked(&till, day, None).await;
    assert_eq!(names(&answer), ["member-milk", "member-all", "member-whisky"]);
    let prices = body(&answer);
    let head = json!({ "store_id": "0367", "business_date": "2026-03-14", "currency": "USD" });
    for (field, value) in head.as_object().expect("fields") {
        assert_eq!(&prices[field], value);
    }
    let whole = json!({
        "offer": "member-milk", "headline": "Milk 2.99 with your card",
        "reward": { "kind": "fixed-price", "price_minor": 299 },
        "articles": [{ "sku": "4712", "price_minor": 299 }],
        "minimum_basket_minor": 0, "minimum_quantity": 0, "discount_max_minor": null,
        "limits": limits, "stacking": group, "until": "2026-03-31", "weekdays": [],
    });
    assert_eq!(prices["offers"][0], whole);
    assert_eq!(prices["offers"][1]["articles"], json!([{ "sku": "4711" }, { "sku": "4712" }]));
    assert_eq!(prices["offers"][2]["articles"], json!([{ "sku": "4714" }]));

    let schema = json!({ "$ref": "#/components/schemas/MemberPrices" });
    assert_eq!(openapi::findings(&openapi::document(&till).await, &schema, &prices, ""), [""; 0]);

    let elsewhere = service.replica.till("0406", "01");
    let there = names(&asked(&elsewhere, day, None).await);
    assert_eq!(there, ["member-milk", "member-all", "member-whisky", "member-there"]);
    let sunday = names(&asked(&till, "?business_date=2026-03-15", None).await);
    let both = ["member-milk", "member-all", "member-whisky", "member-soon", "member-sunday"];
    assert_eq!(sunday, both);
    // Without a day it is today's.
    let today = body(&asked(&till, "", None).await)["business_date"].clone();
    assert!(today.as_str().is_some_and(|date| date > "2026-03-31"), "{today}");

    // Nothing has changed for this store on this day: so say all replicas, without a body.
    let tag = answer.headers[header::ETAG].clone();
    let fresh = service.replica().await;
    for replica in [&service.replica, &fresh] {
        let again = asked(&replica.till("0367", "03"), day, Some(&tag)).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(again.headers[header::ETAG], tag);
    }
    assert_eq!(names(&asked(&elsewhere, day, Some(&tag)).await), there, "another store's");
    // Of what another store gets this one need not hear.
    offered(&service, member("member-far", json!({ "stores": ["0406"] }))).await;
    assert_eq!(asked(&till, day, Some(&tag)).await.status, StatusCode::NOT_MODIFIED);
    let snapshot = service.replica.app.catalogue.current();
    let day_before = jiff::civil::date(2026, 3, 13);
    let (name, now) = ("member-all", Timestamp::now());
    offer::end(&service.pool, name, day_before, day_before, None, now).await.expect("ended");
    let catalogue = &service.replica.app.catalogue;
    until("it is known", async || catalogue.current().moment() != snapshot.moment()).await;
    let changed = asked(&till, day, Some(&tag)).await;
    assert_eq!(names(&changed), ["member-milk", "member-whisky"]);

    for wrong in ["?business_date=today", "?business_date=2026-02-30", "?day=1"] {
        assert_eq!(slug(&asked(&till, wrong, None).await), "validation-failed", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_sees_a_use_that_no_till_has_told_of() {
    for (damage, found) in [
        // A use of another offer than the one that the swipe names.
        (
            "UPDATE coupon SET offer_no = (SELECT offer_no FROM offer WHERE offer_id = 'forty')
             WHERE actor = 'automatic'",
            "coupon-differs",
        ),
        ("UPDATE coupon SET value_minor = 90 WHERE actor = 'automatic'", "budget-differs"),
        ("DELETE FROM coupon WHERE actor = 'automatic'", "budget-differs"),
    ] {
        let service = stocked().await;
        let budget = json!({ "budget": { "value_minor": 900 } });
        offered(&service, member("member-milk", budget)).await;
        offered(&service, plain("forty")).await;
        assert_eq!(used(&service.till(), 1, 1).await, "redeemed");
        let elsewhere = service.replica.till("0406", "01");
        let there = at(milk(1, Some(&card(2)), &[("member-milk", 100)]), "0406", "01");
        assert_eq!(outcomes(&post(&elsewhere, &there).await), ["redeemed"]);
        verified(&service).await;
        service.sql().await.batch_execute(damage).await.expect(damage);
        let database = &service.config.database;
        let audit = Audit::begin(database, ALL_BUCKETS).await.expect("a snapshot");
        let report = audit.run(|_| ()).await.expect("the database answers");
        let kinds = format!("{:?}", report.broken);
        assert!(kinds.contains(found), "{damage}: {kinds}");
    }
}
