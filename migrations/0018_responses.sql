-- What a report about coupons reads.

-- Coupons come in the order of their days, so a few bytes for each 128 pages tell where those of a
-- range cannot be. Of several ranges, since lists are issued for days to come among those of today.
-- It has no entry for a row, so inserting costs nothing to speak of, and valid_from never changes.
-- Where there are many coupons, make it CONCURRENTLY beforehand.
CREATE INDEX IF NOT EXISTS coupon_valid_from ON coupon
USING brin (valid_from date_minmax_multi_ops) WITH (autosummarize = on);
