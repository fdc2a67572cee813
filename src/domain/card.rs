//! Which tokens are this chain's cards. An allow-list: what does not fit is no card.

/// The format of the chain's cards, from the settings.
#[derive(Clone, Debug)]
pub struct CardFormat {
    /// Fewest characters.
    pub length_min: usize,
    /// Most characters.
    pub length_max: usize,
    /// Whether capital letters may stand in a card.
    pub letters: bool,
    /// Whether the last digit must be the GS1 check digit of the others.
    pub check_digit: bool,
    /// A card begins with one of these; empty: with anything.
    pub prefixes: Vec<String>,
}

impl CardFormat {
    /// Whether a token has the format of a card. Says nothing about its being known.
    pub fn admits(&self, token: &str) -> bool {
        let letters = |byte: u8| self.letters && byte.is_ascii_uppercase();
        (self.length_min..=self.length_max).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_digit() || letters(byte))
            && (self.prefixes.is_empty() || self.prefixes.iter().any(|p| token.starts_with(p)))
            && (!self.check_digit || has_check_digit(token))
    }
}

/// The GS1 check digit that completes a row of digits (GS1 General Specifications, 7.9:
/// weights 3 and 1 alternate from the right).
pub fn check_digit(digits: &str) -> u8 {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| u32::from(byte.wrapping_sub(b'0')) * if at % 2 == 0 { 3 } else { 1 })
        .sum();
    u8::try_from((10 - sum % 10) % 10).expect("a remainder by ten fits a byte") + b'0'
}

fn has_check_digit(token: &str) -> bool {
    let Some((body, last)) = token.split_at_checked(token.len().saturating_sub(1)) else {
        return false;
    };
    token.bytes().all(|byte| byte.is_ascii_digit()) && last.bytes().eq([check_digit(body)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format() -> CardFormat {
        CardFormat {
            length_min: 13,
            length_max: 13,
            letters: false,
            check_digit: true,
            prefixes: vec!["299".into()],
        }
    }

    #[test]
    fn a_card_is_thirteen_digits_with_prefix_and_check_digit() {
        for (token, admitted) in [
            ("2990000000019", true),
            ("2990000000018", false),
            ("299000000001", false),
            ("29900000000190", false),
            ("2980000000010", false),
            ("２９９００００００００１９", false),
            ("299000000001\u{200f}", false),
            ("", false),
        ] {
            assert_eq!(format().admits(token), admitted, "{token}");
        }
    }

    #[test]
    fn check_digits_are_those_of_gs1() {
        // The sample EAN-13 and GTIN-8 of the GS1 specifications.
        assert_eq!(check_digit("629104150021"), b'3');
        assert_eq!(check_digit("7351353"), b'7');
    }

    #[test]
    fn letters_are_cards_only_where_the_chain_says_so() {
        let format = CardFormat { letters: true, check_digit: false, prefixes: vec![], ..format() };
        assert!(format.admits("ABCDEFGH12345"));
        assert!(!format.admits("abcdefgh12345"));
    }
}
