-- Budgets of offers, and the leases by which replicas spend them.

-- What may be spent of an offer, in the whole chain or in one store. Made when it is first drawn
-- on, with the amount that the offer's definition names. What is left to be leased is
-- amount - spent - leased. Every row of a lease is part of `leased`, whole, until it is closed;
-- then what was spent of it is part of `spent`, and the rest can be leased again.
CREATE TABLE budget (
    amount    bigint   NOT NULL,
    -- By leases that are closed. Negative where voids gave back more through them than was spent.
    spent     bigint   NOT NULL DEFAULT 0,
    leased    bigint   NOT NULL DEFAULT 0 CHECK (leased >= 0),
    -- What the latest lease was given: an UPDATE cannot return what a row was before it.
    slice     bigint   NOT NULL DEFAULT 0,
    budget_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    offer_no  integer  NOT NULL,
    -- 0 for the whole chain.
    store_no  integer  NOT NULL,
    -- 0 coupons issued, 1 money given by tills for coupons redeemed, in minor units.
    counts    smallint NOT NULL CHECK (counts BETWEEN 0 AND 1),
    UNIQUE (offer_no, store_no, counts),
    CHECK (spent + leased <= amount)
);

-- A slice of a budget in the hands of one committer or desk, which alone spends it, in the
-- statement that books what it is spent on. Closed is gone: whoever spends it then fails. Short
-- rows that change often: room for HOT updates.
CREATE TABLE lease (
    lease_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    amount     bigint      NOT NULL CHECK (amount >= 0),
    -- Negative where voids gave back more than was spent.
    spent      bigint      NOT NULL DEFAULT 0,
    -- By the clock of the database. From then on anybody may close it.
    expires_at timestamptz NOT NULL,
    budget_no  integer     NOT NULL,
    CHECK (spent <= amount)
) WITH (fillfactor = 50, autovacuum_vacuum_cost_delay = 10);
-- Few rows: only leases that are open.
CREATE INDEX lease_budget ON lease (budget_no);

-- What the till gave for a coupon that is redeemed, in minor units, and whether it did not fit
-- into the offer's budgets.
ALTER TABLE coupon ADD COLUMN value_minor bigint;
ALTER TABLE coupon ADD COLUMN over_budget boolean NOT NULL DEFAULT false;
