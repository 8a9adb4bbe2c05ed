-- name: to_sell
-- A title with the terms that decide about it, and what the account may watch by.
SELECT v.title_id, v.kind, v.parent_id, v.root_id, v.maturity, v.playable, v.state, v.bare, v.offers_of,
       offer_terms(v.offers_of) AS offer_terms, entitlements_of(%(account_id)s, %(at)s) AS entitlements,
       (SELECT titles FROM served_title s WHERE s.title_id = coalesce(v.offers_of, v.title_id)) AS titles
FROM served_title v WHERE v.title_id = %(title_id)s

-- name: for_sale
-- row: serving.billing.purchases.offers.Offer
SELECT kind, plans, price, currency, regions, lower(open) AS from_, upper(open) AS until
FROM offer WHERE title_id = %(title_id)s AND kind = %(kind)s ORDER BY position

-- name: lock_customer
SELECT account_id FROM customer WHERE customer_id = %(customer_id)s FOR NO KEY UPDATE

-- name: open_order
-- What the customer began to order and did not pay.
SELECT i.invoice_id, i.purpose, p.code FROM invoice i
LEFT JOIN promo_redemption r ON r.invoice_id = i.invoice_id AND r.state = 'reserved'
LEFT JOIN promo p ON p.promo_id = r.promo_id
WHERE i.customer_id = %(customer_id)s AND i.title_id = %(title_id)s AND i.purpose IN ('rent', 'buy') AND i.state = 'open'
ORDER BY i.issued_at, i.invoice_id

-- name: taken_back
-- What an invoice opened ends; what it opened at this very moment was never there.
WITH never AS (
    DELETE FROM entitlement WHERE invoice_id = %(invoice_id)s AND opened >= %(at)s RETURNING account_id
), over AS (
    UPDATE entitlement SET closed = %(at)s
    WHERE invoice_id = %(invoice_id)s AND opened < %(at)s AND (closed IS NULL OR closed > %(at)s)
    RETURNING account_id
)
SELECT account_id FROM never UNION ALL SELECT account_id FROM over
