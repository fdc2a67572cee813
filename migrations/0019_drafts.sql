-- When a programme was kept as a draft, and by whom: NULL where it was published at once, or by
-- somebody at the command line. The audit trail says the same, but has no index to find it by.
ALTER TABLE programme ADD COLUMN drafted_at timestamptz;
ALTER TABLE programme ADD COLUMN drafted_by integer REFERENCES app_user;
