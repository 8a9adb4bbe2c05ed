-- A code is found however it is written: without dashes, a letter of one alphabet for its look-alike of the other, a zero
-- for an O (serving.billing.promo.codes.key_of says the same). So no two open codes differ by that alone.
ALTER TABLE promo ADD COLUMN key text
    GENERATED ALWAYS AS (translate(code, '0АВЕЁКМНОРСТУХ-', 'OABEEKMHOPCTYX')) STORED;
DROP INDEX promo_code;
CREATE UNIQUE INDEX promo_key ON promo (key) WHERE withdrawn_at IS NULL;

-- One code an invoice. A further period that a code is good for has a row of its own, which `repeats` the first one: that
-- alone counts in `promo.used`. `periods_left`: after this one; of a `free_period` code in months.
ALTER TABLE promo_redemption ADD COLUMN repeats text REFERENCES promo_redemption;
DROP INDEX promo_redemption_invoice;
CREATE UNIQUE INDEX promo_redemption_invoice ON promo_redemption (invoice_id);
CREATE INDEX promo_redemption_repeats ON promo_redemption (repeats) WHERE repeats IS NOT NULL;

-- An invoice opens a title once, however often its payment is heard of.
DROP INDEX entitlement_invoice;
CREATE UNIQUE INDEX entitlement_invoice ON entitlement (invoice_id) WHERE invoice_id IS NOT NULL;
