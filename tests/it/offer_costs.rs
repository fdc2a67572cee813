//! What offers have cost in some days, and who is billed for it: by the business dates of what was
//! redeemed, whenever it was issued, and without what a void has taken back.

use std::process::Command;

use http::StatusCode;
use jiff::civil::Date;
use serde_json::{Value, json};
use tillside::offer::report::{Cost, Report, Wanted, report};
use tillside::office::Role;

use crate::coupons::{issued, offer, outcomes, plain, with};
use crate::openapi::{document, findings};
use crate::support::database::launcher;
use crate::support::flow::{name, on, slug, void};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

/// What is no question about offers.
const WRONG: &[&str] = &[
    "offer=nothing",
    "from=2026-03-02&until=2026-03-01",
    "to=2026-03-01",
    "from=-006000-01-01&until=-006000-01-31",
    "from=9998-01-01&until=9999-12-31",
];

/// What the offers have cost in the month of [`crate::support::service::TODAY`].
pub(crate) async fn costs(service: &TestService) -> Vec<Cost> {
    let day = |text: &str| -> Date { text.parse().expect("a date") };
    let (from, until) = (day("2026-03-01"), day("2026-03-31"));
    let wanted = Wanted { from, until, offer: None, today: until, hurry: false };
    let snapshot = service.replica.app.catalogue.current();
    let Report { offers, .. } = report(&service.config, &snapshot, &wanted).await.expect("read");
    offers
}

async fn told(someone: &Person, query: &str) -> Value {
    let answer = someone.get(&format!("/v1/reports/offers?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    body(&answer)
}

/// Issued, redeemed, what for, and the party's part.
fn sums(report: &Value, offer: &str) -> [i64; 4] {
    let all = report["offers"].as_array().expect("offers");
    let found = all.iter().find(|it| it["offer"] == offer).unwrap_or_else(|| panic!("{report}"));
    ["issued", "redeemed", "value_minor", "party_minor"]
        .map(|field| found[field].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_is_billed_for_what_was_redeemed_in_a_month_whenever_it_was_issued() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let of = |name: &str, party: &str, share: u8, more: Value| {
        let mut definition = plain(name);
        definition["valid_days"] = 60.into();
        definition["funding"] = json!({ "party": party, "share_percent": share });
        for (field, value) in more.as_object().expect("fields") {
            definition[field] = value.clone();
        }
        definition
    };
    offer(&service, of("one", "dairy", 33, json!({ "limits": { "per_swipe": 1 } }))).await;
    offer(&service, of("two", "dairy", 50, json!({ "budget": { "value_minor": 60 } }))).await;
    let code = json!({ "delivery": "shared-code", "shared_code": { "code": "WELCOME10" } });
    offer(&service, of("welcome", "mill", 100, code)).await;
    offer(&service, of("idle", "mill", 100, json!({}))).await;
    let one = issued(&service, 1, "one", 5).await;
    let two = issued(&service, 1, "two", 2).await;
    let take = async |sequence, coupons: &[&str], date: &str| {
        let sale = on(with(swipe(sequence, Some(&card(1)), 300), coupons), date);
        outcomes(&post(&till, &sale).await)
    };
    let march = [one[0].as_str(), &one[1], "WELCOME10"];
    assert_eq!(take(2, &march, "2026-03-31").await, ["redeemed", "over-limit", "redeemed"]);
    let april = [one[2].as_str(), &two[0], &two[1]];
    assert_eq!(take(3, &april, "2026-04-01").await, ["redeemed"; 3]);
    assert_eq!(take(4, &["WELCOME10"], "2026-04-30").await, ["redeemed"]);
    assert_eq!(take(5, &[&one[3]], "2026-04-30").await, ["redeemed"]);
    let gone = name(5).replace("2026-03-14", "2026-04-30");
    assert_eq!(void(&till, &gone).await.status, StatusCode::CREATED);

    let marketing = person(&service, Role::Marketing).await;
    let (in_march, in_april) = (
        told(&marketing, "from=2026-03-01&until=2026-03-31").await,
        told(&marketing, "from=2026-04-01&until=2026-04-30").await,
    );
    let schema = json!({ "$ref": "#/components/schemas/OffersReport" });
    assert_eq!(findings(&document(&till).await, &schema, &in_april, ""), [""; 0], "{in_april}");
    // 33 % of 80 is 26.4, of 40 it is 13.2; a use is issued when it is redeemed.
    assert_eq!(sums(&in_march, "one"), [5, 2, 80, 26]);
    assert_eq!(sums(&in_march, "two"), [2, 0, 0, 0]);
    assert_eq!(sums(&in_march, "welcome"), [1, 1, 40, 40]);
    assert_eq!(sums(&in_april, "one"), [0, 1, 40, 13]);
    assert_eq!(sums(&in_april, "two"), [0, 2, 80, 40]);
    assert_eq!(sums(&in_april, "welcome"), [1, 1, 40, 40]);
    let named: Vec<&Value> = in_april["offers"].as_array().expect("offers").iter().collect();
    let names: Vec<&str> = named.iter().filter_map(|it| it["offer"].as_str()).collect();
    assert_eq!(names, ["one", "two", "welcome"], "the oldest first, and none of which nothing is");
    let over = |report: &Value, at: usize| {
        ["over_value", "over_budget", "over_budget_minor", "over_limit", "over_limit_minor"]
            .map(|field| report["offers"][at][field].as_i64().expect("a number"))
    };
    assert_eq!(over(&in_march, 0), [0, 0, 0, 1, 40]);
    assert_eq!(over(&in_april, 1), [0, 1, 40, 0, 0]);
    let bill = json!([
        { "party": "dairy", "redeemed": 3, "value_minor": 120, "party_minor": 53 },
        { "party": "mill", "redeemed": 1, "value_minor": 40, "party_minor": 40 },
    ]);
    assert_eq!(in_april["parties"], bill);

    // Uses of long ago had the days of their offer; what they have cost counts no less.
    let long_ago = "UPDATE coupon SET valid_from = '2024-01-01', valid_until = '2026-12-31'
                    WHERE actor = 'shared-code'";
    assert_eq!(service.sql().await.execute(long_ago, &[]).await.expect(long_ago), 2);
    assert_eq!(told(&marketing, "from=2026-04-01&until=2026-04-30").await, in_april);

    // One offer, with nothing as well; and nothing that there is not.
    let idle = told(&marketing, "from=2026-04-01&until=2026-04-30&offer=idle").await;
    assert_eq!((sums(&idle, "idle"), idle["offers"].as_array().map(Vec::len)), ([0; 4], Some(1)));
    let two = told(&marketing, "from=2026-04-01&until=2026-04-30&offer=two").await;
    assert_eq!(two["offers"], json!([in_april["offers"][1]]));
    for query in WRONG {
        let answer = marketing.get(&format!("/v1/reports/offers?{query}")).await;
        assert_eq!(slug(&answer), "validation-failed", "{query}");
    }
    // Two at a time, exports included.
    let under_way = service.replica.app.exports.try_acquire_many(2).expect("none is under way");
    let answer = marketing.get("/v1/reports/offers").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(under_way);

    // The command says the same, for programs and for people.
    let run = |more: &[&str]| {
        let mut command = Command::new(launcher());
        command.env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal());
        command.args(["offer", "report", "--from", "2026-04-01", "--until", "2026-04-30"]);
        let output = command.args(more).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let json: Value = serde_json::from_str(&run(&["--json"])).expect("JSON");
    assert_eq!((&json["offers"], &json["parties"]), (&in_april["offers"], &bill));
    let text = run(&["--offer", "two"]);
    assert!(text.contains("dairy pays 40 of 80 for 2 redeemed"), "{text}");
    assert!(!text.contains("welcome"), "{text}");
}
