//! Own and foreign stores on every route of people that has to do with stores, as the table of
//! the office has them: a new one must say here what it is asked with.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tillside::office::Role;
use tillside::office::access::{Stores, TABLE, Verb};
use tillside::receipt::account_text;
use tillside::till::Answer;

use crate::offers_api::{forty, made};
use crate::support::flow::{account_of, at};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

/// Where things count, seen by a manager of store 0367.
const PLACES: [(&str, &[&str]); 4] =
    [("own", &["0367"]), ("both", &["0367", "0406"]), ("chain", &[]), ("far", &["0406"])];

/// What there is in each place: an offer, a coupon of it, a handout of it that waits for its
/// list, and an offer with a pool of codes.
struct Things {
    account: String,
    /// By place.
    coupons: Vec<String>,
    pools: Vec<String>,
}

async fn things(service: &TestService, admin: &Person) -> Things {
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let there = service.replica.till("0406", "03");
    post(&there, &at(swipe(2, Some(&card(1)), 700), "0406", "03")).await;
    let account = account_text(account_of(&service.sql().await, &card(1)).await);
    let (mut coupons, mut pools) = (Vec::new(), Vec::new());
    for (place, stores) in PLACES {
        let mut personal = forty(place, stores);
        personal["budget"] = json!({ "coupons": 100 });
        made(service, admin, personal).await;
        let order = json!({ "offer": place, "to": [card(1)] });
        let issued = body(&admin.post("/v1/coupons", &format!("coupon-{place}"), &order).await);
        let code = issued["outcomes"][0]["coupons"][0].as_str();
        coupons.push(code.unwrap_or_else(|| panic!("{issued}")).to_owned());
        let handout = json!({ "handout": place, "offer": place });
        let waiting = admin.post("/v1/handouts", &format!("handout-{place}"), &handout).await;
        assert_eq!(waiting.status, StatusCode::CREATED, "{:?}", waiting.body);
        let mut of_codes = forty(&format!("{place}-codes"), stores);
        of_codes["delivery"] = "code-pool".into();
        made(service, admin, of_codes).await;
        let path = format!("/v1/offers/{place}-codes/codes");
        let pool =
            body(&admin.post(&path, &format!("codes-{place}"), &json!({ "codes": 2 })).await);
        pools.push(pool["pool"].as_str().unwrap_or_else(|| panic!("{pool}")).to_owned());
    }
    Things { account, coupons, pools }
}

/// A route with the things of a place in it.
fn path_to(template: &str, number: usize, things: &Things) -> String {
    let (place, _) = PLACES[number];
    let offer = if template.contains("/codes") { format!("{place}-codes") } else { place.into() };
    let path = template
        .replace("{account}", &things.account)
        .replace("{offer}", &offer)
        .replace("{handout}", place)
        .replace("{pool}", &things.pools[number])
        .replace("{code}", &things.coupons[number]);
    assert!(!path.contains('{'), "{template}: name a thing of each place for it");
    path
}

/// Asks for a change that would be right in the manager's own store.
async fn change(someone: &Person, method: Verb, template: &str, path: &str, at: usize) -> Answer {
    let (place, stores) = PLACES[at];
    let body = match template {
        "/v1/handouts/{handout}/list" => {
            return someone.bring(path, "text/csv", format!("card\n{}\n", card(1))).await;
        }
        "/v1/offers" => forty(&format!("new-{place}"), stores),
        "/v1/coupons" => json!({ "offer": place, "to": [card(1)] }),
        "/v1/handouts" => json!({ "handout": format!("new-{place}"), "offer": place }),
        "/v1/offers/{offer}/budget" => json!({ "coupons": 120 }),
        "/v1/offers/{offer}/codes" => json!({ "codes": 3 }),
        "/v1/offers/{offer}/codes/{pool}/file"
        | "/v1/offers/{offer}/codes/{pool}/revoke"
        | "/v1/offers/{offer}/end"
        | "/v1/coupons/{code}/revoke"
        | "/v1/handouts/{handout}"
        | "/v1/handouts/{handout}/file"
        | "/v1/handouts/{handout}/issue"
        | "/v1/handouts/{handout}/revoke"
        | "/v1/handouts/{handout}/stop" => Value::Null,
        other => panic!("{other} is new: say with what it is asked"),
    };
    let method = match method {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Delete => Method::DELETE,
    };
    let key = format!("{template}:{place}").replace(['{', '}'], "");
    let body = Some(&body).filter(|it| !it.is_null());
    someone.send(method, path, Some(&key), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_changes_what_counts_in_own_stores_alone_on_every_route_and_nothing_else() {
    let service = TestService::start().await;
    let (admin, manager) =
        (person(&service, Role::Admin).await, person(&service, Role::Manager).await);
    let things = things(&service, &admin).await;
    let mut rows: Vec<_> = TABLE.iter().filter(|row| row.stores == Stores::Own).collect();
    // What ends a thing comes last; what is being issued is stopped before it is taken back.
    rows.sort_by_key(|row| {
        let is_revoked = row.path.ends_with("/revoke");
        (row.method == Verb::Delete, row.path.ends_with("/end"), is_revoked)
    });
    let mut wrong = Vec::new();
    for row in rows {
        assert!(row.roles.contains(&Role::Manager), "{} is for nobody's own stores", row.path);
        for (number, (place, _)) in PLACES.iter().enumerate().rev() {
            let path = path_to(row.path, number, &things);
            let trail = "SELECT count(*) FROM audit";
            let before = service.count(trail).await;
            let answer = change(&manager, row.method, row.path, &path, number).await;
            let is_right = match (*place, answer.status) {
                ("own", status) => status.is_success(),
                // Not a word about what is elsewhere: as if there were none of it.
                ("far", status) => {
                    [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status)
                        || status == StatusCode::UNPROCESSABLE_ENTITY
                }
                (_, status) => status == StatusCode::FORBIDDEN,
            };
            let changed = service.count(trail).await > before;
            if !is_right || changed && *place != "own" {
                wrong.push(format!("{place} {:?} {}: {:?}", row.method, row.path, answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_sees_what_counts_in_own_stores_too_on_every_route_and_nothing_else() {
    let service = TestService::start().await;
    let (admin, manager) =
        (person(&service, Role::Admin).await, person(&service, Role::Manager).await);
    let things = things(&service, &admin).await;
    let mut wrong = Vec::new();
    for row in TABLE.iter().filter(|row| row.stores == Stores::Filtered) {
        assert_eq!(row.method, Verb::Get, "{} changes something", row.path);
        if ["/v1/accounts/{account}/coupons", "/v1/coupons/{code}"].contains(&row.path) {
            // Coupons count in the whole chain; by which transaction one was redeemed is left out:
            // `account_coupons` redeems some.
            continue;
        }
        if !row.path.contains("{offer}") && !row.path.contains("{handout}") {
            // All of it is there, and of that what has to do with the store.
            let (own, far) = match row.path {
                "/v1/offers" => ("\"offer\":\"own\"", "\"offer\":\"far\""),
                "/v1/handouts" => ("\"handout\":\"own\"", "\"handout\":\"far\""),
                "/v1/stores" | "/v1/terminals" => ("0367", "0406"),
                "/v1/accounts/{account}/timeline" => ("0367/03/", "0406/03/"),
                other => panic!("{other} is new: say by what its own things are known"),
            };
            let path = path_to(row.path, 0, &things);
            for (someone, sees_far) in [(&manager, false), (&admin, true)] {
                let told = body(&someone.get(&path).await).to_string();
                if !told.contains(own) || told.contains(far) != sees_far {
                    wrong.push(format!("{}: {told}", row.path));
                }
            }
            continue;
        }
        for (number, (place, _)) in PLACES.iter().enumerate() {
            let path = path_to(row.path, number, &things);
            let status = manager.get(&path).await.status;
            let expected = if *place == "far" { StatusCode::NOT_FOUND } else { StatusCode::OK };
            if status != expected || admin.get(&path).await.status != StatusCode::OK {
                wrong.push(format!("{place} {}: {status}", row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
