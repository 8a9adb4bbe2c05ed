-- Payments. writer: serving.billing
-- `surplus`: money came for an invoice that was paid already, or void: it goes back. `saved_id`: the way to pay that its
-- owner let us keep with this payment. A payment that we gave up on may succeed at the provider after all.
ALTER TABLE payment
    ADD COLUMN surplus  boolean NOT NULL DEFAULT false,
    ADD COLUMN saved_id text REFERENCES payment_method;
DROP INDEX payment_of_invoice;
CREATE UNIQUE INDEX payment_of_invoice ON payment (invoice_id) WHERE state = 'succeeded' AND NOT surplus;
CREATE INDEX payment_surplus ON payment (customer_id) WHERE surplus;  -- on its way back: no credit to be spent

ALTER TABLE refund ADD COLUMN asked_at timestamptz;  -- when the provider was last asked about it

-- `lease`: until when whoever answers has the key for itself; a process that died leaves it to the next request.
-- `subject`: what the first transaction made (an invoice), with which the next request goes on.
ALTER TABLE idempotency
    ADD COLUMN lease   timestamptz NOT NULL,
    ADD COLUMN subject text;

-- What was removed here and not yet forgotten by its provider.
CREATE INDEX payment_method_forget ON payment_method (removed_at) WHERE removed_at IS NOT NULL AND provider_ref IS NOT NULL;
-- Invoices that nobody began to pay.
CREATE INDEX invoice_open ON invoice (issued_at) WHERE state = 'open';
