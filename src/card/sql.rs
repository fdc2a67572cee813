//! Looking up a card. Reads the primary, never the cache: rule 3 of the design.

use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::ledger::Lots;
use crate::domain::tally::Tally;
use crate::error::Error;

const FIND_CARD: &str = "
-- card::find_card
SELECT account_id FROM card WHERE bucket = $1 AND card = $2";

const LOAD_ACCOUNT: &str = "
-- card::load_account
SELECT version, state, clock, lots, sales_minor, baskets, tally
FROM account WHERE bucket = $1 AND account_id = $2";

/// The account of a card; none when nobody has seen the card.
pub(super) async fn account_of(pool: &Pool, card: &str) -> Result<Option<Account>, Error> {
    let account = try_account_of(pool, card).await?;
    match account {
        // Merged between the two reads: by now the card points elsewhere.
        Some(Account { state: State::Merged, .. }) => try_account_of(pool, card).await,
        account => Ok(account),
    }
}

async fn try_account_of(pool: &Pool, card: &str) -> Result<Option<Account>, Error> {
    let card = card.to_owned();
    let found = pool.ask(move |client| {
        Box::pin(async move {
            let statement = client.prepare_cached(FIND_CARD).await?;
            let bucket = i16::from(bucket::of_card(&card));
            let row = client.query_opt(&statement, &[&bucket, &card]).await?;
            let Some(row) = row else { return Ok(None) };
            let account_id: i64 = row.get("account_id");
            let statement = client.prepare_cached(LOAD_ACCOUNT).await?;
            let bucket = i16::from(bucket::of_account(account_id));
            let row = client.query_one(&statement, &[&bucket, &account_id]).await?;
            Ok::<_, DbError>(Some((account_id, row)))
        })
    });
    let Some((account_id, row)) = found.await? else { return Ok(None) };
    let damaged = |what: String| Error::Damaged(format!("account {account_id}: {what}"));
    let code: i16 = row.get("state");
    Ok(Some(Account {
        account_id,
        version: row.get("version"),
        state: State::from_code(code).ok_or_else(|| damaged(format!("state {code}")))?,
        clock: row.get("clock"),
        lots: Lots::decode(row.get("lots")).map_err(|error| damaged(error.to_string()))?,
        sales_minor: row.get("sales_minor"),
        baskets: row.get("baskets"),
        tally: Tally::decode(row.get("tally")).map_err(|error| damaged(error.to_string()))?,
    }))
}
