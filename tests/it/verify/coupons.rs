//! What stored receipts say of coupons, held against the coupons: clean after what tills do, and
//! not after anything else.

use std::collections::BTreeSet;

use http::StatusCode;
use tillside::config::Coupons;

use super::{audit, back_up, broken, restore, run};
use crate::coupons::{issued, offer, outcomes, plain, with};
use crate::support::flow::{name, on, void};
use crate::support::service::{body, post};
use crate::till_coupons::{bought, brought, certain, enrolled, of_skus, offer_of, service_with};

/// The day on which customers come back for what they have bought before.
const LATER: &str = "2026-03-21";

/// What is done to the coupons of that customer. Those of state 0 came with a receipt, those of
/// state 1 were taken by a till.
const DAMAGE: &[&str] = &[
    "DELETE FROM coupon WHERE state = 0",
    "UPDATE coupon SET valid_from = valid_from - 1 WHERE state = 0",
    "UPDATE coupon SET valid_until = valid_until + 1 WHERE state = 0",
    "UPDATE coupon SET offer_no = (SELECT offer_no FROM offer WHERE offer_id = 'forty')
     WHERE state = 0",
    "UPDATE coupon SET code = code # 1 WHERE state = 0",
    "UPDATE coupon SET issued_version = issued_version + 1 WHERE state = 0",
    // As if nobody had redeemed it, or otherwise than the receipt says.
    "UPDATE coupon SET state = 0, changed_version = 0, redeemed_on = NULL, value_minor = NULL
     WHERE state = 1 AND NOT over_value",
    "UPDATE coupon SET over_value = NOT over_value WHERE state = 1",
    "UPDATE coupon SET over_limit = true WHERE state = 1 AND NOT over_value",
    "UPDATE coupon SET value_minor = value_minor + 1 WHERE state = 1",
    // One more than the receipt brought.
    "INSERT INTO coupon (bucket, code, account_id, issued_version, issued_at, offer_no, valid_from,
                         valid_until, actor)
     SELECT bucket, code # 2, account_id, issued_version, issued_at, offer_no, valid_from,
            valid_until, actor FROM coupon WHERE state = 0 LIMIT 1",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receipt_says_of_coupons_is_what_became_of_them() {
    let service = service_with(|coupons| *coupons = Coupons { per_swipe: 2, ..certain() }).await;
    let till = enrolled(&service).await;
    offer_of(&service, "yoghurt", of_skus(&["1"])).await;
    offer_of(&service, "bread", of_skus(&["4"])).await;
    offer(&service, plain("forty")).await;
    post(&till, &bought(1, &["1", "4"])).await;
    let gifts = brought(&body(&post(&till, &on(bought(2, &["3"]), LATER)).await));
    assert_eq!(gifts.len(), 2, "{gifts:?}");
    // One for what it is worth, one for more, one that nobody has, and the first again.
    let own = issued(&service, 1, "forty", 2).await;
    let taken = [&*own[0], &*own[1], "00000000000001", &*own[0]];
    let mut sale = with(bought(3, &["3"]), &taken);
    sale["redemptions"][1]["discount_minor"] = 41.into();
    let said = outcomes(&post(&till, &sale).await);
    assert_eq!(said, ["redeemed", "over-value", "unknown", "already-redeemed"]);
    let clean = audit(&service).await;
    assert!(clean.broken.is_empty(), "{:#?}", clean.broken);

    let sql = service.sql().await;
    run(&sql, &back_up()).await;
    for damage in DAMAGE {
        run(&sql, &format!("SET session_replication_role = replica; {damage}")).await;
        let found = broken(&audit(&service).await);
        assert_eq!(found, BTreeSet::from(["receipt-differs"]), "{damage}");
        run(&sql, &restore()).await;
    }
    // A void opens the coupons again; what the receipt of that time says is no finding.
    assert_eq!(void(&till, &name(3)).await.status, StatusCode::CREATED);
    let voided = audit(&service).await;
    assert!(voided.broken.is_empty(), "{:#?}", voided.broken);
}
