//! Looking up a card. Reads the primary, never the cache: rule 3 of the design.

use jiff::civil::Date;

use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::coupon::Code;
use crate::domain::ledger::Lots;
use crate::domain::selection::showcase::Reason;
use crate::domain::tally::Tally;
use crate::error::Error;

const FIND_CARD: &str = "
-- card::find_card
SELECT account_id FROM card WHERE bucket = $1 AND card = $2";

const LOAD_ACCOUNT: &str = "
-- card::load_account
SELECT version, state, clock, lots, sales_minor, baskets, tally
FROM account WHERE bucket = $1 AND account_id = $2";

/// Those of accounts that were merged into this one as well: they are its heir's to redeem.
const OPEN_COUPONS: &str = "
-- card::open_coupons
WITH RECURSIVE theirs (account_id) AS (
    SELECT $1::bigint
    UNION
    SELECT a.account_id FROM theirs AS t JOIN account AS a ON a.merged_into = t.account_id
)
SELECT c.code, c.offer_no, c.valid_from, c.valid_until, c.reason
FROM theirs AS t JOIN coupon AS c
     ON c.account_id = t.account_id AND c.bucket = (t.account_id & 255)
WHERE c.state = 0 AND c.valid_until >= $2
ORDER BY c.valid_until, c.code
LIMIT 100";

/// How a card stands.
pub(super) struct Standing {
    /// Its account.
    pub(super) account: Account,
    /// Coupons that can be redeemed, the first to run out first.
    pub(super) coupons: Vec<OpenCoupon>,
}

/// A coupon that can be redeemed.
pub(super) struct OpenCoupon {
    pub(super) code: Code,
    pub(super) offer_no: i32,
    pub(super) valid_from: Date,
    pub(super) valid_until: Date,
    pub(super) reason: Reason,
}

/// How a card stands on a day; none when nobody has seen the card.
pub(super) async fn standing_of(
    pool: &Pool,
    card: &str,
    today: Date,
) -> Result<Option<Standing>, Error> {
    let standing = try_standing_of(pool, card, today).await?;
    match standing {
        // Merged between the two reads: by now the card points elsewhere.
        Some(Standing { account: Account { state: State::Merged, .. }, .. }) => {
            try_standing_of(pool, card, today).await
        }
        standing => Ok(standing),
    }
}

async fn try_standing_of(pool: &Pool, card: &str, today: Date) -> Result<Option<Standing>, Error> {
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
            let statement = client.prepare_cached(OPEN_COUPONS).await?;
            let coupons = client.query(&statement, &[&account_id, &today]).await?;
            Ok::<_, DbError>(Some((account_id, row, coupons)))
        })
    });
    let Some((account_id, row, coupons)) = found.await? else { return Ok(None) };
    let damaged = |what: String| Error::Damaged(format!("account {account_id}: {what}"));
    let code: i16 = row.get("state");
    let account = Account {
        account_id,
        version: row.get("version"),
        state: State::from_code(code).ok_or_else(|| damaged(format!("state {code}")))?,
        clock: row.get("clock"),
        lots: Lots::decode(row.get("lots")).map_err(|error| damaged(error.to_string()))?,
        sales_minor: row.get("sales_minor"),
        baskets: row.get("baskets"),
        tally: Tally::decode(row.get("tally")).map_err(|error| damaged(error.to_string()))?,
    };
    let coupons = coupons.iter().map(|row| {
        OpenCoupon {
            code: Code::from_number(row.get("code")),
            offer_no: row.get("offer_no"),
            valid_from: row.get("valid_from"),
            valid_until: row.get("valid_until"),
            // A newer program may know further reasons; the coupon counts all the same.
            reason: Reason::from_code(row.get("reason")).unwrap_or(Reason::Given),
        }
    });
    Ok(Some(Standing { account, coupons: coupons.collect() }))
}
