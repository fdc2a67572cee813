-- The spine: reference tables, and the account-owned tables that a swipe writes.
--
-- Two families live here. Reference tables are small, changed by people, and held
-- in memory by every replica. Account-owned tables carry `bucket` as the first
-- column of every key, so that they can be distributed over nodes by it; they have
-- no triggers, no defaults that look at a clock, and no foreign keys on the hot path
-- (`tillside verify` audits what a foreign key would have promised).

-- ---------------------------------------------------------------- reference tables

CREATE TABLE chain (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    currency          text    NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    time_zone         text    NOT NULL,
    -- Bumped by every change of a reference table: replicas watch this one number.
    reference_version bigint  NOT NULL DEFAULT 1
);

CREATE TABLE store (
    store_no  integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    store_id  text PRIMARY KEY CHECK (store_id ~ '^[A-Za-z0-9._-]{1,16}$'),
    name      text NOT NULL,
    time_zone text NOT NULL
);

CREATE TABLE workstation (
    -- The surrogate keeps names of swipes narrow: 4 bytes instead of two strings.
    workstation_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store_id       text   NOT NULL REFERENCES store,
    workstation_id text   NOT NULL CHECK (workstation_id ~ '^[A-Za-z0-9._-]{1,16}$'),
    -- Owns what belongs to no customer: baskets without a card, training, tombstones.
    house_account  bigint NOT NULL UNIQUE,
    UNIQUE (store_id, workstation_id)
);

CREATE TABLE terminal_key (
    workstation_no integer     NOT NULL REFERENCES workstation,
    key_no         integer     NOT NULL CHECK (key_no > 0),
    -- AES-256-GCM under the key-encryption key: version byte, nonce, ciphertext and tag.
    sealed_secret  bytea       NOT NULL,
    created_at     timestamptz NOT NULL,
    -- Set on the older key when a rotation begins: it is refused from then on.
    retires_at     timestamptz,
    revoked_at     timestamptz,
    PRIMARY KEY (workstation_no, key_no)
);

-- Signed requests that could not be understood, so that people can see and mend them.
-- Bounded per terminal by the statement that writes it.
CREATE TABLE quarantine (
    quarantine_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workstation_no integer     NOT NULL REFERENCES workstation,
    body_hash      bytea       NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    attempts       bigint      NOT NULL,
    request_id     text        NOT NULL,
    route          text        NOT NULL,
    problem        text        NOT NULL,
    errors         text        NOT NULL,
    body           bytea       NOT NULL,
    UNIQUE (workstation_no, body_hash)
);

-- Names of the levels of the merchandise hierarchy: 1 department, 2 category, 3 type, 4 brand.
CREATE TABLE taxon (
    taxon_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    level    smallint NOT NULL CHECK (level BETWEEN 1 AND 4),
    name     text     NOT NULL,
    UNIQUE (level, name)
);

CREATE TABLE programme (
    programme_no integer PRIMARY KEY,
    rules        jsonb NOT NULL
);

-- One number that names programme and catalogue in force. Never changed once written:
-- a swipe remembers its epoch, and its decision can be reproduced from it.
CREATE TABLE epoch (
    epoch        integer PRIMARY KEY CHECK (epoch > 0),
    -- First business date; NULL (only for the first) means that it has no beginning.
    starts_on    date,
    programme_no integer     NOT NULL REFERENCES programme,
    created_at   timestamptz NOT NULL,
    note         text        NOT NULL,
    CHECK ((epoch = 1) = (starts_on IS NULL))
);

CREATE TABLE product (
    product_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku        text NOT NULL UNIQUE
);

-- What a product was from an epoch on; the newest row at or before an epoch holds.
CREATE TABLE product_version (
    product_no    integer NOT NULL REFERENCES product,
    since_epoch   integer NOT NULL REFERENCES epoch,
    name          text    NOT NULL,
    department_no integer REFERENCES taxon,
    category_no   integer REFERENCES taxon,
    type_no       integer REFERENCES taxon,
    brand_no      integer REFERENCES taxon,
    package_size  text,
    price_minor   bigint CHECK (price_minor >= 0),
    cost_minor    bigint CHECK (cost_minor >= 0),
    no_points     boolean NOT NULL,
    no_discount   boolean NOT NULL,
    sensitive     boolean NOT NULL,
    PRIMARY KEY (product_no, since_epoch)
);

-- ------------------------------------------------------------ account-owned tables

-- Numbers for accounts, taken by replicas in blocks of 256.
CREATE SEQUENCE account_number_block;

CREATE TABLE account (
    account_id   bigint   NOT NULL,
    -- Raised by every change; every change is conditional on it.
    version      bigint   NOT NULL,
    total_points bigint   NOT NULL,
    sales_minor  bigint   NOT NULL,
    baskets      integer  NOT NULL,
    -- The latest business date the account has seen; never goes back.
    clock        date     NOT NULL,
    bucket       smallint NOT NULL CHECK (bucket = (account_id & 255)),
    -- 0 provisional, 1 enrolled, 2 house, 3 merged into another.
    state        smallint NOT NULL CHECK (state BETWEEN 0 AND 3),
    merged_into  bigint,
    -- Encoded by domain::ledger: first byte is the encoding.
    lots         bytea    NOT NULL,
    PRIMARY KEY (bucket, account_id),
    CHECK ((state = 3) = (merged_into IS NOT NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE card (
    account_id bigint      NOT NULL,
    linked_at  timestamptz NOT NULL,
    bucket     smallint    NOT NULL,
    card       text        NOT NULL,
    PRIMARY KEY (bucket, card)
);
CREATE INDEX card_account ON card (account_id);

-- The only table with personal data; erasure empties it and nothing else.
CREATE TABLE member (
    bucket      smallint NOT NULL,
    account_id  bigint   NOT NULL,
    member_no   smallint NOT NULL,
    given_name  text,
    family_name text,
    birthday    date,
    email       text,
    phone       text,
    consents    text[]   NOT NULL,
    joined_on   date     NOT NULL,
    PRIMARY KEY (bucket, account_id, member_no),
    FOREIGN KEY (bucket, account_id) REFERENCES account (bucket, account_id)
);

-- The name of every transaction ever presented, kept for ever. The account of a name
-- never changes; its own rows change only together with that account's version.
CREATE TABLE swipe_key (
    sequence_number bigint   NOT NULL,
    account_id      bigint   NOT NULL,
    -- Version of the account at which the sale was recorded; 0 while only a void came.
    version         bigint   NOT NULL,
    -- Version at which it was voided; 0 when it was not.
    void_version    bigint   NOT NULL,
    business_date   date     NOT NULL,
    workstation_no  integer  NOT NULL,
    bucket          smallint NOT NULL,
    -- Encoding byte and 16 bytes of SHA-256; empty while only a void came.
    content_hash    bytea    NOT NULL,
    PRIMARY KEY (bucket, workstation_no, business_date, sequence_number)
);

CREATE TABLE swipe (
    account_id      bigint      NOT NULL,
    version         bigint      NOT NULL,
    sequence_number bigint      NOT NULL,
    total_minor     bigint      NOT NULL,
    earned_points   bigint      NOT NULL,
    reversed_points bigint      NOT NULL,
    occurred_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL,
    business_date   date        NOT NULL,
    workstation_no  integer     NOT NULL,
    epoch           integer     NOT NULL,
    bucket          smallint    NOT NULL,
    -- 0 sale, 1 training, 2 sale that came after its void, 3 void, 4 void before its sale.
    kind            smallint    NOT NULL CHECK (kind BETWEEN 0 AND 4),
    -- Encoded by domain::record: card, lines with their hierarchy, adjustments, redemptions.
    record          bytea       NOT NULL,
    -- Number of the dictionary in one byte, then a zstd frame.
    receipt         bytea       NOT NULL,
    PRIMARY KEY (bucket, account_id, version, business_date)
) PARTITION BY RANGE (business_date);
CREATE TABLE swipe_default PARTITION OF swipe DEFAULT;

-- The points ledger: append-only. No statement of the service updates or deletes here.
CREATE TABLE entry (
    account_id    bigint   NOT NULL,
    version       bigint   NOT NULL,
    points        bigint   NOT NULL CHECK (points <> 0),
    lot_available date     NOT NULL,
    lot_expires   date     NOT NULL,
    business_date date     NOT NULL,
    bucket        smallint NOT NULL,
    entry_no      smallint NOT NULL,
    -- 1 earn, 2 redeem, 3 reverse-earn, 4 reverse-redeem, 5 expire, 6 adjust, 7 transfer.
    kind          smallint NOT NULL CHECK (kind BETWEEN 1 AND 7),
    PRIMARY KEY (bucket, account_id, version, entry_no)
);

-- Checkpoints of the profile, which is a fold over the swipes and can be made again from them.
CREATE TABLE profile (
    account_id bigint   NOT NULL,
    version    bigint   NOT NULL,
    bucket     smallint NOT NULL,
    encoding   smallint NOT NULL,
    data       bytea    NOT NULL,
    PRIMARY KEY (bucket, account_id)
) WITH (fillfactor = 70);
