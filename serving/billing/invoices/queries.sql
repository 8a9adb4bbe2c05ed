-- name: lock_customers
-- In one order for everybody. Rows that refer to the customer may be written meanwhile.
SELECT c.customer_id, a.disabled_at IS NOT NULL AS shut FROM customer c LEFT JOIN account a USING (account_id)
WHERE c.customer_id = ANY(%(customers)s) ORDER BY c.customer_id FOR NO KEY UPDATE OF c

-- name: credits
-- What each customer has to spend: what open invoices are owed, less what the customer owes in all, less what came too
-- much and is on its way back (not what a bank took back, nor what people have corrected).
SELECT w.customer_id, w.currency,
       (coalesce(due.minor, 0) - coalesce(owed.minor, 0) - coalesce(back.minor, 0))::bigint AS credit_minor
FROM unnest(%(customers)s::text[], %(currencies)s::text[]) AS w (customer_id, currency)
LEFT JOIN LATERAL (
    SELECT sum(amount_minor) AS minor FROM posting
    WHERE ledger = 'receivable' AND party = w.customer_id AND currency = w.currency) owed ON true
LEFT JOIN LATERAL (
    SELECT sum(total_minor - from_balance) AS minor FROM invoice
    WHERE customer_id = w.customer_id AND state = 'open' AND currency = w.currency) due ON true
LEFT JOIN LATERAL (
    SELECT sum(greatest(p.amount_minor - coalesce(r.minor, 0) - coalesce(d.minor, 0), 0)) AS minor
    FROM payment p LEFT JOIN LATERAL (
        SELECT sum(amount_minor) AS minor FROM refund WHERE payment_id = p.payment_id AND state = 'succeeded') r ON true
    LEFT JOIN LATERAL (
        SELECT sum(amount_minor) AS minor FROM dispute WHERE payment_id = p.payment_id AND state = 'lost') d ON true
    WHERE p.customer_id = w.customer_id AND p.surplus AND p.state = 'succeeded' AND p.currency = w.currency
      AND NOT EXISTS (SELECT FROM ledger_transaction t WHERE t.kind = 'correction' AND t.source = p.payment_id)
    ) back ON true

-- name: numbers
SELECT nextval('invoice_number') AS number FROM generate_series(1, %(count)s)

-- name: add_invoices
INSERT INTO invoice (invoice_id, number, customer_id, purpose, credits, subscription_id, title_id, currency, total_minor,
                     discount_minor, tax_minor, tax_country, tax_bp, from_balance, state, reason, period, language,
                     country, issued_at, paid_at)
SELECT invoice_id, number, customer_id, purpose, credits, subscription_id, title_id, currency, total_minor,
       discount_minor, tax_minor, tax_country, tax_bp, from_balance, state, reason, period, language, country,
       issued_at, paid_at
FROM jsonb_populate_recordset(NULL::invoice, %(invoices)s)
ON CONFLICT (subscription_id, lower(period)) WHERE reason = 'renewal' AND state <> 'void' DO NOTHING
RETURNING invoice_id

-- name: add_lines
INSERT INTO invoice_line
SELECT * FROM jsonb_populate_recordset(NULL::invoice_line, %(lines)s)

-- name: invoices
SELECT invoice_id, number, customer_id, purpose, credits, subscription_id, title_id, currency, total_minor,
       discount_minor, tax_minor, tax_country, tax_bp, from_balance, credited_minor, state, reason, period, language,
       country, issued_at, paid_at
FROM invoice WHERE invoice_id = ANY(%(invoices)s)

-- name: lock_invoices
SELECT invoice_id FROM invoice WHERE invoice_id = ANY(%(invoices)s) ORDER BY invoice_id FOR NO KEY UPDATE

-- name: lines
SELECT invoice_id, kind, amount_minor, tax_minor, names, plan_id, price_id, title_id, months, period
FROM invoice_line WHERE invoice_id = ANY(%(invoices)s) ORDER BY invoice_id, line

-- name: set_paid
UPDATE invoice SET state = 'paid', paid_at = %(at)s WHERE invoice_id = ANY(%(invoices)s) AND state = 'open'

-- name: set_void
UPDATE invoice SET state = 'void' WHERE invoice_id = %(invoice_id)s AND state = 'open'

-- name: add_credited
UPDATE invoice SET credited_minor = credited_minor + %(amount)s WHERE invoice_id = %(invoice_id)s

-- name: going_back
-- What refunds on their way will take of the invoice.
SELECT coalesce(sum(r.amount_minor), 0)::bigint AS amount_minor
FROM payment p JOIN refund r USING (payment_id)
WHERE p.invoice_id = %(invoice_id)s AND NOT p.surplus AND r.state IN ('created', 'pending') AND r.note_id IS NULL
  AND r.refund_id IS DISTINCT FROM %(refund_id)s
