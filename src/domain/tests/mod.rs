//! Properties of the domain, shown on values that nobody chose: what holds for every swipe,
//! every account, every order. Examples stand beside the code that they explain.
//!
//! This file owns the values; each other file one subject.

mod caps;
mod content;
mod coupon;
mod desk;
mod earning;
mod encodings;
mod ledger;
mod member_prices;
mod offer;
mod pack;
mod profile;
mod programme;
mod search;
mod selection;
mod showcase;
mod spending;
mod swipe;
mod tiers;
mod upsell;

use jiff::Timestamp;
use jiff::civil::Date;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::basket::{
    Adjustment, AdjustmentKind, EntryMethod, Ground, Line, LineKind, Redemption, SoldOn, Swipe,
};
use super::codec::date_of;
use super::ledger::{LotKey, NEVER};
use super::name::SwipeName;
use super::product::{Product, Taxa};
use super::programme::{BaseRate, EarnRule, Level, Multiplier, Programme, RedemptionRate, Rules};
use super::quantity::Quantity;

/// The department that [`programme`] excludes.
const EXCLUDED: u32 = 7;

/// Dates near enough to each other that points expire between them now and then.
fn a_date() -> impl Strategy<Value = Date> {
    (9_000..11_000).prop_map(|days| date_of(days).expect("in the calendar"))
}

fn a_name() -> impl Strategy<Value = SwipeName> {
    ("[A-Za-z0-9._-]{1,16}", "[A-Za-z0-9._-]{1,16}", a_date(), 0..super::name::SEQUENCE_MAX)
        .prop_map(|(store_id, workstation_id, business_date, sequence_number)| SwipeName {
            store_id,
            workstation_id,
            business_date,
            sequence_number,
        })
}

fn a_quantity() -> impl Strategy<Value = Quantity> {
    let thousandths = prop_oneof![0_i64..20_000, Just(0), Just(1_000), 0_i64..=999_999_999];
    thousandths.prop_map(|value| Quantity::from_thousandths(value).expect("in range"))
}

fn a_kind() -> impl Strategy<Value = LineKind> {
    let sold_on = (a_name(), 1..500_u16).prop_map(|(swipe, line)| SoldOn { swipe, line });
    prop_oneof![
        3 => Just(LineKind::Sale),
        1 => option::of(sold_on).prop_map(|sold_on| LineKind::Return { sold_on }),
    ]
}

/// Lines numbered from 1. Discounts may exceed amounts: coupons do that.
fn lines(kind: impl Strategy<Value = LineKind>) -> impl Strategy<Value = Vec<Line>> {
    let line = (kind, "[a-z0-9 é]{1,12}", a_quantity(), 0_i64..50_000, 0_i64..5_000);
    vec(line, 1..12).prop_map(|lines| {
        let numbered = (1..).zip(lines);
        numbered
            .map(|(line, (kind, sku, quantity, amount_minor, discount_minor))| Line {
                line,
                kind,
                sku,
                quantity,
                amount_minor,
                discount_minor,
            })
            .collect()
    })
}

/// A swipe with a total that adds up; without what only a till's sender would add.
fn swipe_of(name: SwipeName, lines: Vec<Line>, adjustments: Vec<Adjustment>) -> Swipe {
    let signed = |line: &Line| match line.kind {
        LineKind::Sale => line.net_minor(),
        LineKind::Return { .. } => -line.net_minor(),
    };
    let extras: i64 = adjustments.iter().map(|adjustment| adjustment.amount_minor).sum();
    let total_minor = lines.iter().map(signed).sum::<i64>() + extras;
    Swipe {
        name,
        occurred_at: Timestamp::UNIX_EPOCH,
        card: None,
        entry_method: None,
        operator_id: None,
        training: false,
        offline: false,
        lines,
        adjustments,
        total_minor,
        redemptions: Vec::new(),
        points_spent: 0,
        points_value_minor: 0,
    }
}

fn a_swipe() -> impl Strategy<Value = Swipe> {
    let kinds = AdjustmentKind::NAMES.map(|(_, kind)| kind);
    let adjustment = (select(kinds.to_vec()), -500_i64..500)
        .prop_map(|(kind, amount_minor)| Adjustment { kind, amount_minor });
    let ground = prop_oneof![
        3 => "[A-Z0-9]{1,14}".prop_map(Ground::Coupon),
        1 => "[a-z0-9-]{1,14}".prop_map(Ground::Offer),
    ];
    let redemption = (ground, 0_i64..500)
        .prop_map(|(ground, discount_minor)| Redemption { ground, discount_minor });
    let methods = EntryMethod::NAMES.map(|(_, method)| method);
    let parts = (a_name(), lines(a_kind()), vec(adjustment, 0..4), vec(redemption, 0..4));
    let texts = (option::of("[0-9]{13}"), option::of("[a-z é]{1,8}"));
    let rest = (option::of(select(methods.to_vec())), any::<bool>(), 0_i64..4_000_000_000_000_000);
    let points = prop_oneof![Just((0, 0)), (1_i64..900, 0_i64..900)];
    (parts, texts, rest, points).prop_map(
        |((name, lines, adjustments, redemptions), (card, operator_id), rest, points)| {
            let (entry_method, offline, micros) = rest;
            Swipe {
                occurred_at: Timestamp::from_microsecond(micros).expect("in range"),
                card,
                operator_id,
                entry_method,
                offline,
                redemptions,
                points_spent: points.0,
                points_value_minor: points.1,
                ..swipe_of(name, lines, adjustments)
            }
        },
    )
}

/// Articles of a small catalogue, so that they come again.
fn a_product() -> impl Strategy<Value = Product> {
    let flags = (0..10_u8, 0..10_u8, 0..10_u8, 0..10_u8);
    (0_u32..40, flags).prop_map(|(product_no, flags)| Product {
        product_no,
        taxa: Taxa {
            department_no: product_no % 9,
            category_no: product_no % 6,
            type_no: product_no % 12,
            brand_no: 1,
        },
        no_points: flags.0 == 0,
        sensitive: flags.1 == 0,
        no_discount: flags.2 == 0,
        age_restricted: flags.3 == 0,
        ..Product::default()
    })
}

/// Rules on the departments of [`a_product`], in any order.
fn some_rules() -> impl Strategy<Value = Vec<EarnRule>> {
    let effect = prop_oneof![
        (1_000_u32..5_000).prop_map(|it| (Some(Multiplier(it)), None, None)),
        (1_u32..200).prop_map(|it| (None, Some(it), None)),
        (1_u32..9).prop_map(|it| (None, None, Some(it))),
    ];
    vec((option::of(0_u32..9), 0_i64..9_000, effect), 0..4).prop_map(|rules| {
        let rule = |(at, (department, minimum_minor, effect)): (usize, (Option<u32>, _, _))| {
            let (multiplier, fixed_points, points_per_item) = effect;
            EarnRule {
                name: at.to_string(),
                departments: department.iter().map(u32::to_string).collect(),
                minimum_minor,
                multiplier,
                fixed_points,
                points_per_item,
                ..EarnRule::default()
            }
        };
        rules.into_iter().enumerate().map(rule).collect()
    })
}

fn a_programme() -> impl Strategy<Value = Programme> {
    let rates = (0_u32..20, 1_u32..300, 1_u32..50, 0_u32..50);
    let days = prop_oneof![Just(0), 1_u16..28];
    (rates, option::of(1_u8..30), days, some_rules()).prop_map(|(rates, months, days, rules)| {
        let (points, per_minor, paid, value_minor) = rates;
        let rules = Rules {
            earn: BaseRate { points, per_minor },
            redeem: RedemptionRate { points: paid, value_minor },
            excluded_departments: vec!["left out".into()],
            expire_after_months: months,
            pending_days: days,
            rules,
            ..Rules::default()
        };
        let number = |_: Level, name: &str| match name {
            "left out" => Some(EXCLUDED),
            number => number.parse().ok(),
        };
        Programme::compile(&rules, number).expect("within the limits")
    })
}

fn a_lot_key() -> impl Strategy<Value = LotKey> {
    let expires_on = prop_oneof![4 => a_date(), 1 => Just(NEVER)];
    (a_date(), expires_on)
        .prop_map(|(available_from, expires_on)| LotKey { expires_on, available_from })
}
