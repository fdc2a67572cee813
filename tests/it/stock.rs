//! The stock of the load tests is a past as the service would have made it: the audit finds
//! nothing, and tills go on from there.

use http::StatusCode;
use jiff::civil::date;
use serde_json::json;
use tillside::verify::{ALL_BUCKETS, Audit};
use tillside_load::stock::{self, Past, Stock};
use tillside_load::world::Workstation;

use crate::support::service::{STORES, TODAY, TestService, WORKSTATIONS, body, post, swipe};

/// The tills of a service, as the load tests know them.
pub(crate) fn tills(service: &TestService) -> Vec<Workstation> {
    let places =
        STORES.iter().flat_map(|store| WORKSTATIONS.map(|workstation| (store, workstation)));
    let till = |(store_id, workstation_id): (&&str, &str)| {
        let (keyid, secret) = service.replica.key(store_id, workstation_id);
        Workstation {
            store_id: (*store_id).to_owned(),
            workstation_id: workstation_id.to_owned(),
            keyid: keyid.to_owned(),
            secret,
        }
    };
    places.map(till).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_passes_the_audit_whole_and_in_slices() {
    let service = TestService::start().await;
    let stock = Stock { accounts: 300, baskets: 3..=18, past: Past::Whole };
    let today = date(2026, 3, 14);
    let tills = tills(&service);
    let database = &service.config.database;
    let loaded = stock::load(database, &tills, &stock, today, |_| ()).await.expect("loaded");
    assert_eq!(loaded.swipes, stock.swipes());

    let mut slices = 0;
    for buckets in [ALL_BUCKETS, 0..=99, 100..=255] {
        let audit = Audit::begin(database, buckets.clone()).await.expect("a snapshot");
        let report = audit.run(|_| ()).await.expect("audited");
        assert!(report.broken.is_empty(), "{:#?}", report.broken);
        if buckets == ALL_BUCKETS {
            let counts = report.counts;
            assert_eq!((counts.accounts_enrolled, counts.cards), (300, 300));
            assert_eq!(counts.sales, stock.swipes());
            // Three in sixteen accounts have had 16 baskets or more.
            assert_eq!(counts.profiles, 54);
        } else {
            assert!(report.counts.accounts_enrolled < 300);
            slices += report.counts.sales;
        }
    }
    assert_eq!(slices, stock.swipes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_of_a_stock_goes_on_where_the_past_ended() {
    let service = TestService::start().await;
    let stock = Stock { accounts: 20, baskets: 5..=5, past: Past::Outcome };
    let tills = tills(&service);
    let database = &service.config.database;
    let load = stock::load(database, &tills, &stock, TODAY.parse().expect("a date"), |_| ());
    let loaded = load.await.expect("loaded");
    let answer = post(&service.till(), &swipe(1, Some(&loaded.cards[7]), 400)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let receipt = body(&answer);
    assert_eq!(receipt["account"], json!(tillside::receipt::account_text(stock::account_id(7))));
    let sql = format!("SELECT version FROM account WHERE account_id = {}", stock::account_id(7));
    assert_eq!(service.count(&sql).await, 6);
}
