-- Limits of offers, and codes that are no coupons of an account yet.

-- More was redeemed than the offer allows, to the account, the day, the transaction or in all; or
-- beside another offer of its group.
ALTER TABLE coupon ADD COLUMN over_limit boolean NOT NULL DEFAULT false;
