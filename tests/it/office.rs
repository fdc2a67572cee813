//! The back office: who may do what on every route, tokens that end when they are told to,
//! creations that happen once, and the trace of every change.

use std::collections::BTreeMap;
use std::process::Command;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tillside::office::access::{TABLE, Verb, of};
use tillside::office::{Role, TokenScope};
use tillside::router::people;

use crate::support::database::launcher;
use crate::support::flow::slug;
use crate::support::office::{person, person_of};
use crate::support::service::{TestService, body, card, post, swipe};

/// Who may, on which route, written down a second time on purpose. `a`dmin, `m`anager,
/// mar`k`eting, a`u`ditor; `M` is a manager who may in the manager's own stores only.
const EXPECTED: &[(&str, &str)] = &[
    ("GET /v1/accounts", "amku"),
    ("GET /v1/accounts/{account}", "amku"),
    ("GET /v1/accounts/{account}/coupons", "amku"),
    ("GET /v1/accounts/{account}/timeline", "amku"),
    ("POST /v1/accounts/{account}/adjustments", "am"),
    (
        "GET /v1/accounts/{account}/decisions/{store}/{workstation}/{business_date}/{sequence}",
        "aMku",
    ),
    ("POST /v1/accounts/{account}/cards/{card}/block", "am"),
    ("POST /v1/accounts/{account}/cards/{card}/replace", "am"),
    ("POST /v1/accounts/{account}/cards/{card}/unblock", "am"),
    ("GET /v1/audit", "au"),
    ("POST /v1/coupons", "amk"),
    ("GET /v1/coupons/{code}", "amku"),
    ("POST /v1/coupons/{code}/revoke", "amk"),
    ("GET /v1/exports/accounts", "ak"),
    ("GET /v1/handouts", "amku"),
    ("POST /v1/handouts", "amk"),
    ("DELETE /v1/handouts/{handout}", "amk"),
    ("GET /v1/handouts/{handout}", "amku"),
    ("GET /v1/handouts/{handout}/file", "amk"),
    ("POST /v1/handouts/{handout}/issue", "amk"),
    ("POST /v1/handouts/{handout}/list", "amk"),
    ("POST /v1/handouts/{handout}/revoke", "amk"),
    ("POST /v1/handouts/{handout}/stop", "amk"),
    ("GET /v1/offers", "amku"),
    ("POST /v1/offers", "amk"),
    ("GET /v1/offers/{offer}", "amku"),
    ("POST /v1/offers/{offer}/budget", "amk"),
    ("GET /v1/offers/{offer}/budgets", "amku"),
    ("POST /v1/offers/{offer}/codes", "amk"),
    ("POST /v1/offers/{offer}/codes/{pool}/file", "amk"),
    ("POST /v1/offers/{offer}/codes/{pool}/revoke", "amk"),
    ("POST /v1/offers/{offer}/end", "amk"),
    ("GET /v1/programme", "amku"),
    ("POST /v1/programme", "a"),
    ("GET /v1/programme/{programme}", "amku"),
    ("POST /v1/programme/check", "ak"),
    ("POST /v1/programme/drafts", "ak"),
    ("POST /v1/programme/roll-back", "a"),
    ("GET /v1/reports/offers", "aku"),
    ("GET /v1/reports/responses", "aku"),
    ("GET /v1/models", "amku"),
    ("POST /v1/models/roll-back", "ak"),
    ("GET /v1/stores", "amku"),
    ("GET /v1/terminals", "amu"),
    ("GET /v1/terminals/{store}/{workstation}/quarantine", "aMu"),
    ("GET /v1/tokens", "au"),
    ("POST /v1/tokens", "a"),
    ("DELETE /v1/tokens/{token}", "a"),
    ("GET /v1/users", "au"),
    ("POST /v1/users", "a"),
    ("POST /v1/users/{user}/disable", "a"),
];

/// Every route of people: its method and its template, as the router has them.
fn routes() -> Vec<(Method, String)> {
    let document = serde_json::to_value(people().get_openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("an object");
    let of_path = |(path, calls): (&String, &Value)| -> Vec<(Method, String)> {
        let methods = calls.as_object().expect("an object").keys();
        let method = |name: &String| name.to_uppercase().parse().expect("a method");
        methods.map(|name| (method(name), path.clone())).collect()
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn every_route_of_people_has_a_row_and_every_row_a_route() {
    let routes = routes();
    for (method, path) in &routes {
        assert!(of(method, path).is_some(), "{method} {path} needs a row in office::access");
    }
    for row in TABLE {
        let method = match row.method {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        };
        let there = routes.iter().any(|(of, path)| *of == method && path == row.path);
        assert!(there, "office::access has {method} {}, which is no route", row.path);
    }
    assert_eq!(routes.len(), TABLE.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_may_and_nothing_else_in_own_and_foreign_stores() {
    let service = TestService::start().await;
    post(&service.till(), &swipe(1, Some(&card(1)), 700)).await;
    let expected: BTreeMap<&str, &str> = EXPECTED.iter().copied().collect();
    let letters = [(Role::Admin, 'a'), (Role::Manager, 'm'), (Role::Marketing, 'k')];
    let letters = letters.into_iter().chain([(Role::Auditor, 'u')]);
    let mut wrong = Vec::new();
    for (role, letter) in letters {
        let someone = person(&service, role).await;
        let reader_stores: &[&str] = if role == Role::Manager { &["0367"] } else { &[] };
        let reader = person_of(&service, role, reader_stores, TokenScope::Read).await;
        for (method, path) in routes() {
            let route = format!("{method} {path}");
            let who = expected.get(&*route).unwrap_or_else(|| panic!("{route} is not expected"));
            for store in ["0367", "0406"] {
                let target = path
                    .replace("{account}", "acc_000000000A1KV")
                    .replace("{card}", &card(77))
                    .replace("{token}", "999999")
                    .replace("{user}", "999999")
                    .replace("{offer}", "nothing")
                    .replace("{handout}", "nothing")
                    .replace("{programme}", "999")
                    .replace("{code}", "00000000000000")
                    .replace("{store}", store)
                    .replace("{workstation}", "03")
                    .replace("{business_date}", "2026-03-14")
                    .replace("{sequence}", "1");
                let own = who.contains('M') && letter == 'm' && store == "0367";
                let may = who.contains(letter) || own;
                // What is asked for is nonsense: only whether it is looked at matters.
                let asked = (method == Method::POST).then(|| json!({}));
                let answer = someone.send(method.clone(), &target, Some("k"), asked.as_ref()).await;
                let refused = answer.status == StatusCode::FORBIDDEN;
                let let_in = !refused && answer.status != StatusCode::UNAUTHORIZED;
                if let_in != may || answer.status.is_server_error() {
                    wrong.push(format!("{role:?} {store} {route}: {}", answer.status));
                }
                if refused {
                    assert_eq!(slug(&answer), "forbidden");
                }
                let asked = asked.as_ref();
                let answer = reader.send(method.clone(), &target, Some("k"), asked).await;
                let let_in = answer.status != StatusCode::FORBIDDEN;
                if let_in != (may && method == Method::GET) {
                    wrong.push(format!("{role:?} {store} {route}, reading: {}", answer.status));
                }
            }
            let nobody = someone.with_token("tsk_nobody");
            let answer = nobody.send(method, &path.replace(['{', '}'], ""), None, None).await;
            assert_eq!(
                (answer.status, slug(&answer)),
                (401_u16.try_into().expect("a status"), "unauthenticated".to_owned()),
                "{route}"
            );
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_sees_the_managers_own_stores_and_nobody_elses() {
    let service = TestService::start().await;
    let (manager, admin) =
        (person(&service, Role::Manager).await, person(&service, Role::Admin).await);
    for path in ["/v1/stores", "/v1/terminals"] {
        let text = |answer: &tillside::till::Answer| body(answer).to_string();
        let (own, all) = (text(&manager.get(path).await), text(&admin.get(path).await));
        assert!(own.contains("0367") && !own.contains("0406"), "{own}");
        assert!(all.contains("0367") && all.contains("0406"), "{all}");
    }
    let page = body(&admin.get("/v1/terminals?limit=3").await);
    assert_eq!(page["terminals"].as_array().map(Vec::len), Some(3));
    let next = page["next"].as_str().expect("there is a fourth");
    let rest = body(&admin.get(&format!("/v1/terminals?limit=3&after={next}")).await);
    assert_eq!(
        (rest["terminals"].as_array().map(Vec::len), &rest["next"]),
        (Some(1), &Value::Null)
    );
    for query in ["limit=0", "limit=201", "after=x", "before=1"] {
        let answer = admin.get(&format!("/v1/terminals?{query}")).await;
        assert_eq!(slug(&answer), "validation-failed", "{query}");
    }
    // What a terminal sent that was not understood.
    post(&service.till(), &json!({ "store_id": 7 })).await;
    let kept = body(&manager.get("/v1/terminals/0367/03/quarantine").await);
    assert_eq!(kept["requests"][0]["problem"], "validation-failed", "{kept}");
    assert_eq!(slug(&admin.get("/v1/terminals/0367/99/quarantine").await), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_or_whose_user_was_disabled_is_refused_at_once() {
    let service = TestService::start().await;
    let (admin, other) = (person(&service, Role::Admin).await, person(&service, Role::Admin).await);
    let other_replica = service.replica().await;
    assert_eq!(other.get("/v1/users").await.status, StatusCode::OK);
    let path = format!("/v1/tokens/{}", other.token_no);
    let revoked = admin.delete(&path).await;
    assert_eq!(revoked.status, StatusCode::OK, "{:?}", revoked.body);
    assert!(body(&revoked)["revoked_at"].is_string());
    assert_eq!(slug(&other.get("/v1/users").await), "unauthenticated");
    assert_eq!(slug(&admin.delete(&path).await), "not-found");

    let sql = service.sql().await;
    let third = person(&service, Role::Auditor).await;
    assert_eq!(third.get("/v1/users").await.status, StatusCode::OK);
    let ended = "UPDATE api_token SET expires_at = now() WHERE token_no = $1";
    sql.execute(ended, &[&third.token_no]).await.expect(ended);
    assert_eq!(slug(&third.get("/v1/users").await), "unauthenticated");
    let fourth = person(&service, Role::Auditor).await;
    let there = fourth.at(&other_replica.base_url);
    assert_eq!(there.get("/v1/users").await.status, StatusCode::OK);
    let path = format!("/v1/users/{}/disable", fourth.user);
    let disabled = admin.post(&path, "", &json!({})).await;
    assert_eq!(disabled.status, StatusCode::OK, "{:?}", disabled.body);
    assert!(body(&disabled)["disabled_at"].is_string());
    for someone in [&fourth, &there] {
        assert_eq!(slug(&someone.get("/v1/users").await), "unauthenticated");
    }
    assert_eq!(slug(&admin.post(&path, "", &json!({})).await), "not-found", "only once");
    let newest = &body(&admin.get("/v1/audit?limit=1").await)["audit"][0];
    assert_eq!((&newest["action"], &newest["user"]), (&json!("user.disable"), &json!(admin.user)));
    // Nothing in the database lets anybody in.
    let stored = "SELECT string_agg(t::text, ' ') FROM api_token AS t";
    let stored: String = sql.query_one(stored, &[]).await.expect(stored).get(0);
    assert!(!stored.contains("tsk_") && !stored.contains(&admin.token[4..20]), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_happens_once_for_each_key_and_a_repetition_gets_the_same_answer() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let new = json!({ "email": "ada@chain.example", "name": "Ada", "role": "manager",
        "stores": ["0406"] });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (admin, new) = (admin.clone(), new.clone());
        tasks.spawn(async move { admin.post("/v1/users", "k1", &new).await });
    }
    let answers = tasks.join_all().await;
    for answer in &answers {
        match answer.status {
            StatusCode::CREATED => assert_eq!(body(answer)["email"], "ada@chain.example"),
            StatusCode::CONFLICT => assert_eq!(slug(answer), "idempotency-key-in-use"),
            other => panic!("{other}"),
        }
    }
    let ada = "SELECT count(*) FROM app_user WHERE email = 'ada@chain.example'";
    assert_eq!(service.count(ada).await, 1);
    let again = admin.post("/v1/users", "\"k1\"", &new).await;
    assert_eq!(
        (again.status, &again.headers["idempotent-replayed"]),
        (StatusCode::CREATED, &"true".parse().expect("a value"))
    );
    let other = json!({ "email": "bo@chain.example", "name": "Bo", "role": "auditor" });
    assert_eq!(slug(&admin.post("/v1/users", "k1", &other).await), "idempotency-key-reused");
    assert_eq!(slug(&admin.post("/v1/users", "", &other).await), "idempotency-key-invalid");
    let without = admin.send(Method::POST, "/v1/users", None, Some(&other)).await;
    assert_eq!(
        (without.status, slug(&without)),
        (StatusCode::BAD_REQUEST, "idempotency-key-invalid".into())
    );
    // A key is its user's own, and what was refused can be mended under the same key.
    let else_one = person(&service, Role::Admin).await;
    let taken = else_one.post("/v1/users", "k1", &new).await;
    assert_eq!((taken.status, slug(&taken)), (StatusCode::CONFLICT, "user-exists".into()));
    assert_eq!(else_one.post("/v1/users", "k1", &other).await.status, StatusCode::CREATED);
    // Under way, cut off, and forgotten in the end.
    let sql = service.sql().await;
    let aged = async |began: &str, status: &str| {
        let change = format!(
            "UPDATE idempotency SET began_at = now() - interval '{began}', \
                              status = {status} WHERE user_no = {}",
            admin.user
        );
        sql.batch_execute(&change).await.expect("changed");
    };
    aged("59 seconds", "NULL").await;
    assert_eq!(slug(&admin.post("/v1/users", "k1", &new).await), "idempotency-key-in-use");
    aged("61 seconds", "NULL").await;
    assert_eq!(slug(&admin.post("/v1/users", "k1", &new).await), "user-exists");
    let third = json!({ "email": "cy@chain.example", "name": "Cy", "role": "auditor" });
    assert_eq!(admin.post("/v1/users", "k3", &third).await.status, StatusCode::CREATED);
    aged("25 hours", "201").await;
    assert_eq!(slug(&admin.post("/v1/users", "k3", &third).await), "user-exists");
    aged("25 hours", "201").await;
    let fourth = json!({ "email": "di@chain.example", "name": "Di", "role": "auditor" });
    assert_eq!(admin.post("/v1/users", "k4", &fourth).await.status, StatusCode::CREATED);
    let old = "SELECT count(*) FROM idempotency WHERE began_at < now() - interval '1 day'";
    assert_eq!(service.count(old).await, 0, "what has outlived its time is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_token_is_answered_once_and_kept_nowhere() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let wanted = json!({ "user": admin.user, "name": "nightly", "expires_days": 30,
        "scope": "read" });
    let made = admin.post("/v1/tokens", "t1", &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let secret = body(&made)["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(admin.with_token(&secret).get("/v1/users").await.status, StatusCode::OK);
    let again = body(&admin.post("/v1/tokens", "t1", &wanted).await);
    assert_eq!((&again["secret"], &again["token"]), (&Value::Null, &body(&made)["token"]));
    let kept = format!(
        "SELECT count(*) FROM idempotency
                        WHERE position('{secret}' IN convert_from(answer, 'UTF8')) > 0"
    );
    assert_eq!(service.count(&kept).await, 0);
    for (wrong, pointer) in [
        (json!({ "user": 999, "name": "x", "expires_days": 30 }), "/user"),
        (json!({ "user": admin.user, "name": "", "expires_days": 30 }), "/name"),
        (json!({ "user": admin.user, "name": "x", "expires_days": 401 }), "/expires_days"),
    ] {
        let refused = admin.post("/v1/tokens", "t2", &wrong).await;
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer);
    }
    let manager = json!({ "email": "m@chain.example", "name": "M", "role": "manager" });
    let refused = admin.post("/v1/users", "u1", &manager).await;
    assert_eq!(body(&refused)["errors"][0]["pointer"], "/stores");
    let card = json!({ "email": "m@chain.example", "name": "4111 1111 1111 1111",
        "role": "auditor" });
    let refused = admin.post("/v1/users", "u1", &card).await;
    assert_eq!(slug(&refused), "payment-card-data-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_a_line_in_the_audit_trail_which_nobody_can_alter() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    post(&service.till(), &swipe(1, Some(&card(1)), 700)).await;
    let account = body(&admin.get(&format!("/v1/accounts?card={}", card(1))).await);
    let account = account["account"].as_str().expect("an id").to_owned();
    let new = json!({ "email": "ada@chain.example", "name": "Ada", "role": "auditor" });
    let ada = body(&admin.post("/v1/users", "k1", &new).await);
    let wanted = json!({ "user": ada["user"], "name": "x", "expires_days": 1 });
    let token = body(&admin.post("/v1/tokens", "k2", &wanted).await);
    admin.delete(&format!("/v1/tokens/{}", token["token"]["token"])).await;
    let path = format!("/v1/accounts/{account}/adjustments");
    let given = json!({ "points": 5, "reason": "goodwill" });
    assert_eq!(admin.post(&path, "k3", &given).await.status, StatusCode::CREATED);
    admin.get("/v1/exports/accounts").await;
    let trail = body(&admin.get("/v1/audit?limit=5").await);
    let lines: Vec<(&str, String)> = trail["audit"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| {
            assert_eq!(line["user"], admin.user);
            (line["action"].as_str().expect("text"), line["object"].to_string())
        })
        .collect();
    let actions: Vec<&str> = lines.iter().map(|(action, _)| *action).collect();
    assert_eq!(
        actions,
        ["export.accounts", "account.adjust", "token.revoke", "token.add", "user.add"]
    );
    assert_eq!(lines[0].1, "\"accounts\"");
    assert_eq!(lines[1].1, format!("\"{account}\""));
    // A refusal changes nothing and leaves no line; a repetition neither.
    let before = service.count("SELECT count(*) FROM audit").await;
    admin.post(&path, "k3", &given).await;
    admin.post("/v1/users", "k9", &new).await;
    assert_eq!(service.count("SELECT count(*) FROM audit").await, before);
    let sql = service.sql().await;
    for alter in ["UPDATE audit SET object = 'x'", "DELETE FROM audit", "TRUNCATE audit"] {
        sql.batch_execute(alter).await.expect_err(alter);
    }
}

/// What a command prints as JSON, or what it complains of.
fn command(service: &TestService, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = Command::new(launcher())
        .env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal())
        .args(arguments)
        .arg("--json")
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    if !output.status.success() {
        return Err(text(&output.stderr));
    }
    let lines = text(&output.stdout);
    Ok(lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_make_users_and_tokens_that_work_and_end() {
    let service = TestService::start().await;
    let run = |arguments: &[&str]| command(&service, arguments);
    let add = ["user", "add", "--email", "Ada@chain.example", "--role"];
    let with = |more: &[&'static str]| [&add[..], more].concat();
    run(&with(&["manager"])).expect_err("without stores");
    run(&with(&["manager", "--store", "9999"])).expect_err("no such store");
    let ada = run(&with(&["manager", "--store", "0367"])).expect("added");
    assert_eq!(ada[0]["stores"], json!(["0367"]));
    let twice = run(&with(&["admin"])).expect_err("twice");
    assert!(twice.contains("already"), "{twice}");
    let token =
        ["token", "add", "--user", "ada@chain.example", "--expires-days", "30", "--name", "laptop"];
    let made = run(&token).expect("made");
    let secret = made[0]["secret"].as_str().expect("a secret");
    let someone = person(&service, Role::Auditor).await.with_token(secret);
    assert_eq!(someone.get("/v1/stores").await.status, StatusCode::OK);
    assert_eq!(someone.get("/v1/users").await.status, StatusCode::FORBIDDEN);
    let listed = run(&["token", "list"]).expect("listed");
    assert_eq!(listed.len(), 2);
    assert!(secret.ends_with(listed[1]["last_four"].as_str().expect("text")), "{listed:?}");
    assert!(!format!("{listed:?}").contains(secret));
    let number = made[0]["token"]["token"].to_string();
    run(&["token", "revoke", "--token", &number]).expect("revoked");
    run(&["token", "revoke", "--token", &number]).expect_err("twice");
    assert_eq!(someone.get("/v1/stores").await.status, StatusCode::UNAUTHORIZED);
    let disabled = run(&["user", "disable", "--email", "ADA@chain.example"]).expect("disabled");
    assert!(disabled[0]["disabled_at"].is_string());
    run(&token).expect_err("a disabled user gets no token");
    assert_eq!(run(&["user", "list"]).expect("listed").len(), 2);
    let by_command = "SELECT count(*) FROM audit WHERE user_no IS NULL";
    assert!(service.count(by_command).await >= 4);
}
