-- Autovacuum works beside the tills. On two cores that are busy for four fifths it is what the
-- slowest answers wait for, so on the tables that swipes write it takes its time: a fifth of the
-- default pace. It still keeps up, since updates of accounts and profiles are HOT and clean up
-- behind themselves, and all else is only appended to.
ALTER TABLE account SET (autovacuum_vacuum_cost_delay = 10, autovacuum_vacuum_scale_factor = 0.2);
ALTER TABLE profile SET (autovacuum_vacuum_cost_delay = 10);
ALTER TABLE swipe_key SET (autovacuum_vacuum_cost_delay = 10);
ALTER TABLE entry SET (autovacuum_vacuum_cost_delay = 10);

-- Nobody asks about what stands in these, so ANALYZE need not read and compare them. Partitions
-- that come later get the same from db::schema.
ALTER TABLE account ALTER COLUMN lots SET STATISTICS 0;
ALTER TABLE profile ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE swipe_key ALTER COLUMN content_hash SET STATISTICS 0;
ALTER TABLE swipe ALTER COLUMN record SET STATISTICS 0, ALTER COLUMN receipt SET STATISTICS 0;
DO $$
DECLARE partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'swipe'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_cost_delay = 10)', partition);
    END LOOP;
END $$;
