-- What a report about costs reads: uses of member prices and shared codes have no days of their
-- own, and are looked for by when they were recorded. Coupons lie in that order, so a few bytes for
-- each 128 pages tell where those of a range cannot be; and issued_at never changes, so updates of
-- coupons stay as cheap as they were. Where there are many, make it CONCURRENTLY beforehand.
CREATE INDEX IF NOT EXISTS coupon_issued_at ON coupon
USING brin (issued_at) WITH (autosummarize = on);

-- Lines about one thing: who took a coupon back, and when, stands nowhere else.
CREATE INDEX IF NOT EXISTS audit_object ON audit (object);
