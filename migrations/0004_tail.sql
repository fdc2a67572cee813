-- Where the sales since the checkpoint begin, so that they are looked for in a month or two and
-- not in all that there are. The earliest business date of a sale above the version of the
-- checkpoint; 9999-12-31 when there is none. It holds for the version that it was written with
-- and no other: an older replica, and whoever changes an account without knowing its sales,
-- raises the version and leaves it behind, and then all months are looked through as before.
-- Not indexed, so that the updates of swipes stay HOT.
ALTER TABLE account ADD COLUMN tail_since date, ADD COLUMN tail_version bigint;
