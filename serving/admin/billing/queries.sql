-- name: payments
-- row: serving.admin.billing.types.PaymentRow -amount -refunded -fee +amount_minor +refunded_minor +fee_minor +currency
-- The newest first: ids begin with their time.
SELECT p.payment_id, p.invoice_id, i.number, c.account_id, p.provider, p.provider_ref, p.state, p.amount_minor,
       p.refunded_minor, p.fee_minor, p.currency, p.failure, p.surplus, p.created_at, p.settled_at
FROM payment p JOIN invoice i USING (invoice_id) JOIN customer c ON c.customer_id = p.customer_id
WHERE (%(before)s::text IS NULL OR p.payment_id < %(before)s)
ORDER BY p.payment_id DESC LIMIT %(limit)s

-- name: payments_of
-- row: serving.admin.billing.types.PaymentRow -amount -refunded -fee +amount_minor +refunded_minor +fee_minor +currency
-- Of an account, by its id or e-mail.
SELECT p.payment_id, p.invoice_id, i.number, c.account_id, p.provider, p.provider_ref, p.state, p.amount_minor,
       p.refunded_minor, p.fee_minor, p.currency, p.failure, p.surplus, p.created_at, p.settled_at
FROM (SELECT account_id FROM account WHERE account_id = %(q)s OR lower(email) = lower(%(q)s)) a
JOIN customer c USING (account_id) JOIN payment p USING (customer_id) JOIN invoice i ON i.invoice_id = p.invoice_id
WHERE (%(before)s::text IS NULL OR p.payment_id < %(before)s)
ORDER BY p.payment_id DESC LIMIT %(limit)s

-- name: payments_named
-- row: serving.admin.billing.types.PaymentRow -amount -refunded -fee +amount_minor +refunded_minor +fee_minor +currency
-- By the payment's id, or the number of its invoice.
SELECT p.payment_id, p.invoice_id, i.number, c.account_id, p.provider, p.provider_ref, p.state, p.amount_minor,
       p.refunded_minor, p.fee_minor, p.currency, p.failure, p.surplus, p.created_at, p.settled_at
FROM (SELECT payment_id FROM payment WHERE payment_id = %(q)s
      UNION SELECT p.payment_id FROM invoice i JOIN payment p USING (invoice_id) WHERE i.number = %(q)s) found
JOIN payment p USING (payment_id) JOIN invoice i USING (invoice_id) JOIN customer c ON c.customer_id = p.customer_id
ORDER BY p.payment_id DESC

-- name: refunds
SELECT refund_id, state, amount_minor, currency, reason, keeps_right, failure, note_id, asked_by, created_at, settled_at
FROM refund WHERE payment_id = %(payment_id)s ORDER BY created_at, refund_id

-- name: disputes
SELECT d.dispute_id, d.payment_id,
       (SELECT c.account_id FROM payment p JOIN customer c USING (customer_id) WHERE p.payment_id = d.payment_id)
           AS account_id,
       d.provider, d.provider_ref, d.amount_minor, d.fee_minor, d.currency, d.reason, d.state, d.opened_at, d.closed_at
FROM dispute d
WHERE (%(before)s::text IS NULL OR d.dispute_id < %(before)s) AND (%(state)s::text IS NULL OR d.state = %(state)s)
ORDER BY d.dispute_id DESC LIMIT %(limit)s

-- name: customer
SELECT c.customer_id FROM account a LEFT JOIN customer c USING (account_id) WHERE a.account_id = %(account_id)s

-- name: books
-- What was written on a customer's account in the ledger, the last first: above zero what was charged or paid back.
SELECT t.transaction_id, t.kind, t.source, t.occurred_at, p.currency, p.amount_minor
FROM posting p JOIN ledger_transaction t USING (transaction_id)
WHERE p.ledger = 'receivable' AND p.party = %(customer_id)s
  AND (%(before)s::bigint IS NULL OR p.transaction_id < %(before)s)
ORDER BY p.transaction_id DESC, p.line LIMIT %(limit)s

-- name: balances
SELECT currency, sum(amount_minor)::bigint AS amount_minor FROM posting
WHERE ledger = 'receivable' AND party = %(customer_id)s GROUP BY currency ORDER BY currency

-- name: open_code
SELECT code FROM promo WHERE promo_id = %(promo_id)s AND withdrawn_at IS NULL
