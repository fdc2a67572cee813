//! Finds payment-card numbers, so that none is ever accepted, stored or logged.
//!
//! A number counts when 13 to 19 digits, separators left out, begin with an issuer range of
//! ISO/IEC 7812 and satisfy Luhn's formula. It is a filter for text that people or tills may
//! fill freely; a loyalty card is judged by its own format, never by this.

/// What kind of field a text stands in: article numbers (GTIN) and telephone numbers have up
/// to 14 digits by nature, so shorter payment-card numbers cannot be told from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field {
    /// Anything else.
    #[default]
    Text,
    /// A stock keeping unit.
    Sku,
    /// A telephone number.
    Phone,
}

impl Field {
    /// The kind of a field by its name on the wire.
    pub fn of_key(key: &str) -> Self {
        match key {
            "sku" => Self::Sku,
            "phone" => Self::Phone,
            _ => Self::Text,
        }
    }
}

/// Whether a payment-card number stands somewhere in a text.
pub fn found_in(text: &str, field: Field) -> bool {
    let shortest = match field {
        Field::Text => 13,
        Field::Sku | Field::Phone => 15,
    };
    // A text has no more digits than bytes.
    if text.len() < shortest {
        return false;
    }
    let mut run: Vec<u8> = Vec::new();
    for character in text.chars() {
        match digit(character) {
            Some(digit) => run.push(digit),
            None if is_separator(character) => {}
            None => {
                if run_holds_number(&run, shortest) {
                    return true;
                }
                run.clear();
            }
        }
    }
    run_holds_number(&run, shortest)
}

/// Whether a whole number is a payment card's. Numbers that merely contain one are left alone:
/// among long numbers those are common.
pub fn is_number(number: u64) -> bool {
    let digits: Vec<u8> = number.to_string().bytes().map(|byte| byte - b'0').collect();
    digits.len() >= 15 && is_issued(&digits) && luhn(&digits)
}

/// Decimal digits of ASCII and the full-width forms that scanners and keyboards produce.
fn digit(character: char) -> Option<u8> {
    let value = match character {
        '0'..='9' => u32::from(character) - u32::from('0'),
        '\u{ff10}'..='\u{ff19}' => u32::from(character) - 0xff10,
        _ => return None,
    };
    u8::try_from(value).ok()
}

fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '-' | '.' | '_' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{feff}')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}')
}

fn run_holds_number(run: &[u8], shortest: usize) -> bool {
    (0..run.len()).any(|start| {
        let rest = run.get(start..).unwrap_or_default();
        (shortest..=19)
            .filter_map(|length| rest.get(..length))
            .any(|number| is_issued(number) && luhn(number))
    })
}

/// Issuer ranges and the lengths in which they are issued.
fn is_issued(number: &[u8]) -> bool {
    let prefix = |digits: usize| {
        number.iter().take(digits).fold(0u32, |value, digit| value * 10 + u32::from(*digit))
    };
    match number.len() {
        13 => prefix(1) == 4,
        14 => matches!(prefix(3), 300..=305 | 309) || matches!(prefix(2), 36 | 38 | 39),
        15 => matches!(prefix(2), 34 | 37) || matches!(prefix(4), 1800 | 2131),
        16..=19 => {
            let visa = prefix(1) == 4 && matches!(number.len(), 16 | 19);
            let mastercard = number.len() == 16
                && (matches!(prefix(2), 51..=55) || matches!(prefix(4), 2221..=2720));
            let discover = prefix(4) == 6011 || matches!(prefix(3), 644..=649) || prefix(2) == 65;
            let jcb = matches!(prefix(4), 3528..=3589);
            let unionpay = matches!(prefix(2), 62 | 81);
            let maestro = prefix(2) == 50 || matches!(prefix(2), 56..=58) || prefix(2) == 67;
            visa || mastercard || discover || jcb || unionpay || maestro
        }
        _ => false,
    }
}

fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_however_they_are_written() {
        for text in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "41\u{200b}11111111111111",
            "４１１１１１１１１１１１１１１１",
            "note: 5555555555554444, thanks",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "30569309025904",
            "99 4111111111111111 99",
        ] {
            assert!(found_in(text, Field::Text), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_compared_as_a_whole() {
        assert!(is_number(4_111_111_111_111_111) && is_number(378_282_246_310_005));
        for number in [0, u64::from(u32::MAX), i64::MAX.unsigned_abs(), 4_111_111_111_111_112] {
            assert!(!is_number(number), "{number}");
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "",
            "2990000000019",
            "4111111111111112",
            "2026-03-14",
            "0367/03/2026-03-14/31198",
            "1234567890123456",
        ] {
            assert!(!found_in(text, Field::Text), "{text}");
        }
        // A GTIN-13 of a German manufacturer that happens to satisfy Luhn's formula.
        assert!(found_in("4000000000006", Field::Text));
        assert!(!found_in("4000000000006", Field::Sku));
        // A German mobile number that happens to look like an old Visa card.
        assert!(found_in("+49 1511 1111113", Field::Text));
        assert!(!found_in("+49 1511 1111113", Field::Phone));
        assert!(found_in("+4111 1111 1111 1111", Field::Phone));
    }
}
