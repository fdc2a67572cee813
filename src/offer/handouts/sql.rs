//! Statements about handouts. What people change is one transaction with its line in the audit
//! trail. What a worker writes proves its claim and renews it in the same statement: who has lost
//! it writes nothing.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::Row;

use super::revoke::Revocation;
use super::{Handout, NotMade, OPEN_MAX, State, Wanted};
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::bucket;
use crate::domain::coupon::Code;
use crate::error::Error;
use crate::office::page::Page;
use crate::office::{Settle, Trace, audit_in, settle_in};

const OPEN: &str = "
-- offer::handouts::open
SELECT count(*) FROM handout WHERE state <> 5";

const MAKE: &str = "
-- offer::handouts::make
INSERT INTO handout (handout_id, offer_no, segment, held_out_too, state, made_at, made_by)
VALUES ($1, $2, $3::text::jsonb, $4, $5, $6, $7)
ON CONFLICT DO NOTHING";

pub(super) const FIND: &str = "
-- offer::handouts::find
SELECT h.*, h.segment::text AS question, o.offer_id
FROM handout AS h JOIN offer AS o USING (offer_no) WHERE h.handout_id = $1";

const LIST: &str = "
-- offer::handouts::list
SELECT h.*, h.segment::text AS question, o.offer_id
FROM handout AS h JOIN offer AS o USING (offer_no)
WHERE h.handout_no < $1::bigint
  AND ($3::text[] IS NULL OR NOT o.definition ? 'stores' OR o.definition->'stores' ?| $3)
ORDER BY h.handout_no DESC LIMIT $2";

pub(super) const FORGET_PAGES: &str = "
-- offer::handouts::forget_pages
DELETE FROM handout_page WHERE handout_no = $1";

const LISTED: &str = "
-- offer::handouts::listed
UPDATE handout SET state = 2, accounts = $2, held_out = $3
WHERE handout_no = $1 AND segment IS NULL AND state IN (0, 2)";

const ADD_PAGES: &str = "
-- offer::handouts::add_pages
INSERT INTO handout_page (handout_no, page_no, account_ids) VALUES ($1, $2, $3)";

const ISSUE: &str = "
-- offer::handouts::issue
UPDATE handout
SET state = 3, stopped_why = NULL, counts_from = $2, issued_by = $3,
    worked_until = '-infinity'
WHERE handout_no = $1 AND state IN (2, 4)";

const STOP: &str = "
-- offer::handouts::stop
UPDATE handout SET state = 4, stopped_why = 'people', worker = NULL
WHERE handout_no = $1 AND state = 3";

const END: &str = "
-- offer::handouts::end
UPDATE handout SET state = 5, stopped_why = 'people', worker = NULL
WHERE handout_no = $1 AND state <> 5";

/// The handout that nobody has worked at for the longest, so that one that fails keeps no other
/// waiting; or the one that is asked for.
const CLAIM: &str = "
-- offer::handouts::claim
UPDATE handout SET worker = $1, worked_until = now() + interval '60 seconds'
WHERE handout_no = (
    SELECT handout_no FROM handout
    WHERE (state IN (1, 3) OR revoking) AND worked_until < now()
      AND handout_no = coalesce($2, handout_no)
    ORDER BY worked_until, handout_no LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING handout_id";

/// Gives a claim back, for somebody to go on with in a moment.
const LEAVE: &str = "
-- offer::handouts::leave
UPDATE handout SET worker = NULL, worked_until = now() + $3::float8 * interval '1 second'
WHERE handout_no = $1 AND worker = $2";

const BEGIN_COUNTING: &str = "
-- offer::handouts::begin_counting
WITH mine AS (
    UPDATE handout
    SET worked_until = now() + interval '60 seconds', accounts = 0, held_out = 0
    WHERE handout_no = $1 AND worker = $2 AND state = 1
    RETURNING handout_no
), gone AS (
    DELETE FROM handout_page WHERE handout_no = (SELECT handout_no FROM mine)
)
SELECT 1 FROM mine";

const COUNTED: &str = "
-- offer::handouts::counted
WITH mine AS (
    UPDATE handout
    SET worked_until = now() + interval '60 seconds',
        accounts = accounts + cardinality($4::bigint[]), held_out = held_out + $5::integer,
        state = CASE WHEN $6::boolean THEN 2 ELSE 1 END
    WHERE handout_no = $1 AND worker = $2 AND state = 1
    RETURNING handout_no
), added AS (
    INSERT INTO handout_page (handout_no, page_no, account_ids)
    SELECT handout_no, $3, $4 FROM mine WHERE cardinality($4::bigint[]) > 0
)
SELECT 1 FROM mine";

const PAGE_AT: &str = "
-- offer::handouts::page_at
SELECT account_ids FROM handout_page WHERE handout_no = $1 AND page_no = $2";

/// Those of these accounts whose people agree to something.
const AGREED: &str = "
-- offer::handouts::agreed
SELECT i.account_id
FROM unnest($1::smallint[], $2::bigint[]) AS i (bucket, account_id)
CROSS JOIN LATERAL (
    SELECT 1 FROM member AS m
    WHERE m.bucket = i.bucket AND m.account_id = i.account_id AND m.consents @> ARRAY[$3::text]
    LIMIT 1
) AS m";

const ISSUED: &str = "
-- offer::handouts::issued
WITH mine AS (
    UPDATE handout
    SET worked_until = now() + interval '60 seconds', done = done + $3::integer,
        issued = issued + $4::integer,
        state = CASE WHEN $5::text IS NOT NULL THEN 4
                     WHEN done + $3::integer = accounts THEN 5 ELSE 3 END,
        stopped_why = $5
    WHERE handout_no = $1 AND worker = $2 AND state = 3
    RETURNING handout_no, state
), gone AS (
    DELETE FROM handout_page WHERE handout_no = (SELECT handout_no FROM mine WHERE state = 5)
)
SELECT 1 FROM mine";

/// See [`MAKE`].
pub(super) async fn make(
    pool: &Pool,
    wanted: &Wanted<'_>,
    trace: &Trace<'_>,
    settle: Option<Settle<'_, Handout>>,
    now: Timestamp,
) -> Result<Result<Handout, NotMade>, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let open = change.query_one(OPEN, &[]).await.map_err(DbError::from)?;
    if open.get::<_, i64>(0) >= OPEN_MAX {
        return Ok(Err(NotMade::TooMany));
    }
    let question = wanted.segment.map(|it| serde_json::to_string(it).expect("texts and numbers"));
    let state = if question.is_some() { State::Counting } else { State::Waiting };
    let made = change
        .execute(
            MAKE,
            &[
                &wanted.handout,      // $1
                &wanted.offer_no,     // $2
                &question,            // $3
                &wanted.held_out_too, // $4
                &(state as i16),      // $5
                &now,                 // $6
                &trace.user_no,       // $7
            ],
        )
        .await;
    if made.map_err(DbError::from)? == 0 {
        return Ok(Err(NotMade::NameTaken));
    }
    let row = change.query_one(FIND, &[&wanted.handout]).await.map_err(DbError::from)?;
    let handout = handout(&row)?;
    audit_in(&*change, trace, now).await?;
    if let Some((claim, status, answer)) = settle {
        settle_in(&*change, claim, status, &answer(&handout)).await?;
    }
    change.commit().await.map_err(DbError::from)?;
    Ok(Ok(handout))
}

/// A handout, if there is one of this name.
pub(super) async fn find(pool: &Pool, handout_id: &str) -> Result<Option<Handout>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let row = client.query_opt(FIND, &[&handout_id]).await.map_err(DbError::from)?;
    row.as_ref().map(handout).transpose()
}

/// A page of handouts, of whose offers some count in these stores.
pub(super) async fn list(
    pool: &Pool,
    page: &Page,
    stores: Option<&[String]>,
) -> Result<Vec<Handout>, Error> {
    let client = pool.get().await.map_err(DbError::from)?;
    let rows = client.query(LIST, &[&page.before, &(page.limit + 1), &stores]).await;
    rows.map_err(DbError::from)?.iter().map(handout).collect()
}

/// Writes the accounts of a list down, instead of those of a list before; whether the handout
/// waits for one.
pub(super) async fn keep_list(
    pool: &Pool,
    handout_no: i32,
    account_ids: &[i64],
    held_out: i32,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<bool, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let accounts = i32::try_from(account_ids.len()).expect("a million at most");
    let listed = change.execute(LISTED, &[&handout_no, &accounts, &held_out]).await;
    if listed.map_err(DbError::from)? == 0 {
        return Ok(false);
    }
    change.execute(FORGET_PAGES, &[&handout_no]).await.map_err(DbError::from)?;
    let adding = change.prepare(ADD_PAGES).await.map_err(DbError::from)?;
    for (page_no, page) in (0_i32..).zip(account_ids.chunks(super::PAGE)) {
        let added = change.execute(&adding, &[&handout_no, &page_no, &page]).await;
        added.map_err(DbError::from)?;
    }
    audit_in(&*change, trace, now).await?;
    change.commit().await.map_err(DbError::from)?;
    Ok(true)
}

/// See [`ISSUE`]. None when it waits for its accounts.
pub(super) async fn issue(
    pool: &Pool,
    handout_no: i32,
    today: Date,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Option<Handout>, Error> {
    let handout = change(pool, handout_no, ISSUE, Some(today), trace, now).await?;
    Ok(Some(handout).filter(|it| !matches!(it.state, State::Waiting | State::Counting)))
}

/// See [`STOP`].
pub(super) async fn stop(
    pool: &Pool,
    handout_no: i32,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Handout, Error> {
    change(pool, handout_no, STOP, None, trace, now).await
}

/// See [`END`].
pub(super) async fn end(
    pool: &Pool,
    handout_no: i32,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Handout, Error> {
    change(pool, handout_no, END, None, trace, now).await
}

/// A change of a handout's state by people; what changes nothing leaves no line.
async fn change(
    pool: &Pool,
    handout_no: i32,
    statement: &str,
    today: Option<Date>,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<Handout, Error> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = client.transaction().await.map_err(DbError::from)?;
    let changed = match today {
        Some(today) => change.execute(statement, &[&handout_no, &today, &trace.user_no]).await,
        None => change.execute(statement, &[&handout_no]).await,
    };
    if changed.map_err(DbError::from)? > 0 {
        audit_in(&*change, trace, now).await?;
    }
    if statement == END {
        // By a statement of its own: who has written some meanwhile was waited for by the first.
        change.execute(FORGET_PAGES, &[&handout_no]).await.map_err(DbError::from)?;
    }
    let name = trace.object.trim_start_matches("handout:");
    let row = change.query_one(FIND, &[&name]).await.map_err(DbError::from)?;
    let handout = handout(&row)?;
    change.commit().await.map_err(DbError::from)?;
    Ok(handout)
}

/// Claims a handout that waits for a worker, or this one if it does; its name.
pub(super) async fn claim(
    pool: &Pool,
    worker: i64,
    handout_no: Option<i32>,
) -> Result<Option<String>, DbError> {
    let row = pool.get().await?.query_opt(CLAIM, &[&worker, &handout_no]).await?;
    Ok(row.map(|row| row.get("handout_id")))
}

/// See [`LEAVE`].
pub(super) async fn leave(
    pool: &Pool,
    worker: i64,
    handout_no: i32,
    pause_s: f64,
) -> Result<(), DbError> {
    pool.get().await?.execute(LEAVE, &[&handout_no, &worker, &pause_s]).await?;
    Ok(())
}

/// Begins counting anew; whether the claim holds.
pub(super) async fn begin_counting(
    pool: &Pool,
    worker: i64,
    handout_no: i32,
) -> Result<bool, DbError> {
    let row = pool.get().await?.query_opt(BEGIN_COUNTING, &[&handout_no, &worker]).await?;
    Ok(row.is_some())
}

/// Accounts that were found, a page of them; whether the claim holds.
pub(super) async fn counted(
    pool: &Pool,
    worker: i64,
    handout_no: i32,
    page_no: i32,
    account_ids: &[i64],
    held_out: i32,
    is_last: bool,
) -> Result<bool, DbError> {
    let client = pool.get().await?;
    let row = client
        .query_opt(
            COUNTED,
            &[
                &handout_no,  // $1
                &worker,      // $2
                &page_no,     // $3
                &account_ids, // $4
                &held_out,    // $5
                &is_last,     // $6
            ],
        )
        .await?;
    Ok(row.is_some())
}

/// A page of the accounts that are written down; none behind the last one.
pub(super) async fn page_at(
    pool: &Pool,
    handout_no: i32,
    page_no: i32,
) -> Result<Vec<i64>, DbError> {
    let row = pool.get().await?.query_opt(PAGE_AT, &[&handout_no, &page_no]).await?;
    Ok(row.map_or_else(Vec::new, |row| row.get("account_ids")))
}

/// See [`AGREED`].
pub(super) async fn agreed(
    pool: &Pool,
    account_ids: &[i64],
    consent: &str,
) -> Result<Vec<i64>, DbError> {
    let buckets: Vec<i16> =
        account_ids.iter().map(|id| i16::from(bucket::of_account(*id))).collect();
    let rows = pool.get().await?.query(AGREED, &[&buckets, &account_ids, &consent]).await?;
    Ok(rows.iter().map(|row| row.get("account_id")).collect())
}

/// So many accounts more are done, and so many of them have their coupon; why it stops, if it
/// does. Whether the claim holds.
pub(super) async fn issued(
    pool: &Pool,
    worker: i64,
    handout_no: i32,
    done: i32,
    issued: i32,
    stopped_why: Option<&str>,
) -> Result<bool, DbError> {
    let client = pool.get().await?;
    let row = client
        .query_opt(
            ISSUED,
            &[
                &handout_no,  // $1
                &worker,      // $2
                &done,        // $3
                &issued,      // $4
                &stopped_why, // $5
            ],
        )
        .await?;
    Ok(row.is_some())
}

pub(super) fn handout(row: &Row) -> Result<Handout, Error> {
    let name: String = row.get("handout_id");
    let damaged = || Error::Damaged(format!("handout {name}"));
    let question: Option<&str> = row.get("question");
    let segment = question.map(serde_json::from_str).transpose().map_err(|_| damaged())?;
    let state = State::from_code(row.get("state")).ok_or_else(damaged)?;
    let (done, issued): (i32, i32) = (row.get("done"), row.get("issued"));
    let revocation = row.get::<_, Option<Timestamp>>("revoke_at").map(|asked_at| {
        let [coupons, revoked, redeemed, expired]: [i32; 4] =
            ["gone_through", "revoked", "redeemed", "expired"].map(|name| row.get(name));
        Revocation {
            asked_at,
            done: !row.get::<_, bool>("revoking"),
            coupons,
            revoked,
            redeemed,
            expired,
            failed: coupons - revoked - redeemed - expired,
            after: row.get::<_, Option<i64>>("revoke_after").map(Code::from_number),
            by: row.get("revoke_by"),
        }
    });
    Ok(Handout {
        offer: row.get("offer_id"),
        segment,
        held_out_too: row.get("held_out_too"),
        state,
        stopped_why: row.get("stopped_why"),
        made_at: row.get("made_at"),
        counts_from: row.get("counts_from"),
        accounts: row.get("accounts"),
        held_out: row.get("held_out"),
        done,
        issued,
        left_out: done - issued,
        revocation,
        handout_no: row.get("handout_no"),
        offer_no: row.get("offer_no"),
        issued_by: row.get("issued_by"),
        handout: name,
    })
}
