-- name: customer_of
SELECT customer_id FROM customer WHERE account_id = %(account_id)s

-- name: add_customer
-- None comes back where the account is gone, or where somebody else has made it meanwhile: `customer_of` tells then.
INSERT INTO customer (customer_id, account_id, created_at)
SELECT %(customer_id)s, account_id, %(at)s FROM account WHERE account_id = %(account_id)s
ON CONFLICT (account_id) DO NOTHING
RETURNING customer_id

-- name: account_of
SELECT account_id FROM customer WHERE customer_id = %(customer_id)s

-- name: idempotency_claim
-- A key is claimed where nobody has it, where who had it died (its lease is over), and again after a day.
INSERT INTO idempotency AS held (account_id, route, key, fingerprint, begun_at, lease)
VALUES (%(account_id)s, %(route)s, %(key)s, %(fingerprint)s, %(at)s, %(lease)s)
ON CONFLICT (account_id, route, key) DO UPDATE SET
    lease = excluded.lease, fingerprint = excluded.fingerprint, status = NULL, body = NULL, done_at = NULL,
    begun_at = CASE WHEN held.begun_at <= %(before)s THEN excluded.begun_at ELSE held.begun_at END,
    subject = CASE WHEN held.begun_at <= %(before)s THEN NULL ELSE held.subject END
WHERE held.begun_at <= %(before)s
   OR held.status IS NULL AND held.lease <= %(at)s AND held.fingerprint = excluded.fingerprint
RETURNING lease, subject

-- name: idempotency_kept
SELECT fingerprint, status, body FROM idempotency
WHERE account_id = %(account_id)s AND route = %(route)s AND key = %(key)s

-- name: idempotency_made
UPDATE idempotency SET subject = %(subject)s
WHERE account_id = %(account_id)s AND route = %(route)s AND key = %(key)s AND lease = %(lease)s
  AND status IS NULL AND subject IS NULL

-- name: idempotency_done
UPDATE idempotency SET status = %(status)s, body = %(body)s, done_at = %(at)s
WHERE account_id = %(account_id)s AND route = %(route)s AND key = %(key)s AND lease = %(lease)s AND status IS NULL

-- name: idempotency_free
UPDATE idempotency SET lease = %(at)s
WHERE account_id = %(account_id)s AND route = %(route)s AND key = %(key)s AND lease = %(lease)s AND status IS NULL

-- name: idempotency_prune
DELETE FROM idempotency WHERE begun_at < %(before)s

-- name: event_kept
INSERT INTO provider_event (provider, event_id, kind, ref, body, received_at)
VALUES (%(provider)s, %(event_id)s, %(kind)s, %(ref)s, %(body)s, %(at)s)
ON CONFLICT (provider, event_id) DO NOTHING

-- name: event
SELECT provider, event_id, kind, ref, body, received_at, handled_at FROM provider_event
WHERE provider = %(provider)s AND event_id = %(event_id)s

-- name: event_handled
UPDATE provider_event SET handled_at = coalesce(handled_at, %(at)s), reason = %(reason)s
WHERE provider = %(provider)s AND event_id = %(event_id)s

-- name: claim_events
-- Notices that nobody could use yet, with pauses as `claim_payments` has them.
UPDATE provider_event SET asked_at = %(at)s WHERE (provider, event_id) IN (
    SELECT provider, event_id FROM provider_event
    WHERE handled_at IS NULL AND received_at <= %(before)s
      AND coalesce(asked_at, received_at) <= %(at)s::timestamptz - CASE WHEN %(after)s::interval = '0' THEN '0' ELSE
          least(greatest(%(after)s, (coalesce(asked_at, received_at) - received_at) / 2), interval '1 hour') END
    ORDER BY coalesce(asked_at, received_at) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING event_id, provider

-- name: event_prune
-- What is done with; the rest with the next sweep.
DELETE FROM provider_event WHERE (provider, event_id) IN (
    SELECT provider, event_id FROM provider_event WHERE handled_at < %(before)s ORDER BY handled_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)

-- name: to_pay
-- What a subscription waits for: a renewal that was refused, or the end of a pause.
SELECT invoice_id, currency, total_minor - from_balance AS due_minor FROM invoice
WHERE subscription_id = %(subscription_id)s AND state = 'open' AND reason IN ('renewal', 'resume')
ORDER BY issued_at DESC LIMIT 1

-- name: customers_to_adopt
-- Accounts of these origins that paid, or were to, and are no customers yet.
SELECT a.account_id, a.created_at FROM account a
WHERE a.origin = ANY(%(origins)s) AND EXISTS (
    SELECT FROM subscription_period p
    WHERE p.account_id = a.account_id AND p.state IN ('active', 'past_due') AND p.monthly_minor > 0)
  AND NOT EXISTS (SELECT FROM customer c WHERE c.account_id = a.account_id)
ORDER BY a.account_id

-- name: adoptable
-- row: serving.billing.adopt.Held
-- What they had by a moment; subscriptions that billing itself wrote are not among them.
SELECT c.customer_id, p.plan, coalesce(l.names, '{}') AS names, p.state, p.monthly_minor, p.currency,
       coalesce(a.country, '') AS country, p.opened, p.closed
FROM subscription_period p
JOIN account a USING (account_id)
JOIN customer c USING (account_id)
LEFT JOIN plan l ON l.plan_id = p.plan
WHERE a.origin = ANY(%(origins)s) AND p.plan_version IS NULL AND p.state IN ('active', 'past_due') AND p.opened <= %(at)s

-- name: tax_rates
-- row: serving.billing.adopt.TaxRate
SELECT country, rate_bp, valid FROM tax_rate

-- name: lock_payments_of
-- Always before their invoices: who settles a payment holds it first.
SELECT payment_id FROM payment WHERE customer_id IN (SELECT customer_id FROM customer WHERE account_id = ANY(%(accounts)s))
ORDER BY payment_id FOR NO KEY UPDATE

-- name: customers_of
SELECT customer_id FROM customer WHERE account_id = ANY(%(accounts)s) ORDER BY customer_id FOR NO KEY UPDATE

-- name: lock_owed
SELECT invoice_id FROM invoice WHERE customer_id = ANY(%(customers)s) AND state = 'open'
ORDER BY invoice_id FOR NO KEY UPDATE

-- name: end_subscriptions
WITH was AS (
    SELECT subscription_id, state FROM subscription
    WHERE customer_id = ANY(%(customers)s) AND state <> 'expired' ORDER BY subscription_id FOR NO KEY UPDATE
), ended AS (
    UPDATE subscription s SET state = 'expired', due_at = NULL, resumes_at = NULL, ends = false, pauses = false,
        method_id = NULL, ended_at = %(at)s
    FROM was WHERE s.subscription_id = was.subscription_id
)
INSERT INTO subscription_event (subscription_id, at, event, was, became, details)
SELECT subscription_id, %(at)s,
       CASE WHEN state IN ('trialing', 'active') THEN 'ended' WHEN state = 'incomplete' THEN 'abandoned' ELSE 'cancelled' END,
       state, 'expired', '{"why": "erased"}'
FROM was

-- name: forget_methods
-- Whoever sweeps has their providers drop them, and forgets the token then.
UPDATE payment_method SET label = '', removed_at = coalesce(removed_at, %(at)s)
WHERE customer_id = ANY(%(customers)s) AND label <> ''

-- name: forget_customers
-- Whoever sweeps has providers drop them.
UPDATE customer SET erased_at = %(at)s WHERE customer_id = ANY(%(customers)s) AND erased_at IS NULL

-- name: claim_customers
-- Erased ones that providers may know still, an hour after they were erased and began to pay last, as what a provider
-- finds may be as old; then after pauses that double, a week at most. With the providers that they paid by.
WITH claimed AS (
    UPDATE customer SET asked_at = %(at)s WHERE customer_id IN (
        SELECT customer_id FROM customer c
        WHERE erased_at <= %(at)s::timestamptz - interval '1 hour' AND forgotten_at IS NULL
          AND coalesce(asked_at, erased_at) <= %(at)s::timestamptz - CASE WHEN %(after)s::interval = '0' THEN '0' ELSE
              least(greatest(%(after)s, coalesce(asked_at, erased_at) - erased_at), interval '7 days') END
          AND NOT EXISTS (SELECT FROM payment p
                          WHERE p.customer_id = c.customer_id AND (
                              p.state IN ('created', 'pending')
                              OR p.created_at > %(at)s::timestamptz - interval '1 hour'))
        ORDER BY coalesce(asked_at, erased_at) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING customer_id
)
SELECT customer_id, ARRAY(SELECT DISTINCT provider FROM payment p WHERE p.customer_id = claimed.customer_id) AS providers
FROM claimed

-- name: forgotten_customer
UPDATE customer SET forgotten_at = %(at)s WHERE customer_id = %(customer_id)s

-- name: forget_pages
UPDATE payment SET checkout_url = NULL WHERE customer_id = ANY(%(customers)s) AND checkout_url IS NOT NULL

-- name: forget_reasons
-- What staff wrote; the words of the code itself stay.
UPDATE refund r SET reason = 'erased' FROM payment p
WHERE p.payment_id = r.payment_id AND p.customer_id = ANY(%(customers)s)
  AND r.reason NOT IN ('erased', 'surplus', 'provider')

-- name: forget_notices
UPDATE provider_event e SET body = jsonb_build_object('name', e.body -> 'name', 'payment_id', e.body -> 'payment_id')
WHERE e.body - '{name,payment_id}'::text[] <> '{}' AND (
    e.body ->> 'payment_id' IN (SELECT payment_id FROM payment WHERE customer_id = ANY(%(customers)s))
    OR (e.provider, e.ref) IN (
        SELECT provider, provider_ref FROM payment WHERE customer_id = ANY(%(customers)s)
        UNION ALL
        SELECT p.provider, r.provider_ref FROM refund r JOIN payment p USING (payment_id)
        WHERE p.customer_id = ANY(%(customers)s)
        UNION ALL
        SELECT p.provider, d.provider_ref FROM dispute d JOIN payment p USING (payment_id)
        WHERE p.customer_id = ANY(%(customers)s)))

-- name: forget_staff
-- Who of the staff asked for a refund.
UPDATE refund SET asked_by = NULL WHERE asked_by = ANY(%(accounts)s)

-- name: currencies
-- In which a customer was ever charged.
SELECT DISTINCT currency FROM posting WHERE ledger = 'receivable' AND party = %(customer_id)s ORDER BY currency
