-- name: welcome
-- One trial for an account: its customer, its subscription and what that opens, at the price of the plan where the account
-- is. A plan that is not sold there is given all the same, as a period that no subscription goes on from.
WITH owner AS (
    INSERT INTO customer (customer_id, account_id, created_at) VALUES (%(customer_id)s, %(account_id)s, %(now)s)
    ON CONFLICT (account_id) DO UPDATE SET account_id = excluded.account_id
    RETURNING customer_id
), sold AS (
    SELECT price_id, version, currency FROM price
    WHERE plan_id = %(plan)s AND months = 1 AND sold @> %(now)s::timestamptz
      AND (regions = '{}' OR %(country)s = ANY (regions))
    ORDER BY (regions = '{}'), lower(sold) DESC LIMIT 1
), begun AS (
    INSERT INTO subscription (subscription_id, customer_id, state, price_id, country, anchor, period, due_at, created_at,
                              moved_at)
    SELECT %(period_id)s, customer_id, 'trialing', price_id, %(country)s, %(closed)s,
           tstzrange(%(now)s, %(closed)s), %(notice)s, %(now)s, %(now)s
    FROM owner CROSS JOIN sold
    RETURNING subscription_id
), told AS (
    INSERT INTO subscription_event (subscription_id, at, event, became)
    SELECT subscription_id, %(now)s, 'tried', 'trialing' FROM begun
)
INSERT INTO subscription_period (period_id, subscription_id, account_id, plan, plan_version, state, monthly_minor, currency,
                                 opened, closed, end_reason)
SELECT %(period_id)s, %(period_id)s, %(account_id)s, %(plan)s, sold.version, 'trial', 0, coalesce(sold.currency, 'EUR'),
       %(now)s, %(closed)s, 'cancelled'
FROM owner LEFT JOIN sold ON true

-- name: entitlements
SELECT entitlements_of(%(account_id)s, %(now)s) AS entitlements

-- name: start_rental
-- Of two devices that start it at once both hear of one start.
UPDATE entitlement SET started = coalesce(started, %(now)s), closed = CASE WHEN started IS NULL THEN %(closed)s ELSE closed END
WHERE entitlement_id = %(entitlement_id)s AND kind = 'rent' AND closed > %(now)s
RETURNING closed

-- name: add_entitlement
-- An invoice gives one, however often it is told to be paid.
INSERT INTO entitlement (entitlement_id, account_id, kind, title_id, plan_id, opened, closed, invoice_id)
VALUES (%(entitlement_id)s, %(account_id)s, %(kind)s, %(title_id)s, %(plan_id)s, %(now)s, %(closed)s, %(invoice_id)s)
ON CONFLICT (invoice_id) WHERE invoice_id IS NOT NULL DO NOTHING

-- name: is_plan
SELECT true AS found FROM plan WHERE plan_id = %(plan_id)s

-- name: is_title
SELECT true AS found FROM title WHERE title_id = %(title_id)s

-- name: account_named
SELECT account_id FROM account WHERE account_id = %(name)s OR lower(email) = lower(%(name)s)
ORDER BY (account_id = %(name)s) DESC LIMIT 1

-- name: rights_changed
-- What was committed since an older answer's `since` (a snapshot): marks of accounts (null: everybody's), and the
-- catalogue's version. What a long transaction writes is told with the first answer after its commit, all else once.
SELECT pg_current_snapshot()::text AS since, (SELECT version FROM catalogue_version) AS catalogue,
       coalesce((SELECT jsonb_agg(DISTINCT encode(account, 'hex')) FROM rights_change
                 WHERE xact >= pg_snapshot_xmin(%(since)s::pg_snapshot)
                   AND NOT pg_visible_in_snapshot(xact, %(since)s::pg_snapshot)), '[]') AS changes

-- name: oldest_running
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xact

-- name: forget_rights_changes
DELETE FROM rights_change WHERE xact < %(until)s::xid8
