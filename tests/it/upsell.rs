//! The offer of a larger pack, from the words of a catalogue to the receipt, to what is told of it
//! afterwards, and to what is counted.

use serde_json::{Value, json};
use tillside::office::Role;
use tillside::receipt::account_text;

use crate::decisions::{asked, verdicts};
use crate::desk::verified;
use crate::openapi::{document, findings};
use crate::support::flow::{account_of, audit, enrol, name_of, on};
use crate::support::office::person;
use crate::support::service::{body, card, post, today};
use crate::till_coupons::{bought, bring, brought, certain, of_skus, offer_of, stocked};

/// Coffee in packs of 500 g and 1 kg, a brand whose kilo is dearer than two of them, and tea.
const CATALOGUE: &str = "sku,name,department,category,type,brand,package_size,price_minor\n\
    1,Coffee,GROCERY,COFFEE,GROUND,MOKA,500 g,599\n\
    2,Coffee,GROCERY,COFFEE,GROUND,MOKA,1 kg,1099\n\
    3,Fine coffee,GROCERY,COFFEE,GROUND,NERO,1 kg,1499\n\
    4,Tea,GROCERY,TEA,BLACK,ALMA,20 CT,199\n";

/// What a customer has in a basket so many days after the test's day.
fn of(customer: u64, sequence: i64, days: i64, skus: &[&str]) -> Value {
    let date = today().saturating_add(jiff::Span::new().days(days)).to_string();
    let mut swipe = on(bought(customer.cast_signed() * 10 + sequence, skus), &date);
    swipe["card"] = card(customer).into();
    swipe
}

#[tokio::test(flavor = "multi_thread")]
async fn who_buys_the_small_pack_gets_the_large_one_and_who_has_had_it_does_not() {
    let service = stocked(CATALOGUE, |coupons| *coupons = certain()).await;
    let till = service.till();
    for customer in [1, 2] {
        enrol(&till, &json!({ "card": card(customer) })).await;
        for (sequence, days) in (1..).zip([-40, -30, -20, -10]) {
            let large: &[&str] = if customer == 2 && sequence == 2 { &["1", "2"] } else { &["1"] };
            bring(&till, &of(customer, sequence, days, large)).await;
        }
    }
    offer_of(&service, "kilo", of_skus(&["2"])).await;
    offer_of(&service, "fine-kilo", of_skus(&["3"])).await;

    let (first, second) = (of(1, 5, 0, &["4"]), of(2, 5, 0, &["4"]));
    let receipt = body(&post(&till, &first).await);
    let pair = |offer: &str, reason: &str| (offer.to_owned(), reason.to_owned());
    assert_eq!(brought(&receipt), [pair("kilo", "larger-pack")], "one for a type");
    let text = receipt["coupons"][0]["reason"]["text"].as_str().expect("a sentence");
    assert!(!text.contains(|c: char| c.is_ascii_digit()), "{text}");
    assert_eq!(bring(&till, &second).await, [pair("kilo", "bought-before")]);

    let admin = person(&service, Role::Admin).await;
    let sql = service.sql().await;
    let account = account_text(account_of(&sql, &card(1)).await);
    let told = asked(&admin, &account, &name_of(&first), "").await;
    let schema = json!({ "$ref": "#/components/schemas/CouponDecisionPage" });
    assert_eq!(findings(&document(&till).await, &schema, &told, ""), [""; 0], "{told}");
    assert_eq!(told["decision"]["agrees"], true, "{told:#}");
    assert_eq!(verdicts(&told), [("fine-kilo", "same-type"), ("kilo", "given")]);
    let kilo = &told["decision"]["offers"][0];
    assert_eq!((&kilo["slot"], &kilo["reason"]), (&json!("up-sell"), &json!("larger-pack")));
    let numbers = &kilo["numbers"];
    assert_eq!((&numbers["bought"], &numbers["usual_gap_days"]), (&json!(4), &json!(10)));
    assert_eq!(
        (&numbers["usual_pack"], &numbers["offered_pack"]),
        (&"500 g".into(), &"1 kg".into())
    );
    // As much of the other kilo costs more, so that nobody is told that it is a larger pack.
    let fine = &told["decision"]["offers"][1];
    assert_eq!(
        (&fine["reason"], &fine["numbers"]["usual_pack"]),
        (&"kind-you-buy".into(), &json!(null))
    );
    let code = kilo["coupon"].as_str().expect("a code");
    let life = body(&admin.get(&format!("/v1/coupons/{code}")).await);
    let why = life["why"].as_str().expect("a sentence");
    let expected = "A larger pack: with 500 g bought 4 times, usually every 10 days, last 10 days \
                    before; the offer has 1 kg.";
    assert!(why.starts_with(expected), "{why}");

    let account = account_text(account_of(&sql, &card(2)).await);
    let told = asked(&admin, &account, &name_of(&second), "").await;
    assert_eq!(told["decision"]["agrees"], true, "{told:#}");
    let reasons = told["decision"]["offers"].as_array().expect("a list").iter();
    assert!(reasons.clone().all(|it| it["reason"] != "larger-pack"), "{told:#}");

    // It is counted and reported under its own names.
    let metrics = service.replica.app.metrics.render();
    let counted = r#"tillside_coupons_given_total{reason="larger-pack",slot="up-sell"} 1"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    let marketing = person(&service, Role::Marketing).await;
    for (by, key) in [("slot", "up-sell"), ("reason", "larger-pack")] {
        let path = format!("/v1/reports/responses?from=2026-03-01&until=2026-03-31&by={by}");
        let told = body(&marketing.get(&path).await);
        let keys: Vec<&Value> =
            told["rows"].as_array().expect("rows").iter().map(|row| &row["key"]).collect();
        assert!(keys.contains(&&json!(key)), "{told:#}");
    }
    audit(&service).await;
    verified(&service).await;
}
