//! Which of the 256 buckets a row lives in: the first column of every key of every
//! account-owned table, so that accounts can be spread over nodes by it.
//!
//! Owns the one formula by which ids and buckets belong together. A bucket, once written,
//! can never change: changing a function of this file would lose every row that it placed.

use sha2::{Digest, Sha256};

/// The id of an account: a number that nobody else has, with the bucket in the low 8 bits.
///
/// Unique whenever `number` is, whatever the buckets are. A customer's account takes the
/// bucket of its own number ([`of_number`]), which spreads evenly; a house account takes the
/// one of its workstation ([`of_workstation`]).
///
/// # Panics
/// When the number does not fit 55 bits: a sequence never gets there.
pub fn account_id(number: i64, bucket: u8) -> i64 {
    assert!((0..1 << 55).contains(&number), "account numbers are taken from a sequence");
    (number << 8) | i64::from(bucket)
}

/// The bucket of a customer's account, from its number.
pub fn of_number(number: i64) -> u8 {
    number.to_le_bytes()[0]
}

/// The bucket of an account, from its id.
pub fn of_account(account_id: i64) -> u8 {
    account_id.to_le_bytes()[0]
}

/// The bucket in which the directory of cards keeps a card.
pub fn of_card(card: &str) -> u8 {
    first_byte(card)
}

/// The bucket of a workstation's house account, and of the names of its swipes.
///
/// Neither id can hold a slash, so no two workstations share a text.
pub fn of_workstation(store_id: &str, workstation_id: &str) -> u8 {
    first_byte(&format!("{store_id}/{workstation_id}"))
}

fn first_byte(text: &str) -> u8 {
    Sha256::digest(text.as_bytes())[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_stands_in_the_low_bits() {
        assert_eq!(account_id(0x1_02, 0x03), 0x1_02_03);
        for (number, bucket) in [(256, 0), (256, 255), (1, 7), ((1 << 55) - 1, 255)] {
            assert_eq!(of_account(account_id(number, bucket)), bucket);
            assert_eq!(account_id(number, bucket) >> 8, number);
        }
    }

    #[test]
    fn customers_and_house_accounts_never_share_an_id() {
        let customer = account_id(700, of_number(700));
        let house = account_id(701, of_workstation("0367", "03"));
        assert_ne!(customer, house);
        assert_ne!(customer >> 8, house >> 8);
    }

    #[test]
    fn placed_rows_are_found_again() {
        // Values written down once: if one changes, rows that exist can no longer be found.
        assert_eq!(of_card("2990000000019"), 0xaa);
        assert_eq!(of_workstation("0367", "03"), 0x55);
        assert_eq!(of_number(0x2ff), 0xff);
    }
}
