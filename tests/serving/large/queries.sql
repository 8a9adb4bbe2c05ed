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

-- name: customer
INSERT INTO customer (customer_id, account_id, created_at)
SELECT 'c-' || account_id, account_id, '2026-01-01' FROM account ORDER BY 1

-- name: payment_method
INSERT INTO payment_method (method_id, customer_id, provider, provider_ref, label, created_at)
SELECT 'm-' || account_id, 'c-' || account_id, 'sandbox', account_id, 'Visa', '2026-01-01' FROM account ORDER BY 1

-- name: subscription
INSERT INTO subscription (subscription_id, customer_id, state, price_id, anchor, period, paid_until, due_at, method_id,
                          created_at)
SELECT 's-' || account_id, 'c-' || account_id, 'active', 'basic-month-eur', '2026-05-15', '[2026-05-15,2026-06-15)',
       '2026-06-15', '2026-06-15', 'm-' || account_id, '2026-05-15'
FROM account WHERE right(account_id, 1) <> '9' ORDER BY 1

-- name: subscription_event
INSERT INTO subscription_event (subscription_id, at, event, became)
SELECT 's-' || account_id, '2026-05-15', 'paid', 'active' FROM account ORDER BY 1

-- name: invoice
INSERT INTO invoice (invoice_id, number, customer_id, purpose, subscription_id, currency, total_minor, tax_minor, state,
                     reason, period, issued_at, paid_at)
SELECT 'i-' || account_id, 'M-' || account_id, 'c-' || account_id, 'subscription', 's-' || account_id, 'EUR', 599, 0,
       'paid', 'start', '[2026-05-15,2026-06-15)', '2026-05-15', '2026-05-15'
FROM account ORDER BY 1

-- name: invoice_line
INSERT INTO invoice_line (invoice_id, line, kind, plan_id, price_id, months, amount_minor, tax_minor)
SELECT 'i-' || account_id, 1, 'plan', 'basic', 'basic-month-eur', 1, 599, 0 FROM account
WHERE account_id <> 'a-0000003' ORDER BY 1  -- whose invoice waits for its lines

-- name: payment
INSERT INTO payment (payment_id, invoice_id, customer_id, provider, provider_ref, state, amount_minor, currency,
                     method_id, created_at, settled_at)
SELECT 'p-' || account_id, 'i-' || account_id, 'c-' || account_id, 'sandbox', account_id, 'succeeded', 599, 'EUR',
       'm-' || account_id, '2026-05-15', '2026-05-15'
FROM account ORDER BY 1

-- name: refund
INSERT INTO refund (refund_id, payment_id, provider_ref, state, amount_minor, currency, reason, created_at, settled_at)
SELECT 'r-' || account_id, 'p-' || account_id, account_id, 'succeeded', 1, 'EUR', 'kindness', '2026-05-16', '2026-05-16'
FROM account ORDER BY 1 LIMIT 12000

-- name: dispute
INSERT INTO dispute (dispute_id, payment_id, provider, provider_ref, amount_minor, currency, reason, state, opened_at)
SELECT 'd-' || account_id, 'p-' || account_id, 'sandbox', account_id, 599, 'EUR', 'fraudulent', 'open', '2026-05-20'
FROM account ORDER BY 1 LIMIT 12000

-- name: promo
INSERT INTO promo (promo_id, code, kind, value, used, created_at)
SELECT 'o-' || account_id, 'CODE-' || upper(account_id), 'percent', 1000, 1, '2026-01-01'
FROM account ORDER BY 1 LIMIT 12000

-- name: promo_redemption
INSERT INTO promo_redemption (redemption_id, promo_id, customer_id, subscription_id, invoice_id, state, periods_left, at)
SELECT 'u-' || account_id, 'o-' || account_id, 'c-' || account_id, 's-' || account_id, 'i-' || account_id, 'redeemed', 0,
       '2026-05-15'
FROM account ORDER BY 1 LIMIT 12000

-- name: provider_event
INSERT INTO provider_event (provider, event_id, kind, ref, body, received_at, handled_at)
SELECT 'sandbox', 'e-' || account_id, 'payment', account_id,
       jsonb_build_object('name', 'payment', 'payment_id', 'p-' || account_id), '2026-05-15', '2026-05-15'
FROM account ORDER BY 1 LIMIT 12000

-- name: idempotency
INSERT INTO idempotency (account_id, route, key, fingerprint, status, body, begun_at, done_at, lease)
SELECT account_id, 'POST /', 'k', sha256('x'), 200, '', '2026-06-01', '2026-06-01', '2026-06-01' FROM account ORDER BY 1

-- name: ledger_transaction
INSERT INTO ledger_transaction (transaction_id, kind, source, occurred_at) OVERRIDING SYSTEM VALUE
SELECT 1000000 + 2 * n + k, (ARRAY['charge', 'payment'])[k + 1], (ARRAY['i-', 'p-'])[k + 1] || 'a-' || lpad(n::text, 7, '0'),
       '2026-05-15'
FROM generate_series(0, {accounts} - 1) n, generate_series(0, 1) k

-- name: posting
INSERT INTO posting (transaction_id, line, ledger, party, currency, amount_minor)
SELECT t.transaction_id, l.line,
       CASE WHEN l.line = 1 THEN 'receivable' WHEN t.kind = 'charge' THEN 'subscription' ELSE 'clearing' END,
       CASE WHEN l.line = 1 THEN 'c-' || substr(t.source, 3) WHEN t.kind = 'charge' THEN '' ELSE 'sandbox' END, 'EUR',
       CASE WHEN (l.line = 1) = (t.kind = 'charge') THEN 599 ELSE -599 END
FROM ledger_transaction t, generate_series(1, 2) AS l (line)
