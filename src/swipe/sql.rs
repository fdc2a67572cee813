//! What became of a transaction: the one look-up that an operation makes by itself.

use deadpool_postgres::Pool;

use crate::commit::NameKey;
use crate::db::DbError;
use crate::domain::bucket;

/// The name first, then its swipe: on a distributed database the two live apart.
const FIND_NAME: &str = "
-- swipe::find_name
SELECT account_id, version, void_version FROM swipe_key
WHERE bucket = $1 AND workstation_no = $2 AND business_date = $3 AND sequence_number = $4";

const FIND_RECEIPT: &str = "
-- swipe::find_receipt
SELECT receipt FROM swipe
WHERE bucket = $1 AND account_id = $2 AND version = $3 AND business_date = $4";

/// A recorded name.
pub(super) struct Found {
    /// The stored receipt; none when only a void has come.
    pub(super) receipt: Option<Vec<u8>>,
    pub(super) voided: bool,
}

/// What is recorded under a name.
pub(super) async fn find(pool: &Pool, name: &NameKey) -> Result<Option<Found>, DbError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(FIND_NAME).await?;
    let bucket = i16::from(name.bucket);
    let key = client
        .query_opt(
            &statement,
            &[
                &bucket,               // $1
                &name.workstation_no,  // $2
                &name.business_date,   // $3
                &name.sequence_number, // $4
            ],
        )
        .await?;
    let Some(key) = key else { return Ok(None) };
    let (account_id, version): (i64, i64) = (key.get("account_id"), key.get("version"));
    let voided = key.get::<_, i64>("void_version") > 0;
    if version == 0 {
        return Ok(Some(Found { receipt: None, voided }));
    }
    let statement = client.prepare_cached(FIND_RECEIPT).await?;
    let bucket = i16::from(bucket::of_account(account_id));
    let row = client
        .query_one(
            &statement,
            &[
                &bucket,             // $1
                &account_id,         // $2
                &version,            // $3
                &name.business_date, // $4
            ],
        )
        .await?;
    Ok(Some(Found { receipt: Some(row.get("receipt")), voided }))
}
