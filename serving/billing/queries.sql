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

-- name: events_waiting
SELECT provider, event_id FROM provider_event
WHERE handled_at IS NULL AND received_at <= %(before)s ORDER BY received_at LIMIT %(limit)s

-- name: to_pay
-- What a subscription waits for: a renewal that was refused, or the end of a pause.
SELECT invoice_id, currency, total_minor - from_balance AS due_minor FROM invoice
WHERE subscription_id = %(subscription_id)s AND state = 'open' AND reason IN ('renewal', 'resume')
ORDER BY issued_at DESC LIMIT 1
