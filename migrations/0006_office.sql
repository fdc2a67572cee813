-- The back office: who may do what, what was done, and what was answered to whom. None of these
-- belongs to an account, and none holds anything about a member.

CREATE TABLE app_user (
    user_no       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email         text        NOT NULL,
    name          text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('admin', 'manager', 'marketing', 'auditor')),
    -- Stores of a manager; empty for everybody else, who sees the whole chain.
    stores        text[]      NOT NULL,
    -- argon2id; NULL for a user who has tokens only.
    password_hash text,
    created_at    timestamptz NOT NULL,
    disabled_at   timestamptz,
    CHECK ((role = 'manager') = (cardinality(stores) > 0))
);
CREATE UNIQUE INDEX app_user_email ON app_user (lower(email));

CREATE TABLE api_token (
    token_no   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- SHA-256 of the token: 256 random bits need no salt, and are found by their hash.
    token_hash bytea       NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    user_no    integer     NOT NULL REFERENCES app_user,
    name       text        NOT NULL,
    -- 'read' narrows whatever the user's role may do to reading.
    scope      text        NOT NULL CHECK (scope IN ('full', 'read')),
    last_four  text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX api_token_user ON api_token (user_no);

-- What was changed, by whom. References and names of fields, never their values.
CREATE TABLE audit (
    audit_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    -- NULL: somebody at the command line.
    user_no  integer REFERENCES app_user,
    action   text        NOT NULL,
    object   text        NOT NULL,
    fields   text[]      NOT NULL
);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only';
END $$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- What was answered to a creation, so that a repetition gets the same; for a bounded time.
CREATE TABLE idempotency (
    user_no      integer     NOT NULL REFERENCES app_user,
    key_hash     bytea       NOT NULL CHECK (length(key_hash) = 32),
    request_hash bytea       NOT NULL CHECK (length(request_hash) = 32),
    began_at     timestamptz NOT NULL,
    -- NULL while the first request is under way.
    status       smallint,
    answer       bytea,
    PRIMARY KEY (user_no, key_hash)
);
CREATE INDEX idempotency_began ON idempotency (began_at);

-- What a user has given and taken on a day is summed up before each adjustment.
CREATE INDEX adjustment_actor ON adjustment (actor, made_at);
