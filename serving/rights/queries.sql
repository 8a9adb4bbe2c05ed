-- name: welcome
-- One trial for an account.
INSERT INTO subscription_period
    (period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened, closed, end_reason)
VALUES (%(period_id)s, %(period_id)s, %(account_id)s, %(plan)s, 'trial', 0, %(currency)s, %(now)s, %(closed)s, 'cancelled')

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
