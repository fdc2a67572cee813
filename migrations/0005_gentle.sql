-- Autovacuum works beside the tills. Its log, on a database of 200,000 accounts with two cores
-- that were busy for four fifths, named an ANALYZE of each table that swipes write in nearly
-- every minute, two seconds each, and these were the seconds with the slowest answers.

-- No plan of a swipe depends on statistics, so they may be old: an ANALYZE comes when a table has
-- doubled, and for rows that are updated when each was ten times. A VACUUM takes its time, a
-- fifth of the default pace, and still keeps up: updates of accounts and profiles are HOT and
-- clean up behind themselves, and all else is only appended to. Monthly partitions that come
-- later get the same from db::schema.
ALTER TABLE account SET (autovacuum_vacuum_cost_delay = 10, autovacuum_vacuum_scale_factor = 0.2,
                         autovacuum_analyze_scale_factor = 10);
ALTER TABLE profile SET (autovacuum_vacuum_cost_delay = 10, autovacuum_analyze_scale_factor = 10);
ALTER TABLE swipe_key SET (autovacuum_vacuum_cost_delay = 10, autovacuum_analyze_scale_factor = 1);
ALTER TABLE entry SET (autovacuum_vacuum_cost_delay = 10, autovacuum_analyze_scale_factor = 1);
DO $$
DECLARE partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'swipe'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_cost_delay = 10,
                                            autovacuum_analyze_scale_factor = 1)', partition);
    END LOOP;
END $$;

-- Nobody asks what stands in these, so ANALYZE need not read and compare them.
ALTER TABLE account ALTER COLUMN lots SET STATISTICS 0;
ALTER TABLE profile ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE swipe_key ALTER COLUMN content_hash SET STATISTICS 0;
ALTER TABLE swipe ALTER COLUMN record SET STATISTICS 0, ALTER COLUMN receipt SET STATISTICS 0;
