//! What coupons bring, told from a database whose coupons and purchases are known.

use std::fmt::Write as _;
use std::process::Command;

use http::StatusCode;
use serde_json::{Value, json};
use tillside::domain::selection::showcase::HoldOut;
use tillside::office::Role;
use tokio_postgres::Client;

use crate::openapi::{document, findings};
use crate::support::database::launcher;
use crate::support::flow::{account_of, enrol, name, on, slug, void};
use crate::support::office::{Person, person};
use crate::support::service::{TestService, body, card, post, swipe};
use crate::till_coupons::{certain, of_skus, offer_of, offer_with, service_with};

const MARCH: &str = "from=2026-03-01&until=2026-03-31";

/// Coupons of a kind, each with a code of its own.
struct Kind {
    offer: &'static str,
    count: i64,
    /// 0 issued, 1 redeemed, 2 revoked.
    state: i16,
    reason: i16,
    slot: i16,
    /// In millionths.
    propensity: Option<i32>,
    valid_from: &'static str,
    valid_until: &'static str,
}

/// What is over, of the middle of March.
const OVER: Kind = Kind {
    offer: "bread",
    count: 1,
    state: 0,
    reason: 1,
    slot: 3,
    propensity: Some(1_000_000),
    valid_from: "2026-03-15",
    valid_until: "2026-03-28",
};
const NEW: Kind = Kind { offer: "plain", reason: 5, slot: 4, ..OVER };
/// Beyond any day on which this runs.
const RUNS_UNTIL: &str = "9999-12-31";

async fn insert(sql: &Client, account_id: i64, kinds: &[Kind]) {
    let mut serial = 0;
    for kind in kinds {
        let Kind { offer, count, state, reason, slot, propensity, valid_from, valid_until } = kind;
        let propensity = propensity.map_or("NULL".to_owned(), |it| it.to_string());
        let mut insert = String::new();
        write!(
            insert,
            "INSERT INTO coupon (bucket, code, account_id, issued_version, issued_at, offer_no,
                                 valid_from, valid_until, redeemed_on, state, actor, reason, slot,
                                 propensity)
             SELECT ({account_id} & 255)::smallint,
                    ({account_id}::bigint & 255) << 56 | ({serial} + n), {account_id}, 1, now(),
                    o.offer_no, '{valid_from}'::date, '{valid_until}'::date,
                    CASE {state} WHEN 1 THEN '{valid_from}'::date END, {state}, 'test', {reason},
                    {slot}, {propensity}
             FROM generate_series(1, {count}) AS n, offer AS o WHERE o.offer_id = '{offer}'"
        )
        .expect("a String takes all");
        let inserted = sql.execute(&insert, &[]).await.expect("inserted");
        assert_eq!(inserted.cast_signed(), *count, "{offer}");
        serial += count;
    }
}

async fn reported(someone: &Person, query: &str) -> Value {
    let answer = someone.get(&format!("/v1/reports/responses?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    body(&answer)
}

/// Issued, revoked, running, used of those, expired and used, of a row.
fn counts(row: &Value) -> [i64; 6] {
    ["issued", "revoked", "running", "running_redeemed", "expired", "redeemed"]
        .map(|field| row[field].as_i64().expect("a number"))
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expected).abs() < 5e-5, "{found} is not {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_makes_the_rate_and_what_runs_or_was_taken_back_stands_beside() {
    let service = service_with(|coupons| *coupons = certain()).await;
    let till = service.till();
    offer_of(&service, "bread", of_skus(&["4"])).await;
    offer_of(&service, "plain", of_skus(&["1"])).await;
    let welcome = json!({ "delivery": "shared-code", "at_the_till": false,
                          "shared_code": { "code": "WELCOME10" } });
    offer_with(&service, "welcome", welcome).await;
    enrol(&till, &json!({ "card": card(1) })).await;
    let sql = service.sql().await;
    let account_id = account_of(&sql, &card(1)).await;
    let many = |count: i64, state: i16| Kind { count, state, ..OVER };
    insert(
        &sql,
        account_id,
        &[
            many(9, 0),
            many(1, 1),
            many(2, 2),
            // Who counted what is used already of what runs would say 4 of 15, not 1 of 10.
            Kind { valid_until: RUNS_UNTIL, ..many(2, 0) },
            Kind { valid_until: RUNS_UNTIL, ..many(3, 1) },
            Kind { valid_from: "2026-02-28", ..many(4, 1) },
            Kind { valid_from: "2026-04-01", ..many(4, 1) },
            // Of ten places nine had the likeliest.
            Kind { count: 6, propensity: Some(900_000), ..NEW },
            Kind { count: 3, state: 1, propensity: Some(900_000), ..NEW },
            Kind { state: 1, propensity: Some(100_000), ..NEW },
            Kind { state: 2, propensity: Some(100_000), ..NEW },
            Kind { valid_until: RUNS_UNTIL, propensity: Some(100_000), ..NEW },
            // People gave it.
            Kind { count: 2, reason: 0, slot: 0, propensity: None, ..NEW },
            // Each use of a code is a coupon; nobody knows who had seen it.
            Kind { offer: "welcome", count: 7, state: 1, reason: 0, slot: 0, ..OVER },
        ],
    )
    .await;

    let marketing = person(&service, Role::Marketing).await;
    let told = reported(&marketing, MARCH).await;
    let schema = json!({ "$ref": "#/components/schemas/Responses" });
    assert_eq!(findings(&document(&till).await, &schema, &told, ""), [""; 0], "{told}");
    assert_eq!((&told["from"], &told["until"]), (&json!("2026-03-01"), &json!("2026-03-31")));
    let rows = told["rows"].as_array().expect("rows");
    let keys: Vec<&str> = rows.iter().filter_map(|row| row["key"].as_str()).collect();
    assert_eq!(keys, ["bread", "plain"], "no codes, the most often issued first");
    let (bread, plain, all) = (&rows[0], &rows[1], &told["all"]);
    assert_eq!(counts(bread), [17, 2, 5, 3, 9, 1]);
    assert_eq!(counts(plain), [14, 1, 1, 0, 8, 4]);
    assert_eq!(counts(all), [31, 3, 6, 3, 17, 5]);
    close(&bread["response"]["rate"], 0.1);
    close(&bread["response"]["interval"]["low"], 0.01788);
    close(&bread["response"]["interval"]["high"], 0.40415);
    assert_eq!(bread["explored"], Value::Null, "it was no draw");
    close(&plain["response"]["rate"], 4.0 / 12.0);
    for row in [plain, all] {
        let explored = &row["explored"];
        assert_eq!((&explored["coupons"], &explored["redeemed"]), (&json!(10), &json!(4)));
        close(&explored["effective"], 3.6);
        close(&explored["response"]["rate"], 2.0 / 3.0);
        close(&explored["response"]["interval"]["low"], 0.23117);
        close(&explored["response"]["interval"]["high"], 0.93008);
    }
    for (by, expected) in [
        ("reason", [("due-again", 17), ("kind-you-buy", 12), ("given", 2)]),
        ("slot", [("repeat", 17), ("explore", 12), ("none", 2)]),
    ] {
        let told = reported(&marketing, &format!("{MARCH}&by={by}")).await;
        let rows = told["rows"].as_array().expect("rows").iter();
        let issued = rows.map(|row| (row["key"].as_str().expect("text"), counts(row)[0]));
        assert_eq!(issued.collect::<Vec<_>>(), expected, "{by}");
        assert_eq!(told["all"], *all, "however they are counted");
    }
    // Nobody's coupons, so no rate.
    let empty = reported(&marketing, "from=2025-03-01&until=2025-03-31").await;
    assert_eq!((&empty["rows"], &empty["all"]["response"]), (&json!([]), &Value::Null));
    for query in ["from=2026-03-02&until=2026-03-01", "from=2025-03-01&until=2026-03-02", "by=day"]
    {
        let answer = marketing.get(&format!("/v1/reports/responses?{query}")).await;
        assert_eq!(slug(&answer), "validation-failed", "{query}");
    }
    // Two at a time, exports included.
    let under_way = service.replica.app.exports.try_acquire_many(2).expect("none is under way");
    let answer = marketing.get("/v1/reports/responses").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(under_way);
    assert_eq!(marketing.get("/v1/reports/responses").await.status, StatusCode::OK);
}

/// Mean and variance of the mean, as they are defined.
fn mean_of(values: &[f64]) -> (f64, f64) {
    let count = f64::from(u32::try_from(values.len()).expect("few"));
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_coupons_change_is_told_by_those_who_get_none_on_the_mean_of_all_accounts() {
    const ACCOUNTS: u64 = 24;
    let hold_out = HoldOut { percent: 50, round: 3 };
    let service: TestService = service_with(|coupons| {
        (coupons.hold_out_percent, coupons.hold_out_round) = (50, 3);
    })
    .await;
    let (till, sql) = (service.till(), service.sql().await);
    let mut sequence = 0;
    let mut buy = async |customer: u64, amount: i64, date: &str| {
        sequence += 1;
        let sale = on(swipe(sequence, Some(&card(customer)), amount), date);
        assert_eq!(post(&till, &sale).await.status, StatusCode::CREATED);
        name(sequence).replace("2026-03-14", date)
    };
    // Values of accounts, those who may be given coupons first.
    let mut visits: [Vec<f64>; 2] = Default::default();
    let mut spend: [Vec<f64>; 2] = Default::default();
    for customer in 1..=ACCOUNTS {
        enrol(&till, &json!({ "card": card(customer) })).await;
        let is_held = hold_out.holds(account_of(&sql, &card(customer)).await);
        // Some bought nothing; whoever is held out comes once less.
        let times = i64::try_from(customer % 4).expect("few") - i64::from(is_held);
        for nth in 0..times {
            buy(customer, 700 + nth, "2026-03-31").await;
        }
        let times = times.max(0);
        let paid = (0..times).map(|nth| 700 + nth).sum::<i64>();
        let group = usize::from(is_held);
        visits[group].push(f64::from(i32::try_from(times).expect("few")));
        spend[group].push(f64::from(i32::try_from(paid).expect("little")));
        buy(customer, 9_000, "2026-02-28").await;
        buy(customer, 9_000, "2026-04-01").await;
    }
    let voided = buy(1, 5_000, "2026-03-20").await;
    assert_eq!(void(&till, &voided).await.status, StatusCode::CREATED);
    // Nobody has enrolled it, so it is in no group.
    buy(ACCOUNTS + 1, 5_000, "2026-03-20").await;

    let auditor = person(&service, Role::Auditor).await;
    let told = reported(&auditor, MARCH).await["hold_out"].take();
    assert_eq!((&told["percent"], &told["round"]), (&json!(50), &json!(3)));
    assert_eq!((&told["read_percent"], &told["is_small"]), (&json!(100.0), &json!(true)));
    for (field, values) in [("visits", &visits), ("spend_minor", &spend)] {
        assert!(values.iter().all(|group| group.len() > 4), "{values:?}");
        let [(given, of_given), (held, of_held)] = [mean_of(&values[0]), mean_of(&values[1])];
        close(&told["given"][field], given);
        close(&told["held_out"][field], held);
        let (difference, error) = (given - held, (of_given + of_held).sqrt());
        close(&told[field]["difference"], difference);
        close(&told[field]["standard_error"], error);
        close(&told[field]["interval"]["low"], difference - 1.959_964 * error);
        close(&told[field]["interval"]["high"], difference + 1.959_964 * error);
    }
    let accounts = |group: &str| told[group]["accounts"].as_u64().expect("a number");
    assert_eq!(accounts("given"), visits[0].len() as u64);
    assert_eq!(accounts("held_out"), visits[1].len() as u64);

    // The command says the same, for programs and for people.
    let run = |json: &[&str]| {
        let mut command = Command::new(launcher());
        command.env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal());
        command.env("TILLSIDE_COUPONS_HOLD_OUT_PERCENT", "50");
        command.env("TILLSIDE_COUPONS_HOLD_OUT_ROUND", "3");
        command.args(["offer", "response", "--from", "2026-03-01", "--until", "2026-03-31"]);
        let output = command.args(json).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{text}{:?}", output.stderr);
        text
    };
    let json: Value = serde_json::from_str(&run(&["--by", "slot", "--json"])).expect("JSON");
    assert_eq!(json["hold_out"], told);
    assert_eq!(json["by"], "slot");
    let text = run(&[]);
    for words in ["Coupons of 2026-03-01 to 2026-03-31 by offer", "Held out: 50 of a hundred"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(text.contains("fewer than 100 accounts: do not rely on this yet"), "{text}");
}
