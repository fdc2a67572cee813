//! Receipts, word for word: what a till prints after each kind of transaction.
//!
//! Snapshots leave out when the service recorded it, and the number of the account.

use std::io::Write as _;

use http::StatusCode;
use insta::{assert_json_snapshot, assert_snapshot};
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::import::{self, Importer};
use tillside::till::{Answer, Till};

use crate::support::flow::{
    account_of, audit, basket, enrol, name, on, outcome, returned, returned_from, sold, void,
};
use crate::support::service::{TestService, body, card, post, swipe, today};

/// The body of an answer without what differs from run to run.
fn receipt(answer: &Answer) -> Value {
    let mut receipt = body(answer);
    for field in ["recorded_at", "voided_at"] {
        if let Some(time) = receipt.get_mut(field) {
            let text = time.as_str().expect("a text");
            text.parse::<Timestamp>().expect("a time as in RFC 3339");
            *time = "[time]".into();
        }
    }
    if receipt["account"].as_str().is_some_and(|id| id.starts_with("acc_") && id.len() == 17) {
        receipt["account"] = "[account]".into();
    }
    receipt
}

/// Posts a swipe that is new, and returns the `points` of its receipt on one line.
async fn points(till: &Till, swipe: &Value) -> String {
    let answer = post(till, swipe).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    line_of(&answer)
}

/// What happened to the points, on one line.
fn line_of(answer: &Answer) -> String {
    let points = &body(answer)["points"];
    let expiry = match &points["next_expiry"] {
        Value::Null => "nothing expires".to_owned(),
        next => format!("{} expire on {}", next["points"], next["on"].as_str().expect("a date")),
    };
    assert_eq!((&points["spent"], &points["pending"]), (&json!(0), &json!(0)), "not offered yet");
    format!(
        "earned {} reversed {} balance {} spendable {}, {expiry}",
        points["earned"], points["reversed"], points["balance"], points["spendable"]
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolled_card_gets_its_account_and_its_points() {
    let service = TestService::start().await;
    let till = service.till();
    assert_eq!(enrol(&till, &json!({ "card": card(1) })).await.status, StatusCode::CREATED);
    let answer = post(&till, &swipe(1, Some(&card(1)), 1_250)).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_json_snapshot!(receipt(&answer), @r#"
    {
      "account": "[account]",
      "coupons": [],
      "messages": [],
      "points": {
        "balance": 12,
        "earned": 12,
        "next_expiry": {
          "on": "2028-03-31",
          "points": 12
        },
        "pending": 0,
        "reversed": 0,
        "spendable": 12,
        "spent": 0
      },
      "recorded_at": "[time]",
      "redemptions": [],
      "swipe": "0367/03/2026-03-14/1",
      "tier": null
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_nobody_has_enrolled_gathers_points_that_wait() {
    let service = TestService::start().await;
    let answer = post(&service.till(), &swipe(1, Some(&card(1)), 1_250)).await;
    assert_json_snapshot!(receipt(&answer), @r#"
    {
      "account": null,
      "coupons": [],
      "messages": [
        "This card is not enrolled yet. 12 points are waiting for whoever enrols it."
      ],
      "points": {
        "balance": 12,
        "earned": 12,
        "next_expiry": {
          "on": "2028-03-31",
          "points": 12
        },
        "pending": 0,
        "reversed": 0,
        "spendable": 12,
        "spent": 0
      },
      "recorded_at": "[time]",
      "redemptions": [],
      "swipe": "0367/03/2026-03-14/1",
      "tier": null
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_card_a_basket_is_recorded_for_nobody() {
    let service = TestService::start().await;
    let answer = post(&service.till(), &swipe(1, None, 1_250)).await;
    assert_json_snapshot!(receipt(&answer), @r#"
    {
      "account": null,
      "coupons": [],
      "messages": [],
      "points": {
        "balance": null,
        "earned": 0,
        "next_expiry": null,
        "pending": 0,
        "reversed": 0,
        "spendable": null,
        "spent": 0
      },
      "recorded_at": "[time]",
      "redemptions": [],
      "swipe": "0367/03/2026-03-14/1",
      "tier": null
    }
    "#);
    let baskets = "SELECT sum(baskets)::bigint FROM account WHERE state = 2 AND sales_minor = 1250";
    assert_eq!(service.count(baskets).await, 1);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn training_books_nothing_and_does_not_even_open_an_account() {
    let service = TestService::start().await;
    let mut training = swipe(1, Some(&card(1)), 1_250);
    training["training"] = true.into();
    let answer = post(&service.till(), &training).await;
    assert_json_snapshot!(receipt(&answer), @r#"
    {
      "account": null,
      "coupons": [],
      "messages": [
        "Training: nothing was booked."
      ],
      "points": {
        "balance": null,
        "earned": 0,
        "next_expiry": null,
        "pending": 0,
        "reversed": 0,
        "spendable": null,
        "spent": 0
      },
      "recorded_at": "[time]",
      "redemptions": [],
      "swipe": "0367/03/2026-03-14/1",
      "tier": null
    }
    "#);
    assert_eq!(service.count("SELECT count(*) FROM card").await, 0);
    let sales = "SELECT sum(sales_minor + baskets)::bigint FROM account";
    assert_eq!(service.count(sales).await, 0);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_that_were_never_issued_come_out_unknown_in_the_tills_order() {
    let service = TestService::start().await;
    let mut sale = swipe(1, Some(&card(1)), 398);
    sale["redemptions"] = json!([
        { "coupon": "7K2M9QXA4TRB3W", "discount_minor": 40 },
        { "coupon": "0000000000000A", "discount_minor": 0 },
        { "coupon": "7K2M9QXA4TRB3W", "discount_minor": 40 },
    ]);
    let answer = post(&service.till(), &sale).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_json_snapshot!(receipt(&answer)["redemptions"], @r#"
    [
      {
        "coupon": "7K2M9QXA4TRB3W",
        "discount_minor": 40,
        "outcome": "unknown"
      },
      {
        "coupon": "0000000000000A",
        "discount_minor": 0,
        "outcome": "unknown"
      },
      {
        "coupon": "7K2M9QXA4TRB3W",
        "discount_minor": 40,
        "outcome": "unknown"
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn discounts_and_tax_earn_nothing_and_fractions_are_dropped_once() {
    let service = TestService::start().await;
    let till = service.till();
    // 199 and 199 less 99: 299 in all, although each line alone would be worth a point.
    let mut lines = vec![sold(1, "1095275", 199), sold(2, "902192", 199)];
    lines[1]["discount_minor"] = 99.into();
    let mut sale = basket(1, Some(&card(1)), lines);
    sale["adjustments"] = json!([{ "kind": "tax", "amount_minor": 901 }]);
    sale["total_minor"] = (299 + 901).into();
    assert_snapshot!(
        points(&till, &sale).await,
        @"earned 2 reversed 0 balance 2 spendable 2, 2 expire on 2028-03-31"
    );
    // The price is of the whole line, whatever its quantity.
    let mut weighed = vec![sold(1, "4011", 350)];
    weighed[0]["quantity"] = "0.420".into();
    assert_snapshot!(
        points(&till, &basket(2, Some(&card(1)), weighed)).await,
        @"earned 3 reversed 0 balance 5 spendable 5, 5 expire on 2028-03-31"
    );
    let gift = basket(3, Some(&card(1)), vec![sold(1, "1095275", 0)]);
    assert_snapshot!(
        points(&till, &gift).await,
        @"earned 0 reversed 0 balance 5 spendable 5, 5 expire on 2028-03-31"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_takes_the_points_that_it_earned() {
    let service = TestService::start().await;
    let till = service.till();
    let card = card(1);
    let mut sale = basket(1, Some(&card), vec![sold(1, "1095275", 900), sold(2, "902192", 250)]);
    sale["lines"][0]["quantity"] = "3".into();
    assert_snapshot!(
        points(&till, &sale).await,
        @"earned 11 reversed 0 balance 11 spendable 11, 11 expire on 2028-03-31"
    );
    // One of three, though the till paid out more than a third: a third of the points goes.
    let one = basket(2, Some(&card), vec![returned_from(1, 450, &name(1))]);
    assert_snapshot!(
        points(&till, &one).await,
        @"earned 0 reversed 3 balance 8 spendable 8, 8 expire on 2028-03-31"
    );
    // Where the sale is not known, what it would have earned goes.
    let unknown = basket(3, Some(&card), vec![returned_from(1, 250, &name(77))]);
    assert_snapshot!(
        points(&till, &unknown).await,
        @"earned 0 reversed 2 balance 6 spendable 6, 6 expire on 2028-03-31"
    );
    let unnamed = basket(4, Some(&card), vec![returned(1, "902192", 150)]);
    assert_snapshot!(
        points(&till, &unnamed).await,
        @"earned 0 reversed 1 balance 5 spendable 5, 5 expire on 2028-03-31"
    );
    // A return and a sale in one basket: both are booked in full.
    let exchange =
        basket(5, Some(&card), vec![returned(1, "902192", 150), sold(2, "1095275", 480)]);
    assert_snapshot!(
        points(&till, &exchange).await,
        @"earned 4 reversed 1 balance 8 spendable 8, 8 expire on 2028-03-31"
    );
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_leaves_a_debt_which_the_next_points_pay_first() {
    let service = TestService::start().await;
    let till = service.till();
    let card = card(1);
    assert_snapshot!(
        points(&till, &swipe(1, Some(&card), 300)).await,
        @"earned 3 reversed 0 balance 3 spendable 3, 3 expire on 2028-03-31"
    );
    let back = basket(2, Some(&card), vec![returned(1, "1095275", 1_000)]);
    assert_snapshot!(
        points(&till, &back).await,
        @"earned 0 reversed 10 balance -7 spendable 0, nothing expires"
    );
    assert_snapshot!(
        points(&till, &swipe(3, Some(&card), 500)).await,
        @"earned 5 reversed 0 balance -2 spendable 0, nothing expires"
    );
    assert_snapshot!(
        points(&till, &swipe(4, Some(&card), 500)).await,
        @"earned 5 reversed 0 balance 3 spendable 3, 3 expire on 2028-03-31"
    );
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_end_with_their_month_and_the_next_swipe_writes_it_down() {
    let service = TestService::start().await;
    let till = service.till();
    let card = card(1);
    let first = on(swipe(1, Some(&card), 1_000), "2024-01-15");
    assert_snapshot!(
        points(&till, &first).await,
        @"earned 10 reversed 0 balance 10 spendable 10, 10 expire on 2026-01-31"
    );
    let second = on(swipe(2, Some(&card), 500), "2024-02-15");
    assert_snapshot!(
        points(&till, &second).await,
        @"earned 5 reversed 0 balance 15 spendable 15, 10 expire on 2026-01-31"
    );
    let on_the_last_day = on(swipe(3, Some(&card), 100), "2026-01-31");
    assert_snapshot!(
        points(&till, &on_the_last_day).await,
        @"earned 1 reversed 0 balance 16 spendable 16, 10 expire on 2026-01-31"
    );
    let a_day_later = on(swipe(4, Some(&card), 100), "2026-02-01");
    assert_snapshot!(
        points(&till, &a_day_later).await,
        @"earned 1 reversed 0 balance 7 spendable 7, 5 expire on 2026-02-28"
    );
    let expired = "SELECT sum(points)::bigint FROM entry WHERE kind = 5";
    assert_eq!(service.count(expired).await, -10);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swipe_that_comes_late_does_not_turn_the_clock_back() {
    let service = TestService::start().await;
    let till = service.till();
    let card = card(1);
    let newest = on(swipe(1, Some(&card), 500), "2026-02-01");
    assert_snapshot!(
        points(&till, &newest).await,
        @"earned 5 reversed 0 balance 5 spendable 5, 5 expire on 2028-02-29"
    );
    // Bought long ago and sent today: earned, and run out in the same moment.
    let mut ancient = on(swipe(2, Some(&card), 1_000), "2024-01-15");
    ancient["offline"] = true.into();
    assert_snapshot!(
        points(&till, &ancient).await,
        @"earned 10 reversed 0 balance 5 spendable 5, 5 expire on 2028-02-29"
    );
    // Bought before the newest one, and good for as long as if it had come in time.
    let mut late = on(swipe(3, Some(&card), 300), "2025-12-24");
    late["offline"] = true.into();
    assert_snapshot!(
        points(&till, &late).await,
        @"earned 3 reversed 0 balance 8 spendable 8, 3 expire on 2027-12-31"
    );
    let clock = "SELECT count(*) FROM account WHERE clock = '2026-02-01'";
    assert_eq!(service.count(clock).await, 1);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_says_what_earns_and_what_it_does_not_know_earns_the_base_rate() {
    let service = TestService::start().await;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let csv = "sku,name,department,category,no_points\n\
               1095275,Milk,GROCERY,MILK,\n\
               551,Unleaded,FUEL,PETROL,\n\
               902192,Gift card,GROCERY,GIFTCARD,true\n";
    file.write_all(csv.as_bytes()).expect("written");
    let file = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let mut importer =
        Importer::connect(&service.config.database, Timestamp::now()).await.expect("connected");
    importer.catalogue(&file, today(), "test", |_| ()).await.expect("imported");
    let rules =
        "UPDATE programme SET rules = jsonb_set(rules, '{excluded_departments}', '[\"FUEL\"]')";
    service.sql().await.batch_execute(rules).await.expect("changed");
    let replica = service.replica().await;
    let till = replica.till("0367", "03");
    let mut earned = Vec::new();
    for (sequence, sku) in (1..).zip(["1095275", "551", "902192", "nowhere"]) {
        let sale = basket(sequence, Some(&card(1)), vec![sold(1, sku, 500)]);
        earned.push((sku, body(&post(&till, &sale).await)["points"]["earned"].clone()));
    }
    assert_json_snapshot!(earned, @r#"
    [
      [
        "1095275",
        5
      ],
      [
        "551",
        0
      ],
      [
        "902192",
        0
      ],
      [
        "nowhere",
        5
      ]
    ]
    "#);
    // What earned nothing takes nothing when it comes back.
    let back = vec![returned(1, "551", 500), returned_from(2, 500, &name(3))];
    assert_snapshot!(
        points(&till, &basket(9, Some(&card(1)), back)).await,
        @"earned 0 reversed 0 balance 10 spendable 10, 10 expire on 2028-03-31"
    );
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voids_say_what_was_undone() {
    let service = TestService::start().await;
    let till = service.till();
    assert_eq!(enrol(&till, &json!({ "card": card(1) })).await.status, StatusCode::CREATED);
    post(&till, &swipe(1, Some(&card(1)), 1_250)).await;
    let undone = void(&till, &name(1)).await;
    assert_eq!(undone.status, StatusCode::CREATED);
    assert_json_snapshot!(receipt(&undone), @r#"
    {
      "account": "[account]",
      "messages": [],
      "points": {
        "balance": 0,
        "earned": 0,
        "next_expiry": null,
        "pending": 0,
        "reversed": 12,
        "spendable": 0,
        "spent": 0
      },
      "swipe": "0367/03/2026-03-14/1",
      "voided_at": "[time]"
    }
    "#);
    let early = void(&till, &name(2)).await;
    assert_eq!(early.status, StatusCode::CREATED);
    assert_json_snapshot!(receipt(&early), @r#"
    {
      "account": null,
      "messages": [
        "The sale has not arrived here yet; it will earn nothing."
      ],
      "points": {
        "balance": null,
        "earned": 0,
        "next_expiry": null,
        "pending": 0,
        "reversed": 0,
        "spendable": null,
        "spent": 0
      },
      "swipe": "0367/03/2026-03-14/2",
      "voided_at": "[time]"
    }
    "#);
    let late = post(&till, &swipe(2, Some(&card(1)), 1_250)).await;
    assert_json_snapshot!(receipt(&late), @r#"
    {
      "account": null,
      "coupons": [],
      "messages": [
        "This transaction was voided before it arrived here; it earns nothing."
      ],
      "points": {
        "balance": null,
        "earned": 0,
        "next_expiry": null,
        "pending": 0,
        "reversed": 0,
        "spendable": null,
        "spent": 0
      },
      "recorded_at": "[time]",
      "redemptions": [],
      "swipe": "0367/03/2026-03-14/2",
      "tier": null
    }
    "#);
    assert_eq!(outcome(&till, &name(2)).await.body, late.body);
    assert!(account_of(&service.sql().await, &card(1)).await > 0);
}
