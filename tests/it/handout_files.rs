//! The file of a handout: its own coupons and nobody else's, each with whom it belongs to and how
//! it stands, true to one moment, bounded, harmless in a spreadsheet, and traced.

use std::collections::HashMap;
use std::process::Command;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tillside::domain::coupon::Code;
use tillside::http::file::Format;
use tillside::offer;
use tillside::offer::handouts::{self, file::File};
use tillside::office::Role;
use tillside::receipt::account_text;
use tokio::sync::mpsc;

use crate::handouts::{is, issue, ready, service, works};
use crate::offers_api::made;
use crate::support::database::launcher;
use crate::support::flow::{account_of, enrol, on, slug};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};

const FILE: &str = "/v1/handouts/spring/file";

/// A service where six customers have a coupon each of the handout "spring".
async fn issued() -> (TestService, Person) {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    for name in ["spring", "other"] {
        ready(&admin, name, json!({})).await;
        issue(&admin, name).await;
        is(&admin, name, "done").await;
    }
    (service, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_the_coupons_of_its_handout_with_who_has_them_and_how_they_stand() {
    let (service, admin) = issued().await;
    let (till, sql) = (service.till(), service.sql().await);
    let today = service.replica.app.today();
    let mut expected = HashMap::new();
    for number in 1..=6 {
        let account_id = account_of(&sql, &card(number)).await;
        let code = format!(
            "SELECT code FROM coupon WHERE account_id = {account_id} AND actor = 'handout:spring'"
        );
        let code = Code::from_number(service.count(&code).await).to_string();
        expected.insert(number, (code, account_text(account_id), "issued"));
    }
    let mut sale = on(swipe(900, Some(&card(1)), 300), &today.to_string());
    sale["redemptions"] = json!([{ "coupon": expected[&1].0, "discount_minor": 40 }]);
    assert_eq!(post(&till, &sale).await.status, StatusCode::CREATED);
    admin.post(&format!("/v1/coupons/{}/revoke", expected[&2].0), "", &json!({})).await;
    let late = format!(
        "UPDATE coupon SET valid_from = '2020-01-01', valid_until = '2020-01-07' WHERE code = {}",
        Code::parse(&expected[&3].0).expect("a code").number()
    );
    sql.batch_execute(&late).await.expect(&late);
    // Whoever was merged has them under the account that is there now.
    enrol(&till, &json!({ "card": card(4), "link_to": card(1) })).await;
    let heir = expected[&1].1.clone();
    for (number, state) in [(1, "redeemed"), (2, "revoked"), (3, "expired")] {
        expected.get_mut(&number).expect("there").2 = state;
    }
    expected.get_mut(&4).expect("there").1 = heir;

    let marketing = person(&service, Role::Marketing).await;
    let answer = marketing.get(&format!("{FILE}?format=ndjson")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 6);
    for (number, (code, account, state)) in &expected {
        let line = lines.iter().find(|line| line["coupon"] == **code).expect("it was issued");
        let told = ["account", "state", "headline", "worth"].map(|field| line[field].clone());
        assert_eq!(told, [account, *state, "40 off", "0.40"].map(Value::from), "{number}");
        if *number != 3 {
            let until = today.saturating_add(jiff::Span::new().days(6)).to_string();
            assert_eq!(
                (&line["valid_from"], &line["valid_until"]),
                (&json!(today.to_string()), &json!(until))
            );
        }
    }

    let csv = marketing.get(FILE).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"spring.csv\"");
    let csv = String::from_utf8(csv.body.to_vec()).expect("UTF-8");
    let mut rows = csv.split("\r\n");
    let head = "account,coupon,headline,worth,valid_from,valid_until,state";
    assert_eq!(rows.next(), Some(head));
    let (code, account, _) = &expected[&1];
    let row = rows.find(|row| row.contains(code)).expect("the first customer's");
    assert!(row.starts_with(&format!("{account},{code},40 off,0.40,")), "{row}");
    assert!(row.ends_with(",redeemed"), "{row}");

    let trail = body(&admin.get("/v1/audit?limit=2").await);
    for line in trail["audit"].as_array().expect("a list") {
        let told = ["action", "object"].map(|field| line[field].clone());
        assert_eq!(told, ["handout.file", "handout:spring"].map(Value::from));
        assert_eq!(line["user"], marketing.user);
    }
    let auditor = person(&service, Role::Auditor).await;
    assert_eq!(slug(&auditor.get(FILE).await), "forbidden", "codes are as good as money");
    assert_eq!(slug(&admin.get(&format!("{FILE}?format=xml")).await), "validation-failed");
    assert_eq!(slug(&admin.get("/v1/handouts/none/file").await), "not-found");
    let traced = "SELECT count(*) FROM audit WHERE action = 'handout.file'";
    assert_eq!(service.count(traced).await, 2, "each file, and no refusal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headline_that_a_spreadsheet_would_run_is_only_a_text() {
    let (service, admin) = service().await;
    let _work = works(&service.replica);
    let mut offer = crate::offers_api::forty("formula", &[]);
    offer["headline"] = "=1+1".into();
    made(&service, &admin, offer).await;
    let wanted = json!({ "handout": "spring", "offer": "formula", "where": {} });
    admin.post("/v1/handouts", "k", &wanted).await;
    is(&admin, "spring", "ready").await;
    // What has issued nothing yet has a first line and no other.
    let empty = admin.get(FILE).await;
    assert_eq!(empty.body.iter().filter(|byte| **byte == b'\n').count(), 1);
    issue(&admin, "spring").await;
    is(&admin, "spring", "done").await;
    let csv = admin.get(FILE).await;
    let csv = String::from_utf8(csv.body.to_vec()).expect("UTF-8");
    assert_eq!(csv.matches(",'=1+1,").count(), 6, "{csv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_true_to_one_moment_and_comes_page_by_page() {
    const MANY: i64 = 4_500;
    let (service, _admin) = issued().await;
    let sql = service.sql().await;
    // Many more of the same handout, as many of others between them.
    let more = format!(
        "INSERT INTO coupon (bucket, code, account_id, issued_version, offer_no, issued_at,
                             valid_from, valid_until, actor)
         SELECT a.account_id & 255, ((a.account_id & 255) << 56) + n, a.account_id, 1, c.offer_no,
                now(), current_date, current_date + 6,
                CASE n % 2 WHEN 0 THEN 'handout:spring' ELSE 'handout:springs' END
         FROM generate_series(1, {MANY} * 2) AS n,
              (SELECT min(account_id) AS account_id FROM account WHERE account_id > 127
               AND account_id & 255 < 128) AS a,
              (SELECT min(offer_no) AS offer_no FROM coupon) AS c"
    );
    sql.batch_execute(&more).await.expect(&more);
    let handout = handouts::find(&service.pool, "spring").await.expect("read").expect("made");
    let stored = offer::find(&service.pool, "forty").await.expect("read").expect("made");
    let today = service.replica.app.today();
    let (database, of) =
        ((&service.pool, &service.config.database), (&handout, &stored.definition));
    let file = File::begin(database, of, Format::Ndjson, None, today).await.expect("begun");
    let (sender, mut pages) = mpsc::channel::<Bytes>(1);
    let writing = tokio::spawn(async move { file.write(&sender).await });
    let mut lines: Vec<String> = Vec::new();
    let mut largest = 0;
    while let Some(page) = pages.recv().await {
        let text = String::from_utf8(page.to_vec()).expect("UTF-8");
        largest = largest.max(text.lines().count());
        if lines.is_empty() {
            // While it is read all of them change, and more come.
            let change = "UPDATE coupon SET state = 2";
            sql.batch_execute(change).await.expect(change);
            let fewer = "DELETE FROM coupon WHERE code IN
                         (SELECT code FROM coupon WHERE actor = 'handout:spring'
                          ORDER BY bucket DESC, code DESC LIMIT 1000)";
            sql.batch_execute(fewer).await.expect(fewer);
        }
        lines.extend(text.lines().map(str::to_owned));
    }
    assert!(writing.await.expect("no panic"), "it is whole");
    assert_eq!((lines.len(), largest), (usize::try_from(MANY).expect("few") + 6, 1_000));
    assert!(lines.iter().all(|line| line.contains("\"state\":\"issued\"")));
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), usize::try_from(MANY).expect("few") + 6, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_write_the_file_and_take_the_coupons_back() {
    let (service, admin) = issued().await;
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let out = folder.path().join("spring.csv");
    let run = |arguments: &[&str]| {
        Command::new(launcher())
            .env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal())
            .args(arguments)
            .output()
            .expect("it runs")
    };
    let path = out.to_str().expect("UTF-8");
    let file = ["coupon", "file", "--name", "spring", "--out", path];
    let written = run(&file);
    assert!(written.status.success(), "{written:?}");
    let fetched = admin.get(FILE).await;
    assert_eq!(std::fs::read(&out).expect("written"), fetched.body.to_vec());
    assert!(!run(&file).status.success(), "it replaces no file");
    let printed = run(&["coupon", "file", "--name", "spring", "--ndjson"]);
    assert_eq!(printed.stdout.iter().filter(|byte| **byte == b'\n').count(), 6);

    let back = run(&["coupon", "revoke", "--name", "spring", "--json"]);
    assert!(back.status.success(), "{back:?}");
    let handout: Value = serde_json::from_slice(&back.stdout).expect("JSON");
    assert_eq!(
        (&handout["revocation"]["done"], &handout["revocation"]["revoked"]),
        (&json!(true), &json!(6))
    );
    let open = "SELECT count(*) FROM coupon WHERE state = 0";
    assert_eq!(service.count(open).await, 6, "those of the other handout");
    assert!(!run(&["coupon", "revoke", "--name", "none"]).status.success());
    let traced = "SELECT count(*) FROM audit WHERE action = 'handout.file' AND user_no IS NULL";
    assert_eq!(service.count(traced).await, 2);
}
