-- name: find
SELECT account_id, email, role, origin, country, created_at, email_confirmed_at, disabled_at
FROM account WHERE account_id = %(q)s OR lower(email) = lower(%(q)s)
ORDER BY account_id DESC

-- name: page
SELECT account_id, email, role, origin, country, created_at, email_confirmed_at, disabled_at
FROM account WHERE account_id < coalesce(%(before)s, (SELECT max(account_id) || 'z' FROM account))
ORDER BY account_id DESC LIMIT %(limit)s

-- name: staff
SELECT account_id, email, role, origin, country, created_at, email_confirmed_at, disabled_at
FROM account WHERE role <> 'viewer' AND role = %(role)s AND account_id < coalesce(%(before)s, (SELECT max(account_id) || 'z' FROM account))
ORDER BY account_id DESC LIMIT %(limit)s

-- name: disabled
SELECT account_id, email, role, origin, country, created_at, email_confirmed_at, disabled_at
FROM account WHERE disabled_at IS NOT NULL AND (%(role)s::text IS NULL OR role = %(role)s)
  AND account_id < coalesce(%(before)s, (SELECT max(account_id) || 'z' FROM account))
ORDER BY account_id DESC LIMIT %(limit)s

-- name: account
SELECT a.account_id, a.email, a.role, a.origin, a.country, a.created_at, a.email_confirmed_at, a.disabled_at,
       EXISTS (SELECT FROM second_factor f WHERE f.account_id = a.account_id AND f.confirmed_at IS NOT NULL)
           AS second_factor,
       (SELECT count(*)::int FROM auth_session s
        WHERE s.account_id = a.account_id AND s.revoked_at IS NULL AND s.expires_at > %(now)s) AS sessions,
       EXISTS (SELECT FROM erasure_request e WHERE e.account_id = a.account_id) AS erasing
FROM account a WHERE a.account_id = %(account_id)s

-- name: hold_admins
-- In one order, so that two who change each other take turns.
SELECT account_id FROM account WHERE role = 'admin' AND disabled_at IS NULL ORDER BY account_id FOR NO KEY UPDATE

-- name: hold
SELECT account_id FROM account WHERE account_id = %(account_id)s FOR NO KEY UPDATE

-- name: set_role
UPDATE account SET role = %(role)s WHERE account_id = %(account_id)s

-- name: set_disabled
UPDATE account SET disabled_at = %(disabled_at)s WHERE account_id = %(account_id)s

-- name: audit
SELECT position, at, actor, action, subject, details FROM audit_entry
WHERE position < %(before)s AND (%(action)s::text IS NULL OR action = %(action)s)
ORDER BY position DESC LIMIT %(limit)s

-- name: audit_of
SELECT e.position, e.at, e.actor, e.action, e.subject, e.details
FROM (SELECT coalesce((SELECT name FROM audit_name WHERE account_id = %(account)s), %(account)s) AS name) n
JOIN audit a ON a.actor = n.name OR a.subject = n.name
JOIN audit_entry e ON e.position = a.position
WHERE a.position < %(before)s AND (%(action)s::text IS NULL OR a.action = %(action)s)
ORDER BY a.position DESC LIMIT %(limit)s
