//! Statements about budgets and leases, but for the one that spends: that is the commit itself.
//!
//! Each is a transaction by itself and locks the row of at most one budget, so that no two can
//! wait for each other. Leases run out by the clock of the database, the only one that all
//! replicas share.

use tokio_postgres::Row;

use crate::domain::budget::{Counts, Key};

/// A budget that nobody has drawn on. Asked first, since a row that is not inserted takes a number
/// all the same, and those of 31 bits come to an end.
pub(super) const ENSURE: &str = "
-- commit::leases::ensure
INSERT INTO budget (offer_no, store_no, counts, amount)
SELECT $1::integer, $2::integer, $3::smallint, $4::bigint
WHERE NOT EXISTS (SELECT FROM budget WHERE offer_no = $1 AND store_no = $2 AND counts = $3)
ON CONFLICT DO NOTHING";

/// A lease of what is needed or a part of what is left, where as much is left as is of use. No
/// more is left than `$8` allows.
pub(super) const TAKE: &str = "
-- commit::leases::take
WITH taken AS (
    UPDATE budget AS b
    SET slice = least(least(b.amount, $8::bigint) - b.spent - b.leased,
                      greatest($4::bigint,
                               (least(b.amount, $8::bigint) - b.spent - b.leased) / $6::bigint)),
        leased = b.leased
            + least(least(b.amount, $8::bigint) - b.spent - b.leased,
                    greatest($4::bigint,
                             (least(b.amount, $8::bigint) - b.spent - b.leased) / $6::bigint))
    WHERE b.offer_no = $1 AND b.store_no = $2 AND b.counts = $3
      AND least(b.amount, $8::bigint) - b.spent - b.leased >= $5::bigint
    RETURNING b.budget_no, b.slice
)
INSERT INTO lease (budget_no, amount, expires_at)
SELECT budget_no, slice, now() + $7::float8 * interval '1 second' FROM taken
RETURNING lease_no, amount";

/// What nobody has spent of a budget nor leased.
pub(super) const LEFT: &str = "
-- commit::leases::left
SELECT amount - spent - leased AS left_over FROM budget
WHERE offer_no = $1 AND store_no = $2 AND counts = $3";

/// Leases of a budget whose holder has done with them, and those that have run out. One that is
/// being spent is passed over: its turn comes again.
pub(super) const CLOSE: &str = "
-- commit::leases::close
WITH closed AS (
    DELETE FROM lease WHERE lease_no IN (
        SELECT l.lease_no FROM lease AS l JOIN budget AS b USING (budget_no)
        WHERE b.offer_no = $1 AND b.store_no = $2 AND b.counts = $3
          AND (l.lease_no = ANY($4::bigint[]) OR l.expires_at < now())
        FOR UPDATE OF l SKIP LOCKED
    )
    RETURNING amount, spent
), sum AS (
    SELECT count(*) AS closed, coalesce(sum(amount), 0)::bigint AS amount,
           coalesce(sum(spent), 0)::bigint AS spent
    FROM closed
), returned AS (
    UPDATE budget AS b SET leased = b.leased - s.amount, spent = b.spent + s.spent
    FROM sum AS s
    WHERE b.offer_no = $1 AND b.store_no = $2 AND b.counts = $3 AND s.closed > 0
)
SELECT closed FROM sum";

/// Budgets of which leases have run out.
pub(super) const RUN_OUT: &str = "
-- commit::leases::run_out
SELECT DISTINCT b.offer_no, b.store_no, b.counts
FROM lease AS l JOIN budget AS b USING (budget_no)
WHERE l.expires_at < now()";

/// See [`RUN_OUT`].
pub(super) fn key_of(row: &Row) -> Option<Key> {
    let (store_no, counts): (i32, i16) = (row.get("store_no"), row.get("counts"));
    let counts = Counts::ALL.into_iter().find(|it| *it as i16 == counts)?;
    let store_no = u32::try_from(store_no).ok()?;
    Some(Key { offer_no: row.get("offer_no"), store_no, counts })
}
