//! One transaction as it goes over the wire, for the documentation. Tests hold both texts
//! against the service: what is shown is what works.

/// The body of `POST /v1/swipes`.
pub const REQUEST: &str = r#"{
  "store_id": "0367", "workstation_id": "03",
  "business_date": "2026-03-14", "sequence_number": 31198,
  "occurred_at": "2026-03-14T11:53:26-05:00", "currency": "USD",
  "card": "2990000000019", "entry_method": "scanned", "operator_id": "17",
  "training": false, "offline": false,
  "lines": [
    { "line": 1, "kind": "sale", "sku": "1095275", "quantity": "2",
      "amount_minor": 398, "discount_minor": 40 },
    { "line": 2, "kind": "return", "sku": "902192", "quantity": "1",
      "amount_minor": 250, "discount_minor": 0,
      "returns": { "swipe": "0367/01/2026-03-10/55821", "line": 4 } }
  ],
  "adjustments": [ { "kind": "tax", "amount_minor": 9 } ],
  "total_minor": 117,
  "redemptions": [ { "coupon": "7K2M9QXA4TRB3W", "discount_minor": 40 } ],
  "points_spent": 0, "points_value_minor": 0
}"#;

/// An answer to it. In the service's own answers there are no spaces between the parts.
pub const ANSWER: &str = r#"{
  "swipe": "0367/03/2026-03-14/31198",
  "account": "acc_000000000A1KV",
  "recorded_at": "2026-03-14T16:53:26.482913Z",
  "points": {
    "earned": 3, "pending": 0, "spent": 0, "reversed": 2,
    "balance": 1204, "spendable": 1204,
    "next_expiry": { "points": 55, "on": "2026-06-30" }
  },
  "tier": null,
  "redemptions": [
    { "coupon": "7K2M9QXA4TRB3W", "outcome": "unknown", "discount_minor": 40 }
  ],
  "coupons": [],
  "messages": []
}"#;
