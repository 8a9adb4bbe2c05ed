-- Billing writes these: when a customer's account was erased, when providers were last asked to drop what they keep of
-- them, and when all of them had. Those erased before are asked about once.
ALTER TABLE customer
    ADD COLUMN erased_at    timestamptz,
    ADD COLUMN asked_at     timestamptz,
    ADD COLUMN forgotten_at timestamptz;
UPDATE customer SET erased_at = created_at WHERE account_id IS NULL;
CREATE INDEX customer_to_forget ON customer (erased_at) WHERE erased_at IS NOT NULL AND forgotten_at IS NULL;
