//! The desk, fourth part: codes of a pool, stored as coupons that nobody has. One statement for a
//! page of them, which is a transaction by itself: a code must never be told to anybody before it
//! is stored. Stored again, nothing changes.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::time::{Instant, timeout};

use super::desk::{Desk, PATIENCE, PAUSE, settled};
use super::sql;
use crate::db::DbError;
use crate::domain::coupon::Code;
use crate::error::Error;

/// What the codes of a pool have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOf {
    /// Number of the offer.
    pub offer_no: i32,
    /// When they were made.
    pub made_at: Timestamp,
    /// The first day on which they count.
    pub valid_from: Date,
    /// The last one.
    pub valid_until: Date,
    /// Who made them.
    pub actor: String,
}

impl Desk {
    /// Stores codes, so far as they are not stored yet.
    ///
    /// # Errors
    /// What the database says, in the end. Trying again is safe.
    pub async fn store_codes(&mut self, codes: &[Code], of: &PoolOf) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let numbers: Vec<i64> = codes.iter().map(|code| code.number()).collect();
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let client = connection.dedicated.client();
                    let storing = async {
                        let stored = client
                            .execute(
                                sql::STORE_CODES,
                                &[
                                    &numbers,        // $1
                                    &of.offer_no,    // $2
                                    &of.made_at,     // $3
                                    &of.valid_from,  // $4
                                    &of.valid_until, // $5
                                    &of.actor,       // $6
                                ],
                            )
                            .await;
                        stored.map_err(DbError::from)?;
                        Ok(Some(()))
                    };
                    let outcome = timeout(self.connector.silence_max(), storing).await;
                    self.put_back(connection, outcome).await
                }
                Err(error) => Err(error),
            };
            if let Some(settled) = settled(outcome, deadline) {
                return settled;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
