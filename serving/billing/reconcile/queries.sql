-- What `verify` asks: every row of an answer is a thing that contradicts the ledger or is missing in it.

-- name: guards
-- What keeps the ledger right in PostgreSQL itself stands and is switched on.
SELECT g.name || ' on ' || g.place AS id, CASE WHEN t.tgname IS NULL THEN 'missing' ELSE 'switched off' END AS detail
FROM (VALUES ('posting_balances', 'posting'), ('ledger_keeps', 'posting'), ('ledger_keeps', 'ledger_transaction'),
             ('ledger_keeps', 'ledger_account'), ('ledger_transaction_posted', 'ledger_transaction'),
             ('customer_keeps', 'customer'), ('invoice_keeps', 'invoice'), ('invoice_keeps', 'invoice_line'),
             ('invoice_stays', 'invoice'), ('invoice_stays', 'invoice_line'),
             ('invoice_lines_fit', 'invoice_line')) AS g (name, place)
LEFT JOIN pg_trigger t ON t.tgrelid = g.place::regclass AND t.tgname = g.name
WHERE t.tgenabled IS DISTINCT FROM 'O'

-- name: unbalanced
SELECT p.transaction_id::text AS id, sum(p.amount_minor) || ' ' || p.currency || ' left over' AS detail
FROM posting p GROUP BY p.transaction_id, p.currency HAVING sum(p.amount_minor) <> 0

-- name: empty
SELECT t.transaction_id::text AS id, t.kind || ' of ' || t.source AS detail
FROM ledger_transaction t WHERE NOT EXISTS (SELECT FROM posting p WHERE p.transaction_id = t.transaction_id)

-- name: lines
SELECT i.invoice_id AS id, 'total ' || i.total_minor || ', tax ' || i.tax_minor || '; its lines have '
    || coalesce(sum(l.amount_minor), 0) || ' and ' || coalesce(sum(l.tax_minor), 0) AS detail
FROM invoice i LEFT JOIN invoice_line l USING (invoice_id) GROUP BY i.invoice_id
HAVING (i.total_minor, i.tax_minor) IS DISTINCT FROM (sum(l.amount_minor), sum(l.tax_minor))

-- name: charges
-- Invoices and credit notes, with what the ledger has of them.
WITH posted AS (
    SELECT t.source, t.kind, coalesce(sum(p.amount_minor) FILTER (WHERE p.ledger = 'receivable'), 0) AS owed,
           coalesce(sum(p.amount_minor) FILTER (WHERE p.ledger = 'tax'), 0) AS tax
    FROM ledger_transaction t JOIN posting p USING (transaction_id)
    WHERE t.kind IN ('charge', 'void', 'credit') GROUP BY t.transaction_id
), wanted AS (
    SELECT i.invoice_id, k.kind, k.sign, i.total_minor, i.tax_minor
    FROM invoice i
    JOIN (VALUES ('charge', 1), ('void', -1), ('credit', -1)) AS k (kind, sign)
      ON CASE WHEN i.credits IS NOT NULL THEN k.kind = 'credit' WHEN i.state = 'void' THEN k.kind <> 'credit'
              ELSE k.kind = 'charge' END
    WHERE EXISTS (SELECT FROM invoice_line l WHERE l.invoice_id = i.invoice_id AND l.amount_minor <> 0)
)
SELECT coalesce(w.invoice_id, p.source) AS id,
       CASE WHEN p.source IS NULL THEN w.kind || ' of ' || w.total_minor || ' is not in the ledger'
            WHEN w.invoice_id IS NULL THEN p.kind || ' of ' || p.owed || ' is of no such invoice'
            ELSE w.kind || ' of ' || w.total_minor || ', tax ' || w.tax_minor || '; the ledger has ' || p.owed
                 || ' and ' || p.tax END AS detail
FROM wanted w FULL JOIN posted p ON p.source = w.invoice_id AND p.kind = w.kind
WHERE (w.sign * w.total_minor, -w.sign * w.tax_minor) IS DISTINCT FROM (p.owed, p.tax)

-- name: credited
SELECT i.invoice_id AS id, 'given back ' || i.credited_minor || '; its credit notes have '
    || coalesce(sum(n.total_minor), 0) AS detail
FROM invoice i LEFT JOIN invoice n ON n.credits = i.invoice_id
WHERE i.credits IS NULL GROUP BY i.invoice_id HAVING i.credited_minor <> coalesce(sum(n.total_minor), 0)

-- name: paid
SELECT i.invoice_id AS id, i.total_minor - i.from_balance || ' ' || i.currency || ' were due' AS detail
FROM invoice i
WHERE i.state = 'paid' AND i.credits IS NULL AND i.total_minor > i.from_balance AND NOT EXISTS (
    SELECT FROM payment p WHERE p.invoice_id = i.invoice_id AND p.state = 'succeeded' AND NOT p.surplus
      AND (p.amount_minor, p.currency) = (i.total_minor - i.from_balance, i.currency))

-- name: unpaid
SELECT i.invoice_id AS id, 'payment ' || p.payment_id || ' succeeded, the invoice is ' || i.state AS detail
FROM payment p JOIN invoice i USING (invoice_id)
WHERE p.state = 'succeeded' AND NOT p.surplus AND i.state <> 'paid'

-- name: movements
-- Payments, their fees, refunds and disputes, with what the ledger has of them.
WITH wanted AS (
    SELECT 'payment' AS kind, payment_id AS source, provider, currency, amount_minor AS minor FROM payment
    WHERE state = 'succeeded'
    UNION ALL
    SELECT 'fee', payment_id, provider, currency, -fee_minor FROM payment WHERE state = 'succeeded' AND fee_minor > 0
    UNION ALL
    SELECT 'refund', r.refund_id, p.provider, r.currency, -r.amount_minor FROM refund r JOIN payment p USING (payment_id)
    WHERE r.state = 'succeeded'
    UNION ALL
    SELECT 'dispute', dispute_id, provider, currency, -amount_minor FROM dispute
    UNION ALL
    SELECT 'dispute_won', dispute_id, provider, currency, amount_minor FROM dispute WHERE state = 'won'
    UNION ALL
    SELECT 'dispute_lost', dispute_id, provider, currency, -fee_minor FROM dispute WHERE state = 'lost'
), posted AS (
    SELECT t.kind, t.source, p.currency, max(p.party) FILTER (WHERE a.party = 'provider') AS provider,
           coalesce(sum(p.amount_minor) FILTER (WHERE p.ledger = 'clearing'), 0) AS minor
    FROM ledger_transaction t JOIN posting p USING (transaction_id) JOIN ledger_account a USING (ledger)
    WHERE t.kind IN ('payment', 'fee', 'refund', 'dispute', 'dispute_won', 'dispute_lost')
    GROUP BY t.transaction_id, p.currency
)
SELECT coalesce(w.source, p.source) AS id,
       CASE WHEN p.source IS NULL THEN w.kind || ' of ' || w.minor || ' ' || w.currency || ' is not in the ledger'
            WHEN w.source IS NULL THEN p.kind || ' of ' || p.minor || ' ' || p.currency || ' is only in the ledger'
            ELSE w.kind || ' of ' || w.minor || ' at ' || w.provider || '; the ledger has ' || p.minor || ' at '
                 || p.provider END AS detail
FROM wanted w FULL JOIN posted p ON p.kind = w.kind AND p.source = w.source AND p.currency = w.currency
WHERE (w.minor, w.provider) IS DISTINCT FROM (p.minor, p.provider)
  -- A fee that no payment tells of was booked by reconciliation, from what the provider lists.
  AND NOT (w.source IS NULL AND p.kind = 'fee')

-- name: refunds
SELECT p.payment_id AS id, 'paid ' || p.amount_minor || ', given back or on its way ' || sum(r.amount_minor) AS detail
FROM payment p JOIN refund r USING (payment_id) WHERE r.state <> 'failed'
GROUP BY p.payment_id HAVING sum(r.amount_minor) > p.amount_minor OR p.state <> 'succeeded'

-- name: notes
SELECT r.refund_id AS id, 'a refund of ' || r.amount_minor || ' ' || r.currency || ' with a credit note of '
    || coalesce(n.total_minor, 0) AS detail
FROM refund r JOIN payment p USING (payment_id) JOIN invoice i ON i.invoice_id = p.invoice_id
LEFT JOIN invoice n ON n.invoice_id = r.note_id
WHERE r.state = 'succeeded' AND NOT p.surplus AND n.total_minor IS DISTINCT FROM r.amount_minor
  -- Made at the provider by hand, of an invoice that had less left: the rest was taken from the balance.
  AND NOT (r.reason = 'provider' AND coalesce(n.total_minor, 0) < r.amount_minor
           AND i.total_minor <= i.credited_minor + (
               SELECT coalesce(sum(w.amount_minor), 0) FROM payment o JOIN refund w USING (payment_id)
               WHERE o.invoice_id = i.invoice_id AND NOT o.surplus AND w.state IN ('created', 'pending')))

-- name: surplus
-- Tried three times at least; what a bank has, or may, and what people have corrected is no more to be given back.
SELECT p.payment_id AS id, 'of ' || p.amount_minor || ' ' || p.currency || ' only ' || p.refunded_minor
    || ' are given back or on their way' AS detail
FROM payment p
WHERE p.surplus AND p.refunded_minor < p.amount_minor AND p.state = 'succeeded'
  AND (SELECT count(*) FROM refund r WHERE r.payment_id = p.payment_id AND r.state = 'failed') >= 3
  AND NOT EXISTS (SELECT FROM dispute d WHERE d.payment_id = p.payment_id AND d.state <> 'won')
  AND NOT EXISTS (SELECT FROM ledger_transaction t WHERE t.kind = 'correction' AND t.source = p.payment_id)

-- name: owed
-- Who owes more than their open invoices, and what a bank, or a refund by hand, gave them a second time.
SELECT o.party AS id, o.amount_minor || ' ' || o.currency || ' owed, open invoices have ' || coalesce(sum(i.total_minor
    - i.from_balance), 0) AS detail
FROM ledger_balance o
LEFT JOIN invoice i ON i.customer_id = o.party AND i.currency = o.currency AND i.state = 'open'
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.amount_minor), 0) AS minor FROM posting p JOIN ledger_transaction t USING (transaction_id)
    WHERE t.kind = 'dispute_lost' AND p.ledger = 'receivable' AND p.party = o.party AND p.currency = o.currency) lost
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.amount_minor - coalesce(n.total_minor, 0)), 0) AS minor
    FROM payment p JOIN refund r USING (payment_id) LEFT JOIN invoice n ON n.invoice_id = r.note_id
    WHERE p.customer_id = o.party AND r.currency = o.currency AND NOT p.surplus AND r.state = 'succeeded') twice
WHERE o.ledger = 'receivable' AND o.amount_minor > 0
GROUP BY o.party, o.currency, o.amount_minor, lost.minor, twice.minor
HAVING o.amount_minor > coalesce(sum(i.total_minor - i.from_balance), 0) + lost.minor + twice.minor

-- name: disputed
SELECT coalesce(b.party, d.provider) AS id, coalesce(b.amount_minor, 0) || ' ' || coalesce(b.currency, d.currency)
    || ' held back by the ledger, open disputes have ' || coalesce(d.minor, 0) AS detail
FROM (SELECT * FROM ledger_balance WHERE ledger = 'disputed' AND amount_minor <> 0) b
FULL JOIN (SELECT provider, currency, sum(amount_minor) AS minor FROM dispute WHERE state = 'open' GROUP BY 1, 2) d
  ON d.provider = b.party AND d.currency = b.currency
WHERE coalesce(b.amount_minor, 0) <> coalesce(d.minor, 0)

-- name: balances
-- The balances of the chart of accounts; customers' are added up, those who owe apart from those who are owed.
SELECT a.ledger, a.kind, CASE a.party WHEN 'customer' THEN '' ELSE b.party END AS party, b.currency,
       sum(b.amount_minor)::bigint AS amount_minor, count(*)::int AS parties, a.meaning
FROM ledger_balance b JOIN ledger_account a USING (ledger)
WHERE b.amount_minor <> 0
GROUP BY a.ledger, 3, b.currency, CASE a.party WHEN 'customer' THEN b.amount_minor > 0 END
ORDER BY array_position('{asset,liability,revenue,expense}'::text[], a.kind), a.ledger, 3, b.currency, 5 DESC

-- name: total
SELECT count(DISTINCT transaction_id)::bigint AS facts, count(*)::bigint AS postings,
       coalesce((SELECT jsonb_object_agg(currency, minor) FROM (
           SELECT currency, sum(amount_minor) AS minor FROM posting GROUP BY currency) s), '{}') AS sums
FROM posting

-- What `reconcile` asks.

-- name: booked
-- row: serving.billing.reconcile.compare.Booked
-- Facts that moved money at a provider: those of a time, and those of given payments, refunds and payouts. Corrections
-- move none there.
WITH t AS (
    SELECT transaction_id, kind, source, occurred_at FROM ledger_transaction
    WHERE occurred_at >= %(since)s AND occurred_at < %(until)s
    UNION
    SELECT f.transaction_id, f.kind, f.source, f.occurred_at
    FROM unnest(%(kinds)s::text[], %(sources)s::text[]) AS w (kind, source)
    JOIN ledger_transaction f ON f.kind = w.kind AND f.source = w.source
)
SELECT t.kind, t.source, t.occurred_at, c.currency, c.amount_minor,
       coalesce(p.payment_id, r.payment_id, d.payment_id) AS payment_id
FROM t
JOIN posting c ON c.transaction_id = t.transaction_id AND c.ledger = 'clearing' AND c.party = %(provider)s
LEFT JOIN payment p ON p.payment_id = t.source
LEFT JOIN refund r ON r.refund_id = t.source
LEFT JOIN dispute d ON d.dispute_id = t.source
WHERE t.kind <> 'correction'

-- name: corrected
-- What people have corrected about these things, in what the provider has of us.
SELECT t.source, c.currency, sum(c.amount_minor)::bigint AS amount_minor
FROM ledger_transaction t JOIN posting c USING (transaction_id)
WHERE t.kind = 'correction' AND t.source = ANY(%(sources)s) AND c.ledger = 'clearing' AND c.party = %(provider)s
GROUP BY t.source, c.currency

-- name: disputes_of
SELECT dispute_id, payment_id, state, currency FROM dispute WHERE payment_id = ANY(%(payments)s)

-- name: states_of
SELECT payment_id AS id, state FROM payment WHERE payment_id = ANY(%(ids)s)
UNION ALL
SELECT refund_id, state FROM refund WHERE refund_id = ANY(%(ids)s)

-- name: first_moved
-- When what was booked since then (null: ever) began at the provider: a payment may be heard of long after it was made.
SELECT least((SELECT min(t.occurred_at) FROM ledger_transaction t JOIN posting p USING (transaction_id)
              WHERE p.ledger = 'clearing' AND p.party = %(provider)s AND %(since)s::timestamptz IS NULL),
             (SELECT min(created_at) FROM payment WHERE provider = %(provider)s
              AND (%(since)s::timestamptz IS NULL OR settled_at >= %(since)s::timestamptz))) AS at

-- name: clearing
SELECT currency, sum(amount_minor)::bigint AS amount_minor FROM posting
WHERE ledger = 'clearing' AND party = %(provider)s GROUP BY currency

-- name: providers
-- Of these, who holds or held money of ours.
SELECT name FROM unnest(%(names)s::text[]) AS n (name)
WHERE EXISTS (SELECT FROM posting WHERE ledger = 'clearing' AND party = name) ORDER BY name
