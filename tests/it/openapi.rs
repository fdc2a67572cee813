//! The document and the pages made from it: equal to the router, complete, self-contained, and
//! true: what the service takes and answers satisfies the schemas that it shows.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tillside::router::calls as routes;
use tillside::swipe::example;
use tillside::till::Till;

use crate::spending::paid;
use crate::support::bodies::full_swipe;
use crate::support::edge::{digest, told};
use crate::support::service::{TestService, body, card, post, swipe};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

pub(crate) async fn document(till: &Till) -> Value {
    let answer = till.get("/openapi.json").await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    body(&answer)
}

async fn page(till: &Till, path: &str) -> String {
    let answer = till.get(path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path}");
    let kind = answer.headers["content-type"].to_str().expect("text");
    assert!(kind.starts_with("text/html"), "{path}: {kind}");
    String::from_utf8(answer.body.to_vec()).expect("UTF-8")
}

/// Every path with the methods that the document has for it.
fn calls(document: &Value) -> Vec<(String, BTreeSet<String>)> {
    let paths = document["paths"].as_object().expect("an object");
    let methods = |calls: &Value| {
        calls.as_object().expect("an object").keys().map(|method| method.to_uppercase()).collect()
    };
    paths.iter().map(|(path, calls)| (path.clone(), methods(calls))).collect()
}

/// The paths of the contract that exist so far; a new one is added here on purpose.
const PATHS: &[&str] = &[
    "/v1/accounts",
    "/v1/accounts/{account}",
    "/v1/accounts/{account}/adjustments",
    "/v1/accounts/{account}/cards/{card}/block",
    "/v1/accounts/{account}/cards/{card}/replace",
    "/v1/accounts/{account}/cards/{card}/unblock",
    "/v1/accounts/{account}/coupons",
    "/v1/accounts/{account}/timeline",
    "/v1/audit",
    "/v1/cards",
    "/v1/cards/{card}",
    "/v1/coupons",
    "/v1/coupons/{code}",
    "/v1/coupons/{code}/revoke",
    "/v1/exports/accounts",
    "/v1/handouts",
    "/v1/handouts/{handout}",
    "/v1/handouts/{handout}/file",
    "/v1/handouts/{handout}/issue",
    "/v1/handouts/{handout}/list",
    "/v1/handouts/{handout}/revoke",
    "/v1/handouts/{handout}/stop",
    "/v1/member-prices",
    "/v1/models",
    "/v1/models/roll-back",
    "/v1/offers",
    "/v1/offers/{offer}",
    "/v1/offers/{offer}/budget",
    "/v1/offers/{offer}/budgets",
    "/v1/offers/{offer}/codes",
    "/v1/offers/{offer}/codes/{pool}/file",
    "/v1/offers/{offer}/end",
    "/v1/programme",
    "/v1/programme/check",
    "/v1/programme/drafts",
    "/v1/programme/roll-back",
    "/v1/programme/{programme}",
    "/v1/reports/offers",
    "/v1/reports/responses",
    "/v1/stores",
    "/v1/swipes",
    "/v1/swipes/batch",
    "/v1/swipes/{store}/{workstation}/{business_date}/{sequence}",
    "/v1/swipes/{store}/{workstation}/{business_date}/{sequence}/void",
    "/v1/terminals",
    "/v1/terminals/{store}/{workstation}/quarantine",
    "/v1/tokens",
    "/v1/tokens/{token}",
    "/v1/users",
    "/v1/users/{user}/disable",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_equal_to_the_router() {
    let service = TestService::start().await;
    let till = service.till();
    let served = document(&till).await;
    assert_eq!(served["openapi"], "3.1.0");
    let made = serde_json::to_value(routes().get_openapi()).expect("JSON");
    assert_eq!(served, made, "what is served is what the routes are made from");

    let calls = calls(&served);
    for (path, documented) in &calls {
        let target = path
            .replace("{card}", &card(1))
            .replace("{store}", "0367")
            .replace("{workstation}", "03")
            .replace("{business_date}", "2026-03-14")
            .replace("{sequence}", "1")
            .replace("{account}", "acc_000000000A1KV")
            .replace("{token}", "1")
            .replace("{user}", "1")
            .replace("{offer}", "yoghurt-50")
            .replace("{handout}", "spring")
            .replace("{pool}", "u1-0")
            .replace("{programme}", "1")
            .replace("{code}", "00000000000000");
        assert!(!target.contains('{'), "{path} has a parameter that this test does not know");
        for method in METHODS {
            let method: http::Method = method.parse().expect("a method");
            // An unproven request, so that 404 can only mean that there is no such route.
            let request = http::Request::builder()
                .method(&method)
                .uri(format!("{}{target}", service.replica.base_url))
                .body(http_body_util::Full::default())
                .expect("legal");
            let answer = till.send(request).await.expect("an answer");
            let (status, slug) = told(&answer);
            if documented.contains(method.as_str()) {
                let call = &served["paths"][path][method.as_str().to_lowercase()];
                let unproven = match call["security"].is_array() {
                    true => "unauthenticated",
                    false => "signature-invalid",
                };
                assert_eq!((status, &*slug), (401, unproven), "{method} {path}");
                continue;
            }
            assert_eq!((status, &*slug), (405, "method-not-allowed"), "{method} {path}");
            let allowed = answer.headers["allow"].to_str().expect("text").split(',');
            let allowed: BTreeSet<String> =
                allowed.filter(|method| *method != "HEAD").map(str::to_owned).collect();
            assert_eq!(&allowed, documented, "{path}");
        }
    }
    let paths: Vec<&str> = calls.iter().map(|(path, _)| path.as_str()).collect();
    for path in PATHS {
        assert!(paths.contains(path), "{path}");
    }
}

#[test]
fn every_schema_that_is_named_exists_and_has_a_sensible_name() {
    let document = serde_json::to_value(routes().get_openapi()).expect("JSON");
    let schemas = document["components"]["schemas"].as_object().expect("an object");
    for name in schemas.keys() {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
        assert!(plain && name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
        assert!(!name.ends_with("In") && !name.ends_with("Out"), "{name} is a name of the code");
        assert!(schemas[name]["description"].is_string(), "{name} is not described");
        let fields = schemas[name]["properties"].as_object().into_iter().flatten();
        for (field, schema) in fields {
            let described = schema["description"].is_string()
                || schema["$ref"].is_string()
                || schema["oneOf"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|choice| choice["description"].is_string()));
            assert!(described, "{name}.{field} is not described");
        }
    }
    let text = document.to_string();
    let named: BTreeSet<&str> = text
        .split("#/components/schemas/")
        .skip(1)
        .map(|rest| rest.split('"').next().expect("a name"))
        .collect();
    for name in &named {
        assert!(schemas.contains_key(*name), "{name} is named, but is not there");
    }
    for name in schemas.keys() {
        assert!(named.contains(name.as_str()), "{name} is there, but nothing leads to it");
    }
    for (path, calls) in document["paths"].as_object().expect("an object") {
        for (method, call) in calls.as_object().expect("an object") {
            let about = format!("{method} {path}");
            for words in ["summary", "description", "operationId"] {
                assert!(call[words].is_string(), "{about} has no {words}");
            }
            let schema = &call["requestBody"]["content"]["application/json"]["schema"];
            let bodiless =
                ["/void", "/revoke", "/disable", "/block", "/unblock", "/file", "/issue", "/stop"];
            let bodiless = bodiless.iter().any(|end| path.ends_with(end));
            let list = &call["requestBody"]["content"]["text/csv"]["schema"];
            let has_body = if path.ends_with("/list") { list } else { schema }.is_object();
            assert!(method != "post" || bodiless || has_body, "{about}");
            // One that says that nothing has changed has none.
            let answers = call["responses"].as_object().expect("an object");
            for (status, answer) in answers.iter().filter(|(status, _)| *status != "304") {
                let content = answer["content"].as_object().expect("every answer has a body");
                let kinds: &[&str] = match status.starts_with('2') {
                    true if path.starts_with("/v1/exports/") => {
                        &["text/csv", "application/x-ndjson"]
                    }
                    true if path.ends_with("/file") => &["text/csv"],
                    true => &["application/json"],
                    false => &["application/problem+json"],
                };
                for kind in kinds {
                    assert!(content[*kind]["schema"].is_object(), "{about} {status} {kind}");
                }
            }
        }
    }
}

/// What of a value does not satisfy a schema: the part of JSON Schema that the document uses.
pub(crate) fn findings(
    document: &Value,
    schema: &Value,
    value: &Value,
    place: &str,
) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').expect("a place in the document");
        return findings(document, document.pointer(pointer).expect("it exists"), value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| findings(document, choice, value, place).is_empty();
        let fitting = choices.iter().filter(fits).count();
        return if fitting == 1 { vec![] } else { vec![format!("{place}: {fitting} choices fit")] };
    }
    let mut found = Vec::new();
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        other => panic!("{place}: the type {other:?} is not known to this test"),
    };
    if !kinds.iter().any(is) {
        found.push(format!("{place}: {value} is not {kinds:?}"));
    }
    if let Some(number) = value.as_i64() {
        let holds = schema["minimum"].as_i64().is_none_or(|least| least <= number)
            && schema["maximum"].as_i64().is_none_or(|most| number <= most);
        found.extend((!holds).then(|| format!("{place}: {number} is out of bounds")));
    }
    if let (Some(text), Some(most)) = (value.as_str(), schema["maxLength"].as_u64()) {
        let holds = text.chars().count() as u64 <= most;
        found.extend((!holds).then(|| format!("{place}: too long")));
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(findings(document, &schema["items"], item, &format!("{place}/{at}")));
    }
    if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name");
            let there = fields.contains_key(name);
            found.extend((!there).then(|| format!("{place}/{name} is missing")));
        }
        for (name, value) in fields {
            let place = format!("{place}/{name}");
            match known.get(name) {
                Some(schema) => found.extend(findings(document, schema, value, &place)),
                None => found.push(format!("{place} is not in the document")),
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_and_answered_is_what_the_document_says() {
    let service = TestService::start().await;
    let till = service.till();
    let document = document(&till).await;
    let findings = |name: &str, value: &Value| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        findings(&document, &schema, value, "")
    };
    let check = |name: &str, value: &Value| {
        assert_eq!(findings(name, value), [""; 0], "{name}: {value}");
    };
    // The check itself can fail.
    let mut wrong = full_swipe(1);
    wrong["lines"][0]["points"] = 1.into();
    wrong["lines"][1]["amount_minor"] = (-1).into();
    wrong["sequence_number"] = "1".into();
    wrong.as_object_mut().expect("an object").remove("store_id");
    assert_eq!(findings("Swipe", &wrong).len(), 4, "{:?}", findings("Swipe", &wrong));

    let request: Value = serde_json::from_str(example::REQUEST).expect("JSON");
    let answer: Value = serde_json::from_str(example::ANSWER).expect("JSON");
    check("Swipe", &request);
    check("Receipt", &answer);
    assert_eq!(request, full_swipe(31_198), "the example of the contract");

    let recorded = till.post("/v1/swipes", example::REQUEST).await.expect("an answer");
    assert_eq!(recorded.status, 201, "the example works as it stands: {:?}", recorded.body);
    let receipt = body(&recorded);
    check("Receipt", &receipt);
    let fields = |value: &Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(fields(&receipt), fields(&answer), "the example's answer has the same fields");
    assert_eq!(fields(&receipt["points"]), fields(&answer["points"]));

    let short = body(&post(&till, &paid(swipe(5, Some(&card(1)), 398), 900)).await);
    assert!(short["points"]["short"].is_number(), "{short}");
    check("Receipt", &short);
    let without_card = body(&post(&till, &swipe(2, None, 398)).await);
    check("Receipt", &without_card);
    let void = till.post("/v1/swipes/0367/03/2026-03-14/2/void", "").await.expect("an answer");
    check("VoidReceipt", &body(&void));
    let path = format!("/v1/cards/{}", card(1));
    check("Card", &body(&till.get(&path).await.expect("an answer")));
    let prices = till.get("/v1/member-prices?business_date=2026-03-14").await;
    check("MemberPrices", &body(&prices.expect("an answer")));
    let enrolment = json!({ "card": card(1), "member": { "given_name": "Ada" } });
    check("Enrolment", &enrolment);
    let enrolled = till.post("/v1/cards", enrolment.to_string()).await.expect("an answer");
    assert_eq!(enrolled.status, 201);
    check("Card", &body(&enrolled));
    check("Problem", &body(&post(&till, &json!({})).await));
    check("Problem", &body(&till.get("/nowhere").await.expect("an answer")));
    let batch = json!({ "items": [
        { "swipe": swipe(3, Some(&card(1)), 5) }, { "void": "0367/03/2026-03-14/4" }, {} ] });
    check("Batch", &batch);
    let outcome = till.post("/v1/swipes/batch", batch.to_string()).await.expect("an answer");
    check("BatchOutcome", &body(&outcome));
}

/// Every place that a page leads to.
fn links(page: &str) -> Vec<&str> {
    page.split("href=\"").skip(1).map(|rest| rest.split('"').next().expect("it ends")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stand_by_themselves_and_lead_to_what_exists() {
    let service = TestService::start().await;
    let till = service.till();
    let mut paths = vec!["/".to_owned(), "/docs".to_owned(), "/problems".to_owned()];
    let problems = page(&till, "/problems").await;
    let slugs: Vec<&str> =
        links(&problems).into_iter().filter_map(|link| link.strip_prefix("problems/")).collect();
    assert!(slugs.len() >= 27, "{slugs:?}");
    paths.extend(slugs.iter().map(|slug| format!("/problems/{slug}")));
    for path in &paths {
        let page = page(&till, path).await;
        let lower = page.to_lowercase();
        for foreign in [
            "<script",
            "<iframe",
            "<link",
            "@import",
            "src=",
            "url(",
            "javascript:",
            "//fonts",
            "onload=",
        ] {
            assert!(!lower.contains(foreign), "{path} has {foreign}");
        }
        // The example of a problem's type is text, not a link.
        let lower = lower.replace("<code>https://tillside.example/", "<code>");
        assert!(!lower.contains("http://") && !lower.contains("https://"), "{path} leads away");
        for tag in ["html", "body", "table", "section", "pre", "ul", "li", "dl", "p", "td", "a"] {
            let opened = lower.matches(&format!("<{tag}>")).count()
                + lower.matches(&format!("<{tag} ")).count();
            let closed = lower.matches(&format!("</{tag}>")).count();
            assert_eq!(opened, closed, "{path}: <{tag}>");
        }
        for link in links(&page) {
            if let Some(id) = link.strip_prefix('#') {
                assert!(page.contains(&format!("id=\"{id}\"")), "{path}: #{id} leads nowhere");
                continue;
            }
            // Pages lie one below the other, so that the service can stand under any prefix.
            let (folder, _) = path.rsplit_once('/').expect("a path");
            let target = match link.strip_prefix("../") {
                Some(rest) => format!("/{rest}"),
                None => format!("{folder}/{link}"),
            };
            assert_eq!(till.get(&target).await.expect("an answer").status, 200, "{path}: {link}");
        }
    }
    // Where the type of a problem points is a page of the service.
    let refused = body(&post(&till, &json!({})).await);
    let public_url = &service.config.chain.public_url;
    let kind = refused["type"].as_str().expect("text");
    let own = kind.strip_prefix(public_url.as_str()).expect("an address of the service itself");
    assert!(page(&till, own).await.contains("<code>validation-failed</code>"), "{own}");

    // Complete: every call, every message, every field, and a call with every byte of it.
    let document = document(&till).await;
    let docs = page(&till, "/docs").await;
    for (path, methods) in calls(&document) {
        for method in methods {
            assert!(docs.contains(&format!("<code>{method} {path}</code>")), "{method} {path}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("an object") {
        assert!(docs.contains(&format!("<section id=\"{name}\">")), "{name}");
        for (field, _) in schema["properties"].as_object().into_iter().flatten() {
            assert!(docs.contains(&format!("<code>{field}</code>")), "{name}.{field}");
        }
    }
    for part in [
        "0 to 9007199254740991",
        "at most 32 characters",
        "1 to 500 elements",
        "20 to 5000",
        "default: <code>sale</code>",
        "tillside sign --explain",
        "Idempotent-Replayed",
        &*digest(example::REQUEST.as_bytes()),
        &*example::REQUEST.replace('"', "&quot;"),
        &*example::ANSWER.replace('"', "&quot;"),
    ] {
        assert!(docs.contains(part), "{part}");
    }
}
