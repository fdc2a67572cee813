//! The statements that only handouts need.

/// Which of these accounts have a coupon of an offer under a name.
pub(super) const HAVE_ONE: &str = "
-- commit::have_one
SELECT i.account_id
FROM unnest($1::bigint[]) AS i (account_id)
CROSS JOIN LATERAL (
    SELECT 1 FROM coupon AS c
    WHERE c.account_id = i.account_id AND c.offer_no = $2 AND c.actor = $3
      AND c.valid_until > '1970-01-01'
    LIMIT 1
) AS c";

/// Whether a handout is still being issued. Whoever stops it waits for the coupons at hand, and
/// none is issued after.
pub(super) const IS_ISSUING: &str = "
-- commit::is_issuing
SELECT 1 FROM handout WHERE handout_no = $1 AND state = 3 FOR SHARE";

/// Coupons of a handout after a code, in their order, and whose each is now. Both ends of the range
/// name the actor, so that only the index of handouts has this order, whatever statistics say.
pub(super) const COUPONS_OF: &str = "
-- commit::coupons_of
SELECT p.code, p.account_id, p.state, p.valid_until, a.merged_into
FROM (
    SELECT * FROM coupon AS c
    WHERE c.actor LIKE 'handout:%' AND (c.actor, c.bucket, c.code) > ($1, $2, $3) AND c.actor <= $1
    ORDER BY c.actor, c.bucket, c.code LIMIT $4
) AS p
CROSS JOIN LATERAL (
    SELECT a.merged_into FROM account AS a
    WHERE a.bucket = p.bucket AND a.account_id = p.account_id LIMIT 1
) AS a
ORDER BY p.bucket, p.code";
