-- The provider's own books (schema `sandbox`), never read by the rest of billing.

-- name: write
INSERT INTO sandbox.payment (
    ref, payment_id, customer_id, state, amount_minor, currency, description, language, return_url, save_method, card,
    method_ref, failure, fee_minor, created_at, expires_at, settled_at)
SELECT ref, payment_id, customer_id, state, amount_minor, currency, description, language, return_url, save_method,
       card, method_ref, failure, fee_minor, %(at)s::timestamptz, %(expires_at)s,
       CASE WHEN state IN ('succeeded', 'failed') THEN %(at)s::timestamptz END
FROM unnest(%(ref)s::text[], %(payment_id)s::text[], %(customer_id)s::text[], %(state)s::text[],
            %(amount_minor)s::bigint[], %(currency)s::text[], %(description)s::text[], %(language)s::text[],
            %(return_url)s::text[], %(save_method)s::boolean[], %(card)s::text[], %(method_ref)s::text[],
            %(failure)s::text[], %(fee_minor)s::bigint[])
     AS new (ref, payment_id, customer_id, state, amount_minor, currency, description, language, return_url,
             save_method, card, method_ref, failure, fee_minor)
ON CONFLICT (payment_id) DO NOTHING
RETURNING ref, payment_id, state;

-- name: payments
-- row: serving.billing.providers.sandbox.books.Payment
SELECT ref, payment_id, customer_id, state, amount_minor, currency, description, language, return_url, save_method,
       card, method_ref, failure, fee_minor, refunded_minor, expires_at,
       coalesce((SELECT jsonb_agg(to_jsonb(d)) FROM sandbox.dispute d WHERE d.payment_ref = p.ref), '[]') AS disputes
FROM sandbox.payment p
WHERE payment_id = ANY(%(payment_ids)s) OR ref = ANY(%(refs)s);

-- name: lock
SELECT FROM sandbox.payment WHERE ref = %(ref)s FOR UPDATE;

-- name: settle
UPDATE sandbox.payment SET
    state = %(state)s::text, card = coalesce(%(card)s, card), method_ref = coalesce(%(method_ref)s, method_ref),
    save_method = %(save_method)s, failure = %(failure)s, fee_minor = %(fee_minor)s,
    settled_at = CASE WHEN %(state)s::text IN ('succeeded', 'failed') THEN %(at)s::timestamptz END
WHERE ref = %(ref)s;

-- name: age
UPDATE sandbox.payment SET state = 'failed', failure = 'expired', settled_at = %(at)s
WHERE ref = %(ref)s AND state IN ('pending', 'action') AND expires_at <= %(at)s;

-- name: methods
SELECT ref, customer_id, card FROM sandbox.method WHERE ref = ANY(%(refs)s) AND forgotten_at IS NULL;

-- name: save_method
INSERT INTO sandbox.method (ref, customer_id, card, created_at) VALUES (%(ref)s, %(customer_id)s, %(card)s, %(at)s);

-- name: forget
UPDATE sandbox.method SET forgotten_at = %(at)s WHERE ref = %(ref)s AND forgotten_at IS NULL;

-- name: refund_of
SELECT ref, refund_id, payment_ref, amount_minor, currency FROM sandbox.refund WHERE refund_id = %(refund_id)s;

-- name: refund
INSERT INTO sandbox.refund (ref, refund_id, payment_ref, amount_minor, currency, at)
VALUES (%(ref)s, %(refund_id)s, %(payment_ref)s, %(amount_minor)s, %(currency)s, %(at)s);

-- name: refunded
UPDATE sandbox.payment SET refunded_minor = refunded_minor + %(amount_minor)s WHERE ref = %(ref)s;

-- name: to_dispute
SELECT ref FROM sandbox.payment p
WHERE state = 'succeeded' AND card = 'disputed' AND settled_at <= %(before)s
  AND NOT EXISTS (SELECT FROM sandbox.dispute d WHERE d.payment_ref = p.ref)
LIMIT 100;

-- name: dispute
INSERT INTO sandbox.dispute (ref, payment_ref, amount_minor, currency, fee_minor, reason, state, opened_at)
SELECT %(dispute_ref)s, ref, amount_minor - refunded_minor, currency, %(fee_minor)s, %(reason)s, 'open', %(at)s
FROM sandbox.payment WHERE ref = %(ref)s AND state = 'succeeded' AND refunded_minor < amount_minor
ON CONFLICT (payment_ref) DO NOTHING;

-- name: close_dispute
UPDATE sandbox.dispute SET state = %(state)s, closed_at = %(at)s WHERE ref = %(ref)s AND state = 'open'
RETURNING payment_ref;

-- name: movements
-- What changed the balance, with its sign; a day's sum is paid out on the day after, so `day_before` is the beginning of
-- the day before `since`.
WITH movement AS (
    SELECT ref, 'payment' AS kind, currency, amount_minor, settled_at AS at, payment_id, NULL AS refund_id
    FROM sandbox.payment WHERE state = 'succeeded' AND settled_at >= %(day_before)s AND settled_at < %(until)s
    UNION ALL
    SELECT 'fee_' || ref, 'fee', currency, -fee_minor, settled_at, payment_id, NULL
    FROM sandbox.payment
    WHERE state = 'succeeded' AND fee_minor > 0 AND settled_at >= %(day_before)s AND settled_at < %(until)s
    UNION ALL
    SELECT r.ref, 'refund', r.currency, -r.amount_minor, r.at, p.payment_id, r.refund_id
    FROM sandbox.refund r JOIN sandbox.payment p ON p.ref = r.payment_ref
    WHERE r.at >= %(day_before)s AND r.at < %(until)s
    UNION ALL
    SELECT d.ref, 'dispute', d.currency, -d.amount_minor, d.opened_at, p.payment_id, NULL
    FROM sandbox.dispute d JOIN sandbox.payment p ON p.ref = d.payment_ref
    WHERE d.opened_at >= %(day_before)s AND d.opened_at < %(until)s
    UNION ALL
    SELECT 'won_' || d.ref, 'dispute', d.currency, d.amount_minor, d.closed_at, p.payment_id, NULL
    FROM sandbox.dispute d JOIN sandbox.payment p ON p.ref = d.payment_ref
    WHERE d.state = 'won' AND d.closed_at >= %(day_before)s AND d.closed_at < %(until)s
    UNION ALL
    SELECT 'fee_' || d.ref, 'fee', d.currency, -d.fee_minor, d.closed_at, p.payment_id, NULL
    FROM sandbox.dispute d JOIN sandbox.payment p ON p.ref = d.payment_ref
    WHERE d.state = 'lost' AND d.closed_at >= %(day_before)s AND d.closed_at < %(until)s
), payout AS (
    SELECT date_trunc('day', at, 'UTC') AS day, currency, sum(amount_minor)::bigint AS amount_minor
    FROM movement GROUP BY 1, 2
)
SELECT ref, kind, currency, amount_minor, at, payment_id, refund_id
FROM movement WHERE at >= %(since)s
UNION ALL
SELECT concat_ws('_', 'payout', (day AT TIME ZONE 'UTC')::date, lower(currency)), 'payout', currency, -amount_minor,
       day + interval '1 day 6 hours', NULL, NULL
FROM payout
WHERE day + interval '1 day 6 hours' >= %(since)s AND day + interval '1 day 6 hours' < %(until)s
  AND day + interval '1 day 6 hours' <= %(now)s AND amount_minor <> 0
ORDER BY at, ref;

-- name: notify
INSERT INTO sandbox.notice (event_id, kind, ref, at, due_at)
SELECT event_id, kind, ref, %(at)s, %(at)s
FROM unnest(%(event_id)s::text[], %(kind)s::text[], %(ref)s::text[]) AS new (event_id, kind, ref)
ON CONFLICT (event_id) DO NOTHING;

-- name: take
-- Whoever takes one has it until `later`.
UPDATE sandbox.notice n SET tries = tries + 1, due_at = %(later)s
FROM (
    SELECT event_id FROM sandbox.notice WHERE due_at <= %(at)s
    ORDER BY due_at, event_id LIMIT 100 FOR UPDATE SKIP LOCKED
) due
WHERE n.event_id = due.event_id
RETURNING n.event_id, n.kind, n.ref, n.at, n.tries, (
    SELECT p.payment_id FROM sandbox.payment p
    WHERE p.ref IN (
        n.ref, (SELECT r.payment_ref FROM sandbox.refund r WHERE r.ref = n.ref),
        (SELECT d.payment_ref FROM sandbox.dispute d WHERE d.ref = n.ref))
) AS payment_id;

-- name: delivered
DELETE FROM sandbox.notice WHERE event_id = %(event_id)s;

-- name: undeliverable
UPDATE sandbox.notice SET due_at = %(due_at)s WHERE event_id = %(event_id)s;

-- name: switches
SELECT faults FROM sandbox.switches;

-- name: switch
INSERT INTO sandbox.switches (faults) VALUES (%(faults)s)
ON CONFLICT (only_one) DO UPDATE SET faults = excluded.faults;

-- name: switch_off
DELETE FROM sandbox.switches;
