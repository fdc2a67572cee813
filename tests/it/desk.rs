//! The desk: adjustments, each once by its id, whatever tills do meanwhile and wherever the work is
//! cut.

use std::process::Command;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tillside::commit::{Adjusted, Adjustment, Desk, Whose};
use tillside::config::Config;
use tillside::verify::{ALL_BUCKETS, Audit};

use crate::spending::paid;
use crate::support::database::launcher;
use crate::support::flow::{account_of, audit, enrol, look_up, on, points_of};
use crate::support::service::{TestService, body, card, post, swipe, today};
use crate::support::tap::Tap;

/// An adjustment of a card's account on the day of most tests.
pub(crate) fn adjustment(id: &str, whose: Whose, points: i64) -> Adjustment {
    Adjustment {
        id: id.to_owned(),
        whose,
        points,
        reason: "goodwill".to_owned(),
        actor: "test".to_owned(),
        business_date: today(),
        user: None,
    }
}

pub(crate) fn of_card(number: u64) -> Whose {
    Whose::Card(card(number))
}

pub(crate) fn desk(config: &Config) -> Desk {
    Desk::new(&config.commit, &config.database)
}

pub(crate) async fn adjust(
    service: &TestService,
    desk: &mut Desk,
    adjustment: &Adjustment,
) -> Adjusted {
    let snapshot = service.replica.app.catalogue.current();
    desk.adjust(&snapshot, adjustment, Timestamp::now()).await.expect("the database answers")
}

pub(crate) fn date(text: &str) -> Date {
    text.parse().expect("a date")
}

/// The balance that an adjustment left; whether it had been made before.
pub(crate) fn made(adjusted: &Adjusted) -> (i64, bool) {
    match adjusted {
        Adjusted::Now(made) => (made.account.lots.total(), false),
        Adjusted::Before(made) => (made.account.lots.total(), true),
        other => panic!("not made: {other:?}"),
    }
}

/// Every invariant, those of adjustments included.
pub(crate) async fn verified(service: &TestService) {
    let audit = Audit::begin(&service.config.database, ALL_BUCKETS).await.expect("a snapshot");
    let report = audit.run(|_| ()).await.expect("the database answers");
    assert!(report.broken.is_empty(), "{:#?}", report.broken);
}

async fn balance(service: &TestService, number: u64) -> i64 {
    points_of(&service.sql().await, &card(number)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_is_made_once_by_its_id_and_tills_see_it_at_once() {
    let service = TestService::start().await;
    let (till, mut here, mut there) =
        (service.till(), desk(&service.config), desk(&service.config));
    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let given = adjustment("T1", of_card(1), 500);
    assert_eq!(made(&adjust(&service, &mut here, &given).await), (507, false));
    assert_eq!(made(&adjust(&service, &mut there, &given).await), (507, true));
    // Said otherwise it is the same; with other points or for another reason it is another.
    let account_id = account_of(&service.sql().await, &card(1)).await;
    let same = Adjustment { whose: Whose::Account(account_id), ..given.clone() };
    let later = Adjustment { business_date: date("2026-03-20"), actor: "else".into(), ..same };
    assert_eq!(made(&adjust(&service, &mut here, &later).await), (507, true));
    for other in [
        Adjustment { points: 501, ..given.clone() },
        Adjustment { reason: "wrong-card".into(), ..given.clone() },
    ] {
        let answer = adjust(&service, &mut here, &other).await;
        assert!(matches!(answer, Adjusted::IdReused), "{answer:?}");
    }
    // The same id on another account is another adjustment.
    post(&till, &swipe(2, Some(&card(2)), 0)).await;
    let elsewhere = adjustment("T1", of_card(2), 9);
    assert_eq!(made(&adjust(&service, &mut here, &elsewhere).await), (9, false));

    // The replica remembers an older version, which decides nothing.
    let receipt = post(&till, &paid(swipe(3, Some(&card(1)), 100), 400)).await;
    assert_eq!(receipt.status, StatusCode::CREATED);
    assert_eq!(body(&receipt)["points"]["balance"], 108);
    let taken = adjustment("T2", of_card(1), -200);
    assert_eq!(made(&adjust(&service, &mut here, &taken).await), (-92, false));
    // What is owed is paid first.
    let given = adjustment("T3", of_card(1), 100);
    assert_eq!(made(&adjust(&service, &mut here, &given).await), (8, false));
    assert_eq!(body(&look_up(&till, &card(1)).await)["points"]["balance"], 8);
    assert_eq!(service.count("SELECT count(*) FROM adjustment").await, 4);
    audit(&service).await;
    verified(&service).await;
}

/// What the command prints as JSON, or what it complains of.
fn account_command(service: &TestService, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(launcher())
        .env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal())
        .args(["account"])
        .args(arguments)
        .arg("--json")
        .output()
        .expect("the command runs");
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => Err(String::from_utf8(output.stderr).expect("text")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_adjust_once_and_write_off() {
    let service = TestService::start().await;
    // Points of that month have run out by now: the commands take no date after today.
    const DAY: &str = "2024-02-10";
    post(&service.till(), &on(swipe(1, Some(&card(1)), 700), DAY)).await;
    let card = card(1);
    let adjust = ["adjust", "--card", &card, "--reason", "goodwill", "--on", DAY];
    let given = [&adjust[..], &["--points", "20", "--id", "T1"]].concat();
    let first = account_command(&service, &given).expect("made");
    assert_eq!((&first["points"]["balance"], &first["made_before"]), (&json!(27), &json!(false)));
    let again = account_command(&service, &given).expect("made before");
    assert_eq!((&again["points"]["balance"], &again["made_before"]), (&json!(27), &json!(true)));
    assert_eq!((&again["made_at"], &again["account"]), (&first["made_at"], &first["account"]));
    let account = first["account"].as_str().expect("a text");
    let other = ["adjust", "--account", account, "--reason", "goodwill", "--points", "-7"];
    let other = account_command(&service, &[&other[..], &["--on", DAY]].concat());
    assert_eq!(other.expect("made")["points"]["balance"], 20);
    let reused = [&adjust[..], &["--points", "21", "--id", "T1"]].concat();
    let refusal = account_command(&service, &reused).expect_err("another adjustment");
    assert!(refusal.contains("Choose another --id"), "{refusal}");
    let refusal = account_command(&service, &[&adjust[..], &["--points", "0"]].concat());
    assert!(refusal.expect_err("nothing").contains("--points must not be 0"));

    for later in [&["expire"][..], &[&adjust[..5], &["--points", "1"]].concat()] {
        let refusal = account_command(&service, &[later, &["--on", "2999-01-01"]].concat());
        assert!(refusal.expect_err("a later day").contains("--on must not be after today"));
    }

    let none = account_command(&service, &["expire", "--on", "2026-02-28"]).expect("it is up");
    assert_eq!((&none["accounts"], &none["points"]), (&json!(0), &json!(0)));
    let gone = account_command(&service, &["expire", "--on", "2026-03-01"]).expect("it is up");
    assert_eq!((&gone["accounts"], &gone["points"]), (&json!(1), &json!(20)));
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_customers_account_is_not_adjusted() {
    let service = TestService::start().await;
    let mut desk = desk(&service.config);
    let house = service.count("SELECT min(house_account) FROM workstation").await;
    for (whose, house) in
        [(of_card(1), false), (Whose::Account(1), false), (Whose::Account(house), true)]
    {
        let answer = adjust(&service, &mut desk, &adjustment("T1", whose, 5)).await;
        let expected = match house {
            true => matches!(answer, Adjusted::NoCustomer),
            false => matches!(answer, Adjusted::NoSuchAccount),
        };
        assert!(expected, "{answer:?}");
    }
    assert_eq!(service.count("SELECT count(*) FROM adjustment").await, 0);
    assert_eq!(service.count("SELECT count(*) FROM card").await, 0, "a look-up opens nothing");
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_of_a_merged_account_goes_to_its_heir_and_still_only_once() {
    let service = TestService::start().await;
    let (till, mut desk) = (service.till(), desk(&service.config));
    post(&till, &swipe(1, Some(&card(1)), 1_000)).await;
    post(&till, &swipe(2, Some(&card(2)), 2_000)).await;
    enrol(&till, &json!({ "card": card(1) })).await;
    let before = account_of(&service.sql().await, &card(2)).await;
    assert_eq!(made(&adjust(&service, &mut desk, &adjustment("T1", of_card(2), 5)).await).0, 25);
    enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    assert_eq!(balance(&service, 1).await, 35);
    for whose in [of_card(1), of_card(2), Whose::Account(before)] {
        let again = adjust(&service, &mut desk, &adjustment("T1", whose, 5)).await;
        assert_eq!(made(&again), (35, true));
    }
    let new = adjustment("T2", Whose::Account(before), 7);
    assert_eq!(made(&adjust(&service, &mut desk, &new).await), (42, false));
    assert_eq!(balance(&service, 1).await, 42);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adjustments_that_race_tills_and_each_other_are_made_once_and_every_point_counts() {
    const EACH: i64 = 12;
    let service = TestService::start().await;
    let replica = service.replica().await;
    post(&service.till(), &swipe(9_000, Some(&card(1)), 0)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (n, till) in (0..6).zip([service.till(), replica.till("0367", "03")].into_iter().cycle()) {
        tasks.spawn(async move {
            for sequence in 0..EACH {
                let sale = paid(swipe(100 * n + sequence, Some(&card(1)), 500), 2);
                let answer = post(&till, &sale).await;
                assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
            }
            0
        });
    }
    // Each id from two desks, in opposite order.
    for turned in [false, true] {
        let (mut desk, app) = (desk(&service.config), service.replica.app.clone());
        tasks.spawn(async move {
            let mut made_here = 0;
            for at in 0..EACH {
                let id = if turned { EACH - 1 - at } else { at };
                let given = adjustment(&format!("T{id}"), of_card(1), 10);
                let snapshot = app.catalogue.current();
                let adjusted = desk.adjust(&snapshot, &given, Timestamp::now()).await;
                let (_, before) = made(&adjusted.expect("nobody holds it for long"));
                made_here += i64::from(!before);
            }
            made_here
        });
    }
    let made: i64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(made, EACH);
    assert_eq!(balance(&service, 1).await, 6 * EACH * (5 - 2) + 10 * EACH);
    audit(&service).await;
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_that_is_cut_off_anywhere_is_made_once() {
    let service = TestService::start().await;
    let tap = Tap::open(&service.config.database.url);
    let mut config = service.config.clone();
    config.database.url = tap.url();
    post(&service.till(), &swipe(1, Some(&card(1)), 0)).await;
    let places = ["commit::lock_accounts", "commit::commit_batch", "commit::insert_adjustment"];
    for (place, number) in places.into_iter().chain(["COMMIT"]).zip(1..) {
        let mut desk = desk(&config);
        tap.cut_after(place);
        let given = adjustment(place, of_card(1), 10);
        let (balance, before) = made(&adjust(&service, &mut desk, &given).await);
        assert_eq!(balance, 10 * number, "cut after {place}");
        // Only the last answer is lost of something that happened.
        assert_eq!(before, place == "COMMIT", "cut after {place}");
        assert_eq!(tap.cuts(), usize::try_from(number).expect("small"));
    }
    // Nobody is left with a lock.
    let receipt = post(&service.till(), &swipe(2, Some(&card(1)), 100)).await;
    assert_eq!(body(&receipt)["points"]["balance"], 41);
    verified(&service).await;
}
