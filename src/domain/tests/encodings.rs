//! Bytes and texts: what is written reads back, and what nobody wrote never panics.

use jiff::civil::date;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{a_name, a_product, a_quantity, a_swipe};
use crate::domain::account::{Account, State};
use crate::domain::basket::{Ground, LineKind, Swipe};
use crate::domain::card::{CardFormat, check_digit};
use crate::domain::codec::{DecodeError, Reader, Writer, date_of, days};
use crate::domain::name::{SwipeName, parse_date};
use crate::domain::payment_card::{self, Field};
use crate::domain::quantity::Quantity;
use crate::domain::record;
use crate::domain::swipe::Decision;

proptest! {
    #[test]
    fn values_read_back_as_they_were_written(
        unsigned in any::<u64>(), signed in any::<i64>(), byte in any::<u8>(),
        text in any::<String>(), optional in option::of(any::<String>()),
        number in -730_119_i32..=2_921_939,
    ) {
        let mut out = Writer::new(3);
        let on = date_of(number).expect("in the years 1 to 9999");
        out.unsigned(unsigned);
        out.signed(signed);
        out.byte(byte);
        out.date(on);
        out.text(&text);
        out.optional_text(optional.as_deref());
        let bytes = out.finish();
        let mut from = Reader::new(&bytes, 3).expect("the same encoding");
        prop_assert_eq!(from.unsigned(), Ok(unsigned));
        prop_assert_eq!(from.signed(), Ok(signed));
        prop_assert_eq!(from.byte(), Ok(byte));
        prop_assert_eq!(from.date(), Ok(on));
        prop_assert_eq!(from.text(), Ok(&*text));
        prop_assert_eq!(from.optional_text(), Ok(optional.as_deref()));
        prop_assert_eq!(from.end(), Ok(()));
        prop_assert_eq!(Reader::new(&bytes, 4).err(), Some(DecodeError::UnknownEncoding(3)));
    }

    #[test]
    fn bytes_that_nobody_wrote_never_panic(
        bytes in vec(any::<u8>(), 0..40), calls in vec(0_u8..8, 0..12),
    ) {
        let Ok(mut from) = Reader::new(&bytes, bytes.first().copied().unwrap_or(0)) else {
            return Ok(());
        };
        for call in calls {
            match call {
                0 => drop(from.unsigned()),
                1 => drop(from.signed()),
                2 => drop(from.small::<u16>()),
                3 => drop(from.length(2)),
                4 => drop(from.byte()),
                5 => drop(from.date()),
                6 => drop(from.text()),
                _ => drop(from.optional_text()),
            }
        }
    }

    #[test]
    fn a_record_is_the_swipe_with_what_was_decided(
        swipe in a_swipe(),
        products in vec((a_product(), 0_i64..500), 12),
        differs in any::<bool>(),
    ) {
        let decided = &products[..swipe.lines.len()];
        let (articles, line_points): (Vec<_>, Vec<_>) = decided.iter().copied().unzip();
        let nobody = Account::new(256, State::House);
        let decision = Decision {
            line_points,
            value_differs: differs,
            ..Decision::without_points(nobody, vec![])
        };
        let encoded = record::encode(&swipe, &articles, &decision);
        let record = record::decode(&encoded).expect("just encoded");
        // What a redemption names takes room only where one names an offer: else nothing is
        // different from what it was.
        let mut plain = swipe.clone();
        for redemption in &mut plain.redemptions {
            if let Ground::Offer(name) = &redemption.ground {
                redemption.ground = Ground::Coupon(name.clone());
            }
        }
        let before = record::encode(&plain, &articles, &decision);
        prop_assert_eq!(before[1], encoded[1] & 127);
        if plain == swipe {
            prop_assert_eq!(before, encoded);
        } else {
            prop_assert_eq!(before.len() + 1 + swipe.redemptions.len(), encoded.len());
            let mut unknown = encoded;
            unknown[2] |= 2;
            prop_assert!(record::decode(&unknown).is_err(), "a flag that is not known");
        }

        let lines = swipe.lines.iter().zip(decided).zip(&record.lines);
        for ((line, (product, points)), back) in lines {
            prop_assert_eq!((back.line, &back.kind), (line.line, &line.kind));
            prop_assert_eq!((back.product, back.points), (*product, *points));
            prop_assert_eq!(back.quantity, line.quantity);
            prop_assert_eq!(back.amount_minor, line.amount_minor);
            prop_assert_eq!(back.discount_minor, line.discount_minor);
            let unknown = (product.product_no == 0).then_some(&line.sku);
            prop_assert_eq!(back.unknown_sku.as_ref(), unknown);
        }
        prop_assert_eq!(record.lines.len(), swipe.lines.len());
        let sold = swipe.lines.iter().zip(decided).filter(|(l, _)| l.kind == LineKind::Sale);
        prop_assert_eq!(record.sold(), sold.map(|(_, (p, _))| *p).collect::<Vec<_>>());
        prop_assert_eq!(record.card, swipe.card);
        prop_assert_eq!(record.entry_method, swipe.entry_method);
        prop_assert_eq!(record.operator_id, swipe.operator_id);
        prop_assert_eq!(record.offline, swipe.offline);
        prop_assert_eq!(record.adjustments, swipe.adjustments);
        prop_assert_eq!(record.redemptions, swipe.redemptions);
        prop_assert_eq!(record.points_spent, swipe.points_spent);
        prop_assert_eq!(record.points_value_minor, swipe.points_value_minor);
        prop_assert_eq!(record.value_differs, differs);
    }

    #[test]
    fn records_that_nobody_wrote_never_panic(
        mut bytes in vec(any::<u8>(), 1..80),
        swipe in a_swipe(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        bytes[0] = 1;
        let _ = record::decode(&bytes);
        let products = vec![Default::default(); swipe.lines.len()];
        let mut decision = Decision::without_points(Account::new(256, State::House), vec![]);
        decision.line_points = vec![0; swipe.lines.len()];
        decision.line_qualifying = vec![7; swipe.lines.len()];
        let mut damaged = record::encode(&swipe, &products, &decision);
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let _ = record::decode(&damaged);
        damaged.truncate(at);
        prop_assert!(record::decode(&damaged).is_err());
    }

    #[test]
    fn names_quantities_and_dates_read_back(
        name in a_name(), quantity in a_quantity(), number in -36_524_i32..2_921_000,
    ) {
        prop_assert_eq!(name.to_string().parse::<SwipeName>(), Ok(name));
        prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
        let on = date_of(number).expect("in the calendar");
        prop_assert_eq!(parse_date(&on.to_string()), Some(on));
        prop_assert_eq!(days(on), number);
    }

    #[test]
    fn texts_that_nobody_checked_never_panic(text in any::<String>(), near in "[0-9./-]{0,24}") {
        let format = CardFormat {
            length_min: 0, length_max: 40, letters: true, check_digit: true, prefixes: vec![],
        };
        for text in [&text, &near] {
            let name = text.parse::<SwipeName>();
            prop_assert!(name.is_err() || name.map(|name| name.to_string()).as_ref() == Ok(text));
            let _ = text.parse::<Quantity>();
            let _ = parse_date(text);
            let _ = format.admits(text);
            let _ = payment_card::found_in(text, Field::Text);
            let _ = payment_card::found_in(text, Field::Sku);
        }
    }

    #[test]
    fn one_wrong_digit_is_no_card(body in "[0-9]{12}", at in 0_usize..13, by in 1_u8..10) {
        let format = CardFormat {
            length_min: 13, length_max: 13, letters: false, check_digit: true, prefixes: vec![],
        };
        let card = format!("{body}{}", char::from(check_digit(&body)));
        prop_assert!(format.admits(&card));
        let mut wrong = card.into_bytes();
        wrong[at] = b'0' + (wrong[at] - b'0' + by) % 10;
        prop_assert!(!format.admits(std::str::from_utf8(&wrong).expect("digits")));
    }

    #[test]
    fn a_swipe_that_adds_up_breaks_no_rule_and_another_total_does(
        swipe in a_swipe(), by in prop_oneof![-100_i64..0, 1_i64..100],
    ) {
        prop_assert_eq!(swipe.findings(), vec![]);
        let off = Swipe { total_minor: swipe.total_minor + by, ..swipe };
        let pointers: Vec<String> = off.findings().into_iter().map(|it| it.pointer).collect();
        prop_assert_eq!(pointers, ["/total_minor"]);
    }
}

#[test]
fn numbers_end_at_64_bits() {
    let read =
        |bytes: &[u8]| Reader::new(&[&[1], bytes].concat(), 1).and_then(|mut it| it.unsigned());
    let long = |last: &[u8]| [&[0xff; 9], last].concat();
    assert_eq!(read(&long(&[0x01])), Ok(u64::MAX));
    for last in [&[0x02][..], &[0x7f], &[0x81, 0x00], &[0x81], &[]] {
        assert_eq!(read(&long(last)), Err(DecodeError::Damaged), "{last:?}");
    }
}

#[test]
fn dates_end_where_the_calendar_does() {
    for on in [date(1, 1, 1), date(1999, 12, 31), date(2000, 1, 1), date(9999, 12, 31)] {
        assert_eq!(date_of(days(on)), Some(on));
    }
    for number in [days(date(1, 1, 1)) - 1, days(date(9999, 12, 31)) + 1, i32::MIN, i32::MAX] {
        assert_eq!(date_of(number), None, "{number}");
    }
}
