//! Recorded campaigns as people replay them: the built binary on small files of the data's shape,
//! against a whole service.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::desk::verified;
use crate::support::database::launcher;
use crate::support::flow::until;
use crate::support::parquet::{Values, write};
use crate::support::service::TestService;

use Values::{Amounts, Instants, Numbers, Texts};

/// Three households, two campaigns in March: one that gives each of its households everything,
/// one that does not say. Product 99 is in no catalogue.
fn data() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let file = |name: &str| folder.path().join(format!("{name}.parquet"));
    write(
        &file("products"),
        &[
            ("product_id", Numbers(vec![10, 11, 12])),
            ("manufacturer_id", Numbers(vec![1, 1, 2])),
            ("brand", Texts(vec!["National"; 3])),
            ("department", Texts(vec!["GROCERY"; 3])),
            ("product_category", Texts(vec!["YOGURT", "BREAD", "BREAD"])),
            ("product_type", Texts(vec!["", "ROLLS", "ROLLS"])),
            ("package_size", Texts(vec![""; 3])),
        ],
    );
    // Baskets 1 and 2 of household 1 on the third, 3 on the tenth; 4 of household 2 on the fifth;
    // 5 of household 3 on the seventh, by the clocks of its store.
    let instants = vec![
        "2017-03-03T14:00:00Z",
        "2017-03-03T15:00:00Z",
        "2017-03-03T15:00:00Z",
        "2017-03-10T15:00:00Z",
        "2017-03-05T15:00:00Z",
        "2017-03-08T02:00:00Z",
    ];
    write(
        &file("transactions"),
        &[
            ("household_id", Numbers(vec![1, 1, 1, 1, 2, 3])),
            ("store_id", Numbers(vec![367, 367, 367, 406, 367, 367])),
            ("basket_id", Numbers(vec![1, 2, 2, 3, 4, 5])),
            ("product_id", Numbers(vec![12, 11, 10, 10, 12, 12])),
            ("quantity", Numbers(vec![1; 6])),
            ("sales_value", Amounts(vec![100, 200, 145, 200, 100, 100])),
            ("retail_disc", Amounts(vec![0; 6])),
            ("coupon_disc", Amounts(vec![0, 0, 55, 0, 0, 0])),
            ("coupon_match_disc", Amounts(vec![0; 6])),
            ("transaction_timestamp", Instants(instants)),
        ],
    );
    write(
        &file("campaign_descriptions"),
        &[
            ("campaign_id", Numbers(vec![1, 2])),
            ("campaign_type", Texts(vec!["Type B", "Type A"])),
            ("start_date", Instants(vec!["2017-03-01T00:00:00Z"; 2])),
            ("end_date", Instants(vec!["2017-03-31T00:00:00Z"; 2])),
        ],
    );
    // Household 4 never comes.
    write(
        &file("campaigns"),
        &[
            ("campaign_id", Numbers(vec![1, 1, 1, 2, 2])),
            ("household_id", Numbers(vec![1, 2, 4, 1, 3])),
        ],
    );
    write(
        &file("coupons"),
        &[
            ("campaign_id", Numbers(vec![1, 1, 1, 1, 2, 2])),
            ("coupon_upc", Numbers(vec![900, 901, 901, 902, 900, 903])),
            ("product_id", Numbers(vec![10, 11, 99, 99, 10, 12])),
        ],
    );
    let days = [3, 10, 5, 7, 20, 3].map(|day| match day {
        3 => "2017-03-03T00:00:00Z",
        5 => "2017-03-05T00:00:00Z",
        7 => "2017-03-07T00:00:00Z",
        10 => "2017-03-10T00:00:00Z",
        _ => "2017-03-20T00:00:00Z",
    });
    write(
        &file("coupon_redemptions"),
        &[
            ("household_id", Numbers(vec![1, 1, 2, 3, 2, 1])),
            ("coupon_upc", Numbers(vec![900, 900, 901, 903, 900, 902])),
            ("campaign_id", Numbers(vec![1, 1, 1, 2, 1, 1])),
            ("redemption_date", Instants(days.to_vec())),
        ],
    );
    folder
}

/// `tillside replay` with these arguments; what it reports.
async fn replay(service: &TestService, server: &str, data: &Path, more: &[&str]) -> Value {
    let mut command = Command::new(launcher());
    command
        .args(["replay", "--coupons", "--json", "--server", server, "--data"])
        .arg(data)
        .arg("--keys")
        .arg(data.join("keys.jsonl"))
        .args(more)
        .env("TILLSIDE_DATABASE_URL", service.config.database.url.reveal())
        .env(
            "TILLSIDE_SECRETS_KEY_ENCRYPTION_KEY",
            service.config.secrets.key_encryption_key.reveal(),
        );
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let output = output.await.expect("it does not panic");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_are_offers_issued_to_their_households_and_redeemed_as_recorded() {
    let service = TestService::start().await;
    let (data, server) = (data(), service.replica.base_url.clone());
    let prepare = ["--prepare", "--dry-run", "--shift-weeks", "463"];
    let told = replay(&service, &server, data.path(), &prepare).await;
    let expected = json!({
        "offers": { "coupons": 4, "offers": 4, "skus": 4, "skus_unknown": 1, "left_out": 1 },
        "issued": { "coupons": 7, "disclosed": 6, "redeemed": 1 },
        "redemptions": {
            "redemptions": 6, "with_article": 3, "without_article": 2, "not_placed": 1,
            "repeated": 1, "with_discount": 1,
        },
    });
    assert_eq!(told["coupons"], expected);
    let holdings = "SELECT (SELECT count(*) FROM offer) * 1000 + (SELECT count(*) FROM coupon)";
    assert_eq!(service.count(holdings).await, 4_007);
    // Prepared again, nothing is there twice.
    replay(&service, &server, data.path(), &["--prepare", "--dry-run"]).await;
    assert_eq!(service.count(holdings).await, 4_007);
    let days = "SELECT count(*) FROM coupon
                WHERE valid_from = date '2017-03-01' + 7 * 463
                  AND valid_until = date '2017-03-31' + 7 * 463 AND actor = 'completejourney'";
    assert_eq!(service.count(days).await, 7);

    let catalogue = &service.replica.app.catalogue;
    until("the offers are known", async || {
        catalogue.current().offer_named("journey-2-903").is_some()
    })
    .await;
    let mut rounds = Vec::new();
    for _ in 0..2 {
        rounds.push(replay(&service, &server, data.path(), &[]).await);
    }
    let [first, second] = rounds.as_slice() else { unreachable!("two rounds") };
    let outcomes = json!({ "redeemed": 2, "already-redeemed": 1, "not-in-basket": 1 });
    assert_eq!(first["answers"]["redemptions"], outcomes);
    assert_eq!(
        (&first["answers"]["recorded"], &first["answers"]["refused"]),
        (&json!(5), &json!({}))
    );
    // The coupon that is no offer was not issued, so no till could take it.
    assert_eq!(first["coupons"]["not_issued"], 1);
    assert_eq!(second["answers"]["redemptions"], outcomes);
    assert_eq!(
        (&second["answers"]["known_before"], &second["answers"]["refused"]),
        (&json!(5), &json!({}))
    );
    let redeemed = "SELECT count(*) * 1000 + sum(value_minor)::bigint FROM coupon WHERE state = 1";
    assert_eq!(service.count(redeemed).await, 2_055);
    verified(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_data_redeems_a_part_of_the_coupons() {
    let service = TestService::start().await;
    let (data, server) = (data(), service.replica.base_url.clone());
    replay(&service, &server, data.path(), &["--prepare", "--dry-run"]).await;
    let catalogue = &service.replica.app.catalogue;
    until("the offers are known", async || {
        catalogue.current().offer_named("journey-2-903").is_some()
    })
    .await;
    let told = replay(&service, &server, data.path(), &["--from", "2017-03-05"]).await;
    assert_eq!(told["coupons"]["issued"]["coupons"], 7, "everything was prepared");
    assert_eq!(told["coupons"]["redemptions"]["redemptions"], 4);
    let outcomes = json!({ "redeemed": 2, "not-in-basket": 1 });
    assert_eq!(told["answers"]["redemptions"], outcomes);
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, 3);
}
