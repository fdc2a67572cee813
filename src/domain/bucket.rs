//! Buckets: the 256 shares into which account-owned rows fall.

use sha2::{Digest, Sha256};

/// The account with a number in a bucket. Numbers are handed out once; the bucket stands in
/// the low byte, so that it can be read off the id.
pub fn account_id(number: i64, bucket: u8) -> i64 {
    (number << 8) | i64::from(bucket)
}

/// The bucket of an account.
pub fn of_account(account_id: i64) -> u8 {
    account_id.to_le_bytes()[0]
}

/// The bucket of a card in the directory of cards.
pub fn of_card(card: &str) -> u8 {
    Sha256::digest(card.as_bytes())[0]
}

/// The bucket of a workstation's names and of its house account: one for all, so that what a
/// workstation appends stays together.
pub fn of_workstation(store_id: &str, workstation_id: &str) -> u8 {
    Sha256::digest(format!("{store_id}/{workstation_id}").as_bytes())[0]
}
