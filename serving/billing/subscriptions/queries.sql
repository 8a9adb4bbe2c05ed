-- name: due
-- What the clock has work for, the longest waiting first; what another run has in hand is left to it.
SELECT s.*, c.account_id, a.email, a.language, a.disabled_at IS NOT NULL AS shut
FROM subscription s JOIN customer c USING (customer_id) LEFT JOIN account a USING (account_id)
WHERE s.due_at <= %(at)s
ORDER BY s.due_at, s.subscription_id LIMIT %(limit)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: held
SELECT s.*, c.account_id, a.email, a.language, a.disabled_at IS NOT NULL AS shut
FROM subscription s JOIN customer c USING (customer_id) LEFT JOIN account a USING (account_id)
WHERE s.subscription_id = ANY(%(subscription_ids)s)
ORDER BY s.subscription_id FOR NO KEY UPDATE OF s

-- name: one
SELECT s.*, c.account_id, a.email, a.language, a.disabled_at IS NOT NULL AS shut
FROM subscription s JOIN customer c USING (customer_id) LEFT JOIN account a USING (account_id)
WHERE s.subscription_id = %(subscription_id)s

-- name: live
SELECT s.*, c.account_id, a.email, a.language, a.disabled_at IS NOT NULL AS shut
FROM subscription s JOIN customer c USING (customer_id) LEFT JOIN account a USING (account_id)
WHERE s.customer_id = %(customer_id)s AND s.state NOT IN ('expired', 'incomplete')

-- name: of_method
SELECT s.subscription_id FROM payment_method m JOIN subscription s USING (customer_id)
WHERE m.method_id = %(method_id)s AND s.method_id = m.method_id AND s.state NOT IN ('expired', 'incomplete')

-- name: customer
SELECT c.customer_id, c.account_id, a.email, a.language FROM customer c LEFT JOIN account a USING (account_id)
WHERE c.customer_id = %(customer_id)s

-- name: customer_of
SELECT customer_id FROM customer WHERE account_id = %(account_id)s

-- name: lock_open_invoices
-- Always before the subscription: who settles a payment holds its invoice already.
SELECT invoice_id FROM invoice WHERE subscription_id = %(subscription_id)s AND state = 'open'
ORDER BY invoice_id FOR NO KEY UPDATE

-- name: free_open_invoices
-- Those that nobody settles at the moment.
SELECT invoice_id FROM invoice WHERE subscription_id = ANY(%(subscription_ids)s) AND state = 'open'
ORDER BY invoice_id FOR NO KEY UPDATE SKIP LOCKED

-- name: open_invoices
SELECT i.invoice_id, i.subscription_id, i.reason, i.issued_at, lower(i.period) AS since,
       (SELECT l.price_id FROM invoice_line l WHERE l.invoice_id = i.invoice_id AND l.kind = 'plan' LIMIT 1) AS price_id,
       i.discount_minor > 0 AS has_discount,
       EXISTS (SELECT FROM payment p WHERE p.invoice_id = i.invoice_id AND p.state IN ('created', 'pending')) AS in_flight
FROM invoice i WHERE i.subscription_id = ANY(%(subscription_ids)s) AND i.state = 'open' ORDER BY i.issued_at

-- name: orders_of
-- What a customer ordered and has not paid.
SELECT subscription_id FROM subscription WHERE customer_id = %(customer_id)s AND state = 'incomplete'
ORDER BY subscription_id FOR NO KEY UPDATE

-- name: creditable
-- Paid invoices of the subscription that have something left to give back, the newest first; of what a bank has back
-- nothing is left, and what it may have comes last: that has to wait.
SELECT i.invoice_id, i.total_minor - i.credited_minor - going.minor AS left_minor,
       EXISTS (SELECT FROM payment p JOIN dispute d USING (payment_id)
               WHERE p.invoice_id = i.invoice_id AND NOT p.surplus AND d.state = 'open') AS waits
FROM invoice i CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.amount_minor), 0)::bigint AS minor FROM payment p JOIN refund r USING (payment_id)
    WHERE p.invoice_id = i.invoice_id AND NOT p.surplus AND r.state IN ('created', 'pending') AND r.note_id IS NULL) going
WHERE i.subscription_id = %(subscription_id)s AND i.state = 'paid' AND i.credits IS NULL
  AND i.total_minor - i.credited_minor - going.minor > 0
  AND NOT EXISTS (SELECT FROM payment p JOIN dispute d USING (payment_id)
                  WHERE p.invoice_id = i.invoice_id AND NOT p.surplus AND d.state = 'lost')
ORDER BY waits, i.issued_at DESC, i.invoice_id DESC

-- name: withheld
-- What was not given of an invoice while a bank might have had it back, and has not been given since.
SELECT (coalesce((SELECT sum((details -> 'withheld' ->> i.invoice_id)::bigint) FROM subscription_event e
                  WHERE e.subscription_id = i.subscription_id), 0)
        - coalesce((SELECT sum(n.total_minor) FROM invoice n
                    WHERE n.credits = i.invoice_id AND n.reason = 'dispute_won'), 0))::bigint AS minor
FROM invoice i WHERE i.invoice_id = %(invoice_id)s

-- name: elsewhere
-- What the account has without a subscription of billing: a trial of earlier days or of an import, or more.
SELECT subscription_id, plan, state, opened, closed FROM subscription_period p
WHERE account_id = %(account_id)s AND (closed IS NULL OR closed > %(at)s)
  AND NOT EXISTS (SELECT FROM subscription s WHERE s.subscription_id = p.subscription_id)
ORDER BY opened

-- name: add
WITH begun AS (
    INSERT INTO subscription (subscription_id, customer_id, state, price_id, next_price_id, zone, country, anchor, elapsed,
                              period, due_at, created_at, moved_at, defaulted)
    VALUES (%(subscription_id)s, %(customer_id)s, %(state)s, %(price_id)s, NULL, %(zone)s, %(country)s, %(anchor)s, 0,
            %(period)s, %(due_at)s, %(at)s, %(at)s,
            EXISTS (SELECT FROM subscription s JOIN subscription_event e USING (subscription_id)
                    WHERE s.customer_id = %(customer_id)s AND e.was = 'past_due' AND e.became = 'expired'))
    RETURNING subscription_id, created_at, state
)
INSERT INTO subscription_event (subscription_id, at, event, became)
SELECT subscription_id, created_at, %(event)s, state FROM begun

-- name: update
UPDATE subscription s SET
    state = n.state, price_id = n.price_id, next_price_id = n.next_price_id, zone = n.zone, country = n.country,
    anchor = n.anchor, elapsed = n.elapsed, period = n.period, paid_until = n.paid_until, ends = n.ends,
    pauses = n.pauses, resumes_at = n.resumes_at, attempts = n.attempts, due_at = n.due_at, method_id = n.method_id,
    ended_at = n.ended_at, worth_minor = n.worth_minor, worth_from = n.worth_from, moved_at = n.moved_at,
    defaulted = n.defaulted
FROM jsonb_populate_recordset(NULL::subscription, %(rows)s) n
WHERE s.subscription_id = ANY(%(subscription_ids)s) AND s.subscription_id = n.subscription_id

-- name: add_events
INSERT INTO subscription_event (subscription_id, at, event, was, became, details)
SELECT subscription_id, at, event, was, became, details
FROM jsonb_to_recordset(%(events)s) AS e (subscription_id text, at timestamptz, event text, was text, became text,
                                          details jsonb)

-- name: events
-- What tells how a subscription was paid for.
SELECT event, details FROM subscription_event
WHERE subscription_id = %(subscription_id)s AND event IN ('paid', 'changed', 'withdrawn') ORDER BY event_id

-- name: periods
-- The last rows of each: what runs, what comes, and what was before.
SELECT p.period_id, p.subscription_id, p.plan, p.plan_version, p.state, p.monthly_minor, p.currency, p.opened, p.closed,
       p.end_reason
FROM unnest(%(subscription_ids)s::text[]) AS s (subscription_id)
CROSS JOIN LATERAL (
    SELECT * FROM subscription_period p WHERE p.subscription_id = s.subscription_id ORDER BY p.opened DESC LIMIT 3) p

-- name: drop_periods
DELETE FROM subscription_period WHERE period_id = ANY(%(period_ids)s)

-- name: end_periods
UPDATE subscription_period p SET closed = n.closed, end_reason = n.end_reason
FROM unnest(%(period_ids)s::text[], %(closed)s::timestamptz[], %(reasons)s::text[]) AS n (period_id, closed, end_reason)
WHERE p.period_id = ANY(%(period_ids)s) AND p.period_id = n.period_id

-- name: add_periods
INSERT INTO subscription_period (period_id, subscription_id, account_id, plan, plan_version, state, monthly_minor,
                                 currency, opened, closed, end_reason)
SELECT period_id, subscription_id, account_id, plan, plan_version, state, monthly_minor, currency, opened, closed,
       end_reason
FROM jsonb_populate_recordset(NULL::subscription_period, %(rows)s)

-- name: set_invoice_period
-- An order that was paid late: its period begins when it was.
WITH moved AS (UPDATE invoice SET period = %(period)s WHERE invoice_id = %(invoice_id)s)
UPDATE invoice_line SET period = %(period)s WHERE invoice_id = %(invoice_id)s
