//! Every statement of the committers. Nothing else writes account-owned rows.
//!
//! Statements take whole batches as arrays, but for the one in `lone`. Rows that belong to an
//! account are addressed by ranges into flat arrays, and long values lie behind one another in a
//! single value that `substring` cuts up: an array of values of varying length would have to be
//! walked from its beginning for each element. So the cost is linear in the batch, whatever its
//! shape.
//!
//! No plan may depend on statistics. Rows are looked up in lateral subqueries with a LIMIT, which
//! the planner can neither reorder nor turn into joins, whatever it believes about the tables;
//! [`SESSION`] leaves it only nested loops over indexes, and has it plan each statement once: for
//! arrays of a known length a plan of its own always looks cheaper, and costs more than it saves.

mod batch;
mod coupons;
mod lone;

pub use self::batch::{Coupons, Parts};
pub(super) use self::coupons::*;
pub(super) use self::lone::{COMMIT_LONE, LONE};

/// Settings of the committers' sessions: plans that do not depend on statistics, and a commit
/// that waits for the disk whatever the server's default is.
pub(super) const SESSION: &[(&str, &str)] = &[
    ("synchronous_commit", "on"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_material", "off"),
    ("enable_memoize", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// While a committer finds out which job of a batch waits for somebody else.
pub(super) const SHORT_LOCK_TIMEOUT: &str = "SET lock_timeout = '20ms'";
/// Back to what the session began with.
pub(super) const RESET_LOCK_TIMEOUT: &str = "RESET lock_timeout";

/// Names whose sale was voided, or came after its void. Only under the lock of their accounts,
/// and only when all of those have moved.
pub(super) const REKEY: &str = "
-- commit::rekey
UPDATE swipe_key AS k
SET version = i.version, void_version = i.void_version, content_hash = i.content_hash
FROM (
    SELECT i.*, held.place
    FROM unnest($1::smallint[], $2::integer[], $3::date[], $4::bigint[], $5::bigint[], $6::bigint[],
                $7::bytea[])
        AS i (bucket, workstation_no, business_date, sequence_number, version, void_version,
              content_hash)
    CROSS JOIN LATERAL (
        SELECT h.ctid AS place FROM swipe_key AS h
        WHERE h.bucket = i.bucket AND h.workstation_no = i.workstation_no
          AND h.business_date = i.business_date AND h.sequence_number = i.sequence_number
        LIMIT 1
    ) AS held
) AS i
WHERE k.ctid = i.place";

/// Finds cards, and gives those never seen a provisional account. A card that another session
/// is creating at this moment is not returned; asked again it is found. The arrays are sorted
/// by (bucket, card), so that two sessions cannot wait for each other.
pub(super) const RESOLVE_CARDS: &str = "
-- commit::resolve_cards
WITH wanted AS (
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::smallint[], $4::bigint[])
        AS i (bucket, card, new_bucket, new_account_id)
), found AS (
    SELECT i.card, c.account_id
    FROM wanted AS i
    CROSS JOIN LATERAL (
        SELECT c.account_id FROM card AS c WHERE c.bucket = i.bucket AND c.card = i.card LIMIT 1
    ) AS c
), linked AS (
    INSERT INTO card (bucket, card, account_id, linked_at)
    SELECT i.bucket, i.card, i.new_account_id, $5::timestamptz
    FROM wanted AS i
    WHERE (SELECT 1 FROM card AS c WHERE c.bucket = i.bucket AND c.card = i.card) IS NULL
    ON CONFLICT DO NOTHING
    RETURNING card, account_id
), opened AS (
    INSERT INTO account (bucket, account_id, version, total_points, sales_minor, baskets, clock,
                         state, lots, next_expiry)
    SELECT (account_id & 255)::smallint, account_id, 0, 0, 0, 0, $6::date, 0, $7::bytea, NULL
    FROM linked
)
SELECT card, account_id, false AS opened FROM found
UNION ALL
SELECT card, account_id, true FROM linked";

/// Cards as they point now; creates nothing.
pub(super) const FIND_CARDS: &str = "
-- commit::find_cards
SELECT i.card, c.account_id
FROM unnest($1::smallint[], $2::text[]) AS i (bucket, card)
CROSS JOIN LATERAL (
    SELECT c.account_id FROM card AS c WHERE c.bucket = i.bucket AND c.card = i.card LIMIT 1
) AS c";

/// Accounts with the checkpoint of their profile and the sales since. With `$3` the checkpoint
/// is passed over and all sales are returned. The day on which those since begin, and that of the
/// account's clock, spare the partitions before and after: the executor leaves them out account
/// by account. The coupons that can still be redeemed come along, and those used or run out within
/// the 84 days of `domain::coupon::REMEMBERED_DAYS`, the hundred that last longest. `cards` are
/// those of the account's range of `$7` that point at it in this very snapshot: a link that was
/// read before the version proves nothing about it. They are looked up account by account: a join
/// would compare every card with every account. `profiling` is `domain::consent::Profiling`.
pub(super) const LOAD_ACCOUNTS: &str = "
-- commit::load_accounts
SELECT a.account_id, a.version, a.state, a.clock, a.lots, a.sales_minor, a.baskets, a.tally,
       p.encoding, p.data, s.business_dates, s.occurred, s.workstations, s.totals, s.records,
       (SELECT array_agg(c.card)
        FROM unnest(($6::smallint[])[i.card_first:i.card_last],
                    ($7::text[])[i.card_first:i.card_last]) AS w (bucket, card)
        CROSS JOIN LATERAL (
            SELECT c.account_id, c.card FROM card AS c
            WHERE c.bucket = w.bucket AND c.card = w.card
            LIMIT 1
        ) AS c
        WHERE c.account_id = i.account_id) AS cards,
       o.codes, o.offers, o.first_days, o.last_days, o.used, o.reasons,
       (SELECT CASE WHEN bool_or('no-profiling' = ANY (m.consents)) THEN 2
                    WHEN bool_and('profiling' = ANY (m.consents)) THEN 1 ELSE 0 END::smallint
        FROM member AS m
        WHERE m.bucket = i.bucket AND m.account_id = i.account_id) AS profiling
FROM unnest($1::smallint[], $2::bigint[], $4::integer[], $5::integer[])
         AS i (bucket, account_id, card_first, card_last)
CROSS JOIN LATERAL (
    SELECT * FROM account AS a WHERE a.bucket = i.bucket AND a.account_id = i.account_id LIMIT 1
) AS a
LEFT JOIN LATERAL (
    SELECT p.version, p.encoding, p.data FROM profile AS p
    WHERE p.bucket = i.bucket AND p.account_id = i.account_id AND NOT $3::boolean
    LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT array_agg(w.business_date ORDER BY w.version) AS business_dates,
           array_agg(w.occurred_at ORDER BY w.version) AS occurred,
           array_agg(w.workstation_no ORDER BY w.version) AS workstations,
           array_agg(w.total_minor ORDER BY w.version) AS totals,
           array_agg(w.record ORDER BY w.version) AS records
    FROM swipe AS w
    WHERE w.bucket = i.bucket AND w.account_id = i.account_id AND w.kind = 0
      AND w.version > coalesce(p.version, 0) AND a.state <> 2
      AND w.business_date >=
          coalesce(CASE WHEN a.tail_version = a.version AND NOT $3::boolean THEN a.tail_since END,
                   '-infinity')
      AND w.business_date <= a.clock
) AS s ON true
LEFT JOIN LATERAL (
    SELECT array_agg(c.code ORDER BY c.code) AS codes,
           array_agg(c.offer_no ORDER BY c.code) AS offers,
           array_agg(c.valid_from ORDER BY c.code) AS first_days,
           array_agg(c.valid_until ORDER BY c.code) AS last_days,
           array_agg(c.state = 1 ORDER BY c.code) AS used,
           array_agg(c.reason ORDER BY c.code) AS reasons
    FROM (
        SELECT c.code, c.offer_no, c.valid_from, c.valid_until, c.state, c.reason FROM coupon AS c
        WHERE c.account_id = i.account_id AND c.bucket = i.bucket AND c.state < 2
          AND c.valid_until >= a.clock - 84
        ORDER BY c.valid_until DESC
        LIMIT 100
    ) AS c
) AS o ON true";

/// Locks accounts in the order of the arrays, which is sorted. What the lock protects must be
/// read by a later statement: waiting does not refresh the snapshot of this one.
pub(super) const LOCK_ACCOUNTS: &str = "
-- commit::lock_accounts
SELECT a.account_id
FROM unnest($1::smallint[], $2::bigint[]) AS i (bucket, account_id)
CROSS JOIN LATERAL (
    SELECT a.account_id FROM account AS a
    WHERE a.bucket = i.bucket AND a.account_id = i.account_id
    LIMIT 1
    FOR NO KEY UPDATE
) AS a";

/// As [`LOCK_ACCOUNTS`], but only those that nobody else has locked, and without waiting.
/// Returns them; which are missing is known to be held.
pub(super) const LOCK_FREE_ACCOUNTS: &str = "
-- commit::lock_free_accounts
SELECT a.account_id
FROM unnest($1::smallint[], $2::bigint[]) AS i (bucket, account_id)
CROSS JOIN LATERAL (
    SELECT a.account_id FROM account AS a
    WHERE a.bucket = i.bucket AND a.account_id = i.account_id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
) AS a";

/// Which of these accounts have been merged, and into which. A merge is never undone.
pub(super) const FIND_HEIRS: &str = "
-- commit::find_heirs
SELECT a.account_id, a.merged_into
FROM unnest($1::smallint[], $2::bigint[]) AS i (bucket, account_id)
CROSS JOIN LATERAL (
    SELECT a.account_id, a.merged_into FROM account AS a
    WHERE a.bucket = i.bucket AND a.account_id = i.account_id AND a.merged_into IS NOT NULL
    LIMIT 1
) AS a";

/// Names that are recorded, by their place in the arrays.
pub(super) const FIND_NAMES: &str = "
-- commit::find_names
SELECT i.n, k.account_id, k.version, k.void_version, k.content_hash
FROM unnest($1::smallint[], $2::integer[], $3::date[], $4::bigint[])
         WITH ORDINALITY AS i (bucket, workstation_no, business_date, sequence_number, n)
CROSS JOIN LATERAL (
    SELECT * FROM swipe_key AS k
    WHERE k.bucket = i.bucket AND k.workstation_no = i.workstation_no
      AND k.business_date = i.business_date AND k.sequence_number = i.sequence_number
    LIMIT 1
) AS k";

/// Recorded swipes, by their place in the arrays.
pub(super) const LOAD_SWIPES: &str = "
-- commit::load_swipes
SELECT i.n, s.kind, s.epoch, s.total_minor, s.record, s.receipt
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::date[])
         WITH ORDINALITY AS i (bucket, account_id, version, business_date, n)
CROSS JOIN LATERAL (
    SELECT * FROM swipe AS s
    WHERE s.bucket = i.bucket AND s.account_id = i.account_id AND s.version = i.version
      AND s.business_date = i.business_date
    LIMIT 1
) AS s";

/// What recorded swipes did to the points, expiries left out, by their place in the arrays.
pub(super) const LOAD_ENTRIES: &str = "
-- commit::load_entries
SELECT i.n, e.kind, e.points, e.lot_available, e.lot_expires
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[])
         WITH ORDINALITY AS i (bucket, account_id, version, n)
CROSS JOIN LATERAL (
    SELECT * FROM entry AS e
    WHERE e.bucket = i.bucket AND e.account_id = i.account_id AND e.version = i.version
      AND e.kind <> 5
    OFFSET 0
) AS e
ORDER BY i.n, e.entry_no";

/// The next block of 256 account numbers.
pub(super) const NEXT_NUMBERS: &str = "
-- commit::next_numbers
SELECT nextval('account_number_block')";

/// One account under a lock.
pub(super) const UPDATE_ACCOUNT: &str = "
-- commit::update_account
UPDATE account
SET version = $4, total_points = $5, clock = $6, state = $7, merged_into = $8, lots = $9,
    next_expiry = $10, tally = $11
WHERE bucket = $1 AND account_id = $2 AND version = $3";

/// The entries of one version of one account.
pub(super) const INSERT_ENTRIES: &str = "
-- commit::insert_entries
INSERT INTO entry (bucket, account_id, version, business_date, entry_no, kind, points,
                   lot_available, lot_expires)
SELECT $1, $2, $3, $4, i.*
FROM unnest($5::smallint[], $6::smallint[], $7::bigint[], $8::date[], $9::date[]) AS i";

/// The first member of an account.
pub(super) const INSERT_MEMBER: &str = "
-- commit::insert_member
INSERT INTO member (bucket, account_id, member_no, given_name, family_name, birthday, email, phone,
                    consents, joined_on)
VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING";

/// Where a card points from now on.
pub(super) const LINK_CARD: &str = "
-- commit::link_card
UPDATE card SET account_id = $3, linked_at = $4, blocked_from = NULL
WHERE bucket = $1 AND card = $2";

/// Adjustments with an id, of one account and of those that have been merged into others.
pub(super) const FIND_ADJUSTMENTS: &str = "
-- commit::find_adjustments
SELECT d.account_id, d.points, d.reason, d.business_date, d.made_at
FROM adjustment AS d
CROSS JOIN LATERAL (
    SELECT 1 FROM account AS a
    WHERE a.bucket = d.bucket AND a.account_id = d.account_id
      AND (a.account_id = $2 OR a.merged_into IS NOT NULL)
    LIMIT 1
) AS a
WHERE d.adjustment_id = $1";

/// What a person corrected, with the version that it made.
pub(super) const INSERT_ADJUSTMENT: &str = "
-- commit::insert_adjustment
INSERT INTO adjustment (bucket, account_id, version, adjustment_id, reason, actor, points,
                        business_date, made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// One user's adjustments are made one after another, so that what they add up to holds. Lines of
/// the audit trail that name the user do not wait for it.
pub(super) const LOCK_USER: &str = "
-- commit::lock_user
SELECT 1 FROM app_user WHERE user_no = $1 FOR NO KEY UPDATE";

pub(super) const POINTS_ADJUSTED: &str = "
-- commit::points_adjusted
SELECT coalesce(sum(abs(points)), 0)::bigint FROM adjustment WHERE actor = $1 AND made_at >= $2";

pub(super) const AUDIT_ADJUSTMENT: &str = "
-- commit::audit_adjustment
INSERT INTO audit (at, user_no, action, object, fields)
VALUES ($1, $2, 'account.adjust', $3, '{points}')";

/// What an account was handed out under a name.
pub(super) const HANDED_OUT: &str = "
-- commit::handed_out
SELECT offer_no, code FROM coupon
WHERE account_id = $1 AND actor = $2 AND valid_until > '1970-01-01'";

/// The next expiry of accounts of which nothing has to be written off: what an older version
/// has not looked at. They stay at the version that was looked at, so no cache minds.
pub(super) const NOTE_EXPIRIES: &str = "
-- commit::note_expiries
UPDATE account AS a
SET next_expiry = i.next_expiry
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::date[])
    AS i (bucket, account_id, version, next_expiry)
WHERE a.bucket = i.bucket AND a.account_id = i.account_id AND a.version = i.version";

/// A page of a bucket's accounts along their key: the last of them, and those of which points ran
/// out before a day. The day is not indexed, so that the updates of swipes stay HOT; so the page
/// bounds what is read, and not only what is answered. Those of which an older version has not
/// noted the day have the first day that there is.
pub(super) const DUE: &str = "
-- commit::due
SELECT max(p.account_id) AS last,
       coalesce(array_agg(p.account_id) FILTER (WHERE p.next_expiry < $3::date), '{}') AS due
FROM (
    SELECT a.account_id, a.next_expiry FROM account AS a
    WHERE a.bucket = $1::smallint AND a.account_id > $2::bigint
    ORDER BY a.account_id
    LIMIT $4::bigint
) AS p";
