-- Replays of recorded baskets: by how many weeks their dates were moved, so that a further
-- replay of the same data gives every basket the name that it has already.

CREATE TABLE replay (
    -- The first 16 bytes of the SHA-256 of the file of transactions.
    source        bytea PRIMARY KEY CHECK (length(source) = 16),
    shift_weeks   integer     NOT NULL,
    remembered_at timestamptz NOT NULL
);
