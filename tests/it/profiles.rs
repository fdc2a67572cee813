//! Profiles: what is folded purchase by purchase in memory is what is read back from its
//! checkpoint and the purchases since, and can always be made again.

use std::io::Write as _;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tillside::domain::profile::{Level, Profile};
use tillside::import::{self, Importer};
use tillside::till::Till;

use crate::support::flow::{account_of, audit, basket, post_batch, returned, sold};
use crate::support::service::{Replica, TestService, card, post, today};

const SKUS: [&str; 5] = ["1095275", "902192", "551", "17", "nowhere"];

/// A service whose catalogue knows most of the articles.
async fn service_with_catalogue() -> (TestService, Replica) {
    let service = TestService::start().await;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let csv = "sku,name,department,category,type,brand,sensitive\n\
               1095275,Milk,GROCERY,DAIRY,MILK,Private,\n\
               902192,Yoghurt,GROCERY,DAIRY,YOGHURT,National,\n\
               551,Apples,PRODUCE,FRUIT,APPLES,,\n\
               17,Test kit,DRUG,HEALTH,TESTS,National,true\n";
    file.write_all(csv.as_bytes()).expect("written");
    let file = import::read_catalogue(file.path(), |_| ()).expect("sound");
    let mut importer =
        Importer::connect(&service.config.database, Timestamp::now()).await.expect("connected");
    importer.catalogue(&file, today(), "test", |_| ()).await.expect("imported");
    let replica = service.replica().await;
    (service, replica)
}

/// The n-th purchase of every card: the same for all of them.
fn purchase(card_number: u64, n: i64) -> Value {
    let sequence = i64::try_from(card_number).expect("small") * 1_000 + n;
    let at = |shift: i64| SKUS[usize::try_from((n + shift) % 5).expect("below five")];
    let mut lines = vec![sold(1, at(0), 100 + n), sold(2, at(n / 5), 250)];
    if n % 4 == 3 {
        lines.push(returned(3, at(2), 50));
    }
    let mut purchase = basket(sequence, Some(&card(card_number)), lines);
    let (hour, minute) = (8 + n % 12, n % 60);
    purchase["occurred_at"] = format!("2026-03-14T{hour:02}:{minute:02}:00-04:00").into();
    if n % 6 == 0 {
        purchase["redemptions"] = json!([{ "coupon": "7K2M9QXA4TRB3W", "discount_minor": 40 }]);
    }
    purchase
}

async fn buy(till: &Till, card_number: u64, purchases: std::ops::Range<i64>) {
    for n in purchases {
        let answer = post(till, &purchase(card_number, n)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
}

/// The profile that a replica holds in memory.
async fn held(service: &TestService, replica: &Replica, card_number: u64) -> Profile {
    let account_id = account_of(&service.sql().await, &card(card_number)).await;
    let hot = replica.app.accounts.get(account_id).expect("it has just moved");
    let mut profile = Profile::default();
    hot.read_profile(&mut profile);
    profile
}

async fn checkpoint(service: &TestService, card_number: u64) -> Option<i64> {
    let sql = "SELECT p.version FROM profile p JOIN card c USING (account_id) WHERE c.card = $1";
    let client = service.sql().await;
    let row = client.query_opt(sql, &[&card(card_number)]).await.expect("asked");
    row.map(|row| row.get(0))
}

/// The till was offline for months and sends in any order: an earlier business date comes after
/// a later one, around a checkpoint as well as before any.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_read_back_knows_sales_that_came_late() {
    let days = ["2026-03-14", "2025-11-02", "2026-03-13", "2025-12-30", "2026-01-31", "2026-03-14"];
    let late = |card_number: u64, n: i64| {
        let day = days[usize::try_from(n).expect("small") % days.len()];
        let mut purchase = purchase(card_number, n);
        purchase["business_date"] = day.into();
        purchase["occurred_at"] = format!("{day}T10:00:00-05:00").into();
        purchase
    };
    let (service, warm) = service_with_catalogue().await;
    let till = warm.till("0367", "03");
    for (number, purchases) in (0..).zip([2, 3, 4, 7, 16, 18, 20]) {
        let (one, twin) = (2 * number, 2 * number + 1);
        let cold = service.replica().await;
        for (card_number, last_at) in [(one, &till), (twin, &cold.till("0367", "03"))] {
            for n in 0..purchases {
                let at = if n == purchases - 1 { last_at } else { &till };
                let answer = post(at, &late(card_number, n)).await;
                assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
            }
        }
        let expected = held(&service, &warm, one).await;
        assert_eq!(held(&service, &cold, twin).await, expected, "{purchases} purchases");
    }
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_read_back_is_the_one_that_was_folded_in_memory() {
    let (service, warm) = service_with_catalogue().await;
    let till = warm.till("0367", "03");
    for (number, purchases) in (0..).zip([1, 2, 15, 16, 17, 31, 32, 33]) {
        let (one, twin) = (2 * number, 2 * number + 1);
        buy(&till, one, 0..purchases).await;
        // The twin buys the same, the last time on a replica that has never seen it.
        buy(&till, twin, 0..purchases - 1).await;
        let cold = service.replica().await;
        buy(&cold.till("0367", "03"), twin, purchases - 1..purchases).await;
        let expected = held(&service, &warm, one).await;
        assert_eq!(held(&service, &cold, twin).await, expected, "{purchases} purchases");
        assert_eq!(i64::from(expected.baskets()), purchases);
        let at = (purchases >= 16).then_some(purchases / 16 * 16);
        assert_eq!(checkpoint(&service, one).await, at, "{purchases} purchases");
        assert_eq!(checkpoint(&service, twin).await, at, "{purchases} purchases");
    }
    let profile = held(&service, &warm, 14).await;
    assert!(profile.redemptions() > 0 && profile.hours().iter().filter(|n| **n > 0).count() > 5);
    // Milk, yoghurt and apples; a test kit is sensitive, and nobody knows the fifth.
    assert_eq!(profile.affinities(Level::Product).count(), 3);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_read_is_made_again_from_the_purchases() {
    let (service, warm) = service_with_catalogue().await;
    let till = warm.till("0367", "03");
    buy(&till, 0, 0..40).await;
    let expected = held(&service, &warm, 0).await;
    for (number, spoil) in (1..).zip([
        "encoding = 200",
        "data = ''",
        "data = substring(data FOR length(data) - 1)",
        "data = set_byte(data, 0, 77)",
        "data = data || '\\x00'",
        "encoding = 200, data = 'of the future'",
    ]) {
        buy(&till, number, 0..39).await;
        assert_eq!(checkpoint(&service, number).await, Some(32));
        let account_id = account_of(&service.sql().await, &card(number)).await;
        let sql = format!("UPDATE profile SET {spoil} WHERE account_id = {account_id}");
        service.sql().await.batch_execute(&sql).await.expect("spoilt");
        let cold = service.replica().await;
        buy(&cold.till("0367", "03"), number, 39..40).await;
        assert_eq!(held(&service, &cold, number).await, expected, "{spoil}");
        // The next checkpoint is sound again.
        buy(&cold.till("0367", "03"), number, 40..49).await;
        assert_eq!(checkpoint(&service, number).await, Some(48));
        let sql = format!("SELECT data FROM profile WHERE account_id = {account_id}");
        let row = service.sql().await.query_one(&sql, &[]).await.expect("asked");
        let stored = Profile::decode(row.get(0)).expect("a sound checkpoint");
        assert_eq!(stored.baskets(), 48, "{spoil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_does_not_depend_on_how_its_purchases_were_grouped() {
    let (service, warm) = service_with_catalogue().await;
    buy(&warm.till("0367", "03"), 0, 0..40).await;
    let cold = service.replica().await;
    // By one batch, in one statement or several: the checkpoint lies where the chain ended.
    let items: Vec<Value> = (0..40).map(|n| json!({ "swipe": purchase(1, n) })).collect();
    let till = cold.till("0367", "03");
    for items in items.chunks(7) {
        let answer = post_batch(&till, items).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    // Items of a batch were put into the order of time, so only what does not depend on the
    // order is compared: the counts.
    let (one, other) = (held(&service, &warm, 0).await, held(&service, &cold, 1).await);
    assert_eq!((one.baskets(), one.hours()), (other.baskets(), other.hours()));
    assert_eq!(one.usual_basket(), other.usual_basket());
    for level in [Level::Category, Level::Type, Level::Product] {
        let counts = |profile: &Profile| -> Vec<(u32, u16)> {
            profile.affinities(level).map(|(id, affinity)| (id, affinity.count)).collect()
        };
        assert_eq!(counts(&one), counts(&other));
    }
    audit(&service).await;
}
