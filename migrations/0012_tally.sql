-- What a programme counts of an account beside its points: money that qualifies for tiers.

-- Encoded by domain::tally: first byte is the encoding. NULL until a programme with tiers has
-- counted something. A version of the service that does not know the column cannot load such a
-- programme either, so it never leaves behind what it should have counted. Not indexed, so that
-- the updates of swipes stay HOT, and nobody asks what stands in it.
ALTER TABLE account ADD COLUMN tally bytea;
ALTER TABLE account ALTER COLUMN tally SET STATISTICS 0;
