//! The statement that only handouts to many accounts need.

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
