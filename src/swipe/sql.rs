//! What became of a transaction: the look-ups that an operation makes by itself. Reads only.

use jiff::civil::Date;

use crate::commit::NameKey;
use crate::db::DbError;
use crate::db::pool::Pool;
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

/// Which content is recorded under names, by their place in the arrays. A name of which only a
/// void has come has none.
const FIND_CONTENTS: &str = "
-- swipe::find_contents
SELECT i.n, k.content_hash
FROM unnest($1::smallint[], $2::integer[], $3::date[], $4::bigint[])
         WITH ORDINALITY AS i (bucket, workstation_no, business_date, sequence_number, n)
CROSS JOIN LATERAL (
    SELECT k.version, k.content_hash FROM swipe_key AS k
    WHERE k.bucket = i.bucket AND k.workstation_no = i.workstation_no
      AND k.business_date = i.business_date AND k.sequence_number = i.sequence_number
    LIMIT 1
) AS k
WHERE k.version > 0";

/// A recorded name.
pub(super) struct Found {
    /// The stored receipt; none when only a void has come.
    pub(super) receipt: Option<Vec<u8>>,
    pub(super) voided: bool,
}

/// What is recorded under a name.
pub(super) async fn find(pool: &Pool, name: NameKey) -> Result<Option<Found>, DbError> {
    pool.ask(move |client| {
        Box::pin(async move {
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
        })
    })
    .await
}

/// The hash of the content that is recorded under each name. One statement.
pub(super) async fn find_contents(
    pool: &Pool,
    names: Vec<NameKey>,
) -> Result<Vec<Option<Vec<u8>>>, DbError> {
    pool.ask(move |client| {
        Box::pin(async move {
            let buckets: Vec<i16> = names.iter().map(|name| i16::from(name.bucket)).collect();
            let workstations: Vec<i32> = names.iter().map(|name| name.workstation_no).collect();
            let dates: Vec<Date> = names.iter().map(|name| name.business_date).collect();
            let sequences: Vec<i64> = names.iter().map(|name| name.sequence_number).collect();
            let statement = client.prepare_cached(FIND_CONTENTS).await?;
            let rows =
                client.query(&statement, &[&buckets, &workstations, &dates, &sequences]).await?;
            let mut contents = vec![None; names.len()];
            for row in rows {
                let place = usize::try_from(row.get::<_, i64>("n") - 1);
                contents[place.expect("WITH ORDINALITY counts from 1")] = row.get("content_hash");
            }
            Ok(contents)
        })
    })
    .await
}
