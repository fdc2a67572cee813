//! What operators see and rely on: readiness, metrics, logs without anybody's data, deadlines,
//! and an orderly stop.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::app::App;
use tillside::http::admin::Draining;
use tillside::till::{Answer, Till};
use tokio_postgres::Client;

use crate::support::bodies::full_swipe;
use crate::support::edge::{told, within};
use crate::support::flow::post_within;
use crate::support::service::{TestService, asked, card, operators, post, swipe};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_ready_only_while_its_answers_would_be_durable() {
    let service = TestService::start().await;
    let draining = Draining::default();
    let operators_of = |app: &Arc<App>| {
        let app = Arc::clone(app);
        async move { operators(&app, Draining::default()).await }
    };
    let first = operators(&service.replica.app, draining.clone()).await;
    assert_eq!(asked(&first, "/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(asked(&first, "/readyz").await, (200, "ready\n".to_owned()));
    assert!(asked(&first, "/metrics").await.1.contains("\ntillside_ready 1\n"));
    // What terminals reach has no such address.
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = service.till().get(path).await.expect("an answer");
        assert_eq!(told(&answer), (404, "not-found".to_owned()), "{path}");
    }

    // A newer replica has migrated: this one goes on, or no upgrade could be rolled out.
    let client = service.sql().await;
    let plant = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
        VALUES (9999, 'of_tomorrow', 'now', '1')";
    client.execute(plant, &[]).await.expect("planted");
    assert_eq!(asked(&first, "/readyz").await, (200, "ready\n".to_owned()));
    // A migration that is not the one that this version knows.
    let alter = "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1";
    client.execute(alter, &[]).await.expect("altered");
    let (status, why) = asked(&first, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("0001_spine was applied with other content"), "{why}");
    let take = "DELETE FROM refinery_schema_history WHERE version = 1";
    client.execute(take, &[]).await.expect("taken away");
    let (status, why) = asked(&first, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("the schema lacks 0001_spine"), "{why}");

    // What a database or a role sets holds for new sessions, so for a replica that comes now.
    let row = client.query_one("SELECT current_database()::text", &[]).await.expect("a name");
    let name: &str = row.get(0);
    let set = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    client.batch_execute(&set).await.expect("set");
    let other = service.replica().await;
    let (status, why) = asked(&operators_of(&other.app).await, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("synchronous_commit is off"), "{why}");

    draining.begin();
    let (status, why) = asked(&first, "/readyz").await;
    assert_eq!((status, &*why), (503, "the service is stopping\n"));
    assert!(asked(&first, "/metrics").await.1.contains("\ntillside_ready 0\n"));
    assert_eq!(asked(&first, "/livez").await.0, 200, "stopping is no reason to be killed");
    // Without a database there is nothing to be ready for.
    other.app.pool.close();
    let second = operators_of(&other.app).await;
    assert_eq!(asked(&second, "/readyz").await.0, 503);
    assert!(asked(&second, "/metrics").await.1.contains("\ntillside_ready 0\n"));
}

/// Every metric that dashboards and alerts may rely on, with its kind.
const METRICS: [(&str, &str); 32] = [
    ("tillside_accounts_held", "gauge"),
    ("tillside_batch_swipes", "histogram"),
    ("tillside_bisections_total", "counter"),
    ("tillside_cache_lookups_total", "counter"),
    ("tillside_committer_connections_total", "counter"),
    ("tillside_coupons_given_total", "counter"),
    ("tillside_coupons_issued_total", "counter"),
    ("tillside_coupons_redeemed_total", "counter"),
    ("tillside_coupons_withheld_total", "counter"),
    ("tillside_expired_accounts_total", "counter"),
    ("tillside_expired_points_total", "counter"),
    ("tillside_expiry_damaged_total", "counter"),
    ("tillside_held_up_total", "counter"),
    ("tillside_http_connections", "gauge"),
    ("tillside_http_connections_refused_total", "counter"),
    ("tillside_http_connections_timed_out_total", "counter"),
    ("tillside_leases_total", "counter"),
    ("tillside_locked_passes_total", "counter"),
    ("tillside_offers_held_back_total", "counter"),
    ("tillside_outcomes_total", "counter"),
    ("tillside_phase_seconds", "histogram"),
    ("tillside_points_value_differs_total", "counter"),
    ("tillside_pool_connections", "gauge"),
    ("tillside_pool_waiting", "gauge"),
    ("tillside_problems_total", "counter"),
    ("tillside_quarantined_total", "counter"),
    ("tillside_queue_depth", "gauge"),
    ("tillside_ready", "gauge"),
    ("tillside_redeemed_over_budget_total", "counter"),
    ("tillside_redeemed_over_limit_total", "counter"),
    ("tillside_request_seconds", "histogram"),
    ("tillside_stale_accounts_total", "counter"),
];

/// Every sample by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happens_and_name_nobody() {
    let service = TestService::start().await;
    let operators = operators(&service.replica.app, Draining::default()).await;
    let till = service.till();
    let (_, before) = asked(&operators, "/metrics").await;
    let before = samples(&before);

    assert_eq!(post(&till, &swipe(1, Some(&card(1)), 398)).await.status, 201);
    assert_eq!(post(&till, &swipe(2, Some(&card(1)), 398)).await.status, 201);
    assert_eq!(post(&till, &swipe(3, None, 398)).await.status, 201);
    assert_eq!(post(&till, &swipe(1, Some(&card(1)), 398)).await.status, 200);
    assert_eq!(post(&till, &swipe(1, Some(&card(1)), 399)).await.status, 422);
    assert_eq!(post(&till, &swipe(4, Some("2990000000018"), 1)).await.status, 422);
    let void = "/v1/swipes/0367/03/2026-03-14/2/void";
    assert_eq!(till.post(void, "").await.expect("an answer").status, 201);
    assert_eq!(till.post(void, "").await.expect("an answer").status, 200);
    let look_up = format!("/v1/cards/{}", card(1));
    assert_eq!(till.get(&look_up).await.expect("an answer").status, 200);
    let enrolment = json!({ "card": card(1), "member": { "given_name": "Wilhelmina" } });
    let enrolled = till.post("/v1/cards", enrolment.to_string()).await.expect("an answer");
    assert_eq!(enrolled.status, 201);
    let stranger = Till::new(&service.replica.base_url, "0367/03.7", [7; 32]).expect("good values");
    assert_eq!(post(&stranger, &swipe(5, None, 1)).await.status, 401);
    assert_eq!(till.get("/nowhere/2990000000019").await.expect("an answer").status, 404);

    let (status, text) = asked(&operators, "/metrics").await;
    assert_eq!(status, 200);
    let mut kinds: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter(|(name, _)| name.starts_with("tillside_"))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, METRICS, "a name or a kind has changed: dashboards rely on them");

    let now = samples(&text);
    let moved = |name: &str| {
        now.get(name).unwrap_or_else(|| panic!("no {name}"))
            - before.get(name).copied().unwrap_or(0.0)
    };
    let at = |route: &str, status: u16| {
        moved(&format!("tillside_request_seconds_count{{route=\"{route}\",status=\"{status}\"}}"))
    };
    let by = |metric: &str, label: &str, value: &str| {
        moved(&format!("tillside_{metric}{{{label}=\"{value}\"}}"))
    };
    assert_eq!((at("/v1/swipes", 201), at("/v1/swipes", 200)), (3.0, 1.0));
    assert_eq!((at("/v1/swipes", 422), at("/v1/swipes", 401)), (2.0, 1.0));
    assert_eq!(at("/v1/cards/{card}", 200), 1.0);
    assert_eq!((at("/v1/cards", 201), at("(none)", 404)), (1.0, 1.0));
    for (outcome, count) in [
        ("recorded", 3.0),
        ("replayed", 1.0),
        ("name-reused", 1.0),
        ("voided", 1.0),
        ("void-replayed", 1.0),
    ] {
        assert_eq!(by("outcomes_total", "outcome", outcome), count, "{outcome}");
    }
    for slug in ["swipe-name-reused", "card-invalid", "signature-invalid", "not-found"] {
        assert_eq!(by("problems_total", "slug", slug), 1.0, "{slug}");
    }
    assert_eq!(moved("tillside_quarantined_total"), 2.0);
    // Seven calls of the till and one of the stranger that were swipes or voids, a look-up, an
    // enrolment: each was proven or not.
    assert_eq!(by("phase_seconds_count", "phase", "signature"), 11.0);
    assert_eq!(by("phase_seconds_count", "phase", "parse"), 6.0);
    assert_eq!(by("phase_seconds_count", "phase", "queue"), 7.0);
    for phase in ["facts", "decide", "statement"] {
        assert!(by("phase_seconds_count", "phase", phase) >= 4.0, "{phase}");
    }
    // Three swipes and a void, and two that the database knew to be recorded already.
    assert_eq!(moved("tillside_batch_swipes_sum"), 6.0);
    let looked_up = |cache: &str, outcome: &str| {
        moved(&format!("tillside_cache_lookups_total{{cache=\"{cache}\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!(looked_up("cards", "miss"), 1.0, "the first swipe of the card");
    assert!(looked_up("cards", "hit") >= 2.0 && looked_up("accounts", "hit") >= 2.0);
    assert!(moved("tillside_locked_passes_total") >= 3.0, "a replay, a reuse and two voids");
    assert_eq!(now["tillside_queue_depth"], 0.0);
    assert!(now["tillside_accounts_held"] >= 1.0 && now["tillside_http_connections"] >= 1.0);
    assert!(now["tillside_committer_connections_total"] >= 1.0);

    for secret in ["299000", "1095275", "Wilhelmina", "acc_", "2026-03-14", "0367", "USD"] {
        // In names and labels; the values are full of digits.
        let named = now.keys().find(|name| name.contains(secret));
        assert!(named.is_none(), "{secret} stands in {named:?}");
    }
}

/// Lines of a log, shared with the subscriber that writes them.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs on one thread, so that everything the service logs is this test's.
fn logged(work: impl Future<Output = ()>) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber only, tracing asks the thread that first passes an event whether anybody
    // wants it, which may be another test's; with two it asks them all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
    let bytes = lines.0.lock().expect("no writer panicked").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_swipe_that_cannot_get_on_is_told_of_once() {
    let text = logged(async {
        let service = TestService::start().await;
        let till = service.till();
        post(&till, &swipe(1, Some(&card(1)), 500)).await;
        // A row stands where an entry of the next version would.
        let plant = "INSERT INTO entry SELECT account_id, 2, points, lot_expires, lot_available,
                                              business_date, bucket, entry_no, kind FROM entry";
        service.sql().await.batch_execute(plant).await.expect("planted");
        let stuck = swipe(2, Some(&card(1)), 500).to_string();
        let answer = post_within(&till, "/v1/swipes", stuck, 700).await;
        assert_eq!(answer.status, 503, "{:?}", answer.body);
        // One that loses a race now and then is nobody's business.
        assert_eq!(post(&till, &swipe(3, Some(&card(2)), 500)).await.status, 201);
    });
    let told: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|line| line["message"] == "a race is lost again and again")
        .collect();
    assert_eq!(told.len(), 1, "{text}");
    assert_eq!((&told[0]["level"], &told[0]["table"]), (&"WARN".into(), &"entry".into()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one log, written and then read")]
fn logs_tell_what_happened_and_nobodys_data() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let note = |answer: Answer, route: &'static str| {
        let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
        ids.lock().expect("one thread").push((id, route, told(&answer)));
    };
    let text = logged(async {
        let service = TestService::start().await;
        let till = service.till();
        let with_canaries = |sequence_number: i64| {
            let mut swipe = full_swipe(sequence_number);
            swipe["lines"][0]["sku"] = "SKUCANARY".into();
            swipe["operator_id"] = "OPERATORCANARY".into();
            swipe["redemptions"][0]["coupon"] = "COUPONCANARY".into();
            swipe
        };
        let changed = |place: &str, value: Value| {
            let mut swipe = with_canaries(9);
            *swipe.pointer_mut(place).expect("a place") = value;
            swipe
        };
        note(post(&till, &with_canaries(1)).await, "/v1/swipes");
        note(post(&till, &with_canaries(1)).await, "/v1/swipes");
        note(post(&till, &changed("/card", "2990000000018".into())).await, "/v1/swipes");
        note(post(&till, &changed("/total_minor", 7_654_321.into())).await, "/v1/swipes");
        note(post(&till, &changed("/store_id", "STORECANARY".into())).await, "/v1/swipes");
        let number = "4111111111111111";
        note(post(&till, &changed("/operator_id", number.into())).await, "/v1/swipes");
        let not_json = "{\"card\":\"2990000000019\", BODYCANARY";
        note(till.post("/v1/swipes", not_json).await.expect("an answer"), "/v1/swipes");
        let enrolment = json!({ "card": card(3), "member": {
            "given_name": "GIVENCANARY", "family_name": "FAMILYCANARY",
            "email": "mail@canary.example", "phone": "+1 555 0199", "birthday": "1987-06-05" } });
        let enrolled = till.post("/v1/cards", enrolment.to_string()).await;
        note(enrolled.expect("an answer"), "/v1/cards");
        let mut wrong = enrolment.clone();
        wrong["member"]["email"] = "EMAILCANARY".into();
        note(till.post("/v1/cards", wrong.to_string()).await.expect("an answer"), "/v1/cards");
        let look_up = format!("/v1/cards/{}", card(3));
        note(till.get(&look_up).await.expect("an answer"), "/v1/cards/{card}");
        note(till.get("/v1/cards/2990000000018").await.expect("an answer"), "/v1/cards/{card}");
        note(till.get("/PATHCANARY?q=QUERYCANARY").await.expect("an answer"), "(none)");
        let stranger = Till::new(&service.replica.base_url, "KEYCANARY", [7; 32]);
        let stranger = stranger.expect("good values");
        note(post(&stranger, &with_canaries(2)).await, "/v1/swipes");
        let any = till.sign(
            Method::from_bytes(b"METHODCANARY").expect("a token"),
            "/v1/swipes",
            "".into(),
            Timestamp::now(),
        );
        note(till.send(any.expect("a good path")).await.expect("an answer"), "/v1/swipes");
        // A database that refuses is no reason to show what it was asked.
        let client = service.sql().await;
        let refuse = "ALTER TABLE swipe ADD CHECK (sequence_number <> 666)";
        client.batch_execute(refuse).await.expect("altered");
        note(post(&till, &with_canaries(666)).await, "/v1/swipes");
    });

    let shown = text.to_lowercase();
    for never in [
        "canary",
        // Longer than a fraction of a second, which stands in every line.
        "29900000",
        "41111111",
        "4111 1111",
        "1987-06-05",
        "555 0199",
        "7654321",
        "2026-03-14",
        "sig1",
        "sha-256",
        "postgresql://",
    ] {
        let line = shown.lines().find(|line| line.contains(never));
        assert!(line.is_none(), "{never} stands in {line:?}");
    }
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let ids = ids.lock().expect("one thread");
    assert_eq!(ids.len(), 15);
    for (id, route, (status, slug)) in &*ids {
        let mine: Vec<&Value> = events.iter().filter(|event| event["request"] == **id).collect();
        assert_eq!(mine.len(), 1, "one line for each request: {id} {mine:?}");
        let event = mine[0];
        assert_eq!((&event["message"], &event["route"]), (&json!("answered"), &json!(route)));
        assert_eq!(event["status"], *status);
        assert!(event["elapsed_s"].is_f64());
        let problem = if slug.is_empty() { Value::Null } else { json!(slug) };
        assert_eq!(event.get("problem").unwrap_or(&Value::Null), &problem, "{event}");
        let level = match status {
            ..400 => "DEBUG",
            400..500 => "INFO",
            503 => "WARN",
            _ => "ERROR",
        };
        assert_eq!(event["level"], level, "{event}");
        let proven = !["signature-invalid", "not-found", "method-not-allowed"].contains(&&**slug);
        let terminal = if proven { json!("0367/03.1") } else { Value::Null };
        assert_eq!(event.get("terminal").unwrap_or(&Value::Null), &terminal, "{event}");
    }
    let refused = events.iter().find(|event| event["message"] == "refused by the database");
    assert!(refused.is_some_and(|event| event["level"] == "ERROR"), "{refused:?}");
}

/// Locks the account of the first card, as somebody else would, until the client is dropped.
async fn locked_account(service: &TestService) -> Client {
    let client = service.sql().await;
    let lock = "BEGIN; SELECT 1 FROM account WHERE state = 0 FOR UPDATE";
    client.batch_execute(lock).await.expect("nobody else wants it");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_and_the_same_transaction_sent_again_counts_once() {
    let service = TestService::start().await;
    let till = service.till();
    assert_eq!(post(&till, &swipe(1, Some(&card(1)), 1_000)).await.status, 201);
    let stranger = locked_account(&service).await;
    let body = swipe(2, Some(&card(1)), 1_000).to_string();
    let mut hurried = till
        .sign(Method::POST, "/v1/swipes", body.clone().into(), Timestamp::now())
        .expect("a good path");
    hurried.headers_mut().insert("tillside-deadline-ms", "50".parse().expect("text"));
    let answer = within(till.send(hurried)).await.expect("an answer");
    let (status, slug) = told(&answer);
    assert_eq!(status, 503);
    assert!(["outcome-unknown", "deadline-exceeded"].contains(&&*slug), "{slug}");
    let wait = answer.headers["retry-after"].to_str().expect("text").parse::<u64>();
    assert!((1..=5).contains(&wait.expect("whole seconds")));

    stranger.batch_execute("ROLLBACK").await.expect("released");
    let answer = within(till.post("/v1/swipes", body.clone())).await.expect("an answer");
    assert!(answer.status.is_success(), "{answer:?}");
    let again = within(till.post("/v1/swipes", body)).await.expect("an answer");
    assert_eq!((again.status.as_u16(), &again.body), (200, &answer.body));
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 2);
    assert_eq!(service.count("SELECT sum(points)::bigint FROM entry").await, 20);

    for (deadline, status) in [
        ("20", 200),
        ("5000", 200),
        ("19", 422),
        ("5001", 422),
        ("-1", 422),
        ("1e3", 422),
        ("", 422),
    ] {
        let target = "/v1/swipes/0367/03/2026-03-14/1";
        let request = till.sign(Method::GET, target, "".into(), Timestamp::now());
        let mut request = request.expect("a good path");
        request.headers_mut().insert("tillside-deadline-ms", deadline.parse().expect("text"));
        let answer = within(till.send(request)).await.expect("an answer");
        assert_eq!(answer.status, status, "{deadline:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_is_under_way_and_takes_nothing_new() {
    let mut service = TestService::start().await;
    let till = service.till();
    assert_eq!(post(&till, &swipe(1, Some(&card(1)), 1_000)).await.status, 201);
    let stranger = locked_account(&service).await;
    let under_way = tokio::spawn({
        let (till, body) = (till.clone(), swipe(2, Some(&card(1)), 1_000).to_string());
        async move { till.post("/v1/swipes", body).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    within(async {
        while service.count(waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    service.replica.stop();
    let address = service.replica.base_url.trim_start_matches("http://").to_owned();
    within(async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!under_way.is_finished(), "it waits for the stranger");
    stranger.batch_execute("ROLLBACK").await.expect("released");
    let answer = within(under_way).await.expect("it does not panic").expect("an answer");
    assert_eq!(told(&answer), (201, String::new()));
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 2);
}
