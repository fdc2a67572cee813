-- Coupons of an offer for many accounts, once under a name: whom they are for is written down
-- before the first is issued, and how far it has got with every step.

CREATE TABLE handout (
    handout_no  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Names it for ever; its coupons have 'handout:' and this as who issued them.
    handout_id  text        NOT NULL UNIQUE CHECK (handout_id ~ '^[a-z0-9-]{1,64}$'),
    offer_no    integer     NOT NULL,
    -- Which accounts are meant: domain::segment. NULL: those of a list that people bring.
    segment     jsonb,
    -- Whether accounts of the hold-out get theirs as well.
    held_out_too boolean    NOT NULL,
    -- 0 waits for a list, 1 accounts are looked for, 2 ready, 3 being issued, 4 stopped, 5 done.
    state       smallint    NOT NULL CHECK (state BETWEEN 0 AND 5),
    -- Why it is stopped: 'people', 'budget-spent', 'offer-ended'; NULL otherwise.
    stopped_why text,
    made_at     timestamptz NOT NULL,
    -- NULL: somebody at the command line.
    made_by     integer REFERENCES app_user,
    -- Who had it issued or gone on with, and the day from which those coupons count; NULL before.
    issued_by   integer REFERENCES app_user,
    counts_from date,
    -- Accounts that it is for, and those that are held out and not among them.
    accounts    integer     NOT NULL DEFAULT 0,
    held_out    integer     NOT NULL DEFAULT 0,
    -- Of the accounts, in their order, so many are done; so many of those have a coupon, the
    -- others were left out.
    done        integer     NOT NULL DEFAULT 0,
    issued      integer     NOT NULL DEFAULT 0,
    -- Who works at it, a random number, and until when nobody else does, by the clock of the
    -- database.
    worker      bigint,
    worked_until timestamptz NOT NULL DEFAULT '-infinity',
    CHECK (issued <= done AND done <= accounts)
);

-- The accounts of a handout, a thousand in a row, the last one of them less. Gone when it is done.
CREATE TABLE handout_page (
    handout_no  integer  NOT NULL REFERENCES handout,
    page_no     integer  NOT NULL,
    account_ids bigint[] NOT NULL,
    PRIMARY KEY (handout_no, page_no)
);
ALTER TABLE handout_page ALTER COLUMN account_ids SET STATISTICS 0;
