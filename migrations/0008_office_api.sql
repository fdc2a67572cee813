-- What a creation of many parts has set out to do, written before its first part: so that an
-- attempt that is cut off is gone on with, and nothing is done twice. NULL for all others, and
-- when the answer is there.
ALTER TABLE idempotency ADD COLUMN plan bytea;

-- Who brought it into force; NULL for somebody at the command line.
ALTER TABLE epoch ADD COLUMN user_no integer REFERENCES app_user;
