-- name: account_by_email
SELECT a.account_id, a.password_hash, f.confirmed_at IS NOT NULL AS second_factor
FROM account a LEFT JOIN second_factor f USING (account_id)
WHERE lower(a.email) = lower(%(email)s)

-- name: account_by_id
SELECT a.account_id, a.email, a.password_hash, a.role, a.country, a.language, a.created_at, a.email_confirmed_at,
       a.disabled_at, f.confirmed_at IS NOT NULL AS second_factor
FROM account a LEFT JOIN second_factor f USING (account_id)
WHERE a.account_id = %(account_id)s

-- name: account
SELECT account_id, role FROM account WHERE account_id = %(account_id)s

-- name: set_born
UPDATE account SET born = %(born)s WHERE account_id = %(account_id)s

-- name: set_language
UPDATE account SET language = %(language)s WHERE account_id = %(account_id)s

-- name: set_password
UPDATE account SET password_hash = %(password_hash)s WHERE account_id = %(account_id)s

-- name: set_email
UPDATE account a SET email = %(email)s, email_confirmed_at = %(now)s
WHERE a.account_id = %(account_id)s
  AND NOT EXISTS (
      SELECT FROM account other WHERE lower(other.email) = lower(%(email)s) AND other.account_id <> a.account_id)

-- name: confirm_email
UPDATE account SET email_confirmed_at = coalesce(email_confirmed_at, %(now)s)
WHERE account_id = %(account_id)s AND lower(email) = lower(%(email)s)

-- name: disable
UPDATE account SET disabled_at = %(now)s WHERE account_id = %(account_id)s

-- name: give_login
UPDATE account a SET email = %(email)s, password_hash = %(password_hash)s
WHERE a.account_id = %(account_id)s AND a.email IS NULL
  AND NOT EXISTS (SELECT FROM account other WHERE lower(other.email) = lower(%(email)s))
RETURNING a.account_id

-- name: hold_login
-- Until the transaction ends the password stays what it is; no row where it is another one by now.
SELECT account_id FROM account
WHERE account_id = %(account_id)s AND password_hash = %(password_hash)s
FOR NO KEY UPDATE

-- name: open_session
-- The account's row is locked, so that nobody gets in while it is being disabled.
INSERT INTO auth_session (session_id, account_id, kind, device, seed, created_at, authenticated_at, expires_at)
SELECT %(session_id)s, a.account_id, %(kind)s, %(device)s, %(seed)s, %(now)s, %(authenticated_at)s, %(expires_at)s
FROM (SELECT account_id FROM account WHERE account_id = %(account_id)s AND disabled_at IS NULL FOR SHARE) a
RETURNING session_id, account_id, authenticated_at,
          (SELECT role FROM account WHERE account_id = auth_session.account_id) AS role

-- name: session_for_update
SELECT s.session_id, s.account_id, s.seed, s.generation, s.created_at, s.rotated_at, s.expires_at, s.authenticated_at,
       coalesce(s.revoked_at, a.disabled_at) AS revoked_at, a.role
FROM auth_session s JOIN account a USING (account_id)
WHERE s.session_id = %(session_id)s
FOR UPDATE OF s

-- name: rotate_session
UPDATE auth_session SET generation = generation + 1, rotated_at = %(now)s, expires_at = %(expires_at)s
WHERE session_id = %(session_id)s

-- name: authenticated
UPDATE auth_session SET authenticated_at = %(now)s
WHERE session_id = %(session_id)s AND account_id = %(account_id)s AND revoked_at IS NULL AND expires_at > %(now)s

-- name: revoke_session
UPDATE auth_session SET revoked_at = %(now)s
WHERE session_id = %(session_id)s AND revoked_at IS NULL

-- name: revoke_own_session
UPDATE auth_session SET revoked_at = %(now)s
WHERE session_id = %(session_id)s AND account_id = %(account_id)s AND revoked_at IS NULL

-- name: revoke_sessions
UPDATE auth_session SET revoked_at = %(now)s
WHERE account_id = %(account_id)s AND revoked_at IS NULL AND (%(but)s::text IS NULL OR session_id <> %(but)s)

-- name: sessions
SELECT session_id, kind, device, created_at, coalesce(rotated_at, created_at) AS last_used_at, expires_at
FROM auth_session
WHERE account_id = %(account_id)s AND revoked_at IS NULL AND expires_at > %(now)s
ORDER BY coalesce(rotated_at, created_at) DESC, session_id DESC

-- name: revoked
SELECT session_id AS name FROM auth_session WHERE revoked_at > %(since)s
UNION ALL
SELECT session_id FROM auth_session WHERE revoked_at IS NOT NULL AND kind = 'command' AND expires_at > %(now)s
UNION ALL
SELECT account_id FROM account WHERE disabled_at > %(since)s

-- name: erasure_pepper
SELECT value FROM erasure_pepper

-- name: erased_since
SELECT digest, erased_at FROM erased_account
WHERE erased_at > coalesce(%(since)s::timestamptz, now() - %(life)s::interval)

-- name: add_code
INSERT INTO auth_code (code_hash, account_id, purpose, email, created_at, expires_at)
VALUES (%(code_hash)s, %(account_id)s, %(purpose)s, %(email)s, %(now)s, %(expires_at)s)

-- name: hold_by_code
-- Whoever changes the account's password, and then drops its codes, takes turns with who uses one.
SELECT a.account_id FROM auth_code c JOIN account a USING (account_id) WHERE c.code_hash = %(code_hash)s
FOR NO KEY UPDATE OF a

-- name: use_code
DELETE FROM auth_code WHERE code_hash = %(code_hash)s AND purpose = ANY (%(purposes)s)
RETURNING account_id, purpose, email, expires_at

-- name: find_code
SELECT account_id FROM auth_code WHERE code_hash = %(code_hash)s AND purpose = %(purpose)s AND expires_at > %(now)s

-- name: drop_codes
DELETE FROM auth_code WHERE account_id = %(account_id)s AND (%(purpose)s::text IS NULL OR purpose = %(purpose)s)

-- name: drop_old_codes
-- Rows that another transaction holds are left to it: nobody waits for them.
DELETE FROM auth_code WHERE code_hash IN (
    SELECT code_hash FROM auth_code WHERE expires_at <= %(now)s LIMIT 1000 FOR UPDATE SKIP LOCKED)

-- name: count_codes
SELECT count(*)::int AS codes FROM auth_code
WHERE account_id = %(account_id)s AND purpose = %(purpose)s AND expires_at > %(now)s

-- name: second_factor
SELECT sealed, last_step, confirmed_at FROM second_factor WHERE account_id = %(account_id)s FOR UPDATE

-- name: propose_second_factor
INSERT INTO second_factor AS f (account_id, sealed) VALUES (%(account_id)s, %(sealed)s)
ON CONFLICT (account_id) DO UPDATE SET sealed = excluded.sealed, last_step = 0 WHERE f.confirmed_at IS NULL

-- name: confirm_second_factor
UPDATE second_factor SET confirmed_at = %(now)s WHERE account_id = %(account_id)s AND confirmed_at IS NULL

-- name: use_step
UPDATE second_factor SET last_step = %(step)s WHERE account_id = %(account_id)s AND last_step < %(step)s

-- name: drop_second_factor
DELETE FROM second_factor WHERE account_id = %(account_id)s

-- name: drop_recovery_codes
DELETE FROM recovery_code WHERE account_id = %(account_id)s

-- name: add_recovery_codes
INSERT INTO recovery_code (account_id, code_hash) SELECT %(account_id)s, unnest(%(hashes)s::bytea[])

-- name: use_recovery_code
DELETE FROM recovery_code WHERE account_id = %(account_id)s AND code_hash = %(code_hash)s

-- name: count_recovery_codes
SELECT count(*)::int AS codes FROM recovery_code WHERE account_id = %(account_id)s

-- name: start_device
INSERT INTO device_login (device_hash, user_code, device, created_at, expires_at, interval_s)
VALUES (%(device_hash)s, %(user_code)s, %(device)s, %(now)s, %(expires_at)s, %(interval_s)s)
ON CONFLICT DO NOTHING

-- name: drop_old_devices
DELETE FROM device_login WHERE device_hash IN (
    SELECT device_hash FROM device_login WHERE expires_at <= %(before)s LIMIT 1000 FOR UPDATE SKIP LOCKED)

-- name: device_by_code
SELECT user_code, device, created_at, expires_at FROM device_login
WHERE user_code = %(user_code)s AND expires_at > %(now)s AND account_id IS NULL AND denied_at IS NULL

-- name: decide_device
UPDATE device_login SET account_id = %(account_id)s, denied_at = %(denied_at)s
WHERE user_code = %(user_code)s AND expires_at > %(now)s AND account_id IS NULL AND denied_at IS NULL

-- name: hold_by_device
-- Whoever ends the account's sessions, and turns its devices away, takes turns with a device that is let in.
SELECT a.account_id FROM device_login d JOIN account a USING (account_id) WHERE d.device_hash = %(device_hash)s
FOR NO KEY UPDATE OF a

-- name: device
SELECT device, expires_at, interval_s, polled_at, account_id, denied_at FROM device_login
WHERE device_hash = %(device_hash)s FOR UPDATE

-- name: polled
UPDATE device_login SET polled_at = %(now)s, interval_s = %(interval_s)s WHERE device_hash = %(device_hash)s

-- name: drop_device
DELETE FROM device_login WHERE device_hash = %(device_hash)s

-- name: drop_devices
DELETE FROM device_login WHERE account_id = %(account_id)s

-- name: request_erasure
INSERT INTO erasure_request (account_id, requested_at) VALUES (%(account_id)s, %(now)s) ON CONFLICT DO NOTHING

-- name: erasures_requested
SELECT account_id FROM erasure_request ORDER BY requested_at, account_id

-- name: own_audit
SELECT e.position, e.at, e.action, e.details, e.actor IS NOT DISTINCT FROM %(account_id)s AS by_oneself
FROM audit_name n JOIN audit a ON a.actor = n.name OR a.subject = n.name JOIN audit_entry e ON e.position = a.position
WHERE n.account_id = %(account_id)s
ORDER BY e.position

-- name: columns_of_tables
-- Bytes are keys, seeds and hashes: nothing that a person could read.
SELECT c.oid::regclass::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = ANY (%(names)s::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid <> 'bytea'::regtype
GROUP BY c.oid

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
UPDATE auth_session SET revoked_at = now() WHERE account_id = ANY(%(accounts)s) AND revoked_at IS NULL

-- name: close_logins
UPDATE account SET password_hash = NULL, disabled_at = coalesce(disabled_at, now()) WHERE account_id = ANY(%(accounts)s)
RETURNING account_id

-- name: tables_of_accounts
SELECT c.conrelid::regclass::text AS name, a.attname AS column_name, c.confrelid::regclass::text AS parent
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.confrelid IN ('account'::regclass, 'profile'::regclass)
  AND (c.confdeltype <> 'n' OR c.confrelid = 'profile'::regclass)  -- a customer outlives its account
ORDER BY 3, 1

-- name: tables_of_customers
-- What hangs on the account's customer: directly, else by an invoice, a payment or a subscription.
SELECT DISTINCT ON (c.conrelid) c.conrelid::regclass::text AS name, a.attname AS column_name,
       c.confrelid::regclass::text AS parent
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND (c.confrelid::regclass::text, a.attname) IN (
    ('customer', 'customer_id'), ('invoice', 'invoice_id'), ('payment', 'payment_id'), ('subscription', 'subscription_id'))
ORDER BY c.conrelid, a.attname <> 'customer_id', a.attname

-- name: forget_outbox
DELETE FROM outbox WHERE key = ANY(%(accounts)s)

-- name: forget_poison
DELETE FROM outbox_poison WHERE key = ANY(%(accounts)s)

-- name: forget_accounts
DELETE FROM account WHERE account_id = ANY(%(accounts)s)

-- name: drop_logins
-- The token of a command lives as long as its session: it is refused for as long as the row says so.
DELETE FROM auth_session WHERE expires_at < %(before)s OR (revoked_at < %(before)s AND kind <> 'command')

-- name: drop_playbacks
DELETE FROM playback_session WHERE expires_at < %(before)s
