-- name: found
-- An open code, else the one that was withdrawn last.
SELECT promo_id, code, kind, value, currency, periods, plans, titles, first_time, limit_total, limit_person,
       lower(open) AS from_, upper(open) AS until, used, withdrawn_at
FROM promo WHERE key = %(key)s
ORDER BY withdrawn_at IS NULL DESC, withdrawn_at DESC LIMIT 1

-- name: lock_customer
-- Before the code's row: who pays with credit, and who is billed, is locked in this order everywhere.
SELECT customer_id FROM customer WHERE customer_id = %(customer_id)s FOR NO KEY UPDATE

-- name: take_use
-- The one place where uses are counted up: of any number at once, no more than the limit find room.
UPDATE promo SET used = used + 1
WHERE promo_id = %(promo_id)s AND withdrawn_at IS NULL AND open @> %(at)s AND (limit_total IS NULL OR used < limit_total)
RETURNING used

-- name: own_uses
-- After `take_use`, which makes those of one code wait for one another.
SELECT count(*) AS uses FROM promo_redemption
WHERE promo_id = %(promo_id)s AND customer_id = %(customer_id)s AND repeats IS NULL AND state <> 'released'

-- name: has_paid
-- Whether the customer is none of first-time codes: paid an invoice, be it one of nothing, or holds such a code on another.
SELECT EXISTS (SELECT FROM invoice WHERE customer_id = %(customer_id)s AND purpose <> 'credit' AND state = 'paid')
    OR EXISTS (SELECT FROM promo_redemption r JOIN promo p USING (promo_id)
               WHERE r.customer_id = %(customer_id)s AND r.state = 'reserved' AND p.first_time) AS has_paid

-- name: add_redemptions
INSERT INTO promo_redemption
    (redemption_id, promo_id, customer_id, subscription_id, invoice_id, state, periods_left, repeats, at)
SELECT redemption_id, promo_id, customer_id, subscription_id, invoice_id, 'reserved', periods_left, repeats, %(at)s
FROM jsonb_to_recordset(%(redemptions)s) AS r (
    redemption_id text, promo_id text, customer_id text, subscription_id text, invoice_id text, periods_left int,
    repeats text)

-- name: redeem
UPDATE promo_redemption SET state = 'redeemed', at = %(at)s
WHERE invoice_id = ANY (%(invoice_ids)s::text[]) AND state = 'reserved'

-- name: release
-- In the order of their ids, so that two runs never wait for one another.
WITH gone AS (
    UPDATE promo_redemption SET state = 'released', at = %(at)s
    WHERE invoice_id = ANY (%(invoice_ids)s::text[]) AND state = 'reserved'
    RETURNING promo_id, repeats
), freed AS (
    SELECT promo_id, count(*) AS uses FROM gone WHERE repeats IS NULL GROUP BY promo_id
), locked AS (
    SELECT promo_id FROM promo WHERE promo_id IN (SELECT promo_id FROM freed) ORDER BY promo_id FOR NO KEY UPDATE
)
UPDATE promo SET used = used - freed.uses FROM freed JOIN locked USING (promo_id) WHERE promo.promo_id = freed.promo_id

-- name: carried
-- The code of the order that each subscription began with, if it had one, and what its invoices so far left of it. Of
-- orders that were paid for (in a trial: one, given back, and another) the last counts that was not given back.
-- `changing`: without what changes that nobody paid hold of it, as another change takes them back.
WITH begun AS (
    SELECT DISTINCT ON (subscription_id) subscription_id, invoice_id FROM invoice
    WHERE subscription_id = ANY (%(subscription_ids)s::text[]) AND reason = 'start' AND state = 'paid' AND credits IS NULL
    ORDER BY subscription_id, credited_minor = total_minor AND total_minor > 0, paid_at DESC, number DESC
)
SELECT DISTINCT ON (b.subscription_id) b.subscription_id, p.promo_id, p.code, p.kind, p.value, p.currency, p.plans,
       p.titles, p.first_time, p.used, r.periods_left, o.redemption_id AS repeats
FROM begun b JOIN promo_redemption o ON o.invoice_id = b.invoice_id
JOIN promo_redemption r ON r.subscription_id = b.subscription_id AND o.redemption_id IN (r.redemption_id, r.repeats)
JOIN promo p ON p.promo_id = o.promo_id
WHERE r.state <> 'released' AND NOT (%(changing)s AND r.state = 'reserved' AND EXISTS (
    SELECT FROM invoice i WHERE i.invoice_id = r.invoice_id AND i.reason = 'change'))
ORDER BY b.subscription_id, r.periods_left NULLS LAST

-- name: standing
-- The code of the invoice that a subscription's period began with.
SELECT p.promo_id, p.code, p.kind, p.value, p.currency, p.plans, p.titles, p.first_time, p.used, i.discount_minor,
       l.amount_minor AS listed_minor
FROM invoice i JOIN invoice_line l USING (invoice_id) JOIN promo_redemption r USING (invoice_id) JOIN promo p USING (promo_id)
WHERE l.kind = 'plan' AND l.months = %(months)s AND i.subscription_id = %(subscription_id)s AND i.state = 'paid' AND i.credits IS NULL
  AND lower(i.period) = %(since)s AND r.state = 'redeemed'
ORDER BY i.issued_at DESC LIMIT 1

-- name: add
INSERT INTO promo (promo_id, code, kind, value, currency, periods, plans, titles, first_time, limit_total, limit_person,
                   open, created_at)
VALUES (%(promo_id)s, %(code)s, %(kind)s, %(value)s, %(currency)s, %(periods)s, %(plans)s, %(titles)s, %(first_time)s,
        %(limit_total)s, %(limit_person)s, tstzrange(%(from_)s, %(until)s), %(at)s)
ON CONFLICT (key) WHERE withdrawn_at IS NULL DO NOTHING

-- name: unknown_plans
SELECT asked FROM unnest(%(plans)s::text[]) AS asked WHERE NOT EXISTS (SELECT FROM plan WHERE plan_id = asked)

-- name: unknown_titles
SELECT asked FROM unnest(%(titles)s::text[]) AS asked WHERE NOT EXISTS (SELECT FROM title WHERE title_id = asked)

-- name: listed
-- The newest first; `after`: older than this one.
SELECT p.promo_id, p.code, p.kind, p.value, p.currency, p.periods, p.plans, p.titles, p.first_time, p.limit_total,
       p.limit_person, lower(p.open) AS from_, upper(p.open) AS until, p.used, p.withdrawn_at, p.created_at,
       (SELECT count(*) FROM promo_redemption r
        WHERE r.promo_id = p.promo_id AND r.repeats IS NULL AND r.state = 'redeemed') AS redeemed
FROM promo p WHERE %(after)s::text IS NULL OR p.promo_id < %(after)s::text
ORDER BY p.promo_id DESC LIMIT %(limit)s

-- name: withdraw
UPDATE promo SET withdrawn_at = %(at)s WHERE key = %(key)s AND withdrawn_at IS NULL
RETURNING promo_id, code, used
