//! The programme by people of the back office: checked, published once, rolled back, with who did
//! it.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::office::Role;

use crate::openapi::{document, findings};
use crate::support::flow::{on, slug, until};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

const DOUBLE: &str = "[earn]\npoints = 2\nper_minor = 100\n";

/// The body of a publication from today on.
fn publication(service: &TestService, text: &str) -> Value {
    json!({ "text": text, "on": service.replica.app.today().to_string(), "note": "double" })
}

async fn states(someone: &Person) -> Vec<(i64, String)> {
    let list = body(&someone.get("/v1/programme").await);
    let versions = list["versions"].as_array().unwrap_or_else(|| panic!("{list}")).iter();
    let state = |it: &Value| {
        let number = it["version"]["programme_no"].as_i64().expect("a number");
        (number, it["state"].as_str().expect("text").to_owned())
    };
    versions.map(state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_published_once_hold_at_tills_and_are_rolled_back_with_who_did_it() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let auditor = person(&service, Role::Auditor).await;
    let today = service.replica.app.today().to_string();
    let wanted = publication(&service, DOUBLE);
    let answer = admin.post("/v1/programme", "k1", &wanted).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let published = body(&answer);
    assert_eq!(published, json!({ "programme_no": 2, "epoch": 2, "starts_on": today }));
    let again = admin.post("/v1/programme", "k1", &wanted).await;
    assert_eq!((again.status, body(&again)), (StatusCode::CREATED, published.clone()));
    let same = admin.post("/v1/programme", "k2", &wanted).await;
    assert_eq!((same.status, slug(&same)), (StatusCode::CONFLICT, "programme-unchanged".into()));

    let known = async |epoch: i32| {
        let catalogue = &service.replica.app.catalogue;
        until("the rules are known", async || catalogue.current().epoch(epoch).is_some()).await;
    };
    known(2).await;
    let sale = |number: i64| on(swipe(number, Some(&card(1)), 700), &today);
    let earned = |receipt: Value| receipt["points"]["earned"].clone();
    assert_eq!(earned(body(&post(&service.till(), &sale(1)).await)), 14);

    let rules = body(&auditor.get("/v1/programme/2").await);
    assert_eq!(rules["rules"]["earn"], json!({ "points": 2, "per_minor": 100 }));
    // What is read can be published as it stands.
    let text = json!({ "text": rules["text"] });
    assert_eq!(body(&admin.post("/v1/programme/check", "", &text).await)["sound"], true);
    assert_eq!(slug(&auditor.get("/v1/programme/9").await), "not-found");
    assert_eq!(slug(&auditor.get("/v1/programme/x").await), "not-found");

    let back = admin.post("/v1/programme/roll-back", "k3", &json!({})).await;
    assert_eq!(back.status, StatusCode::CREATED, "{:?}", back.body);
    assert_eq!(body(&back)["programme_no"], 1);
    known(3).await;
    assert_eq!(earned(body(&post(&service.till(), &sale(2)).await)), 7);
    let state = |number: i64, state: &str| (number, state.to_owned());
    assert_eq!(states(&auditor).await, [state(1, "past"), state(2, "past"), state(1, "in-force")]);

    let list = body(&auditor.get("/v1/programme").await);
    let newest = &list["versions"][2]["version"];
    assert_eq!((&newest["user"], &newest["note"]), (&json!(admin.user), &json!("rolled back")));
    assert_eq!(list["versions"][0]["version"]["email"], Value::Null);
    let trail = body(&auditor.get("/v1/audit?limit=2").await);
    let lines = trail["audit"].as_array().expect("a list").iter();
    let lines: Vec<(&str, &str)> = lines
        .map(|line| {
            assert_eq!(line["user"], admin.user);
            (line["action"].as_str().expect("text"), line["object"].as_str().expect("text"))
        })
        .collect();
    let expected = [("programme.roll-back", "programme:1"), ("programme.publish", "programme:2")];
    assert_eq!(lines, expected);

    let document = document(&service.till()).await;
    for (name, value) in [
        ("ProgrammePublication", &wanted),
        ("ProgrammePublished", &published),
        ("ProgrammeVersions", &list),
    ] {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        assert_eq!(findings(&document, &schema, value, ""), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_is_wrong_and_where_and_a_publication_is_refused_for_it() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let marketing = person(&service, Role::Marketing).await;
    let wrong = "[earn]\npoints = 2\nper_minor = 0\n\n[[rules]]\nname = \"x\"\nbrands = [\"ACME\"]\n\
                 multiplier = \"0.5\"\n";
    let found = marketing.post("/v1/programme/check", "", &json!({ "text": wrong })).await;
    assert_eq!(found.status, StatusCode::OK, "{:?}", found.body);
    insta::assert_json_snapshot!(body(&found), @r#"
    {
      "findings": [
        {
          "column": 1,
          "line": 3,
          "problem": "must lie within 1 and 1000000"
        },
        {
          "column": 1,
          "line": 8,
          "problem": "must lie within 1 and 100: to take points away, exclude the articles"
        }
      ],
      "sound": false
    }
    "#);
    let refused = admin.post("/v1/programme", "k", &publication(&service, wrong)).await;
    assert_eq!(slug(&refused), "validation-failed");
    assert_eq!(
        body(&refused)["errors"],
        json!([
            { "pointer": "/text", "detail": "line 3, column 1" },
            { "pointer": "/text", "detail": "line 8, column 1" },
        ])
    );
    let unknown = "[earn]\npoints = 2\nper_minor = 100\n\n[[rules]]\nname = \"x\"\n\
                   brands = [\"ACME\"]\nmultiplier = \"2\"\n";
    let found = marketing.post("/v1/programme/check", "", &json!({ "text": unknown })).await;
    assert_eq!(body(&found)["findings"][0]["problem"], "no brand is known as \"ACME\"");
    let refused = admin.post("/v1/programme", "k", &publication(&service, unknown)).await;
    assert_eq!(slug(&refused), "validation-failed");
    assert!(!String::from_utf8_lossy(&refused.body).contains("ACME"), "no input is repeated");

    let yesterday = service.replica.app.today().yesterday().expect("in the calendar");
    let with = |field: &str, value: Value| {
        let mut wanted = publication(&service, DOUBLE);
        wanted[field] = value;
        wanted
    };
    for (wanted, pointer) in [
        (with("on", yesterday.to_string().into()), "/on"),
        (with("on", "soon".into()), "/on"),
        (with("note", "".into()), "/note"),
        (with("text", "earn = ".into()), "/text"),
        (with("rules", json!({})), "/rules"),
        (with("programme_no", 1.into()), "/text"),
    ] {
        let refused = admin.post("/v1/programme", "k", &wanted).await;
        assert_eq!(body(&refused)["errors"][0]["pointer"], pointer, "{wanted}");
    }
    let nothing = admin.post("/v1/programme/roll-back", "k", &json!({})).await;
    assert_eq!(slug(&nothing), "programme-unchanged");
    assert_eq!(service.count("SELECT count(*) FROM epoch").await, 1);

    // What is still to come may be named on purpose; then a later version cannot begin before.
    let later = service.replica.app.today().tomorrow().expect("in the calendar").to_string();
    let mut wanted = publication(&service, unknown);
    (wanted["unknown_names"], wanted["on"]) = (true.into(), later.into());
    let published = admin.post("/v1/programme", "k", &wanted).await;
    assert_eq!(published.status, StatusCode::CREATED, "{:?}", published.body);
    let sooner = admin.post("/v1/programme", "k2", &publication(&service, DOUBLE)).await;
    assert_eq!(body(&sooner)["errors"][0]["pointer"], "/on");
    let state = |number: i64, state: &str| (number, state.to_owned());
    assert_eq!(states(&admin).await, [state(1, "in-force"), state(2, "coming")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_drafts_a_programme_and_another_publishes_it_by_its_number() {
    let service = TestService::start().await;
    let admin = person(&service, Role::Admin).await;
    let marketing = person(&service, Role::Marketing).await;
    let text = json!({ "text": DOUBLE });
    let answer = marketing.post("/v1/programme/drafts", "d1", &text).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let drafted = body(&answer);
    assert_eq!(drafted, json!({ "programme_no": 2 }));
    let again = marketing.post("/v1/programme/drafts", "d1", &text).await;
    assert_eq!((again.status, body(&again)), (StatusCode::CREATED, drafted.clone()));
    let unsound = json!({ "text": "[earn]\npoints = 2\nper_minor = 0\n" });
    let refused = marketing.post("/v1/programme/drafts", "d2", &unsound).await;
    assert_eq!(body(&refused)["errors"][0]["detail"], "line 3, column 1");

    // It is in force for nobody, and can be read.
    let list = body(&marketing.get("/v1/programme").await);
    let drafts = list["drafts"].as_array().expect("a list");
    assert_eq!((drafts.len(), &drafts[0]["programme_no"]), (1, &json!(2)));
    assert_eq!(drafts[0]["user"], marketing.user);
    let state = |number: i64, state: &str| (number, state.to_owned());
    assert_eq!(states(&admin).await, [state(1, "in-force")]);
    let rules = body(&admin.get("/v1/programme/2").await);
    assert_eq!(rules["rules"]["earn"]["points"], 2);
    let document = document(&service.till()).await;
    for (name, value) in [("ProgrammeDrafted", &drafted), ("ProgrammeVersions", &list)] {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        assert_eq!(findings(&document, &schema, value, ""), [""; 0]);
    }

    let today = service.replica.app.today().to_string();
    let publication = |number: i64| json!({ "programme_no": number, "on": today });
    let unknown = admin.post("/v1/programme", "p1", &publication(9)).await;
    assert_eq!(body(&unknown)["errors"][0]["pointer"], "/programme_no");
    let neither = admin.post("/v1/programme", "p2", &json!({ "on": today })).await;
    assert_eq!(body(&neither)["errors"][0]["pointer"], "/text");
    let published = admin.post("/v1/programme", "p3", &publication(2)).await;
    let expected = json!({ "programme_no": 2, "epoch": 2, "starts_on": today });
    assert_eq!((published.status, body(&published)), (StatusCode::CREATED, expected));
    let twice = admin.post("/v1/programme", "p4", &publication(2)).await;
    assert_eq!(slug(&twice), "programme-unchanged");
    assert_eq!(body(&admin.get("/v1/programme").await)["drafts"], json!([]));
    let trail = body(&admin.get("/v1/audit?limit=2").await);
    let lines = trail["audit"].as_array().expect("a list").iter();
    let lines: Vec<(&Value, &Value)> = lines.map(|it| (&it["action"], &it["user"])).collect();
    let (publish, draft) = (json!("programme.publish"), json!("programme.draft"));
    assert_eq!(lines, [(&publish, &json!(admin.user)), (&draft, &json!(marketing.user))]);

    // So is one of before, without a text.
    let first = admin.post("/v1/programme", "p5", &publication(1)).await;
    assert_eq!(body(&first)["programme_no"], 1);
}
