//! The model against two replicas, as far as coupons go: what people offer, issue and take back,
//! what tills say of it, and the rows.

use jiff::Timestamp;
use jiff::civil::{Date, date};
use serde_json::{Value, json};
use tillside::catalogue::Snapshot;
use tillside::commit::{Desk, Order, Ordered, Whose};
use tillside::domain::bucket;
use tillside::domain::coupon::Code;
use tokio_postgres::Client;

use super::chain::{Answer, Chain};
use super::coupons::{Delivery, Offer, Outcome, Reward, State};
use super::purchase::{Given, Taken};
use crate::coupons as flow;
use crate::support::flow::until;
use crate::support::service::{Replica, TestService};

/// An offer without limits, for everything.
const PLAIN: Offer = Offer {
    name: "",
    delivery: Delivery::Personal { days: 150 },
    reward: Reward::Off(40),
    ordinary_only: false,
    minimum_minor: 0,
    per_account: 0,
    per_day: 0,
    per_swipe: 0,
    in_group: None,
};

/// What there is in every case. The last one is each case's own, since everybody uses it up.
pub(crate) const OFFERS: [Offer; 6] = [
    Offer { name: "forty", in_group: Some(5), ..PLAIN },
    Offer {
        name: "half",
        delivery: Delivery::Personal { days: 400 },
        reward: Reward::Percent(50),
        per_account: 4,
        per_day: 2,
        per_swipe: 1,
        in_group: Some(0),
        ..PLAIN
    },
    Offer {
        name: "points",
        delivery: Delivery::Personal { days: 300 },
        reward: Reward::Points(25),
        ordinary_only: true,
        per_day: 1,
        ..PLAIN
    },
    Offer {
        name: "member",
        delivery: Delivery::Everybody { since: date(2025, 9, 1), until: date(2027, 9, 1) },
        reward: Reward::Percent(10),
        ordinary_only: true,
        minimum_minor: 300,
        ..PLAIN
    },
    Offer {
        name: "thirty",
        delivery: Delivery::Everybody { since: date(2000, 1, 1), until: date(2100, 1, 1) },
        reward: Reward::Off(30),
        per_account: 5,
        per_swipe: 1,
        in_group: Some(2),
        ..PLAIN
    },
    Offer { name: "shared", delivery: Delivery::Shared { max_uses: 4 }, ..PLAIN },
];

/// What was issued in a case.
pub(crate) struct Issued {
    /// In the order of the model's coupons.
    codes: Vec<Code>,
    shared_code: String,
}

/// Stores the offers, those of every case or that of one, and waits until both replicas know.
pub(crate) async fn offer(service: &TestService, replicas: &[Replica; 2], case: Option<u32>) {
    for offer in OFFERS {
        let is_shared = matches!(offer.delivery, Delivery::Shared { .. });
        if is_shared != case.is_some() {
            continue;
        }
        let wire = definition(&offer, case);
        let name = wire["offer"].as_str().expect("a text").to_owned();
        flow::offer(service, wire).await;
        until("both replicas know the offer", async || {
            let knows = |it: &Replica| it.app.catalogue.current().offer_named(&name).is_some();
            replicas.iter().all(knows)
        })
        .await;
    }
}

/// An offer as people write it.
fn definition(offer: &Offer, case: Option<u32>) -> Value {
    let mut wire = flow::plain(&case.map_or(offer.name.to_owned(), |it| format!("shared-{it}")));
    let (delivery, valid_days) = match offer.delivery {
        Delivery::Personal { days } => ("personal", days),
        Delivery::Everybody { since, until } => {
            (wire["since"], wire["until"]) = (json!(since), json!(until));
            ("automatic", 0)
        }
        Delivery::Shared { max_uses } => {
            let code = shared_code(case.expect("it is the case's"));
            wire["shared_code"] = json!({ "code": code, "max_uses": max_uses });
            ("shared-code", 1)
        }
    };
    (wire["delivery"], wire["valid_days"]) = (delivery.into(), valid_days.into());
    wire["reward"] = match offer.reward {
        Reward::Off(minor) => json!({ "kind": "amount-off", "amount_minor": minor }),
        Reward::Percent(percent) => json!({ "kind": "percent-off", "percent": percent }),
        Reward::Points(points) => json!({ "kind": "points-bonus", "points": points }),
    };
    if offer.ordinary_only {
        wire["scope"] = json!({ "skus": ["1095275"] });
    }
    if let Some(priority) = offer.in_group {
        wire["stacking"] = json!({ "group": "spring", "priority": priority });
    }
    wire["minimum_basket_minor"] = offer.minimum_minor.into();
    let Offer { per_account, per_day, per_swipe, .. } = *offer;
    wire["limits"] = json!({});
    for (name, most) in
        [("per_account", per_account), ("per_day", per_day), ("per_swipe", per_swipe)]
    {
        if most > 0 {
            wire["limits"][name] = most.into();
        }
    }
    wire
}

fn shared_code(case: u32) -> String {
    format!("SHARED{case}")
}

impl Issued {
    pub(crate) fn new(case: u32) -> Self {
        Self { codes: Vec::new(), shared_code: shared_code(case) }
    }

    pub(crate) async fn issue(
        &mut self,
        desk: &mut Desk,
        snapshot: &Snapshot,
        (offer, card, on): (usize, String, Date),
    ) {
        let offer = OFFERS[offer].name.to_owned();
        let order = Order::Issue {
            whose: Whose::Card(card),
            offer,
            count: 1,
            actor: "test".to_owned(),
            on,
        };
        let ordered = desk.order(snapshot, &order, Timestamp::now()).await;
        match ordered.expect("the database is there") {
            Ordered::Issued { codes, .. } => self.codes.extend(codes),
            other => panic!("not issued: {other:?}"),
        }
    }

    pub(crate) async fn revoke(
        &self,
        desk: &mut Desk,
        snapshot: &Snapshot,
        coupon: usize,
        expected: &Answer,
    ) {
        let order = Order::Revoke(self.codes[coupon]);
        let ordered = desk.order(snapshot, &order, Timestamp::now()).await;
        let wanted = match expected {
            Answer::Coupon(State::Redeemed(_)) => Ordered::Redeemed,
            _ => Ordered::Revoked,
        };
        assert_eq!(ordered.expect("the database is there"), wanted);
    }

    /// Discounts as a till writes them.
    pub(crate) fn wire(&self, taken: &[Taken]) -> Value {
        let redemption = |taken: &Taken| match taken.what {
            Given::Coupon(coupon) => {
                json!({ "coupon": self.codes[coupon].to_string(), "discount_minor": taken.minor })
            }
            Given::Everybodys(offer) => {
                json!({ "offer": OFFERS[offer].name, "discount_minor": taken.minor })
            }
            Given::Code(_) => {
                json!({ "coupon": self.shared_code, "discount_minor": taken.minor })
            }
            Given::Nothing => json!({ "coupon": "NOBODYS", "discount_minor": taken.minor }),
        };
        taken.iter().map(redemption).collect()
    }

    /// The open coupons of a card, as a till is told them.
    pub(crate) fn shown(&self, told: &Value, account: usize, chain: &Chain) {
        let shown = told["coupons"].as_array().expect("a list").iter();
        let mut shown: Vec<&str> = shown.map(|it| it["coupon"].as_str().expect("a text")).collect();
        let mut wanted: Vec<String> = (0..self.codes.len())
            .filter(|coupon| chain.heir_of(chain.coupons.account_of(*coupon)) == account)
            .filter(|coupon| chain.coupons.state_of(*coupon) == State::Open)
            .filter(|coupon| chain.coupons.days_of(*coupon).1 >= chain.today)
            .map(|coupon| self.codes[coupon].to_string())
            .collect();
        shown.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(shown, wanted, "open coupons");
    }

    /// The rows of an account's coupons, and of its uses of what is everybody's.
    pub(crate) async fn rows(&self, sql: &Client, account: usize, id: i64, chain: &Chain) {
        for (coupon, code) in self.codes.iter().enumerate() {
            if chain.coupons.account_of(coupon) != account {
                continue;
            }
            let statement = "SELECT state, redeemed_on, value_minor, over_value, over_limit,
                                    valid_from, valid_until
                             FROM coupon WHERE bucket = $1 AND code = $2 AND account_id = $3";
            let bucket = i16::from(code.bucket());
            let row = sql.query_one(statement, &[&bucket, &code.number(), &id]).await;
            let row = row.expect("the coupon is there");
            let stands: (i16, Option<Date>, Option<i64>, bool, bool) =
                (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
            let wanted = match chain.coupons.state_of(coupon) {
                State::Open => (0, None, None, false, false),
                State::Redeemed(used) => {
                    let over_value = used.outcome == Outcome::OverValue;
                    let on = Some(used.name.business_date);
                    (1, on, Some(used.minor), over_value, used.outcome.is_over_limit())
                }
                State::Revoked => (2, None, None, false, false),
            };
            assert_eq!(stands, wanted, "coupon {coupon}");
            assert_eq!((row.get(5), row.get(6)), chain.coupons.days_of(coupon), "its days");
        }
        let statement = "SELECT count(*), count(*) FILTER (WHERE over_limit) FROM coupon
                         WHERE bucket = $1 AND account_id = $2 AND state = 1
                           AND actor IN ('automatic', 'shared-code')";
        let bucket = i16::from(bucket::of_account(id));
        let row = sql.query_one(statement, &[&bucket, &id]).await.expect(statement);
        let (uses, over) = chain.coupons.shared_uses_of(account);
        let counted: (i64, i64) = (row.get(0), row.get(1));
        let wanted = (i64::try_from(uses).expect("few"), i64::try_from(over).expect("few"));
        assert_eq!(counted, wanted, "uses of what is everybody's");
    }
}

/// The outcomes on a receipt, in the till's order.
pub(crate) fn compare(told: &Value, expected: &[Outcome]) {
    let told = told["redemptions"].as_array().expect("a list").iter();
    let told: Vec<&str> = told.map(|it| it["outcome"].as_str().expect("a text")).collect();
    let wanted: Vec<&str> = expected.iter().map(|outcome| outcome.name()).collect();
    assert_eq!(told, wanted, "outcomes");
}
