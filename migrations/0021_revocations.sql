-- Handouts whose coupons are written to a file or taken back.

ALTER TABLE handout
    -- When people asked last that its coupons be taken back; NULL: never. Then it is done (5), also
    -- for replicas that do not know these columns, and stays so.
    ADD COLUMN revoke_at timestamptz,
    -- Who asked. NULL as well: somebody at the command line.
    ADD COLUMN revoke_by integer REFERENCES app_user,
    -- Whether it is still to be worked at.
    ADD COLUMN revoking boolean NOT NULL DEFAULT false,
    -- The last coupon that was gone through; NULL before the first.
    ADD COLUMN revoke_after bigint,
    -- Of the coupons that were gone through, as each was then: taken back, used, expired before.
    -- What is missing could not be taken back.
    ADD COLUMN gone_through integer NOT NULL DEFAULT 0,
    ADD COLUMN revoked      integer NOT NULL DEFAULT 0,
    ADD COLUMN redeemed     integer NOT NULL DEFAULT 0,
    ADD COLUMN expired      integer NOT NULL DEFAULT 0;

-- The coupons of handouts in the order in which both go through them; nobody else's are in it. Its
-- columns never change, so updates of coupons stay as cheap as they were. Whoever wants it used
-- says both that the actor is a handout and which one.
CREATE INDEX IF NOT EXISTS coupon_handout ON coupon (actor, bucket, code)
    WHERE actor LIKE 'handout:%';
