//! Looking up an account and its timeline. Reads the primary, never the cache.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::Row;

use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::coupon::Code;
use crate::domain::ledger::Lots;
use crate::domain::tally::Tally;
use crate::error::Error;
use crate::office::page::Page;

const FIND_CARD: &str = "
-- account::find_card
SELECT account_id FROM card WHERE bucket = $1 AND card = $2";

const LOAD: &str = "
-- account::load
SELECT version, state, merged_into, clock, lots, sales_minor, baskets, tally
FROM account WHERE bucket = $1 AND account_id = $2";

const CARDS: &str = "
-- account::cards
SELECT card, linked_at FROM card WHERE account_id = $1 ORDER BY linked_at, card LIMIT 100";

/// That somebody is known, which kinds of values there are, and the consents: never a value.
const MEMBERS: &str = "
-- account::members
SELECT joined_on, consents,
       array_remove(ARRAY[CASE WHEN given_name IS NOT NULL OR family_name IS NOT NULL
                               THEN 'name' END,
                          CASE WHEN birthday IS NOT NULL THEN 'birthday' END,
                          CASE WHEN email IS NOT NULL THEN 'email' END,
                          CASE WHEN phone IS NOT NULL THEN 'phone' END], NULL) AS known
FROM member WHERE bucket = $1 AND account_id = $2 ORDER BY member_no LIMIT 20";

/// What was taken back of an account: the audit trail names coupons by their texts.
const REVOKED: &str = "
-- account::revoked
SELECT code FROM coupon WHERE account_id = $1 AND state = 2 AND valid_until > '1970-01-01'
UNION
SELECT code FROM coupon WHERE changed_account = $1 AND state = 2";

/// The newest changes below a version. A version is a swipe, a void, an adjustment, coupons that
/// people have issued or one that they took back, or what they did to a card; what tills enrol and
/// link has no row here. Workstations tell the store, so that a manager's view is cut. When a
/// coupon was taken back, and by whom, the audit trail says; not of what a void took back, which
/// is part of the void. The coupons of the account are read, hundreds at most; no till waits for
/// this.
const TIMELINE: &str = "
-- account::timeline
(SELECT s.version, s.kind, w.store_id, w.workstation_id, s.business_date, s.sequence_number,
        s.recorded_at AS at, s.total_minor, s.earned_points, s.reversed_points, s.spent_points,
        NULL::bigint AS adjusted, NULL::text AS reason, NULL::text AS actor,
        NULL::text AS offer, NULL::bigint AS coupons, NULL::smallint AS cards
 FROM swipe AS s JOIN workstation AS w USING (workstation_no)
 WHERE s.bucket = $1 AND s.account_id = $2 AND s.version < $3
   AND ($5::text[] IS NULL OR w.store_id = ANY($5))
 ORDER BY s.version DESC LIMIT $4)
UNION ALL
(SELECT version, NULL, NULL, NULL, business_date, NULL, made_at, NULL, NULL, NULL, NULL,
        points, reason, actor, NULL, NULL, NULL
 FROM adjustment WHERE bucket = $1 AND account_id = $2 AND version < $3
 ORDER BY version DESC LIMIT $4)
UNION ALL
(SELECT c.issued_version, NULL, NULL, NULL, NULL, NULL, min(c.issued_at), NULL, NULL, NULL, NULL,
        NULL, NULL, min(c.actor),
        CASE WHEN min(o.offer_id) = max(o.offer_id) THEN min(o.offer_id) END, count(*), NULL
 FROM coupon AS c JOIN offer AS o USING (offer_no)
 WHERE c.account_id = $2 AND c.bucket = $1 AND c.issued_version < $3
   AND c.valid_until > '1970-01-01' AND c.actor NOT IN ('till', 'shared-code')
 GROUP BY c.issued_version
 ORDER BY 1 DESC LIMIT $4)
UNION ALL
(SELECT c.changed_version, NULL, NULL, NULL, NULL, NULL, a.at, NULL, NULL, NULL, NULL, NULL, NULL,
        'user:' || a.user_no, o.offer_id, -1, NULL
 FROM unnest($6::bigint[], $7::text[]) AS i (code, object)
 JOIN coupon AS c ON c.bucket = (i.code >> 56 & 255)::smallint AND c.code = i.code
 JOIN offer AS o USING (offer_no)
 CROSS JOIN LATERAL (
     SELECT a.at, a.user_no FROM audit AS a
     WHERE a.object = i.object AND a.action = 'coupon.revoke'
     ORDER BY a.at DESC LIMIT 1
 ) AS a
 WHERE coalesce(c.changed_account, c.account_id) = $2 AND c.changed_version < $3
 ORDER BY 1 DESC LIMIT $4)
UNION ALL
(SELECT version, NULL, NULL, NULL, NULL, NULL, changed_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, cards
 FROM card_change WHERE bucket = $1 AND account_id = $2 AND version < $3
 ORDER BY version DESC LIMIT $4)
ORDER BY version DESC LIMIT $4";

/// An account with the one that it was merged into.
pub(super) struct Found {
    pub(super) account: Account,
    pub(super) merged_into: Option<i64>,
    pub(super) cards: Vec<(String, Timestamp)>,
    pub(super) members: Vec<Member>,
}

/// That a person is known.
pub(super) struct Member {
    pub(super) joined_on: Date,
    pub(super) known: Vec<String>,
    pub(super) consents: Vec<String>,
}

/// One change of an account.
pub(super) struct Event {
    pub(super) version: i64,
    /// None: the day on which it was recorded.
    pub(super) business_date: Option<Date>,
    pub(super) at: Timestamp,
    pub(super) what: What,
}

/// What changed.
pub(super) enum What {
    Swipe {
        kind: i16,
        store_id: String,
        workstation_id: String,
        sequence_number: i64,
        total_minor: i64,
        earned: i64,
        reversed: i64,
        spent: i64,
    },
    Adjustment {
        points: i64,
        reason: String,
        actor: String,
    },
    Coupons {
        /// Negative: they were taken back.
        count: i64,
        /// None: of several.
        offer: Option<String>,
        actor: Option<String>,
    },
    Cards {
        /// How many more the account had then.
        more: i16,
    },
}

/// The account that a card points at.
pub(super) async fn of_card(pool: &Pool, card: &str) -> Result<Option<i64>, DbError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(FIND_CARD).await?;
    let row = client.query_opt(&statement, &[&i16::from(bucket::of_card(card)), &card]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// An account with its cards and members.
pub(super) async fn find(pool: &Pool, account_id: i64) -> Result<Option<Found>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let bucket = i16::from(bucket::of_account(account_id));
    let row = client.query_opt(LOAD, &[&bucket, &account_id]).await.map_err(DbError::from)?;
    let Some(row) = row else { return Ok(None) };
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
    let cards = client.query(CARDS, &[&account_id]).await.map_err(DbError::from)?;
    let members = client.query(MEMBERS, &[&bucket, &account_id]).await.map_err(DbError::from)?;
    let member = |row: &Row| Member {
        joined_on: row.get("joined_on"),
        known: row.get("known"),
        consents: row.get("consents"),
    };
    Ok(Some(Found {
        account,
        merged_into: row.get("merged_into"),
        cards: cards.iter().map(|row| (row.get("card"), row.get("linked_at"))).collect(),
        members: members.iter().map(member).collect(),
    }))
}

/// A page of what happened to an account, in these stores only when some are named.
pub(super) async fn timeline(
    pool: &Pool,
    account_id: i64,
    page: &Page,
    stores: Option<&[String]>,
) -> Result<Vec<Event>, DbError> {
    let client = pool.get().await?;
    let bucket = i16::from(bucket::of_account(account_id));
    let revoked = client.query(REVOKED, &[&account_id]).await?;
    let codes: Vec<i64> = revoked.iter().map(|row| row.get("code")).collect();
    let object = |code: &i64| format!("coupon:{}", Code::from_number(*code));
    let objects: Vec<String> = codes.iter().map(object).collect();
    let rows = client
        .query(
            TIMELINE,
            &[
                &bucket,        // $1
                &account_id,    // $2
                &page.before,   // $3
                &page.wanted(), // $4
                &stores,        // $5
                &codes,         // $6
                &objects,       // $7
            ],
        )
        .await?;
    let event = |row: &Row| Event {
        version: row.get("version"),
        business_date: row.get("business_date"),
        at: row.get("at"),
        what: match (row.get::<_, Option<i16>>("kind"), row.get("cards"), row.get("coupons")) {
            (Some(kind), ..) => What::Swipe {
                kind,
                store_id: row.get("store_id"),
                workstation_id: row.get("workstation_id"),
                sequence_number: row.get("sequence_number"),
                total_minor: row.get("total_minor"),
                earned: row.get("earned_points"),
                reversed: row.get("reversed_points"),
                spent: row.get("spent_points"),
            },
            (_, Some(more), _) => What::Cards { more },
            (_, _, Some(count)) => {
                What::Coupons { count, offer: row.get("offer"), actor: row.get("actor") }
            }
            _ => What::Adjustment {
                points: row.get("adjusted"),
                reason: row.get("reason"),
                actor: row.get("actor"),
            },
        },
    };
    Ok(rows.iter().map(event).collect())
}
