//! How much an article holds: what is read of what catalogues say, and what is left alone.

use proptest::prelude::*;

use super::super::pack::{Pack, Unit};

fn told(text: &str) -> Option<String> {
    Pack::read(text).map(|pack| pack.to_string())
}

/// As real catalogues write them, most of them of The Complete Journey.
#[test]
fn what_catalogues_say_of_sizes_is_read_where_it_has_one_meaning() {
    for (text, expected) in [
        ("16 OZ", "16 oz"),
        ("10.75 OZ", "10.75 oz"),
        (".5 OZ", "0.5 oz"),
        ("0.41 OZ", "0.41 oz"),
        ("1. OZ", "1 oz"),
        ("  12    OZ ", "12 oz"),
        ("12oz", "12 oz"),
        ("12 OZS", "12 oz"),
        ("24 OZ BTL", "24 oz"),
        ("1 LB", "16 oz"),
        ("1.5 LB", "24 oz"),
        ("3-LB BAG", "48 oz"),
        ("40 lb", "640 oz"),
        ("500 g", "500 g"),
        ("60 GM", "60 g"),
        ("1 kg", "1 kg"),
        ("1,5 kg", "1.5 kg"),
        ("0.125 KG", "125 g"),
        ("750 ML", "750 ml"),
        ("33 cl", "330 ml"),
        ("1.75 L", "1.75 l"),
        ("2 L*", "2 l"),
        ("2 LTR", "2 l"),
        (".5 L", "500 ml"),
        ("8.45 FL OZ", "250 ml"),
        ("12 FL. OZ.", "355 ml"),
        ("1 PT", "473 ml"),
        ("2 PT", "946 ml"),
        ("1 QT", "946 ml"),
        ("4 QT", "3.785 l"),
        ("1 GA", "3.785 l"),
        ("1 GAL", "3.785 l"),
        ("6 CT", "6 pieces"),
        ("1 ct", "1 piece"),
        ("12 CT.", "12 pieces"),
        ("1 DZ", "12 pieces"),
        ("1.5 DOZ", "18 pieces"),
        ("6 PK", "6 in a pack"),
        ("12 PK    CTN", "12 in a pack"),
        // Halves and quarters.
        ("1/2 GAL", "1.893 l"),
        ("1/2 PT", "237 ml"),
        ("1/4 OZ", "0.25 oz"),
        ("1/3 OZ", "0.33 oz"),
        ("10 3/4 OZ", "10.75 oz"),
        ("6 3/8 OZ", "6.38 oz"),
        ("2 1/2 LB", "40 oz"),
        // Several, each of a size.
        ("12 PK/12 OZ", "144 oz"),
        ("12 PK 12 OZ", "144 oz"),
        ("6 PK/16.9 OZ", "101.4 oz"),
        ("12/12 OZ", "144 oz"),
        ("6/12 OZ", "72 oz"),
        ("24/16.9 OZ", "405.6 oz"),
        ("4/187 ML", "748 ml"),
        ("6/5 LB", "480 oz"),
        ("6x330 ml", "1.98 l"),
        ("4 X 1.5 L", "6 l"),
    ] {
        assert_eq!(told(text).as_deref(), Some(expected), "{text:?}");
    }
}

#[test]
fn what_has_no_meaning_or_two_is_not_read() {
    for text in [
        "",
        " ",
        "OZ",
        // What something is sold by is not what it holds.
        "LB",
        "GAL",
        "each",
        "12",
        "LARGE",
        "SIZE 9",
        "18 IN",
        "80 SQ FT",
        "32 LOADS",
        "1 KIT",
        "CTN",
        "0 OZ",
        "12 OZ EXTRA",
        "P    26 OZ",
        "AB    8 OZ",
        "8 OZ 9",
        "16 OZ BTL BOX",
        "12 OZ/12 PK",
        "144 OZ/12 PK",
        "10 CT/12 OZ",
        "12 OZ/6 CT",
        "2 PK/20 CT",
        "56/64 CT",
        "120 CT(3)",
        "10-14 LB",
        "6-12 OZ",
        // Two thirds of an ounce, or two of three.
        "2/3 OZ",
        "3/4 OZ",
        "3/16 OZ",
        "1/12 OZ",
        "3 7/5 OZ",
        "1.5/12 OZ",
        // A thousand to some, one to others.
        "1.000 G",
        "1,000 G",
        "1.2.3 OZ",
        "1.2345 KG",
        // More than a shop sells, and less than can be told.
        "974139  PK",
        "99999999999999999999 G",
        "66 KG",
        "0.5 G",
        "12 µL",
        "½ L",
        "12 OZ!",
    ] {
        assert_eq!(told(text), None, "{text:?}");
    }
}

#[test]
fn the_numbers_of_units_are_stored_and_stay() {
    for (code, unit) in
        (0..).zip([Unit::Gram, Unit::Millilitre, Unit::Ounce, Unit::Piece, Unit::Pack])
    {
        assert_eq!((Unit::from_code(code), unit as u8), (Some(unit), code));
    }
    assert_eq!(Unit::from_code(5), None);
}

proptest! {
    #[test]
    fn no_text_breaks_the_reading(text in ".{0,20}") {
        let _ = Pack::read(&text);
    }

    #[test]
    fn no_arrangement_of_its_words_breaks_the_reading(
        words in prop::collection::vec(prop::sample::select(vec![
            "0", "1", "12", "999999", ".5", "1.25", "16", "/", "-", "X", "PK", "OZ", "FL", "LB",
            "KG", "GAL", "CT", "BAG", " ", " ", "*", ".",
        ]), 0..9),
    ) {
        if let Some(pack) = Pack::read(&words.concat()) {
            prop_assert!(pack.amount > 0);
        }
    }

    #[test]
    fn twice_as_many_are_twice_as_much_and_a_pound_is_sixteen_ounces(
        (size, count) in (1..30_u32, 2..20_u32),
        unit in prop::sample::select(vec!["OZ", "ML", "G"]),
    ) {
        let amount = |text: String| Pack::read(&text).map(|pack| u32::from(pack.amount));
        let one = amount(format!("{size} {unit}")).expect("a size");
        let several = amount(format!("{count} PK/{size} {unit}")).expect("several");
        prop_assert_eq!(several, one * count);
        let ounces = Pack::read(&format!("{} OZ", size * 16));
        prop_assert_eq!(Pack::read(&format!("{size} LB")), ounces);
        prop_assert_eq!(Pack::read(&format!("{size} KG")), Pack::read(&format!("{size}000 G")));
    }
}
