//! The statement that finds accounts whose points have run out. Reads only.

use deadpool_postgres::Pool;
use jiff::civil::Date;

use crate::db::DbError;

/// Along the primary key: the day is not indexed, so that the updates of swipes stay HOT. Those
/// of which an older version has not noted the day have the first day that there is.
const DUE: &str = "
-- expiry::due
SELECT account_id FROM account
WHERE bucket = $1 AND account_id > $2 AND next_expiry < $3
ORDER BY account_id
LIMIT $4";

/// The next accounts of a bucket, after one of them, of which points ran out before a day.
pub(super) async fn due(
    pool: &Pool,
    bucket: u8,
    after: i64,
    on: Date,
    accounts_max: usize,
) -> Result<Vec<i64>, DbError> {
    let limit = i64::try_from(accounts_max).expect("a handful");
    let client = pool.get().await?;
    let statement = client.prepare_cached(DUE).await?;
    let rows = client
        .query(
            &statement,
            &[
                &i16::from(bucket), // $1
                &after,             // $2
                &on,                // $3
                &limit,             // $4
            ],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get("account_id")?)).collect()
}
