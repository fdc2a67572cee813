//! What people see of an account, and how they correct it: through the desk, once, within a cap.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::{Role, TokenScope};

use crate::desk::verified;
use crate::openapi::{document, findings};
use crate::support::flow::{at, audit, enrol, look_up, name, slug, void};
use crate::support::office::{Person, person, person_of};
use crate::support::service::{TestService, body, card, post, swipe};

/// The id of a card's account.
async fn account_of(someone: &Person, number: u64) -> String {
    let found = body(&someone.get(&format!("/v1/accounts?card={}", card(number))).await);
    found["account"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_shown_without_a_members_values_and_cards_to_those_who_serve() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let member = json!({ "given_name": "Zyxwvutsrq", "email": "zyxwvutsrq@example.org",
        "consents": ["email-offers"] });
    enrol(&till, &json!({ "card": card(1), "member": member })).await;
    let document = document(&till).await;
    for role in Role::ALL {
        let someone = person(&service, role).await;
        let id = account_of(&someone, 1).await;
        let shown = body(&someone.get(&format!("/v1/accounts/{id}")).await);
        let schema = json!({ "$ref": "#/components/schemas/Account" });
        assert_eq!(findings(&document, &schema, &shown, ""), [""; 0], "{shown}");
        assert_eq!((&shown["state"], &shown["points"]["balance"]), (&"enrolled".into(), &7.into()));
        assert_eq!(shown["members"][0]["known"], json!(["name", "email"]));
        assert!(!shown.to_string().to_lowercase().contains("zyxwvutsrq"), "{shown}");
        let serves = matches!(role, Role::Admin | Role::Manager);
        assert_eq!(shown["cards"][0]["card"] == json!(card(1)), serves, "{role:?}: {shown}");
        let consents = if role == Role::Auditor { Value::Null } else { json!(["email-offers"]) };
        assert_eq!(shown["members"][0]["consents"], consents);
    }
    let admin = person(&service, Role::Admin).await;
    for (path, wanted) in [
        (format!("/v1/accounts?card={}", card(9)), "not-found"),
        ("/v1/accounts?card=2990000000018".to_owned(), "card-invalid"),
        ("/v1/accounts".to_owned(), "validation-failed"),
        ("/v1/accounts/acc_000000000A1KV".to_owned(), "not-found"),
        ("/v1/accounts/7".to_owned(), "not-found"),
        ("/v1/accounts/acc_000000000A1KV/timeline".to_owned(), "not-found"),
    ] {
        assert_eq!(slug(&admin.get(&path).await), wanted, "{path}");
    }
    // A house account is nobody's.
    let house = service.count("SELECT min(house_account) FROM workstation").await;
    let path = format!("/v1/accounts/{}", tillside::receipt::account_text(house));
    assert_eq!(slug(&admin.get(&path).await), "not-found");
    // An account that was merged says where its points are.
    post(&till, &swipe(2, Some(&card(2)), 100)).await;
    let left = account_of(&admin, 2).await;
    enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    let merged = body(&admin.get(&format!("/v1/accounts/{left}")).await);
    assert_eq!(merged["state"], "merged");
    assert_eq!(merged["merged_into"], json!(account_of(&admin, 1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_has_every_change_once_page_by_page_and_a_manager_sees_own_stores() {
    let service = TestService::start().await;
    let till = service.till();
    for sequence in 1..=5 {
        post(&till, &swipe(sequence, Some(&card(1)), 100)).await;
    }
    let elsewhere = at(swipe(6, Some(&card(1)), 100), "0406", "01");
    post(&service.replica.till("0406", "01"), &elsewhere).await;
    void(&till, &name(2)).await;
    let admin = person(&service, Role::Admin).await;
    let id = account_of(&admin, 1).await;
    let given = json!({ "points": -3, "reason": "wrong-card" });
    admin.post(&format!("/v1/accounts/{id}/adjustments"), "k", &given).await;
    let document = document(&till).await;
    let read = async |someone: &Person| {
        let (mut after, mut events) = (String::new(), Vec::new());
        loop {
            let path = format!("/v1/accounts/{id}/timeline?limit=3{after}");
            let page = body(&someone.get(&path).await);
            let schema = json!({ "$ref": "#/components/schemas/Timeline" });
            assert_eq!(findings(&document, &schema, &page, ""), [""; 0], "{page}");
            events.extend(page["events"].as_array().expect("events").clone());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return events,
            }
        }
    };
    let events = read(&admin).await;
    let kinds: Vec<&str> = events.iter().map(|it| it["kind"].as_str().expect("text")).collect();
    let swipes = ["swipe"; 6];
    assert_eq!(kinds, [&["adjustment", "void"][..], &swipes].concat());
    assert_eq!((&events[0]["reversed"], &events[0]["reason"]), (&3.into(), &"wrong-card".into()));
    assert_eq!(events[1]["swipe"], json!(name(2)));
    let stores = |events: &[Value]| {
        events
            .iter()
            .filter(|it| it["swipe"].as_str().is_some_and(|name| name.starts_with("0406/")))
            .count()
    };
    assert_eq!(stores(&events), 1);
    let own = read(&person(&service, Role::Manager).await).await;
    assert_eq!((own.len(), stores(&own)), (7, 0));
    let other = read(&person_of(&service, Role::Manager, &["0406"], TokenScope::Full).await).await;
    assert_eq!((other.len(), stores(&other)), (2, 1), "{other:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_is_made_once_for_its_key_and_tills_see_it() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let manager = person(&service, Role::Manager).await;
    let id = account_of(&manager, 1).await;
    let path = format!("/v1/accounts/{id}/adjustments");
    let given = json!({ "points": 500, "reason": "goodwill" });
    let document = document(&till).await;
    let made = manager.post(&path, "k1", &given).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let schema = json!({ "$ref": "#/components/schemas/PointsAdjustment" });
    assert_eq!(findings(&document, &schema, &body(&made), ""), [""; 0]);
    assert_eq!(body(&made)["points"]["balance"], 507);
    let again = manager.post(&path, "k1", &given).await;
    assert_eq!((again.status, &again.body), (StatusCode::CREATED, &made.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(body(&look_up(&till, &card(1)).await)["points"]["balance"], 507);
    // The answer was lost before it could be kept: the id tells that it was made.
    let lost = "DELETE FROM idempotency";
    service.sql().await.batch_execute(lost).await.expect(lost);
    let after = manager.post(&path, "k1", &given).await;
    assert_eq!((after.status, &after.body), (StatusCode::CREATED, &made.body));
    service.sql().await.batch_execute(lost).await.expect(lost);
    let other = json!({ "points": 501, "reason": "goodwill" });
    assert_eq!(slug(&manager.post(&path, "k1", &other).await), "idempotency-key-reused");
    for (wrong, pointer) in [
        (json!({ "points": 0, "reason": "goodwill" }), "/points"),
        (json!({ "points": 1_000_000_001, "reason": "goodwill" }), "/points"),
        (json!({ "points": 1, "reason": "because" }), "/reason"),
        (json!({ "points": 1 }), "/reason"),
        (json!({ "points": 1, "reason": "goodwill", "note": "Mrs Smith" }), "/note"),
    ] {
        let refused = manager.post(&path, "k2", &wrong).await;
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{wrong}");
    }
    let nowhere = "/v1/accounts/acc_000000000A1KV/adjustments";
    assert_eq!(slug(&manager.post(nowhere, "k3", &given).await), "not-found");
    assert_eq!(service.count("SELECT count(*) FROM adjustment").await, 1);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_or_takes_more_than_the_cap_of_a_day_however_many_at_a_time() {
    let service =
        TestService::start_with(|config| config.office.adjustment_points_per_day = 100).await;
    let till = service.till();
    let replica = service.replica().await;
    for number in 1..=2 {
        post(&till, &swipe(i64::try_from(number).expect("small"), Some(&card(number)), 100)).await;
    }
    let admin = person(&service, Role::Admin).await;
    let ids = [account_of(&admin, 1).await, account_of(&admin, 2).await];
    let there = admin.at(&replica.base_url);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12_usize {
        let someone = if number % 4 < 2 { admin.clone() } else { there.clone() };
        let path = format!("/v1/accounts/{}/adjustments", ids[number % 2]);
        tasks.spawn(async move {
            let points = if number % 3 == 0 { -30 } else { 30 };
            let given = json!({ "points": points, "reason": "goodwill" });
            someone.post(&path, &format!("k{number}"), &given).await
        });
    }
    let answers = tasks.join_all().await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(made, 3, "three times thirty fit into a hundred");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        assert_eq!(slug(answer), "adjustment-cap-exceeded");
    }
    // Another user has a day of another's own, and so has another day.
    let path = format!("/v1/accounts/{}/adjustments", ids[0]);
    let given = json!({ "points": 100, "reason": "goodwill" });
    let other = person(&service, Role::Manager).await;
    assert_eq!(other.post(&path, "k", &given).await.status, StatusCode::CREATED);
    let yesterday = "UPDATE adjustment SET made_at = made_at - interval '1 day'";
    service.sql().await.batch_execute(yesterday).await.expect(yesterday);
    assert_eq!(admin.post(&path, "k-next", &given).await.status, StatusCode::CREATED);
    verified(&service).await;
}
