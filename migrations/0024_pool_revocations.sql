-- Pools of codes that are taken back as a whole, fetched or not.

ALTER TABLE code_pool
    ADD COLUMN pool_no integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    -- When people took back what is left of it; NULL: never. From then on none of its codes is
    -- redeemed, stored or told. The rows of its codes stay as they are: one that is open and of
    -- such a pool is revoked.
    ADD COLUMN revoked_at timestamptz,
    -- Who did. NULL as well: somebody at the command line.
    ADD COLUMN revoked_by integer REFERENCES app_user;

-- A code leads to its pool by what both have in common: offer and moment.
CREATE UNIQUE INDEX code_pool_moment ON code_pool (offer_no, made_at);
