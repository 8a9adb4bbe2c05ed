-- How each table is filled, one statement a table; `{accounts}` and `{titles}` stand for how many there are.

-- name: title
INSERT INTO title (title_id, kind, parent_id, number, year, runtime_s, maturity, genres, feed_hash, state)
SELECT 't-' || lpad(n::text, 6, '0'),
       CASE WHEN n % 10 = 0 THEN 'series' WHEN n % 10 = 1 THEN 'season' WHEN n % 10 < 5 THEN 'episode' ELSE 'film' END,
       CASE WHEN n % 10 = 1 THEN 't-' || lpad((n - 1)::text, 6, '0')
            WHEN n % 10 BETWEEN 2 AND 4 THEN 't-' || lpad((n / 10 * 10 + 1)::text, 6, '0') END,
       n % 10, 1950 + n % 75, 5400, (ARRAY[0, 6, 12, 16, 18])[1 + n % 5],
       ARRAY[(ARRAY['drama', 'comedy', 'nature', 'crime', 'family'])[1 + n % 5], 'genre ' || n % 40], '\x00',
       CASE WHEN n % 50 = 7 THEN 'draft' ELSE 'published' END
FROM generate_series(0, {titles} - 1) n

-- name: title_text
INSERT INTO title_text (title_id, language, title, synopsis)
SELECT title_id, language, language || ' film ' || title_id, repeat('A story of it. ', 10)
FROM title, unnest(ARRAY['en', 'ru']) language ORDER BY 1, 2

-- name: title_person
INSERT INTO title_person (title_id, position, name, role)
SELECT title_id, place, 'person ' || hashtext(title_id || place) % 12000, 'actor'
FROM title, generate_series(1, 3) place WHERE kind IN ('film', 'series')

-- name: offer
INSERT INTO offer (title_id, position, kind, plans)
SELECT title_id, 1, 'subscription', ARRAY['basic'] FROM title WHERE kind IN ('film', 'series') ORDER BY 1

-- name: master
INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state)
SELECT 'm-' || title_id, title_id, 'film.mp4', 'x', 1, 'accepted' FROM title WHERE kind IN ('film', 'episode')

-- name: package
INSERT INTO package (package_id, title_id, master_id, state, duration_ms)
SELECT 'p-' || title_id, title_id, master_id, 'published', 5400000 FROM master

-- name: title_marker
INSERT INTO title_marker (title_id, kind, start_ms, end_ms, source, confidence)
SELECT title_id, 'credits', 5000000, 5400000, 'feed', 1 FROM master

-- name: listed_person
INSERT INTO listed_person (person_id, name, folded, titles)
SELECT person_id, min(name), min(name), count(*) FROM title_person GROUP BY person_id

-- name: listed_title
INSERT INTO listed_title SELECT * FROM title_listing(ARRAY(SELECT title_id FROM title))

-- name: listed_name
INSERT INTO listed_name SELECT title_id, name, playable, sort_year FROM listed_title, unnest(names) AS name WHERE is_shown

-- name: title_terms
INSERT INTO title_terms SELECT title_id, '2026-01-01', terms FROM listed_title

-- name: account
INSERT INTO account (account_id, email, password_hash, country)
SELECT 'a-' || lpad(n::text, 7, '0'), 'a-' || lpad(n::text, 7, '0') || '@example.org', 'x', 'FR'
FROM generate_series(0, {accounts} - 1) n

-- name: profile
INSERT INTO profile (profile_id, account_id, name)
SELECT 'p-' || lpad(n::text, 8, '0'), 'a-' || lpad((n / 2)::text, 7, '0'), 'Somebody'
FROM generate_series(0, 2 * {accounts} - 1) n

-- name: account_salt
INSERT INTO account_salt (account_id, salt) SELECT account_id, sha256(account_id::bytea) FROM account ORDER BY 1

-- name: account_pin
INSERT INTO account_pin (account_id, pin_hash) SELECT account_id, sha256(account_id::bytea) FROM account
WHERE right(account_id, 1) < '8' ORDER BY 1

-- name: auth_session
INSERT INTO auth_session (session_id, account_id, seed, created_at, expires_at)
SELECT 's-' || account_id, account_id, sha256(account_id::bytea), '2026-01-01', '2026-12-01' FROM account ORDER BY 1

-- name: auth_code
INSERT INTO auth_code (code_hash, account_id, purpose, created_at, expires_at)
SELECT sha256(account_id::bytea), account_id, 'confirm', '2026-06-01', '2026-06-02' FROM account ORDER BY 1

-- name: second_factor
INSERT INTO second_factor (account_id, sealed, confirmed_at) SELECT account_id, 'x', '2026-01-01' FROM account ORDER BY 1

-- name: recovery_code
INSERT INTO recovery_code (account_id, code_hash) SELECT account_id, sha256(account_id::bytea) FROM account ORDER BY 1

-- name: erased_account
INSERT INTO erased_account (digest, erased_at)
SELECT sha256(('gone' || account_id)::bytea), '2026-01-01' FROM account ORDER BY 1

-- name: session_profile
INSERT INTO session_profile (session_id, profile_id, entered_at)
SELECT 's-' || account_id, profile_id, '2026-01-01' FROM profile WHERE right(profile_id, 1) IN ('0', '2', '4', '6')
ORDER BY 1

-- name: subscription_period
INSERT INTO subscription_period (period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened)
SELECT account_id, account_id, account_id, 'basic', 'active', 0, 'EUR', '2026-01-01' FROM account ORDER BY 1 LIMIT 12000

-- name: entitlement
INSERT INTO entitlement (entitlement_id, account_id, kind, title_id, opened)
SELECT account_id, account_id, 'buy', 't-000005', '2026-01-01' FROM account

-- name: playback_session
INSERT INTO playback_session (playback_id, account_id, profile_id, title_id, package_id, created_at, expires_at, browser)
SELECT 'b-' || profile_id, account_id, profile_id, 't-000005', 'p-t-000005', '2026-01-01', '2026-12-01',
       sha256(profile_id::bytea)
FROM profile ORDER BY 1

-- name: playback_position
INSERT INTO playback_position (profile_id, title_id, position_ms, duration_ms, updated_at)
SELECT profile_id, 't-000005', 60000, 5400000, '2026-01-01' FROM profile ORDER BY 1

-- name: favourite
INSERT INTO favourite (profile_id, title_id, added_at)
SELECT profile_id, 't-000005', '2026-01-01' FROM profile WHERE right(profile_id, 1) < '4' ORDER BY 1

-- name: rating
INSERT INTO rating (profile_id, title_id, value, rated_at)
SELECT profile_id, 't-000005', 4, '2026-01-01' FROM profile WHERE right(profile_id, 1) < '4' ORDER BY 1

-- name: audit
INSERT INTO audit (position, at, actor, action, subject, details, hash)
SELECT n, '2026-01-01', 'a-' || lpad((n % {accounts})::text, 7, '0'), 'account.login', NULL, '{{}}', sha256(n::text::bytea)
FROM generate_series(1, 30000) n

-- name: audit_name
INSERT INTO audit_name (name, account_id) SELECT 'n-' || account_id, account_id FROM account ORDER BY 1
