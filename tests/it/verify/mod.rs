//! The audit: clean after everything that the service does, and not after anything else.
//!
//! One database with a rich history is made by the real service. Then each row of a table
//! damages it in one way, and the audit must name exactly what that breaks.

mod coupons;
mod damage;

use std::collections::BTreeSet;
use std::io::Write as _;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tillside::commit::{Adjusted, Adjustment, Desk, Whose};
use tillside::domain::card::CardFormat;
use tillside::import::{self, Importer};
use tillside::till::Till;
use tillside::verify::findings::Kind;
use tillside::verify::{ALL_BUCKETS, Audit, Report};
use tokio_postgres::Client;

use self::damage::{DAMAGE, filled_in};
use crate::support::flow::account_of;
use crate::support::service::{Replica, TestService, body, card, post, swipe};

/// Everything that the service can do to an account, through its front door.
struct History<'a> {
    till: &'a Till,
    next: i64,
}

impl History<'_> {
    /// Sends a swipe that `change` makes from one line of 3.98, and returns its receipt.
    async fn swipe(&mut self, card: Option<&str>, change: impl FnOnce(&mut Value)) -> Value {
        self.next += 1;
        let mut value = swipe(self.next, card, 398);
        change(&mut value);
        let date = value["business_date"].as_str().expect("a text").to_owned();
        value["occurred_at"] = format!("{date}T16:05:59.{:07}Z", 1_234_567 + self.next).into();
        let answer = post(self.till, &value).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        body(&answer)
    }

    /// A sale of one line.
    async fn sale(&mut self, card: &str, business_date: &str, amount_minor: i64) -> Value {
        let change = |value: &mut Value| {
            value["business_date"] = business_date.into();
            value["lines"][0]["amount_minor"] = amount_minor.into();
            value["total_minor"] = amount_minor.into();
        };
        self.swipe(Some(card), change).await
    }

    async fn void(&self, name: &str) -> Value {
        let answer = self.till.post(&format!("/v1/swipes/{name}/void"), "").await;
        let answer = answer.expect("the service answers");
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        body(&answer)
    }

    async fn enrol(&self, request: Value) {
        let answer = self.till.post("/v1/cards", request.to_string()).await;
        let answer = answer.expect("the service answers");
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
}

fn name_of(receipt: &Value) -> &str {
    receipt["swipe"].as_str().expect("a receipt names its swipe")
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// A service with a catalogue and an imported account, and a replica that knows them.
async fn start() -> (TestService, Replica) {
    let service = TestService::start().await;
    let now = Timestamp::now();
    let mut importer = Importer::connect(&service.config.database, now).await.expect("connected");
    let products = file(
        "sku,name,department,category,type,brand,no_points,sensitive\n\
         1095275,Milk,GROCERY,DAIRY,MILK,National,,\n\
         2000000,Newspaper,PRESS,PAPERS,DAILY,Other,true,\n\
         3000000,Remedy,PHARMACY,REMEDIES,COUGH,Other,,true\n",
    );
    let read = import::read_catalogue(products.path(), |_| ()).expect("sound");
    let on: Date = "2020-01-01".parse().expect("a date");
    importer.catalogue(&read, on, "test", |_| ()).await.expect("imported");
    let accounts = file(&format!(
        "account,card,given_name,points,expires_on\n\
         a,{},Ada,100,2026-06-30\n\
         a,{},,25,\n\
         b,{},,,\n",
        card(900),
        card(901),
        card(902),
    ));
    let format = CardFormat {
        length_min: 13,
        length_max: 13,
        letters: false,
        check_digit: true,
        prefixes: vec!["299".into()],
    };
    let read = import::read_accounts(accounts.path(), &format, on, |_| ()).expect("sound");
    importer.accounts(&read, on, |_| ()).await.expect("imported");
    let replica = service.replica().await;
    (service, replica)
}

/// Sales, returns, voids, tombstones, training, no card, debts, expiry, enrolment, links,
/// opening points, and an account that crosses a checkpoint of its profile.
async fn make_history(till: &Till) {
    let mut it = History { till, next: 0 };
    // A chain over two checkpoints, with everything that a record can hold.
    for day in 1..=36 {
        let change = |value: &mut Value| {
            value["business_date"] = format!("2026-02-{:02}", 1 + day % 28).into();
            value["entry_method"] = "scanned".into();
            value["operator_id"] = "17".into();
            value["offline"] = (day % 2 == 0).into();
            // With what there is, with more than that, and for another value than is due.
            value["points_spent"] = (9 * (day % 3)).into();
            value["points_value_minor"] = (9 * (day % 3) - day % 3 * (day % 2)).into();
            value["lines"] = json!([
                { "line": 1, "sku": "1095275", "quantity": "2", "amount_minor": 398 + day,
                  "discount_minor": 40 },
                { "line": 2, "sku": "2000000", "quantity": "1", "amount_minor": 350 },
                { "line": 3, "sku": "3000000", "quantity": "0.420", "amount_minor": 799 },
                { "line": 4, "sku": format!("unheard of {}", day % 4), "quantity": "0",
                  "amount_minor": 12 },
            ]);
            value["adjustments"] = json!([{ "kind": "tax", "amount_minor": 9 }]);
            value["redemptions"] = json!([{ "coupon": "7K2M", "discount_minor": 40 }]);
            value["total_minor"] = (398 + day - 40 + 350 + 799 + 12 + 9).into();
        };
        it.swipe(Some(&card(1)), change).await;
    }
    // A return of a known line, one of a line that nobody knows, and the void of all three.
    let sold = it.sale(&card(2), "2026-03-10", 5_000).await;
    let of_known = |value: &mut Value| {
        value["lines"] = json!([
            { "line": 1, "kind": "return", "sku": "1095275", "quantity": "0.5",
              "amount_minor": 2_500, "returns": { "swipe": name_of(&sold), "line": 1 } },
            { "line": 2, "sku": "1095275", "quantity": "1", "amount_minor": 700 },
        ]);
        value["total_minor"] = (-1_800).into();
    };
    let returned = it.swipe(Some(&card(2)), of_known).await;
    assert_eq!(returned["points"]["reversed"], 25);
    let of_unknown = |value: &mut Value| {
        value["lines"] = json!([
            { "line": 1, "kind": "return", "sku": "1095275", "quantity": "1",
              "amount_minor": 9_900 },
        ]);
        value["total_minor"] = (-9_900).into();
    };
    let in_debt = it.swipe(Some(&card(2)), of_unknown).await;
    assert_eq!(in_debt["points"]["balance"], -67);
    it.sale(&card(2), "2026-03-11", 1_000).await;
    for receipt in [&returned, &sold, &in_debt] {
        it.void(name_of(receipt)).await;
    }
    // A payment with points, which is undone, and one that is not.
    it.sale(&card(10), "2026-03-10", 5_000).await;
    let pay = |value: &mut Value| value["points_spent"] = 30.into();
    let paid = it.swipe(Some(&card(10)), pay).await;
    assert_eq!(paid["points"]["balance"], 23);
    it.enrol(json!({ "card": card(10) })).await;
    it.void(name_of(&paid)).await;
    it.swipe(Some(&card(10)), pay).await;
    // What belongs to no customer, and its voids.
    let nobody = it.swipe(None, |_| ()).await;
    let training = it.swipe(Some(&card(3)), |value| value["training"] = true.into()).await;
    it.void(name_of(&nobody)).await;
    it.void(name_of(&training)).await;
    it.swipe(None, |_| ()).await;
    it.swipe(None, |value| value["training"] = true.into()).await;
    // Voids before their sales, one of which never comes.
    it.void("0367/03/2026-03-14/700").await;
    it.void("0367/03/2026-03-14/701").await;
    it.void("0367/03/2026-03-14/702").await;
    it.swipe(Some(&card(3)), |value| value["sequence_number"] = 700.into()).await;
    let late_training = |value: &mut Value| {
        value["sequence_number"] = 701.into();
        value["training"] = true.into();
    };
    it.swipe(Some(&card(3)), late_training).await;
    // Points that run out, and points that come too late.
    it.sale(&card(5), "2020-01-10", 10_000).await;
    let later = it.sale(&card(5), "2026-03-14", 5_000).await;
    assert_eq!(later["points"]["balance"], 50);
    let late = it.sale(&card(5), "2020-02-10", 900).await;
    assert_eq!(late["points"]["balance"], 50);
    // Enrolment; a card with points and one without on the account; opening points.
    it.sale(&card(6), "2026-03-01", 1_200).await;
    it.enrol(json!({ "card": card(6), "member": { "given_name": "Ada" } })).await;
    it.sale(&card(7), "2026-03-02", 3_400).await;
    it.enrol(json!({ "card": card(7), "link_to": card(6) })).await;
    it.enrol(json!({ "card": card(8), "link_to": card(6) })).await;
    for number in [6, 7, 8, 900, 901, 902] {
        it.sale(&card(number), "2026-03-14", 2_000).await;
    }
    // An account that is in debt is linked to one that has points.
    it.swipe(Some(&card(9)), of_unknown).await;
    it.enrol(json!({ "card": card(9), "link_to": card(902) })).await;
}

/// What people and the calendar do: points corrected, and written off where nobody comes.
async fn make_desk_history(service: &TestService) {
    let mut desk = Desk::new(&service.config.commit, &service.config.database);
    let (snapshot, now) = (service.replica.app.catalogue.current(), Timestamp::now());
    let on: Date = "2028-04-01".parse().expect("a date");
    let adjustment = Adjustment {
        id: "T1".into(),
        whose: Whose::Card(card(6)),
        points: -50,
        reason: "wrong-card".into(),
        actor: "test".into(),
        business_date: "2026-03-20".parse().expect("a date"),
        user: None,
    };
    let adjusted = desk.adjust(&snapshot, &adjustment, now).await.expect("the database answers");
    assert!(matches!(adjusted, Adjusted::Now(_)), "{adjusted:?}");
    let of_card = account_of(&service.sql().await, &card(902)).await;
    let of_card = desk.expire(&snapshot, &[of_card], on, now).await.expect("the database answers");
    assert_eq!((of_card.accounts, of_card.points), (0, 0), "it never had any");
    let of_card = account_of(&service.sql().await, &card(5)).await;
    let of_card = desk.expire(&snapshot, &[of_card], on, now).await.expect("the database answers");
    assert_eq!((of_card.accounts, of_card.points), (1, 50));
}

async fn audit(service: &TestService) -> Report {
    let audit = Audit::begin(&service.config.database, ALL_BUCKETS).await.expect("a snapshot");
    audit.run(|_| ()).await.expect("the database answers")
}

fn broken(report: &Report) -> BTreeSet<&'static str> {
    report.broken.iter().map(|broken| broken.invariant).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_does_keeps_every_invariant_and_damage_is_named() {
    let (service, replica) = start().await;
    make_history(&replica.till("0367", "03")).await;
    make_desk_history(&service).await;
    let report = audit(&service).await;
    assert!(report.broken.is_empty(), "{:#?}", report.broken);
    let counts = &report.counts;
    // Practice, and sales whose void came first, open none.
    assert_eq!(counts.accounts_provisional, 3, "{counts:?}");
    assert_eq!((counts.accounts_enrolled, counts.accounts_merged), (4, 3), "{counts:?}");
    assert_eq!(counts.accounts_house, 4, "{counts:?}");
    assert_eq!((counts.voids, counts.sales_not_counted), (9, 4), "{counts:?}");
    assert!(counts.profiles > 0, "{counts:?}");
    let stored = service.count("SELECT count(*) FROM swipe").await;
    let counted = counts.sales + counts.sales_not_counted + counts.voids;
    assert_eq!(counted, stored.unsigned_abs());

    let sql = service.sql().await;
    run(&sql, &back_up()).await;
    let mut named = BTreeSet::new();
    let mut wrong = Vec::new();
    for (damage, expected) in DAMAGE {
        let damage = filled_in(damage);
        run(&sql, &format!("SET session_replication_role = replica; {damage}")).await;
        let report = audit(&service).await;
        let found = broken(&report);
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        if found != expected {
            wrong.push(format!("{damage}\n  {found:?} instead of {expected:?}"));
        }
        named.extend(found);
        run(&sql, &restore()).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let clean = audit(&service).await;
    assert!(clean.broken.is_empty(), "restored: {:#?}", clean.broken);

    // A check that never failed is not known to check anything.
    let all: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let never: Vec<_> = all.difference(&named).collect();
    assert!(never.is_empty(), "never seen: {never:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_does_not_mind_swipes_that_go_on() {
    let (service, replica) = start().await;
    let till = replica.till("0406", "01");
    let swiping = tokio::spawn(async move {
        let mut it = History { till: &till, next: 0 };
        for number in 0_u64.. {
            let place = |value: &mut Value| {
                value["store_id"] = "0406".into();
                value["workstation_id"] = "01".into();
            };
            let receipt = it.swipe(Some(&card(number % 7)), place).await;
            if number % 5 == 0 {
                it.void(name_of(&receipt)).await;
            }
        }
    });
    let mut seen = 0;
    while seen < 40 {
        let report = audit(&service).await;
        assert!(report.broken.is_empty(), "{:#?}", report.broken);
        seen = report.counts.sales;
        assert!(!swiping.is_finished(), "the till has stopped");
    }
    swiping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_after_a_merge_takes_its_points_from_the_account_that_has_them() {
    let (service, replica) = start().await;
    let till = replica.till("0367", "03");
    let mut it = History { till: &till, next: 0 };
    it.sale(&card(6), "2026-03-01", 1_200).await;
    it.enrol(json!({ "card": card(6) })).await;
    let sale = it.sale(&card(7), "2026-03-02", 3_400).await;
    it.enrol(json!({ "card": card(7), "link_to": card(6) })).await;
    let before = audit(&service).await;
    it.void(name_of(&sale)).await;
    let report = audit(&service).await;
    assert!(report.broken.is_empty(), "{:#?}", report.broken);
    assert_eq!(report.counts.points_outstanding, before.counts.points_outstanding - 34);
    let card = till.get(&format!("/v1/cards/{}", card(7))).await.expect("an answer");
    assert_eq!(body(&card)["points"]["balance"], 12, "what the first card had earned");
}

const TABLES: [&str; 15] = [
    "account",
    "adjustment",
    "card",
    "card_change",
    "member",
    "swipe_key",
    "swipe",
    "entry",
    "profile",
    "coupon",
    "offer",
    "budget",
    "lease",
    "programme",
    "workstation",
];

fn back_up() -> String {
    let copies = TABLES.map(|table| format!("CREATE TABLE backup.{table} AS TABLE {table};"));
    format!("CREATE SCHEMA backup; {}", copies.concat())
}

fn restore() -> String {
    let copies = TABLES.map(|table| {
        format!(
            "DELETE FROM {table};
             INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM backup.{table};"
        )
    });
    format!("SET session_replication_role = replica; {}", copies.concat())
}

async fn run(sql: &Client, statements: &str) {
    sql.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}
