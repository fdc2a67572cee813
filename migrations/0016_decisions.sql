-- Why a customer was given a coupon, and what else is remembered of the choice.

-- What it was there for: 0 people gave it, 1 pushed, 2 win back, 3 bought before, 4 something new.
-- Coupons that tills chose before this migration have 0 as well; their reason is not 0.
ALTER TABLE coupon ADD COLUMN slot smallint NOT NULL DEFAULT 0;
-- With which probability it was this one, in millionths, given what stands before it on the
-- receipt; NULL where nothing was chosen.
ALTER TABLE coupon ADD COLUMN propensity integer;
-- The numbers behind it: domain::selection::showcase::Evidence; NULL where nothing was chosen.
ALTER TABLE coupon ADD COLUMN evidence bytea;
ALTER TABLE coupon ALTER COLUMN evidence SET STATISTICS 0;

-- The facts by which coupons were chosen with this swipe that nothing else tells:
-- domain::selection::showcase::Noted. NULL when nothing was chosen.
ALTER TABLE swipe ADD COLUMN decision bytea;
ALTER TABLE swipe ALTER COLUMN decision SET STATISTICS 0;

-- Offers as they were: a row for each state of the reference data in which one changed, so that a
-- choice can be made again from the offers of its moment. Kept by the trigger, whoever changes an
-- offer, an older replica included. It fires at the end of the transaction, which by then holds
-- the row of chain that it raised: so the number is the one under which the change becomes seen.
CREATE TABLE offer_version (
    offer_no        integer NOT NULL,
    since_reference bigint  NOT NULL,
    definition      jsonb   NOT NULL,
    PRIMARY KEY (offer_no, since_reference)
);
INSERT INTO offer_version SELECT offer_no, 0, definition FROM offer;
CREATE FUNCTION remember_offer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO offer_version
    SELECT o.offer_no, c.reference_version, o.definition
    FROM offer AS o, chain AS c
    WHERE o.offer_no = NEW.offer_no
    ON CONFLICT (offer_no, since_reference) DO UPDATE SET definition = excluded.definition;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER remember_offer AFTER INSERT OR UPDATE ON offer
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION remember_offer();
