//! The same statement for a swipe that is alone in its batch, as values instead of arrays.
//!
//! What makes a batch cheap costs most where there is none: arrays to take apart, places to look
//! up, a range to count up for each table. Owns the form for one plain swipe; must write the very
//! rows that the forms of [`super::Parts`] write, and on the same conditions.

/// Parameters of [`COMMIT_LONE`].
pub(in crate::commit) const LONE: usize = 32;

/// Moves one account by one new swipe with one entry, without coupons or a checkpoint. It moves
/// as a whole or not at all: not when its version is another than the one decided on, and not when
/// the name is taken. Returns the account when it moved. Where somebody changes the row meanwhile
/// and leaves the version as it was, this moves at once and the forms for batches at their second
/// attempt.
pub(in crate::commit) const COMMIT_LONE: &str = "
-- commit::commit_batch
WITH moved AS (
    UPDATE account AS a
    SET version = $4::bigint, total_points = $5::bigint, sales_minor = $6::bigint,
        baskets = $7::integer, clock = $8::date, next_expiry = $9::date, tail_since = $10::date,
        tail_version = $4::bigint, lots = $11::bytea, tally = nullif($12::bytea, '')
    WHERE a.bucket = $1::smallint AND a.account_id = $2::bigint AND a.version = $3::bigint
      AND (SELECT 1 FROM swipe_key AS k
           WHERE k.bucket = $13::smallint AND k.workstation_no = $14::integer
             AND k.business_date = $15::date AND k.sequence_number = $16::bigint
           LIMIT 1) IS NULL
    RETURNING a.account_id
), claimed AS (
    INSERT INTO swipe_key (bucket, workstation_no, business_date, sequence_number, account_id,
                           version, void_version, content_hash)
    SELECT $13::smallint, $14::integer, $15::date, $16::bigint, m.account_id, $4::bigint, 0,
           $17::bytea
    FROM moved AS m
), swiped AS (
    INSERT INTO swipe (bucket, account_id, version, business_date, workstation_no, sequence_number,
                       kind, epoch, occurred_at, recorded_at, total_minor, earned_points,
                       reversed_points, spent_points, record, receipt, decision)
    SELECT $1::smallint, m.account_id, $4::bigint, $15::date, $14::integer, $16::bigint,
           $18::smallint, $19::integer, $20::timestamptz, $21::timestamptz, $22::bigint,
           $23::bigint, $24::bigint, $25::bigint, $26::bytea, $27::bytea, nullif($28::bytea, '')
    FROM moved AS m
), booked AS (
    INSERT INTO entry (bucket, account_id, version, entry_no, kind, points, lot_available,
                       lot_expires, business_date)
    SELECT $1::smallint, m.account_id, $4::bigint, 0, $29::smallint, $30::bigint, $31::date,
           $32::date, $15::date
    FROM moved AS m
)
SELECT account_id FROM moved";
