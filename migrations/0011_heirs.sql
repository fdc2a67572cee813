-- Coupons of accounts that were merged into others: the heir redeems them.

-- The account whose version changed a coupon last, where that is not the one it was issued to but
-- one that this was merged into.
ALTER TABLE coupon ADD COLUMN changed_account bigint;
