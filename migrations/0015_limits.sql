-- Limits of offers, and codes that belong to nobody when they are made.

-- More was redeemed than the offer allows, to the account, on the day, in the transaction or in
-- all; or beside another offer of its group. Each use of a shared code is a row of its own, issued
-- and redeemed by the same version; one that is more than the offer allows is no use of it.
ALTER TABLE coupon ADD COLUMN over_limit boolean NOT NULL DEFAULT false;
-- A code of a pool has its bucket, 0 to 255, for an account, which no account has for an id, until
-- changed_account says who used it first. What an account has redeemed of an offer is looked for
-- here too. Nearly all coupons are changed by the account that has them, and are not in it. Where
-- there are many, make it CONCURRENTLY beforehand.
CREATE INDEX IF NOT EXISTS coupon_changed_account ON coupon (changed_account)
WHERE changed_account IS NOT NULL;

-- No two offers ever have the same shared code.
CREATE UNIQUE INDEX offer_shared_code ON offer ((definition->'shared_code'->>'code'));

-- Codes for print or mail, made in bulk. They follow from the seed, so that a file that was cut
-- off can be fetched again; each is stored as a coupon before it leaves.
CREATE TABLE code_pool (
    pool_id     text        NOT NULL PRIMARY KEY,
    made_at     timestamptz NOT NULL,
    offer_no    integer     NOT NULL,
    codes       integer     NOT NULL CHECK (codes BETWEEN 1 AND 1000000),
    valid_from  date        NOT NULL,
    valid_until date        NOT NULL,
    -- Who made it.
    actor       text        NOT NULL,
    -- 32 random bytes.
    seed        bytea       NOT NULL
);
