//! What the back office sees of the coupons of an account: each once, page by page, with its life;
//! and what people did, on the account's timeline.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::{Role, TokenScope};

use crate::coupons::{issued, offer, outcomes, plain, with};
use crate::openapi::{document, findings};
use crate::support::flow::{enrol, name, on, slug};
use crate::support::office::{Person, person, person_of};
use crate::support::service::{TestService, body, card, post, swipe};

async fn account_of(someone: &Person, number: u64) -> String {
    let found = body(&someone.get(&format!("/v1/accounts?card={}", card(number))).await);
    found["account"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
}

/// All coupons of an account, two on a page.
async fn all(someone: &Person, account: &str, query: &str, document: &Value) -> Vec<Value> {
    let (mut after, mut coupons) = (String::new(), Vec::new());
    loop {
        let path = format!("/v1/accounts/{account}/coupons?limit=2{query}{after}");
        let page = body(&someone.get(&path).await);
        let schema = json!({ "$ref": "#/components/schemas/AccountCoupons" });
        assert_eq!(findings(document, &schema, &page, ""), [""; 0], "{page}");
        coupons.extend(page["coupons"].as_array().expect("coupons").clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return coupons,
        }
    }
}

/// Where a page begins, as nobody but the service writes it.
fn cursor(instant: i64) -> String {
    URL_SAFE_NO_PAD.encode([instant.to_be_bytes(), 1_i64.to_be_bytes()].as_flattened())
}

fn texts(coupons: &[Value], field: &str) -> Vec<String> {
    coupons.iter().map(|it| it[field].as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_coupons_of_an_account_are_listed_once_the_newest_first_and_people_stand_in_its_life() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    post(&till, &swipe(2, Some(&card(2)), 100)).await;
    enrol(&till, &json!({ "card": card(1) })).await;
    let mut pool = plain("pool");
    pool["delivery"] = "code-pool".into();
    offer(&service, plain("forty")).await;
    offer(&service, pool).await;
    let mut shared = plain("shared");
    shared["delivery"] = "shared-code".into();
    shared["shared_code"] = json!({ "code": "WELCOME10" });
    offer(&service, shared).await;

    // Of an account that is merged into it, by a command; and five by somebody, in one moment.
    let inherited = issued(&service, 2, "forty", 1).await.remove(0);
    let admin = person(&service, Role::Admin).await;
    let (id, left) = (account_of(&admin, 1).await, account_of(&admin, 2).await);
    enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    let order = json!({ "offer": "forty", "to": [card(1)], "count": 5 });
    let given = body(&admin.post("/v1/coupons", "k1", &order).await);
    let codes: Vec<String> =
        serde_json::from_value(given["outcomes"][0]["coupons"].clone()).expect("codes");
    let made = body(&admin.post("/v1/offers/pool/codes", "k2", &json!({ "codes": 1 })).await);
    let path = format!("/v1/offers/pool/codes/{}/file", made["pool"].as_str().expect("a pool"));
    let file = admin.post(&path, "k3", &json!({})).await;
    let file = String::from_utf8(file.body.to_vec()).expect("UTF-8");
    let code = file.lines().last().expect("a code").split(',').next().expect("a code").to_owned();

    let today = service.replica.app.today().to_string();
    let brought = [codes[0].as_str(), &code, "WELCOME10"];
    let sale = with(on(swipe(3, Some(&card(1)), 900), &today), &brought);
    assert_eq!(outcomes(&post(&till, &sale).await), ["redeemed"; 3]);
    let revoked = admin.post(&format!("/v1/coupons/{}/revoke", codes[1]), "k4", &json!({})).await;
    assert_eq!(revoked.status, StatusCode::OK, "{:?}", revoked.body);

    let document = document(&till).await;
    let coupons = all(&admin, &id, "", &document).await;
    let mut expected = [&codes[..], &[inherited.clone(), code.clone()]].concat();
    let mut listed = texts(&coupons, "coupon");
    assert_eq!(listed.last(), Some(&inherited), "the newest first");
    expected.sort();
    listed.sort();
    assert_eq!(listed, expected, "each once, and no use of what is everybody's");
    let of = |code: &str| coupons.iter().find(|it| it["coupon"] == code).expect("listed");
    assert_eq!(of(&inherited)["account"], json!(left));
    let used = of(&codes[0]);
    let swipe_name = name(3).replace("2026-03-14", &today);
    assert_eq!((&used["state"], &used["redeemed_by"]), (&"redeemed".into(), &json!(swipe_name)));
    assert_eq!(used["actor"], json!(format!("user:{}", admin.user)));
    assert_eq!((&used["reason"], &used["slot"]), (&"given".into(), &"none".into()));
    assert_eq!(
        (&of(&code)["account"], &of(&code)["redeemed_by"]),
        (&json!(id), &json!(swipe_name))
    );
    // By how they stand; what was inherited is over, and so is one of the others from now on.
    let aged = format!(
        "UPDATE coupon SET valid_from = '2020-01-01', valid_until = '2020-01-07'
         WHERE code = {}",
        tillside::domain::coupon::Code::parse(&codes[2]).expect("a code").number()
    );
    sql.batch_execute(&aged).await.expect("aged");
    for (state, count) in [("issued", 2), ("expired", 2), ("redeemed", 2), ("revoked", 1)] {
        let these = all(&admin, &id, &format!("&state={state}"), &document).await;
        assert_eq!(texts(&these, "state"), vec![state; count], "{state}");
    }
    assert_eq!(body(&admin.get(&format!("/v1/coupons/{}", codes[2])).await)["state"], "expired");
    let theirs = all(&admin, &left, "", &document).await;
    assert_eq!(texts(&theirs, "coupon"), [inherited]);
    for (path, wanted) in [
        (format!("/v1/accounts/{id}/coupons?state=open"), "validation-failed"),
        (format!("/v1/accounts/{id}/coupons?after=x"), "validation-failed"),
        ("/v1/accounts/acc_000000000A1KV/coupons".to_owned(), "not-found"),
    ] {
        assert_eq!(slug(&admin.get(&path).await), wanted, "{path}");
    }

    // The timeline tells what people did, and no coupon twice.
    let block = format!("/v1/accounts/{id}/cards/{}/block", card(2));
    assert_eq!(admin.post(&block, "k5", &json!({})).await.status, StatusCode::OK);
    let replace = format!("/v1/accounts/{id}/cards/{}/replace", card(1));
    let answer = admin.post(&replace, "k6", &json!({ "card": card(3) })).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let timeline = body(&admin.get(&format!("/v1/accounts/{id}/timeline")).await);
    let schema = json!({ "$ref": "#/components/schemas/Timeline" });
    assert_eq!(findings(&document, &schema, &timeline, ""), [""; 0], "{timeline}");
    let events = timeline["events"].as_array().expect("events");
    assert_eq!(
        texts(events, "kind"),
        ["card-replaced", "card-blocked", "coupon-revoked", "swipe", "coupons-issued", "swipe"]
    );
    let who = json!(format!("user:{}", admin.user));
    for (at, count) in [(2, 1), (4, 5)] {
        let event = &events[at];
        assert_eq!((&event["offer"], &event["actor"]), (&"forty".into(), &who), "{event}");
        assert_eq!(event["coupons"], json!(count));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_nothing_to_do_with_a_store_is_not_told_what_was_redeemed_there() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let mut shared = plain("shared");
    shared["delivery"] = "shared-code".into();
    shared["shared_code"] = json!({ "code": "WELCOME10" });
    for definition in [plain("forty"), plain("other"), shared] {
        offer(&service, definition).await;
    }
    let admin = person(&service, Role::Admin).await;
    let (id, document) = (account_of(&admin, 1).await, document(&till).await);
    let order = json!({ "offer": "forty", "to": [card(1)], "count": 2 });
    let given = body(&admin.post("/v1/coupons", "k1", &order).await);
    let code = given["outcomes"][0]["coupons"][0].as_str().expect("a code").to_owned();
    let today = service.replica.app.today().to_string();
    let sale = with(on(swipe(2, Some(&card(1)), 900), &today), &[&code, "WELCOME10"]);
    assert_eq!(outcomes(&post(&till, &sale).await), ["redeemed"; 2]);

    let swipe_name = json!(name(2).replace("2026-03-14", &today));
    for (store, told) in [("0367", &swipe_name), ("0406", &Value::Null)] {
        let manager = person_of(&service, Role::Manager, &[store], TokenScope::Full).await;
        let theirs = all(&manager, &id, "&state=redeemed", &document).await;
        assert_eq!(texts(&theirs, "coupon"), [code.as_str()]);
        assert_eq!(&theirs[0]["redeemed_by"], told, "{store}");
        let life = body(&manager.get(&format!("/v1/coupons/{code}")).await);
        assert_eq!(&life["redeemed_by"], told, "{store}");
    }
    // A use of what is everybody's is none of them, nor was it when it had days.
    let long_ago = "UPDATE coupon SET valid_from = '2026-01-01', valid_until = '2026-12-31'
                    WHERE actor = 'shared-code'";
    assert_eq!(sql.execute(long_ago, &[]).await.expect(long_ago), 1);
    assert_eq!(all(&admin, &id, "", &document).await.len(), 2);
    // As an import issues them: several offers at once.
    let several = "UPDATE coupon SET offer_no = (SELECT offer_no FROM offer
                                                 WHERE offer_id = 'other')
                   WHERE state = 0";
    assert_eq!(sql.execute(several, &[]).await.expect(several), 1);
    let timeline = body(&admin.get(&format!("/v1/accounts/{id}/timeline")).await);
    let event = &timeline["events"][1];
    assert_eq!((&event["offer"], &event["coupons"]), (&Value::Null, &json!(2)), "{event}");
    // -3 * 10^17 µs is long before Christ, and i64::MIN never was.
    for instant in [-300_000_000_000_000_000, i64::MIN] {
        let path = format!("/v1/accounts/{id}/coupons?after={}", cursor(instant));
        assert_eq!(slug(&admin.get(&path).await), "validation-failed", "{instant}");
    }
}
