-- Cards that people block. A blocked card points at an account of its own, in state 4, where what
-- is bought with it waits; an older replica cannot read such an account, so the first card is
-- blocked when no older replica runs any more.
ALTER TABLE account DROP CONSTRAINT account_state_check;
-- Not looked through again: the rows that are there held the narrower rule.
ALTER TABLE account ADD CONSTRAINT account_state_check CHECK (state BETWEEN 0 AND 4) NOT VALID;

-- The account that a card was blocked on; NULL for all others.
ALTER TABLE card ADD COLUMN blocked_from bigint;

-- What people did to the cards of an account, by the version that it made.
CREATE TABLE card_change (
    bucket     smallint    NOT NULL CHECK (bucket = (account_id & 255)),
    account_id bigint      NOT NULL,
    version    bigint      NOT NULL,
    changed_at timestamptz NOT NULL,
    -- How many cards more the account had then: -1 blocked, 0 replaced, 1 unblocked or added.
    cards      smallint    NOT NULL CHECK (cards BETWEEN -1 AND 1),
    PRIMARY KEY (bucket, account_id, version)
);
