//! Programmes in a database with tills: from which day rules hold, on every replica, how they
//! are taken back, and that what they gave can be explained long after.

use std::process::Command;

use jiff::Timestamp;
use jiff::civil::{Date, date};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tillside::domain::name::SwipeName;
use tillside::domain::programme::Rules;
use tillside::import::{self, Importer};
use tillside::programme::explain::{ExplainError, Explanation, explain};
use tillside::programme::file::File;
use tillside::programme::{ProgrammeError, Programmes, Published, Start};

use crate::desk::verified;
use crate::support::database::launcher;
use crate::support::flow::{basket, name, on, points_of, returned, sold, until, void};
use crate::support::service::{Replica, TODAY, TestService, body, card, post, swipe, today};

const BEFORE: &str = "2026-03-13";

/// Triple points on dairy in the morning, a welcome from 20.00 on, and nothing on stamps.
const RULES: &str = r#"
expire_after_months = 24
excluded_skus = ["5"]

[earn]
points = 1
per_minor = 100

[[rules]]
name = "dairy mornings"
departments = ["DAIRY"]
stores = ["0367"]
hours = { from = "08:00", to = "12:00" }
multiplier = "3"

[[rules]]
name = "full trolley"
minimum_minor = 2_000
fixed_points = 50
"#;

fn rules(text: &str) -> Rules {
    File::read(text).unwrap_or_else(|found| panic!("{found:?}")).rules
}

/// With a catalogue: 1095275 and 2 are dairy, 3 is not, 5 is stamps.
async fn service() -> TestService {
    let service = TestService::start().await;
    let csv = "sku,name,department\n1095275,Yoghurt,DAIRY\n2,Milk,DAIRY\n3,Bread,BAKERY\n\
               5,Stamps,BAKERY\n";
    let mut file = NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, csv.as_bytes()).expect("written");
    let read = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let now = Timestamp::now();
    let mut importer = Importer::connect(&service.config.database, now).await.expect("it is up");
    importer.catalogue(&read, today(), "test", |_| ()).await.expect("imported");
    service
}

async fn programmes(service: &TestService) -> Programmes {
    Programmes::connect(&service.config.database, Timestamp::now()).await.expect("it is up")
}

fn start(on: Date) -> Start<'static> {
    Start { on, today: date(2026, 3, 1), note: "test" }
}

async fn known(replica: &Replica, published: Published) {
    let catalogue = &replica.app.catalogue;
    until("the replica knows the epoch", async || {
        catalogue.current().epoch(published.epoch).is_some()
    })
    .await;
}

async fn publish(service: &TestService, text: &str, on: Date) -> Published {
    let published = programmes(service).await.publish(&rules(text), &start(on)).await;
    let published = published.unwrap_or_else(|error| panic!("{error}"));
    known(&service.replica, published).await;
    published
}

async fn explained(service: &TestService, name: &str) -> Explanation {
    let name: SwipeName = name.parse().expect("a name");
    let explanation = explain(&programmes(service).await, &name).await;
    let explanation = explanation.unwrap_or_else(|error| panic!("{error}"));
    assert!(explanation.agrees, "{explanation}");
    explanation
}

/// Dairy for 9.50, bread for 4.70, stamps for 30.00.
fn mixed(sequence_number: i64) -> Value {
    let lines = vec![sold(1, "2", 950), sold(2, "3", 470), sold(3, "5", 3_000)];
    basket(sequence_number, Some(&card(1)), lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_from_their_day_on_on_every_replica_and_can_be_explained() {
    let service = service().await;
    let replica = service.replica().await;
    let published = publish(&service, RULES, today()).await;
    assert_eq!((published.programme_no, published.epoch), (2, 2));
    known(&replica, published).await;
    let (till, elsewhere) = (service.till(), replica.till("0367", "03"));
    let earned = |answer: &tillside::till::Answer| body(answer)["points"]["earned"].clone();

    // The day before: the base rate, and stamps earn.
    assert_eq!(earned(&post(&till, &on(mixed(1), BEFORE)).await), 44);
    // 9.50 three times and 4.70 make 33.2; the stamps do not help to fill the trolley.
    assert_eq!(earned(&post(&elsewhere, &mixed(2)).await), 33);
    // By the clock of the store, which is four hours behind: noon there is no morning.
    let mut noon = mixed(3);
    noon["occurred_at"] = format!("{TODAY}T16:00:00Z").into();
    assert_eq!(earned(&post(&till, &noon).await), 14);
    let mut full = basket(4, Some(&card(1)), vec![sold(1, "2", 1_000), sold(2, "3", 1_000)]);
    assert_eq!(earned(&post(&till, &full).await), 90);
    full["sequence_number"] = 5.into();
    full["card"] = Value::Null;
    post(&till, &full).await;

    let before = explained(&service, &format!("0367/03/{BEFORE}/1")).await;
    assert_eq!((before.programme_no, before.earned), (1, 44));
    let morning = explained(&service, &name(2)).await;
    assert_eq!((morning.programme_no, morning.earned, morning.recorded), (2, 33, 33));
    let shown = morning.to_string();
    assert!(shown.contains("base rate 9.500 + dairy mornings 19"), "{shown}");
    assert!(shown.contains("excluded") && shown.ends_with("they agree."), "{shown}");
    let parts = explained(&service, &name(4)).await.lines;
    let full = |line: usize| {
        parts[line].parts.iter().filter(|it| it.rule.as_deref() == Some("full trolley"))
    };
    let thousandths: i64 = (0..2).flat_map(full).map(|part| part.thousandths).sum();
    assert_eq!(thousandths, 50_000);
    assert_eq!(explained(&service, &name(5)).await.earns_nothing, Some("no card was presented"));
    verified(&service).await;

    let unknown: SwipeName = name(99).parse().expect("a name");
    let error = explain(&programmes(&service).await, &unknown).await.expect_err("never sent");
    assert!(matches!(error, ExplainError::NoSuchSwipe(_)), "{error}");
    // What is recorded otherwise than its rules say is seen.
    let sql = service.sql().await;
    let forged = "UPDATE swipe SET earned_points = earned_points + 1 WHERE sequence_number = 2";
    sql.batch_execute(forged).await.expect(forged);
    let two: SwipeName = name(2).parse().expect("a name");
    let differs = explain(&programmes(&service).await, &two).await.expect("recorded");
    assert!(!differs.agrees && differs.to_string().ends_with("THEY DIFFER."), "{differs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_changes_what_comes_and_nothing_that_was() {
    let service = service().await;
    let (till, sql) = (service.till(), service.sql().await);
    publish(&service, RULES, date(2026, 3, 10)).await;
    post(&till, &mixed(1)).await;
    let rolled = programmes(&service).await.roll_back(Some(today()), today(), "test").await;
    let rolled = rolled.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((rolled.programme_no, rolled.epoch), (1, 3));
    known(&service.replica, rolled).await;
    assert_eq!(body(&post(&till, &mixed(2)).await)["points"]["earned"], 44);
    // A late basket of a day before earns by the rules of that day.
    assert_eq!(body(&post(&till, &on(mixed(3), BEFORE)).await)["points"]["earned"], 33);
    assert_eq!(explained(&service, &name(1)).await.programme_no, 2);
    assert_eq!(explained(&service, &name(2)).await.programme_no, 1);
    // A void takes back what the sale had earned, not what it would earn now.
    assert_eq!(body(&void(&till, &name(1)).await)["points"]["reversed"], 33);
    assert!(explained(&service, &name(1)).await.voided);
    assert_eq!(points_of(&sql, &card(1)).await, 44 + 33);
    let again = programmes(&service).await.roll_back(None, today(), "test").await;
    assert_eq!(again.map(|it| (it.programme_no, it.epoch)).ok(), Some((2, 4)));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_the_past_or_nothing_is_refused_and_leaves_nothing() {
    let service = service().await;
    let mut programmes = programmes(&service).await;
    let state = async || {
        let sql = "SELECT (SELECT count(*) FROM programme) * 10000 + (SELECT count(*) FROM epoch)
                       * 100 + reference_version FROM chain";
        service.count(sql).await
    };
    let before = state().await;
    let error = programmes.roll_back(None, today(), "test").await.expect_err("only one");
    assert!(matches!(error, ProgrammeError::NothingBefore), "{error}");
    let past = Start { today: today(), ..start(date(2026, 3, 13)) };
    let error = programmes.publish(&rules(RULES), &past).await.expect_err("passed");
    assert!(matches!(error, ProgrammeError::Past { .. }), "{error}");
    let same = programmes.rules(1).await.expect("the first programme");
    let error = programmes.publish(&same, &start(today())).await.expect_err("in force");
    assert!(matches!(error, ProgrammeError::InForce { epoch: 1 }), "{error}");
    let error = programmes.rules(2).await.expect_err("there is none");
    assert!(matches!(error, ProgrammeError::NoSuchProgramme(2)), "{error}");
    assert_eq!(state().await, before);

    programmes.publish(&rules(RULES), &start(today())).await.expect("published");
    assert_eq!(state().await, before + 10_101);
    assert_eq!(programmes.rules(2).await.expect("published"), rules(RULES));
    let sooner = start(date(2026, 3, 13));
    let error = programmes.publish(&same, &sooner).await.expect_err("before the newest");
    assert!(error.to_string().contains("--on 2026-03-14 or later"), "{error}");
    let unknown = RULES.replace("DAIRY", "DIARY").replace("0367", "9999");
    let unknown = programmes.unknown_names(&rules(&unknown)).await.expect("read");
    let pointers: Vec<&str> = unknown.iter().map(|(_, pointer, _)| &**pointer).collect();
    assert_eq!(pointers, ["/rules/0/departments/0", "/rules/0/stores/0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_points_and_a_floor_hold_at_the_till() {
    let service = service().await;
    let till = service.till();
    let text =
        format!("pending_days = 7\nnegative_balance = \"floor\"\ncap_per_swipe = 40\n{RULES}");
    publish(&service, &text, date(2026, 3, 10)).await;
    let points = |answer: &tillside::till::Answer| body(answer)["points"].clone();
    let capped = points(&post(&till, &swipe(1, Some(&card(1)), 2_500)).await);
    assert_eq!((&capped["earned"], &capped["spendable"]), (&json!(40), &json!(0)), "{capped}");
    assert_eq!(capped["pending"], 40);
    // Seven days later they can be spent; the return takes what is left.
    let week = "2026-03-21";
    let later = points(&post(&till, &on(swipe(2, Some(&card(1)), 0), week)).await);
    assert_eq!((&later["spendable"], &later["pending"]), (&json!(40), &json!(0)), "{later}");
    let back = on(basket(3, Some(&card(1)), vec![returned(1, "3", 5_000)]), week);
    let back = points(&post(&till, &back).await);
    assert_eq!((&back["reversed"], &back["balance"]), (&json!(40), &json!(0)), "{back}");
    explained(&service, &format!("0367/03/{week}/3")).await;
    verified(&service).await;
}

/// What the command prints, or what it complains of.
fn command(service: &TestService, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(launcher())
        .env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal())
        .arg("programme")
        .args(arguments)
        .output()
        .expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_check_publish_show_and_explain() {
    let service = service().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let sound = file("sound.toml", RULES);
    assert!(command(&service, &["check", &sound]).expect("sound").contains("2 rules"));
    let wrong = file("wrong.toml", &RULES.replace("\"3\"", "\"0.3\""));
    let error = command(&service, &["check", &wrong]).expect_err("wrong");
    assert!(error.contains("wrong.toml:14:1: must lie within 1 and 100"), "{error}");
    let typo = file("typo.toml", &RULES.replace("DAIRY", "DIARY"));
    let error = command(&service, &["publish", &typo, "--on", "9000-01-01"]).expect_err("a typo");
    assert!(error.contains("typo.toml:11:16: no department is known as \"DIARY\""), "{error}");
    let error = command(&service, &["publish", &sound, "--on", "2026-03-14"]).expect_err("passed");
    assert!(error.contains("has passed"), "{error}");

    let published = command(&service, &["publish", &sound, "--on", "9000-01-01", "--note", "big"]);
    let published = published.expect("published");
    assert_eq!(published, "programme 2 is in force from 9000-01-01 (epoch 2)\n");
    let list = command(&service, &["list"]).expect("a list");
    assert!(list.contains("*     1         1  always"), "{list}");
    assert!(list.contains("      2         2  9000-01-01  big"), "{list}");
    let shown = command(&service, &["show", "2"]).expect("shown");
    assert_eq!(rules(&shown), rules(RULES), "{shown}");
    // A draft is kept until it is published, by its number.
    let other = file("other.toml", &RULES.replace("\"3\"", "\"4\""));
    let drafted = command(&service, &["draft", &other]).expect("drafted");
    assert_eq!(drafted, "programme 3 is a draft\n");
    let list = command(&service, &["list"]).expect("a list");
    assert!(list.ends_with("            3  draft\n"), "{list}");
    let typo = command(&service, &["draft", &typo]).expect_err("a typo");
    assert!(typo.contains("no department is known as \"DIARY\""), "{typo}");
    let by_number = ["publish", "--programme", "3", "--on", "9000-01-01"];
    let published = command(&service, &by_number).expect("published");
    assert_eq!(published, "programme 3 is in force from 9000-01-01 (epoch 3)\n");
    let again = command(&service, &by_number).expect_err("in force");
    assert!(again.contains("nothing was published"), "{again}");
    assert!(!command(&service, &["list"]).expect("a list").contains("draft"));

    let back = command(&service, &["roll-back", "--json"]).expect("rolled back");
    let back: Value = serde_json::from_str(&back).expect("JSON");
    assert_eq!(back, json!({ "programme_no": 2, "epoch": 4, "starts_on": "9000-01-01" }));

    post(&service.till(), &mixed(1)).await;
    let explained = command(&service, &["explain", &name(1)]).expect("explained");
    assert!(explained.contains("Earned 44; recorded 44: they agree."), "{explained}");
    let json = command(&service, &["explain", &name(1), "--json"]).expect("explained");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["lines"][0]["parts"][0]["thousandths"], 9_500);
}
