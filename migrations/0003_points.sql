-- Points that pay, people's adjustments, and expiries that are written as they fall due.

-- Points that paid in the transaction; negative on a void, which gives them back. 0 is right
-- for everything that was recorded before: points could not pay.
ALTER TABLE swipe ADD COLUMN spent_points bigint NOT NULL DEFAULT 0;

-- The last day of the lot that runs out first; NULL when none ever does. 0001-01-01, which every
-- older row has and every row that an older replica inserts, means that nobody has looked yet:
-- whoever writes due expiries looks. An older replica that updates a row leaves the day as it was;
-- docs/operating.md says what to do when the last of them is gone. Not indexed, so that the
-- updates of swipes stay HOT.
ALTER TABLE account ADD COLUMN next_expiry date DEFAULT '0001-01-01';

-- What people corrected, each once by its id. Written with the version that it made, and never
-- changed. An adjustment of an account that was merged afterwards stays under the old account.
CREATE TABLE adjustment (
    account_id    bigint      NOT NULL,
    version       bigint      NOT NULL,
    points        bigint      NOT NULL CHECK (points <> 0),
    made_at       timestamptz NOT NULL,
    business_date date        NOT NULL,
    bucket        smallint    NOT NULL,
    adjustment_id text        NOT NULL,
    -- A code of the chain's own, such as goodwill; never text about a person.
    reason        text        NOT NULL,
    actor         text        NOT NULL,
    PRIMARY KEY (bucket, account_id, version),
    UNIQUE (bucket, account_id, adjustment_id)
);
-- To find an adjustment by its id when its account has been merged since.
CREATE INDEX adjustment_id ON adjustment (adjustment_id);
