//! Statements about coupons, but for the one that changes them with their accounts.

/// Coupons by their codes; those that were never issued are left out. With those of the offers in
/// `$3`, whose limits look back, comes what the account of `$4` has redeemed of the offer within
/// them; a code that several accounts bring stands there for each of them. What is open of a pool
/// that was taken back is taken back.
pub(in crate::commit) const FIND_COUPONS: &str = "
-- commit::find_coupons
SELECT i.by_account, c.code, c.account_id, c.offer_no, c.issued_version,
       CASE WHEN c.state = 0 AND p.is_revoked THEN 2 ELSE c.state END::smallint AS state,
       p.pool_no, coalesce(p.is_revoked, false) AS is_revoked,
       c.changed_version, c.valid_from, c.valid_until, c.value_minor, c.over_budget, c.over_limit,
       c.reason, coalesce(c.changed_account, c.account_id) AS changed_by,
       u.codes AS used_codes, u.days AS used_on
FROM unnest($1::smallint[], $2::bigint[], $4::bigint[]) AS i (bucket, code, by_account)
CROSS JOIN LATERAL (
    SELECT * FROM coupon AS c WHERE c.bucket = i.bucket AND c.code = i.code LIMIT 1
) AS c
LEFT JOIN LATERAL (
    SELECT p.pool_no, p.revoked_at IS NOT NULL AS is_revoked FROM code_pool AS p
    WHERE c.account_id < 256 AND p.offer_no = c.offer_no AND p.made_at = c.issued_at
    LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT array_agg(u.code) AS codes, array_agg(u.redeemed_on) AS days
    FROM (
        SELECT o.code, o.redeemed_on FROM coupon AS o
        WHERE o.account_id = i.by_account AND o.offer_no = c.offer_no AND o.state = 1
          AND NOT o.over_limit AND o.changed_account IS NULL AND o.valid_until > '1970-01-01'
        UNION ALL
        SELECT o.code, o.redeemed_on FROM coupon AS o
        WHERE o.changed_account = i.by_account AND o.offer_no = c.offer_no AND o.state = 1
          AND NOT o.over_limit
    ) AS u
    WHERE c.offer_no = ANY($3::integer[])
) AS u ON true";

/// What accounts have redeemed of offers that are everybody's, each use a coupon of its own. Those
/// of shared codes and automatic offers lie on `domain::coupon::USE_DAY` and have an index of their
/// own; older ones of shared codes do not.
pub(in crate::commit) const FIND_USES: &str = "
-- commit::find_uses
SELECT i.account_id, i.offer_no, o.code, o.redeemed_on
FROM unnest($1::bigint[], $2::integer[]) AS i (account_id, offer_no)
CROSS JOIN LATERAL (
    SELECT o.code, o.redeemed_on FROM coupon AS o
    WHERE o.account_id = i.account_id AND o.offer_no = i.offer_no AND o.state = 1
      AND NOT o.over_limit AND o.valid_until = '1970-01-01'
    UNION ALL
    SELECT o.code, o.redeemed_on FROM coupon AS o
    WHERE o.account_id = i.account_id AND o.offer_no = i.offer_no AND o.state = 1
      AND NOT o.over_limit AND o.valid_until > '1970-01-01'
    OFFSET 0
) AS o";

pub(in crate::commit) const AUDIT_COUPONS: &str = "
-- commit::audit_coupons
INSERT INTO audit (at, user_no, action, object, fields)
SELECT $1, $2, $3, object, '{state}' FROM unnest($4::text[]) AS object";

/// Codes of a pool as coupons that nobody has; those that are there are left alone. Nothing is
/// stored and nothing returned when the pool has been taken back: whoever does that waits for the
/// codes at hand, and none comes after.
pub(in crate::commit) const STORE_CODES: &str = "
-- commit::store_codes
WITH pool AS (
    SELECT offer_no, made_at, valid_from, valid_until, actor FROM code_pool
    WHERE pool_no = $2 AND revoked_at IS NULL
    FOR SHARE
), stored AS (
    INSERT INTO coupon (bucket, code, account_id, issued_version, offer_no, issued_at, valid_from,
                        valid_until, actor)
    SELECT (i.code >> 56 & 255)::smallint, i.code, i.code >> 56 & 255, 0, p.offer_no, p.made_at,
           p.valid_from, p.valid_until, p.actor
    FROM pool AS p, unnest($1::bigint[]) AS i (code)
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
)
SELECT 1 FROM pool";

/// Takes back a code that nobody has used.
pub(in crate::commit) const REVOKE_UNBOUND: &str = "
-- commit::revoke_unbound
UPDATE coupon SET state = 2
WHERE bucket = $1 AND code = $2 AND state = 0 AND account_id < 256 AND changed_account IS NULL";
