-- name: account_by_email
SELECT account_id, password_hash, role FROM account WHERE lower(email) = lower(%(email)s)

-- name: account
SELECT account_id, role FROM account WHERE account_id = %(account_id)s

-- name: set_born
UPDATE account SET born = %(born)s WHERE account_id = %(account_id)s

-- name: give_login
UPDATE account a SET email = %(email)s, password_hash = %(password_hash)s
WHERE a.account_id = %(account_id)s AND a.email IS NULL
  AND NOT EXISTS (SELECT FROM account other WHERE lower(other.email) = lower(%(email)s))
RETURNING a.account_id

-- name: open_session
INSERT INTO auth_session (session_id, account_id, refresh_hash, created_at, expires_at)
VALUES (%(session_id)s, %(account_id)s, %(refresh_hash)s, %(now)s, %(expires_at)s)

-- name: rotate_session
UPDATE auth_session s
SET refresh_hash = %(next_hash)s, previous_hash = %(given_hash)s, rotated_at = %(now)s, expires_at = %(expires_at)s
FROM account a
WHERE s.refresh_hash = %(given_hash)s AND s.revoked_at IS NULL AND s.expires_at > %(now)s
  AND a.account_id = s.account_id
RETURNING s.session_id, s.account_id, a.role

-- name: rotated_session
SELECT s.session_id, s.account_id, a.role, s.rotated_at
FROM auth_session s JOIN account a USING (account_id)
WHERE s.previous_hash = %(given_hash)s AND s.revoked_at IS NULL AND s.expires_at > %(now)s

-- name: revoke_session
UPDATE auth_session SET revoked_at = %(now)s
WHERE revoked_at IS NULL
  AND (session_id = %(session_id)s OR refresh_hash = %(given_hash)s OR previous_hash = %(given_hash)s)

-- name: accounts_named
SELECT asked.name, a.account_id FROM unnest(%(names)s::text[]) AS asked (name)
JOIN account a ON a.account_id = asked.name OR lower(a.email) = lower(asked.name)

-- name: names_of_accounts
SELECT 'email' AS kind, account_id, email AS name FROM account WHERE account_id = ANY(%(accounts)s) AND email IS NOT NULL
UNION ALL
SELECT 'profile', account_id, profile_id FROM profile WHERE account_id = ANY(%(accounts)s)
UNION ALL
SELECT 'login', account_id, session_id FROM auth_session WHERE account_id = ANY(%(accounts)s)
UNION ALL
SELECT 'playback', account_id, playback_id FROM playback_session WHERE account_id = ANY(%(accounts)s)

-- name: salts_of_accounts
SELECT account_id, salt FROM account_salt WHERE account_id = ANY(%(accounts)s)

-- name: close_sessions
DELETE FROM auth_session WHERE account_id = ANY(%(accounts)s)

-- name: close_logins
UPDATE account SET password_hash = NULL WHERE account_id = ANY(%(accounts)s)

-- name: tables_of_accounts
SELECT c.conrelid::regclass::text AS name, a.attname AS column_name, c.confrelid::regclass::text AS parent
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.confrelid IN ('account'::regclass, 'profile'::regclass)
ORDER BY 3, 1

-- name: forget_accounts
DELETE FROM account WHERE account_id = ANY(%(accounts)s)

-- name: drop_logins
DELETE FROM auth_session WHERE expires_at < %(before)s

-- name: drop_playbacks
DELETE FROM playback_session WHERE expires_at < %(before)s
