-- Uses of automatic offers, of which a customer has more every week: found by account and offer
-- where a limit looks back, and left out wherever coupons that people hold are looked for. Its
-- columns never change, so updates of coupons stay as cheap as they were.
CREATE INDEX IF NOT EXISTS coupon_use ON coupon (account_id, offer_no)
    WHERE valid_until = '1970-01-01';
