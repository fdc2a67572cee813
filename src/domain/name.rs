//! The name of a swipe: what identifies one retail transaction over the chain, for ever.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

/// The largest sequence number: what a JSON number carries exactly (2^53 − 1).
pub const SEQUENCE_MAX: i64 = (1 << 53) - 1;

/// Store, workstation, business date and sequence number, as ARTS has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwipeName {
    /// ARTS `RetailStoreID`, leading zeros kept.
    pub store_id: String,
    /// ARTS `WorkstationID`, leading zeros kept.
    pub workstation_id: String,
    /// The store's trading day.
    pub business_date: Date,
    /// The workstation's counter, 0 to [`SEQUENCE_MAX`].
    pub sequence_number: i64,
}

impl fmt::Display for SwipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store_id, workstation_id, business_date, sequence_number } = self;
        write!(f, "{store_id}/{workstation_id}/{business_date}/{sequence_number}")
    }
}

/// The text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a swipe is named store/workstation/YYYY-MM-DD/number, such as 0367/03/2026-03-14/31198")]
pub struct NotAName;

impl FromStr for SwipeName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(NotAName);
        let (store, workstation, date, sequence) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(NotAName);
        }
        Self::from_parts(store, workstation, date, sequence)
    }
}

impl SwipeName {
    /// A name from its four parts as text, as they stand in a path.
    ///
    /// # Errors
    /// When a part is not what it should be.
    pub fn from_parts(
        store_id: &str,
        workstation_id: &str,
        business_date: &str,
        sequence_number: &str,
    ) -> Result<Self, NotAName> {
        if !is_place_id(store_id) || !is_place_id(workstation_id) {
            return Err(NotAName);
        }
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let sequence_number: i64 = Some(sequence_number)
            .filter(|text| digits(text) && (text.len() == 1 || !text.starts_with('0')))
            .and_then(|text| text.parse().ok())
            .filter(|number| (0..=SEQUENCE_MAX).contains(number))
            .ok_or(NotAName)?;
        Ok(Self {
            store_id: store_id.to_owned(),
            workstation_id: workstation_id.to_owned(),
            business_date: parse_date(business_date).ok_or(NotAName)?,
            sequence_number,
        })
    }
}

/// A date written `YYYY-MM-DD` and in no other way, in the years 1900 to 9998.
pub fn parse_date(text: &str) -> Option<Date> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let date: Date = text.parse().ok()?;
    (shape && (1900..=9998).contains(&date.year())).then_some(date)
}

/// Whether a text can be a store's or a workstation's id: 1 to 16 of `A-Z a-z 0-9 . _ -`.
pub fn is_place_id(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_is_written() {
        for text in ["0367/03/2026-03-14/31198", "A.b_c-1/1/2024-02-29/0"] {
            let name: SwipeName = text.parse().expect("well-formed");
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in [
            "",
            "0367/03/2026-03-14",
            "0367/03/2026-03-14/1/2",
            "0367//2026-03-14/1",
            "0367/03/2026-02-30/1",
            "0367/03/2026-3-14/1",
            "0367/03/20260314/1",
            "0367/03/2026-03-14/-1",
            "0367/03/2026-03-14/+1",
            "0367/03/2026-03-14/007",
            "0367/03/2026-03-14/9007199254740992",
            "0367/03/0000-01-01/1",
            "a b/03/2026-03-14/1",
            "12345678901234567/03/2026-03-14/1",
        ] {
            assert_eq!(text.parse::<SwipeName>(), Err(NotAName), "{text}");
        }
    }
}
