//! Quantities: decimals with at most three places, held in thousandths.

use std::fmt;
use std::str::FromStr;

/// How much of an article, in thousandths of its unit; 0 to 999,999.999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i64);

/// The text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a quantity is a decimal from 0 to 999999.999 with at most three places, such as \"0.420\""
)]
pub struct NotAQuantity;

impl Quantity {
    /// The most that a line can hold.
    pub const MAX: Self = Self(999_999_999);

    /// From thousandths.
    ///
    /// # Errors
    /// When it is negative or above [`Quantity::MAX`].
    pub fn from_thousandths(value: i64) -> Result<Self, NotAQuantity> {
        if (0..=Self::MAX.0).contains(&value) { Ok(Self(value)) } else { Err(NotAQuantity) }
    }

    /// In thousandths of a unit.
    pub fn thousandths(self) -> i64 {
        self.0
    }
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || whole.len() > 6 || !digits(places) || places.len() > 3 {
            return Err(NotAQuantity);
        }
        let value = |digits: &str| {
            digits.bytes().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
        };
        let unit = [100, 10, 1][places.len() - 1];
        Self::from_thousandths(value(whole) * 1_000 + value(places) * unit)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.0 / 1000, self.0 % 1000);
        if places == 0 { write!(f, "{whole}") } else { write!(f, "{whole}.{places:03}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_spellings_are_one_quantity() {
        for (text, thousandths) in
            [("2", 2000), ("2.0", 2000), ("2.000", 2000), ("0.42", 420), ("0.420", 420), ("0", 0)]
        {
            assert_eq!(text.parse::<Quantity>().map(Quantity::thousandths), Ok(thousandths));
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1.2345", "1000000", "１", "1 ", "NaN"]
        {
            assert_eq!(text.parse::<Quantity>(), Err(NotAQuantity), "{text}");
        }
    }
}
