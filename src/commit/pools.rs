//! The desk, fourth part: codes of a pool, stored as coupons that nobody has. One statement for a
//! page of them, which is a transaction by itself: a code must never be told to anybody before it
//! is stored, nor stored when its pool has been taken back. Stored again, nothing changes.

use tokio::time::{Instant, timeout};

use super::desk::{Desk, PATIENCE, PAUSE, settled};
use super::sql;
use crate::db::DbError;
use crate::domain::coupon::Code;
use crate::error::Error;

impl Desk {
    /// Stores codes of a pool, so far as they are not stored yet. False, and none is stored, when
    /// the pool has been taken back.
    ///
    /// # Errors
    /// What the database says, in the end. Trying again is safe.
    pub async fn store_codes(&mut self, codes: &[Code], pool_no: i32) -> Result<bool, Error> {
        let deadline = Instant::now() + PATIENCE;
        let numbers: Vec<i64> = codes.iter().map(|code| code.number()).collect();
        loop {
            let outcome = match self.take_connection().await {
                Ok(connection) => {
                    let client = connection.dedicated.client();
                    let storing = async {
                        let stored =
                            client.query_opt(sql::STORE_CODES, &[&numbers, &pool_no]).await;
                        Ok(Some(stored.map_err(DbError::from)?.is_some()))
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
