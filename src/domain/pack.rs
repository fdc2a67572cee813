//! How much an article holds, read from the words that a catalogue has for it, such as `16 OZ`.
//!
//! Owns that reading and must never guess: what has no number, no unit that is known here, or two
//! meanings is not read. `10 CT/12 OZ` may be ten of twelve ounces or twelve ounces of ten, `2/3
//! OZ` two of three or two thirds, and `56/64 CT` is no number at all but a grade of apples. Packs
//! are compared by their unit only, so nothing hangs on what an ounce of a drink weighs.
//!
//! What was read has a part in choices that are made again years later: whoever teaches it to read
//! more has to see to it that those come out as they were (as `Noted` does for what was chosen
//! before packs were known).

use std::fmt;

/// What the amount of a pack counts. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Unit {
    /// Grams.
    Gram = 0,
    /// Millilitres; fluid ounces, pints, quarts and gallons are those of the US.
    Millilitre = 1,
    /// Hundredths of an ounce. Of weight or of volume: most labels do not say, and between two
    /// that do not, it makes no difference. A pound is sixteen.
    Ounce = 2,
    /// Pieces.
    Piece = 3,
    /// Packs in a pack, whatever each of them holds.
    Pack = 4,
}

impl Unit {
    const ALL: [Self; 5] = [Self::Gram, Self::Millilitre, Self::Ounce, Self::Piece, Self::Pack];

    /// The unit that a stored number stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| *unit as u8 == code)
    }
}

/// How much an article holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pack {
    /// Of what.
    pub unit: Unit,
    /// How much, at least 1.
    pub amount: u16,
}

/// A part of what a catalogue says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    /// In thousandths.
    Number(u64),
    Word(&'a str),
    Slash,
}

use Part::{Number, Slash, Word};

/// One, in thousandths.
const ONE: u64 = 1_000;
/// What a label has fractions of; other numbers behind a slash are no fraction.
const DENOMINATORS: [u64; 5] = [2 * ONE, 3 * ONE, 4 * ONE, 8 * ONE, 16 * ONE];
/// Words that may follow a size and say nothing about it.
const CONTAINERS: [&str; 17] = [
    "BAG", "BOTTLE", "BOX", "BTL", "CAN", "CARTON", "CTN", "GLASS", "JAR", "NR", "PET", "PLASTIC",
    "PLST", "POUCH", "TIN", "TUB", "TUBE",
];

impl Pack {
    /// Reads what a catalogue says; none when that has no meaning, or more than one.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        let parts = parts_of(&text)?;
        match &*parts {
            [Number(size), Word("PK" | "PACK"), Slash, Number(each), rest @ ..]
            | [Number(size), Word("PK" | "PACK" | "X"), Number(each), rest @ ..] => {
                several(*size, *each, rest)
            }
            [Number(size), Word(_), ..] => Self::of(1, *size, 1, &parts[1..]),
            // Half a gallon, as it is written; one of two gallons is nothing.
            [Number(ONE), Slash, Number(parts), rest @ ..] => {
                let is_fraction = DENOMINATORS.contains(parts);
                is_fraction.then(|| Self::of(1, ONE, parts / ONE, rest))?
            }
            [Number(whole), Number(some), Slash, Number(parts), rest @ ..] => {
                let is_fraction = DENOMINATORS.contains(parts) && some < parts && some % ONE == 0;
                let size = || whole * (parts / ONE) + some;
                is_fraction.then(|| Self::of(1, size(), parts / ONE, rest))?
            }
            // Where it may be a fraction, nobody knows.
            [Number(count), Slash, Number(each), rest @ ..] => {
                let is_reduced =
                    !(2..=16).any(|by| count % (by * ONE) == 0 && each % (by * ONE) == 0);
                let may_be_fraction = DENOMINATORS.contains(each) && count < each && is_reduced;
                (!may_be_fraction).then(|| several(*count, *each, rest))?
            }
            _ => None,
        }
    }

    /// So many times a size in thousandths, divided by a number, of the unit that `words` name.
    fn of(count: u64, size: u64, by: u64, words: &[Part<'_>]) -> Option<Self> {
        let (unit, thousandths) = unit_of(words)?;
        let (exact, by) = (count.checked_mul(size)?.checked_mul(thousandths)?, by * ONE * ONE);
        let amount = exact.checked_add(by / 2)? / by;
        // What rounding would change by more than a hundredth is too little to be told.
        let is_told = (amount * by).abs_diff(exact) <= exact / 100;
        let amount = u16::try_from(amount).ok().filter(|amount| *amount > 0 && is_told)?;
        Some(Self { unit, amount })
    }
}

/// So many packs of a size each, both in thousandths. Of pieces nobody knows whether each pack has
/// so many or all of them together.
fn several(count: u64, each: u64, words: &[Part<'_>]) -> Option<Pack> {
    let pack = Pack::of(count / ONE, each, 1, words)?;
    let is_measured = !matches!(pack.unit, Unit::Piece | Unit::Pack);
    (is_measured && count.is_multiple_of(ONE)).then_some(pack)
}

/// The unit that words name, and how many thousandths of its amount one of it is.
fn unit_of(words: &[Part<'_>]) -> Option<(Unit, u64)> {
    let (unit, rest) = match words {
        [Word("FL"), Word("OZ"), rest @ ..] => ((Unit::Millilitre, 29_574), rest),
        [Word(word), rest @ ..] => {
            let unit = match *word {
                "G" | "GM" | "GRAM" | "GRAMS" => (Unit::Gram, ONE),
                "KG" => (Unit::Gram, 1_000 * ONE),
                "ML" => (Unit::Millilitre, ONE),
                "CL" => (Unit::Millilitre, 10 * ONE),
                "L" | "LT" | "LTR" | "LITER" | "LITRE" => (Unit::Millilitre, 1_000 * ONE),
                "PT" | "PINT" => (Unit::Millilitre, 473_176),
                "QT" | "QUART" => (Unit::Millilitre, 946_353),
                "GA" | "GAL" | "GALLON" => (Unit::Millilitre, 3_785_412),
                "OZ" | "OZS" => (Unit::Ounce, 100 * ONE),
                "LB" | "LBS" => (Unit::Ounce, 1_600 * ONE),
                "CT" | "COUNT" | "EA" | "EACH" | "PC" | "PCS" => (Unit::Piece, ONE),
                "DZ" | "DOZ" | "DOZEN" => (Unit::Piece, 12 * ONE),
                "PK" | "PKS" | "PACK" => (Unit::Pack, ONE),
                _ => return None,
            };
            (unit, rest)
        }
        _ => return None,
    };
    let says_nothing = |part: &Part<'_>| matches!(part, Word(it) if CONTAINERS.contains(it));
    (rest.len() <= 1 && rest.iter().all(says_nothing)).then_some(unit)
}

/// Numbers, words and slashes of a text in capitals; none where there is something else.
fn parts_of(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(|c: char| c.is_whitespace() || c == '*');
    while let Some(first) = rest.chars().next() {
        let end = |is_part: fn(char) -> bool| rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let after = rest[first.len_utf8()..].chars().next();
        let length = match first {
            '/' => {
                parts.push(Slash);
                1
            }
            'A'..='Z' => {
                let end = end(|c| c.is_ascii_uppercase());
                parts.push(Word(&rest[..end]));
                end
            }
            '0'..='9' | '.' | ',' if first.is_ascii_digit() || is_digit(after) => {
                let end = end(|c| c.is_ascii_digit() || c == '.' || c == ',');
                let number = rest[..end].trim_end_matches(['.', ',']);
                parts.push(Number(thousandths(number)?));
                number.len()
            }
            // Behind a number or a short form; and as in `3-LB BAG`, but not as in `10-14 LB`.
            ' ' | '.' => 1,
            '-' if after.is_some_and(|c| c.is_ascii_uppercase()) => 1,
            _ => return None,
        };
        rest = &rest[length..];
    }
    Some(parts)
}

fn is_digit(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_ascii_digit())
}

/// A number as it is written. `1.000` and `1,000` are a thousand to some and one to others.
fn thousandths(number: &str) -> Option<u64> {
    let (whole, places) = number.split_once(['.', ',']).unwrap_or((number, ""));
    let is_clear = places.len() < 3 || places.len() == 3 && matches!(whole, "" | "0");
    let are_digits = places.bytes().all(|it| it.is_ascii_digit());
    if !is_clear || !are_digits || whole.len() > 6 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places: u64 = format!("{places:0<3}").parse().ok()?;
    Some(whole * ONE + places)
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = u32::from(self.amount);
        let (thousandths, unit) = match self.unit {
            Unit::Gram if amount >= 1_000 => (amount, "kg"),
            Unit::Millilitre if amount >= 1_000 => (amount, "l"),
            Unit::Gram => (amount * 1_000, "g"),
            Unit::Millilitre => (amount * 1_000, "ml"),
            Unit::Ounce => (amount * 10, "oz"),
            Unit::Piece if amount == 1 => (1_000, "piece"),
            Unit::Piece => (amount * 1_000, "pieces"),
            Unit::Pack => (amount * 1_000, "in a pack"),
        };
        let places = format!("{:03}", thousandths % 1_000);
        let places = places.trim_end_matches('0');
        let dot = if places.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{places} {unit}", thousandths / 1_000)
    }
}
