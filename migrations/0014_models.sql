-- What the till chooses coupons with, learned from the chain's own history.

-- Never changed once written.
CREATE TABLE selection_model (
    model_no   integer PRIMARY KEY CHECK (model_no > 0),
    -- Which signs the weights are for; domain::selection::offers::SIGNS_VERSION.
    signs      smallint    NOT NULL,
    learned_at timestamptz NOT NULL,
    -- Nothing of this business date or later was learned from.
    until      date        NOT NULL,
    -- One for each sign.
    weights    real[]      NOT NULL,
    -- How many baskets held each article; domain::selection::sold.
    sold       bytea       NOT NULL,
    -- How much there was to learn from, and how well it told held-out coupons apart.
    sources    jsonb       NOT NULL
);

-- From an epoch on, until a later row says otherwise, the till chooses with this model; without
-- a row, and with NULL, with what is built in. A swipe remembers its epoch, so what it was chosen
-- by can be found again.
CREATE TABLE model_since (
    epoch    integer PRIMARY KEY REFERENCES epoch,
    model_no integer REFERENCES selection_model
);
