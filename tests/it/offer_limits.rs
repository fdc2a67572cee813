//! What limits an offer, and what it gives besides money: days, counts, groups, articles that no
//! offer is for, and points that come and go with their sale.

use jiff::Timestamp;
use jiff::civil::date;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tillside::config::Config;
use tillside::domain::coupon::Code;
use tillside::domain::name::SwipeName;
use tillside::import::{self, Importer};
use tillside::offer::{self, AddError};
use tillside::programme::explain::explain;
use tillside::programme::file::File;
use tillside::programme::{Programmes, Start};

use crate::coupons::{issued, offer as offered, outcomes, plain, took, with};
use crate::desk::verified;
use crate::offer_costs::costs;
use crate::support::flow::{audit, basket, name, on, points_of, returned_from, sold, until, void};
use crate::support::service::{TestService, body, card, post, swipe, today};

fn limited(name: &str, limits: Value) -> Value {
    let mut offer = plain(name);
    offer["limits"] = limits;
    offer
}

async fn is_over_limit(service: &TestService, coupon: &str) -> bool {
    let code = Code::parse(coupon).expect("a code");
    offer::life(&service.pool, code).await.expect("read").expect("issued").over_limit
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_a_limit_was_given_so_it_is_booked_marked_and_reported() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let limits = json!({ "per_account": 3, "per_day": 2, "per_swipe": 1 });
    offered(&service, limited("few", limits)).await;
    let coupons = issued(&service, 1, "few", 8).await;
    let coupons: Vec<&str> = coupons.iter().map(String::as_str).collect();

    let twice = took(&till, 2, 1, &coupons[..2]).await;
    assert_eq!(twice, ["redeemed", "over-limit"], "one in a transaction");
    assert_eq!(took(&till, 3, 1, &coupons[2..3]).await, ["redeemed"], "the second of the day");
    assert_eq!(took(&till, 4, 1, &coupons[3..4]).await, ["over-limit"], "the third");
    let next_day = async |sequence, coupon| {
        let sale = on(with(swipe(sequence, Some(&card(1)), 300), &[coupon]), "2026-03-15");
        outcomes(&post(&till, &sale).await)
    };
    assert_eq!(next_day(5, coupons[4]).await, ["redeemed"], "the third in all");
    assert_eq!(next_day(6, coupons[5]).await, ["over-limit"], "the fourth");
    // What a void opens again counts no more.
    assert_eq!(void(&till, &name(3)).await.status, http::StatusCode::CREATED);
    assert_eq!(next_day(7, coupons[6]).await, ["redeemed"]);
    // Nothing was given for it, so nothing has to be booked: the customer keeps it.
    let mut free = on(with(swipe(8, Some(&card(1)), 300), &[coupons[7]]), "2026-03-15");
    free["redemptions"][0]["discount_minor"] = 0.into();
    assert_eq!(outcomes(&post(&till, &free).await), ["limit-reached"]);

    assert!(is_over_limit(&service, coupons[1]).await);
    assert!(!is_over_limit(&service, coupons[0]).await);
    let report = costs(&service).await.remove(0);
    assert_eq!((report.redeemed, report.value_minor), (6, 6 * 40), "all of it was given");
    assert_eq!((report.over_limit, report.over_limit_minor), (3, 3 * 40));
    assert_eq!(service.replica.app.metrics.redeemed_over_limit.get(), 3);
    audit(&service).await;
    verified(&service).await;
}

/// Each brings one coupon of the same offer at the same moment: exactly as many count as may.
#[tokio::test(flavor = "multi_thread")]
async fn tills_over_two_replicas_never_count_more_than_an_account_may() {
    const TILLS: usize = 32;
    let service = TestService::start().await;
    let replica = service.replica().await;
    post(&service.till(), &swipe(0, Some(&card(1)), 100)).await;
    offered(&service, limited("few", json!({ "per_account": 5 }))).await;
    let there = &replica.app.catalogue;
    until("both know the offer", async || there.current().offer_named("few").is_some()).await;
    let coupons = issued(&service, 1, "few", 32).await;
    let tills = [service.till(), replica.till("0367", "03")];
    let posting = coupons.into_iter().zip(1_i64..).map(|(coupon, sequence)| {
        let till = tills[usize::from(sequence % 2 == 0)].clone();
        tokio::spawn(async move {
            post(&till, &with(swipe(sequence, Some(&card(1)), 300), &[&coupon])).await
        })
    });
    let answers = crate::support::gate::answers(posting.collect()).await;
    let mut seen: Vec<String> = answers.iter().flat_map(outcomes).collect();
    seen.sort_unstable();
    assert_eq!(seen.len(), TILLS);
    assert_eq!(seen.iter().filter(|it| *it == "redeemed").count(), 5);
    assert_eq!(seen[..TILLS - 5], vec!["over-limit"; TILLS - 5]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_the_highest_priority_counts_and_on_other_days_none() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let mut low = plain("low");
    low["stacking"] = json!({ "group": "spring" });
    let mut high = plain("high");
    high["stacking"] = json!({ "group": "spring", "priority": 5 });
    let mut weekend = plain("weekend");
    weekend["weekdays"] = json!(["sat", "sun"]);
    for each in [low, high, weekend, plain("free")] {
        offered(&service, each).await;
    }
    let mut coupons = Vec::new();
    for name in ["low", "high", "free", "weekend", "low"] {
        coupons.push(issued(&service, 1, name, 1).await.remove(0));
    }
    let texts: Vec<&str> = coupons.iter().map(String::as_str).collect();
    let [low, high, free, weekend, other] = texts[..] else { panic!("five") };
    let taken = took(&till, 2, 1, &[low, high, free]).await;
    assert_eq!(taken, ["not-combinable", "redeemed", "redeemed"], "in the till's order");
    assert!(is_over_limit(&service, low).await);
    // Alone it counts; 14 March 2026 is a Saturday, the 16th a Monday.
    assert_eq!(took(&till, 3, 1, &[other]).await, ["redeemed"]);
    let monday = on(with(swipe(4, Some(&card(1)), 300), &[weekend]), "2026-03-16");
    assert_eq!(outcomes(&post(&till, &monday).await), ["wrong-day"]);
    assert_eq!(took(&till, 5, 1, &[weekend]).await, ["redeemed"], "it was not used up");
    audit(&service).await;
    verified(&service).await;
}

/// A coupon that gives points, for the sku 4711 alone.
fn of_points(name: &str, reward: Value) -> Value {
    let mut offer = plain(name);
    offer["reward"] = reward;
    offer["scope"] = json!({ "skus": ["4711"] });
    offer
}

/// A catalogue, and departments that are restricted by age.
pub(crate) async fn stocked() -> TestService {
    stocked_with(|_| {}).await
}

/// The same with other settings.
pub(crate) async fn stocked_with(change: impl FnOnce(&mut Config)) -> TestService {
    let service = TestService::start_with(change).await;
    let csv = "sku,name,department,category,type,brand,no_discount\n\
               4711,Yoghurt,DAIRY,YOGHURT,PLAIN,ALMA,\n\
               4712,Milk,DAIRY,MILK,WHOLE,ALMA,\n\
               4713,Gift card,SERVICES,CARDS,GIFT,ALMA,true\n\
               4714,Whisky,SPIRITS,WHISKY,MALT,ALMA,\n";
    let mut file = NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, csv.as_bytes()).expect("written");
    let read = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let now = Timestamp::now();
    let mut importer = Importer::connect(&service.config.database, now).await.expect("it is up");
    importer.catalogue(&read, today(), "test", |_| ()).await.expect("imported");
    let rules = File::read(
        "age_restricted_departments = [\"SPIRITS\"]\n[earn]\npoints = 1\nper_minor = 100\n",
    );
    let rules = rules.unwrap_or_else(|found| panic!("{found:?}")).rules;
    let start = Start { on: date(2026, 3, 14), today: date(2026, 3, 14), note: "test" };
    let published = programmes(&service).await.publish(&rules, &start).await.expect("published");
    let catalogue = &service.replica.app.catalogue;
    until("the replica knows both", async || {
        let current = catalogue.current();
        current.epoch(published.epoch).is_some() && current.skus().count() == 4
    })
    .await;
    service
}

pub(crate) async fn programmes(service: &TestService) -> Programmes {
    Programmes::connect(&service.config.database, Timestamp::now()).await.expect("it is up")
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_coupons_come_and_go_with_their_sale() {
    let service = stocked().await;
    let (till, sql) = (service.till(), service.sql().await);
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let bonus = json!({ "kind": "points-bonus", "points": 50 });
    let triple = json!({ "kind": "points-multiplier", "times_percent": 300 });
    offered(&service, of_points("bonus", bonus)).await;
    offered(&service, of_points("triple", triple)).await;
    let bonus = issued(&service, 1, "bonus", 1).await.remove(0);
    let triple = issued(&service, 1, "triple", 1).await.remove(0);

    let lines = || vec![sold(1, "4711", 600), sold(2, "4712", 500)];
    let taking = |sequence| {
        let mut sale = with(basket(sequence, Some(&card(1)), lines()), &[&bonus, &triple]);
        for redemption in sale["redemptions"].as_array_mut().expect("a list") {
            redemption["discount_minor"] = 0.into();
        }
        sale
    };
    let sale = post(&till, &taking(2)).await;
    assert_eq!(outcomes(&sale), ["redeemed", "redeemed"]);
    // 11 by the rules, 50, and the 6 of the yoghurt twice more.
    assert_eq!(body(&sale)["points"]["earned"], 11 + 50 + 12);
    assert_eq!(points_of(&sql, &card(1)).await, 1 + 73);
    let swipe_name: SwipeName = name(2).parse().expect("a name");
    let explanation = explain(&programmes(&service).await, &swipe_name).await.expect("recorded");
    assert!(explanation.agrees, "{explanation}");
    let shown = explanation.to_string();
    let line = format!("base rate 6 + coupon {bonus} 50 + coupon {triple} 12");
    assert!(shown.contains(&line), "{shown}");
    assert!(shown.contains(&format!("Coupon {bonus} of bonus gave 50 of them.")), "{shown}");
    verified(&service).await;

    // The line takes back all that it had, the other one nothing of it.
    let back = post(&till, &basket(3, Some(&card(1)), vec![returned_from(1, 600, &name(2))])).await;
    assert_eq!(body(&back)["points"]["reversed"], 6 + 62);
    assert_eq!(void(&till, &name(3)).await.status, http::StatusCode::CREATED);
    assert_eq!(points_of(&sql, &card(1)).await, 74);
    // The void takes back everything, and the coupons are there again.
    let voided = void(&till, &name(2)).await;
    assert_eq!(body(&voided)["points"]["reversed"], 73);
    assert_eq!(points_of(&sql, &card(1)).await, 1);
    assert_eq!(outcomes(&post(&till, &taking(4)).await), ["redeemed", "redeemed"]);
    // For points the till gives nothing; what it gives all the same is over their value.
    let more = issued(&service, 1, "bonus", 1).await.remove(0);
    let over = with(basket(5, Some(&card(1)), lines()), &[&more]);
    assert_eq!(outcomes(&post(&till, &over).await), ["over-value"]);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_discounted_or_not_for_everybody_counts_where_it_may() {
    let service = stocked().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let scoped = |name: &str, scope: Value| {
        let mut offer = plain(name);
        offer["scope"] = scope;
        offer
    };
    offered(&service, scoped("brand", json!({ "brands": ["ALMA"] }))).await;
    offered(&service, scoped("spirits", json!({ "departments": ["SPIRITS"] }))).await;
    offered(&service, scoped("cards", json!({ "skus": ["4713"] }))).await;
    let coupon = async |offer: &str| issued(&service, 1, offer, 1).await.remove(0);
    let bought = async |sequence, sku: &str, offer: &str| {
        let sale = basket(sequence, Some(&card(1)), vec![sold(1, sku, 500)]);
        outcomes(&post(&till, &with(sale, &[&coupon(offer).await])).await).remove(0)
    };
    assert_eq!(bought(2, "4712", "brand").await, "redeemed");
    assert_eq!(bought(3, "4713", "brand").await, "not-in-basket", "never discounted");
    assert_eq!(bought(4, "4713", "cards").await, "not-in-basket", "however it is named");
    assert_eq!(bought(5, "4714", "brand").await, "not-in-basket", "a brand names no department");
    assert_eq!(bought(6, "4714", "spirits").await, "redeemed");

    // The till may not give it to whoever comes.
    let mut at_the_till = scoped("spirits-2", json!({ "categories": ["WHISKY"] }));
    at_the_till["at_the_till"] = true.into();
    let definition = serde_json::from_value(at_the_till).expect("a definition");
    let snapshot = service.replica.app.catalogue.current();
    let refused = offer::add(&service.pool, &snapshot, definition, Timestamp::now()).await;
    assert!(matches!(refused, Err(AddError::Offer(_))), "{refused:?}");
    audit(&service).await;
    verified(&service).await;
}
