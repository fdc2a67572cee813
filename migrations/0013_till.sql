-- Coupons that the till chooses.

-- Why the customer was given it; domain::selection::showcase::Reason. 0: people gave it.
ALTER TABLE coupon ADD COLUMN reason smallint NOT NULL DEFAULT 0;

-- Which coupons an account can still redeem comes along whenever it is loaded: what ran out long
-- ago is passed over.
CREATE INDEX coupon_of_account ON coupon (account_id, valid_until);
DROP INDEX coupon_account;
