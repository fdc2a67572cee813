-- Offers, and coupons that are issued to accounts.

-- What marketing or a manager defines. Held in memory by every replica; a change raises
-- chain.reference_version.
CREATE TABLE offer (
    offer_no   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    offer_id   text        NOT NULL UNIQUE CHECK (offer_id ~ '^[a-z0-9-]{1,64}$'),
    -- As people wrote it; compiled by domain::offer when it is loaded.
    definition jsonb       NOT NULL,
    created_at timestamptz NOT NULL
);

-- An offer issued to one account. A coupon changes only together with the version of its
-- account, in the same statement; so a version that moves proves what was read of its coupons.
CREATE TABLE coupon (
    -- 8 bits of bucket and 56 random ones: a code that is presented finds its row by itself.
    code            bigint      NOT NULL,
    account_id      bigint      NOT NULL,
    issued_version  bigint      NOT NULL,
    -- Version at which it was redeemed, revoked, or opened again by a void; 0 until then.
    changed_version bigint      NOT NULL DEFAULT 0,
    issued_at       timestamptz NOT NULL,
    offer_no        integer     NOT NULL,
    valid_from      date        NOT NULL,
    valid_until     date        NOT NULL,
    -- The business date of the transaction that redeemed it.
    redeemed_on     date,
    bucket          smallint    NOT NULL CHECK (bucket = ((code >> 56) & 255)),
    -- 0 issued, 1 redeemed, 2 revoked.
    state           smallint    NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    -- The till gave more for it than it is worth.
    over_value      boolean     NOT NULL DEFAULT false,
    -- Who issued it.
    actor           text        NOT NULL,
    PRIMARY KEY (bucket, code),
    CHECK (bucket = (account_id & 255)),
    CHECK ((state = 1) = (redeemed_on IS NOT NULL))
) WITH (fillfactor = 90, autovacuum_vacuum_cost_delay = 10);
-- The coupons of an account. By the account alone, whose id says the bucket: with the bucket in
-- front a planner that believes the table to be tiny could take the key instead, and read all
-- coupons of a bucket.
CREATE INDEX coupon_account ON coupon (account_id);
