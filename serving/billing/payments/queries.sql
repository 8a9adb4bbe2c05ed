-- name: add
-- What is there already stays as it is: the id tells of which invoice and which attempt a payment is.
INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, method_id,
                     save_method, attempt, created_at, asked_at)
SELECT payment_id, invoice_id, customer_id, provider, 'created', amount_minor, currency, method_id, save_method, attempt,
       created_at, asked_at
FROM jsonb_populate_recordset(NULL::payment, %(payments)s)
ON CONFLICT (payment_id) DO NOTHING

-- name: payments
-- row: serving.billing.payments.rows.Payment
SELECT payment_id, invoice_id, customer_id, provider, provider_ref, state, amount_minor, currency, method_id, saved_id,
       save_method, attempt, checkout_url, failure, fee_minor, refunded_minor, surplus, created_at, asked_at, settled_at
FROM payment WHERE payment_id = ANY(%(payments)s)

-- name: lock
-- row: serving.billing.payments.rows.Payment
SELECT payment_id, invoice_id, customer_id, provider, provider_ref, state, amount_minor, currency, method_id, saved_id,
       save_method, attempt, checkout_url, failure, fee_minor, refunded_minor, surplus, created_at, asked_at, settled_at
FROM payment WHERE payment_id = ANY(%(payments)s) ORDER BY payment_id FOR NO KEY UPDATE

-- name: of_invoice
-- row: serving.billing.payments.rows.Payment
SELECT payment_id, invoice_id, customer_id, provider, provider_ref, state, amount_minor, currency, method_id, saved_id,
       save_method, attempt, checkout_url, failure, fee_minor, refunded_minor, surplus, created_at, asked_at, settled_at
FROM payment WHERE invoice_id = %(invoice_id)s ORDER BY attempt

-- name: lock_invoices
SELECT invoice_id, state, reason FROM invoice WHERE invoice_id = ANY(%(invoices)s) ORDER BY invoice_id FOR NO KEY UPDATE

-- name: put
UPDATE payment p SET state = n.state, provider_ref = n.provider_ref, checkout_url = n.checkout_url, failure = n.failure,
    fee_minor = n.fee_minor, refunded_minor = n.refunded_minor, surplus = n.surplus, saved_id = n.saved_id,
    asked_at = n.asked_at, settled_at = n.settled_at
FROM jsonb_populate_recordset(NULL::payment, %(payments)s) n
WHERE p.payment_id = n.payment_id AND p.payment_id = ANY(%(payment_ids)s)

-- name: under_way
-- Which of these invoices may still be paid by a payment that was begun.
SELECT DISTINCT invoice_id FROM payment WHERE invoice_id = ANY(%(invoices)s) AND state IN ('created', 'pending')

-- name: charging
-- row: serving.billing.payments.rows.Payment
-- Charges by saved methods that may take the money yet; not those that wait at a page for their owner.
SELECT payment_id, invoice_id, customer_id, provider, provider_ref, state, amount_minor, currency, method_id, saved_id,
       save_method, attempt, checkout_url, failure, fee_minor, refunded_minor, surplus, created_at, asked_at, settled_at
FROM payment
WHERE invoice_id = ANY(%(invoices)s) AND state IN ('created', 'pending') AND method_id IS NOT NULL AND checkout_url IS NULL
ORDER BY created_at

-- name: payers
-- row: serving.billing.payments.rows.Payer
SELECT c.customer_id, a.account_id, a.email, a.language
FROM customer c LEFT JOIN account a ON a.account_id = c.account_id
WHERE c.customer_id = ANY(%(customers)s)

-- name: save_methods
-- A token is of one customer for ever.
INSERT INTO payment_method AS known (method_id, customer_id, provider, provider_ref, label, created_at)
SELECT method_id, customer_id, provider, provider_ref, label, created_at
FROM jsonb_populate_recordset(NULL::payment_method, %(methods)s)
ON CONFLICT (provider, provider_ref) DO UPDATE SET removed_at = NULL, label = excluded.label
WHERE known.customer_id = excluded.customer_id
RETURNING method_id, provider, provider_ref

-- name: methods_of
-- row: serving.billing.payments.rows.Method
SELECT method_id, customer_id, provider, provider_ref, label, created_at, removed_at
FROM payment_method WHERE customer_id = %(customer_id)s AND removed_at IS NULL ORDER BY created_at DESC, method_id DESC

-- name: methods
-- row: serving.billing.payments.rows.Method
SELECT method_id, customer_id, provider, provider_ref, label, created_at, removed_at
FROM payment_method WHERE method_id = ANY(%(methods)s)

-- name: remove_method
UPDATE payment_method SET removed_at = coalesce(removed_at, %(at)s)
WHERE method_id = %(method_id)s AND customer_id = %(customer_id)s
RETURNING provider, provider_ref

-- name: forgotten_method
UPDATE payment_method SET provider_ref = NULL WHERE method_id = %(method_id)s AND removed_at IS NOT NULL

-- name: claim_methods
-- row: serving.billing.payments.rows.Method
-- Removed ones that their providers keep still, with pauses as `claim_payments` has them.
UPDATE payment_method SET asked_at = %(at)s WHERE method_id IN (
    SELECT method_id FROM payment_method
    WHERE removed_at <= %(before)s AND provider_ref IS NOT NULL
      AND coalesce(asked_at, removed_at) <= %(at)s::timestamptz - CASE WHEN %(after)s::interval = '0' THEN '0' ELSE
          least(greatest(%(after)s, (coalesce(asked_at, removed_at) - removed_at) / 2), interval '1 hour') END
    ORDER BY coalesce(asked_at, removed_at) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING method_id, customer_id, provider, provider_ref, label, created_at, removed_at

-- name: reserve
UPDATE payment SET refunded_minor = refunded_minor + %(amount)s WHERE payment_id = %(payment_id)s

-- name: unreserve
UPDATE payment SET refunded_minor = refunded_minor - %(amount)s WHERE payment_id = %(payment_id)s

-- name: add_refunds
INSERT INTO refund (refund_id, payment_id, state, amount_minor, currency, reason, keeps_right, asked_by, created_at,
                    asked_at)
SELECT refund_id, payment_id, 'created', amount_minor, currency, reason, keeps_right, asked_by, created_at, asked_at
FROM jsonb_populate_recordset(NULL::refund, %(refunds)s)
ON CONFLICT (refund_id) DO NOTHING

-- name: refund
-- row: serving.billing.payments.rows.Refund
SELECT refund_id, payment_id, note_id, provider_ref, state, amount_minor, currency, reason, keeps_right, failure,
       asked_by, created_at, asked_at, settled_at
FROM refund WHERE refund_id = %(refund_id)s

-- name: refunds_of
-- row: serving.billing.payments.rows.Refund
SELECT refund_id, payment_id, note_id, provider_ref, state, amount_minor, currency, reason, keeps_right, failure,
       asked_by, created_at, asked_at, settled_at
FROM refund WHERE payment_id = %(payment_id)s ORDER BY created_at, refund_id

-- name: put_refund
UPDATE refund SET state = %(state)s, provider_ref = coalesce(%(provider_ref)s, provider_ref), note_id = %(note_id)s,
    failure = %(failure)s, asked_at = %(asked_at)s, settled_at = %(settled_at)s
WHERE refund_id = %(refund_id)s

-- name: lock_invoice
SELECT state FROM invoice WHERE invoice_id = %(invoice_id)s FOR NO KEY UPDATE

-- name: creditable
-- What an invoice has left to give back, less what refunds on their way will take.
SELECT (i.total_minor - i.credited_minor - coalesce((
    SELECT sum(r.amount_minor) FROM payment p JOIN refund r USING (payment_id)
    WHERE p.invoice_id = i.invoice_id AND NOT p.surplus AND r.state IN ('created', 'pending') AND r.note_id IS NULL
      AND r.refund_id IS DISTINCT FROM %(but)s
), 0))::bigint AS left_minor
FROM invoice i WHERE i.invoice_id = %(invoice_id)s

-- name: credited
-- What of an invoice was given to the balance and did not go on to the bank.
SELECT greatest(i.credited_minor - coalesce((
    SELECT sum(r.amount_minor) FROM payment p JOIN refund r USING (payment_id)
    WHERE p.invoice_id = i.invoice_id AND NOT p.surplus AND r.state = 'succeeded'
), 0), 0)::bigint AS kept_minor
FROM invoice i WHERE i.invoice_id = %(invoice_id)s

-- name: disputes_of
-- row: serving.billing.payments.rows.Dispute
SELECT dispute_id, payment_id, provider, provider_ref, amount_minor, currency, fee_minor, reason, state, opened_at,
       closed_at
FROM dispute WHERE payment_id = %(payment_id)s ORDER BY opened_at, dispute_id

-- name: add_dispute
INSERT INTO dispute (dispute_id, payment_id, provider, provider_ref, amount_minor, currency, fee_minor, reason, state,
                     opened_at)
VALUES (%(dispute_id)s, %(payment_id)s, %(provider)s, %(provider_ref)s, %(amount_minor)s, %(currency)s, %(fee_minor)s,
        %(reason)s, 'open', %(opened_at)s)

-- name: close_dispute
UPDATE dispute SET state = %(state)s, closed_at = %(at)s, fee_minor = %(fee_minor)s
WHERE dispute_id = %(dispute_id)s AND state = 'open'

-- name: claim_payments
-- Not settled for a while: asked about again after pauses that grow with their age, an hour at most; or at once
-- (`after` 0). Who takes them marks them, so that two sweeps do not ask twice. What was asked about longest ago comes
-- first, so that each has its turn. `charges`: what the clock charges too, which renewal runs ask about themselves.
UPDATE payment SET asked_at = %(at)s WHERE payment_id IN (
    SELECT payment_id FROM payment
    WHERE state IN ('created', 'pending') AND created_at <= %(before)s
      AND (%(charges)s OR method_id IS NULL OR NOT EXISTS (
          SELECT FROM invoice i WHERE i.invoice_id = payment.invoice_id AND i.reason IN ('renewal', 'resume')))
      AND coalesce(asked_at, created_at) <= %(at)s::timestamptz - CASE WHEN %(after)s::interval = '0' THEN '0' ELSE
          least(greatest(%(after)s, (coalesce(asked_at, created_at) - created_at) / 2), interval '1 hour') END
    ORDER BY coalesce(asked_at, created_at) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING payment_id

-- name: claim_refunds
UPDATE refund SET asked_at = %(at)s WHERE refund_id IN (
    SELECT refund_id FROM refund
    WHERE state IN ('created', 'pending') AND created_at <= %(before)s
      AND coalesce(asked_at, created_at) <= %(at)s::timestamptz - CASE WHEN %(after)s::interval = '0' THEN '0' ELSE
          least(greatest(%(after)s, (coalesce(asked_at, created_at) - created_at) / 2), interval '1 hour') END
    ORDER BY coalesce(asked_at, created_at) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING refund_id

-- name: surplus_kept
-- What came too much and is here still, as its refund was refused: tried again after an hour, then after pauses that
-- double, a week at most; or at once (`after` 0). Not while a bank has it, or may, nor what people have corrected.
SELECT p.payment_id FROM payment p CROSS JOIN LATERAL (
    SELECT count(*) AS tries, max(settled_at) AS last FROM refund r
    WHERE r.payment_id = p.payment_id AND r.state = 'failed') tried
WHERE p.surplus AND p.refunded_minor < p.amount_minor AND p.state = 'succeeded' AND tried.tries > 0
  AND tried.last <= %(at)s::timestamptz - CASE WHEN %(after)s::interval = '0' THEN '0' ELSE
      least(interval '1 hour' * 2 ^ least(tried.tries - 1, 10), interval '7 days') END
  AND NOT EXISTS (SELECT FROM dispute d WHERE d.payment_id = p.payment_id AND d.state <> 'won')
  AND NOT EXISTS (SELECT FROM ledger_transaction t WHERE t.kind = 'correction' AND t.source = p.payment_id)
ORDER BY p.created_at LIMIT %(limit)s

-- name: abandoned
-- Invoices that nobody pays: the process died before the payment was begun, or the payment came to nothing.
SELECT i.invoice_id FROM invoice i
WHERE i.state = 'open' AND i.issued_at <= %(before)s AND i.reason <> 'renewal'
  AND NOT EXISTS (SELECT FROM payment p WHERE p.invoice_id = i.invoice_id AND p.state IN ('created', 'pending'))
ORDER BY i.issued_at LIMIT %(limit)s
