//! What is a retry and what is another transaction.

use jiff::Timestamp;
use proptest::prelude::*;

use super::a_swipe;
use crate::domain::basket::{
    Adjustment, AdjustmentKind, EntryMethod, Ground, Line, LineKind, Redemption, SoldOn, Swipe,
};
use crate::domain::content;

fn full() -> Swipe {
    let sold_on = SoldOn { swipe: "0367/01/2026-03-10/55821".parse().expect("a name"), line: 4 };
    let line = |line, kind, sku: &str, quantity: &str| Line {
        line,
        kind,
        sku: sku.into(),
        quantity: quantity.parse().expect("a quantity"),
        amount_minor: 398,
        discount_minor: 40,
    };
    Swipe {
        name: "0367/03/2026-03-14/31198".parse().expect("a name"),
        occurred_at: "2026-03-14T11:53:26-05:00".parse().expect("a time"),
        card: Some("2990000000019".into()),
        entry_method: Some(EntryMethod::Scanned),
        operator_id: Some("17".into()),
        training: false,
        offline: false,
        lines: vec![
            line(1, LineKind::Sale, "1095275", "2"),
            line(2, LineKind::Return { sold_on: Some(sold_on) }, "902192", "0.42"),
            line(3, LineKind::Return { sold_on: None }, "902192", "1"),
        ],
        adjustments: vec![Adjustment { kind: AdjustmentKind::Tax, amount_minor: 9 }],
        total_minor: -349,
        redemptions: vec![Redemption {
            ground: Ground::Coupon("7K2M9QXA".into()),
            discount_minor: 40,
        }],
        points_spent: 0,
        points_value_minor: 0,
    }
}

/// A change of one field, with its name.
type Change = (&'static str, fn(&mut Swipe));

#[test]
fn a_hash_once_written_is_found_again() {
    // Written down once: if it changes, no recorded swipe recognises its retry any more. A new
    // encoding gets a number of its own, and this one stays as it is.
    let hex: String = content::hash(&full()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "016cd71add6f33090c62c85908dbc9c1d4");
}

#[test]
fn spelling_and_transport_are_not_content() {
    let same: &[Change] = &[
        ("offline", |swipe| swipe.offline = true),
        ("quantity", |swipe| swipe.lines[0].quantity = "2.000".parse().expect("a quantity")),
        ("places", |swipe| swipe.lines[1].quantity = "0.420".parse().expect("a quantity")),
        ("zone", |swipe| swipe.occurred_at = "2026-03-14T16:53:26Z".parse().expect("a time")),
        ("name", |swipe| swipe.name.sequence_number += 1),
    ];
    let recorded = content::hash(&full());
    for (what, change) in same {
        let mut swipe = full();
        change(&mut swipe);
        assert!(content::matches(&recorded, &swipe), "{what}");
    }
}

#[test]
fn every_other_field_is_content() {
    let different: &[Change] = &[
        ("occurred_at", |swipe| swipe.occurred_at += jiff::SignedDuration::from_micros(1)),
        ("card", |swipe| swipe.card = Some("2990000000026".into())),
        ("no card", |swipe| swipe.card = None),
        ("entry_method", |swipe| swipe.entry_method = Some(EntryMethod::Keyed)),
        ("no entry_method", |swipe| swipe.entry_method = None),
        ("operator_id", |swipe| swipe.operator_id = Some("18".into())),
        ("no operator_id", |swipe| swipe.operator_id = None),
        ("empty operator_id", |swipe| swipe.operator_id = Some(String::new())),
        ("training", |swipe| swipe.training = true),
        ("line", |swipe| swipe.lines[0].line = 9),
        ("kind", |swipe| swipe.lines[0].kind = LineKind::Return { sold_on: None }),
        ("sold_on", |swipe| swipe.lines[1].kind = LineKind::Return { sold_on: None }),
        ("sold_on name", |swipe| {
            let swipe_name = "0367/01/2026-03-10/55822".parse().expect("a name");
            let sold_on = Some(SoldOn { swipe: swipe_name, line: 4 });
            swipe.lines[1].kind = LineKind::Return { sold_on };
        }),
        ("sold_on line", |swipe| {
            let swipe_name = "0367/01/2026-03-10/55821".parse().expect("a name");
            let sold_on = Some(SoldOn { swipe: swipe_name, line: 5 });
            swipe.lines[1].kind = LineKind::Return { sold_on };
        }),
        ("sku", |swipe| swipe.lines[0].sku.push('0')),
        ("quantity", |swipe| swipe.lines[0].quantity = "2.001".parse().expect("a quantity")),
        ("amount_minor", |swipe| swipe.lines[0].amount_minor += 1),
        ("discount_minor", |swipe| swipe.lines[0].discount_minor += 1),
        ("fewer lines", |swipe| drop(swipe.lines.pop())),
        ("order of lines", |swipe| swipe.lines.swap(0, 1)),
        ("adjustment kind", |swipe| swipe.adjustments[0].kind = AdjustmentKind::Deposit),
        ("adjustment amount", |swipe| swipe.adjustments[0].amount_minor = -9),
        ("no adjustments", |swipe| swipe.adjustments.clear()),
        ("total_minor", |swipe| swipe.total_minor += 1),
        ("coupon", |swipe| swipe.redemptions[0].ground = Ground::Coupon("7K2M9QXA0".into())),
        ("offer", |swipe| swipe.redemptions[0].ground = Ground::Offer("7K2M9QXA".into())),
        ("coupon discount", |swipe| swipe.redemptions[0].discount_minor += 1),
        ("no redemptions", |swipe| swipe.redemptions.clear()),
        ("points_spent", |swipe| swipe.points_spent = 1),
        ("points_value_minor", |swipe| swipe.points_value_minor = 1),
    ];
    let recorded = content::hash(&full());
    for (what, change) in different {
        let mut swipe = full();
        change(&mut swipe);
        assert!(!content::matches(&recorded, &swipe), "{what}");
    }
}

#[test]
fn a_hash_of_another_encoding_matches_nothing() {
    let mut recorded = content::hash(&full());
    assert!(content::is_known(&recorded));
    recorded[0] = 200;
    assert!(!content::is_known(&recorded) && !content::matches(&recorded, &full()));
    assert!(!content::is_known(&[]) && !content::matches(&[], &full()));
    assert!(!content::is_known(&content::hash(&full())[..16]));
}

proptest! {
    #[test]
    fn no_two_swipes_share_a_hash(one in a_swipe(), other in a_swipe()) {
        let alike = |swipe: &Swipe| Swipe {
            name: one.name.clone(), offline: false, ..swipe.clone()
        };
        let same = alike(&one) == alike(&other);
        prop_assert_eq!(content::matches(&content::hash(&one), &other), same);
        prop_assert!(content::matches(&content::hash(&one), &one));
    }

    #[test]
    fn texts_do_not_run_into_each_other(text in "[a-z]{1,12}", at in any::<prop::sample::Index>()) {
        let at = at.index(text.len());
        // The same letters, cut in other places.
        let (left, right) = text.split_at(at);
        let one = Swipe { card: Some(text.clone()), operator_id: Some(String::new()), ..full() };
        let other = Swipe { card: Some(left.into()), operator_id: Some(right.into()), ..full() };
        prop_assert!(!content::matches(&content::hash(&one), &other));
    }
}

#[test]
fn times_before_1970_have_a_hash_too() {
    let early = Swipe { occurred_at: Timestamp::MIN, ..full() };
    assert!(content::matches(&content::hash(&early), &early));
}
