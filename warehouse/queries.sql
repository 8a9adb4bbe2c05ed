-- name: landed
SELECT f.path, f.rows, f.landed_on, coalesce(h.state, 'new')
FROM landed_file f LEFT JOIN held_file h USING (path)
WHERE f.stream = %(stream)s AND (%(days)s::date[] IS NULL OR f.landed_on = ANY (%(days)s))
ORDER BY f.landed_on, f.path;

-- name: import_streams
SELECT DISTINCT stream FROM landed_file WHERE stream LIKE 'import:%%' ORDER BY stream;

-- name: hold
INSERT INTO held_file (path, batch, reasons, held_at) VALUES (%(path)s, %(batch)s, %(reasons)s, %(at)s)
ON CONFLICT (path) DO UPDATE SET reasons = excluded.reasons, held_at = excluded.held_at, state = 'held';

-- name: release
DELETE FROM held_file WHERE path = ANY (%(paths)s);

-- name: accept
UPDATE held_file SET state = 'accepted', decided_at = %(at)s WHERE batch = %(batch)s AND state = 'held' RETURNING path;

-- name: held
SELECT path, batch, state, reasons, held_at FROM held_file ORDER BY batch, path;

-- name: titles
SELECT title_id, kind, parent_id, number, title, title_en, title_ru, year, runtime_s, maturity, genres, tags, countries,
       state, created_at, package_id, duration_ms, packaged_at, synopsis_en, synopsis_ru, people, roles
FROM export_title ORDER BY title_id;

-- name: accounts
SELECT account_id, role, origin, country, profiles, created_at, customer_key FROM export_account ORDER BY account_id;

-- name: profiles
SELECT profile_id, account_id, maturity, language, created_at FROM export_profile ORDER BY profile_id;

-- name: packages
SELECT package_id, title_id, state, duration_ms, rungs, created_at, treatment, protection
FROM export_package ORDER BY package_id;

-- name: probes
SELECT title_id, master_id, codec, height, crf, sample, kbps, vmaf, weight
FROM export_probe ORDER BY title_id, codec, height, crf, sample;

-- name: subscriptions
SELECT period_id, account_id, subscription_id, plan, state, monthly_minor, currency, opened, closed, end_reason
FROM export_subscription ORDER BY period_id;

-- name: title_costs
SELECT title_id, contract, terms FROM export_title_cost ORDER BY title_id, contract;

-- name: customers
SELECT customer_key, created_at FROM export_customer ORDER BY customer_key;

-- name: postings
SELECT transaction_id, line, kind, source_key, occurred_at, ledger, ledger_kind, party_kind, party, currency, amount_minor
FROM export_posting ORDER BY transaction_id, line;

-- name: ledger_totals
SELECT ledger, currency, postings, amount_minor FROM export_ledger_total ORDER BY ledger, currency;

-- name: invoice_lines
SELECT invoice_key, line, kind, purpose, reason, state, customer_key, credits_key, subscription_key, plan_id, title_id,
       months, period_from, period_until, currency, amount_minor, tax_minor, tax_country, tax_bp, country, list_minor,
       list_months, promo_id, issued_at, paid_at
FROM export_invoice_line ORDER BY invoice_key, line;

-- name: subscription_events
SELECT event_id, subscription_key, customer_key, at, event, was, became FROM export_subscription_event ORDER BY event_id;

-- name: landed_events
SELECT path FROM landed_file WHERE stream <> 'dead' ORDER BY path;

-- name: held_reasons
SELECT path, reasons FROM held_file;

-- name: set_held_reasons
UPDATE held_file SET reasons = %(reasons)s WHERE path = %(path)s;

-- name: drop_landed
DELETE FROM landed_file WHERE stream = %(stream)s AND landed_on < %(before)s;

-- name: drop_loaded
DELETE FROM landed_file WHERE stream = 'events' AND landed_on < %(before)s AND path = ANY (%(loaded)s);

-- name: landed_before
SELECT path FROM landed_file WHERE stream = 'events' AND landed_on < %(before)s;

-- name: drop_dead_letters
DELETE FROM dead_letter WHERE path IN (SELECT path FROM landed_file WHERE stream = 'dead' AND landed_on < %(before)s);

-- name: ledger_state
SELECT (SELECT count(*) FROM landed_file), (SELECT count(*) FROM held_file WHERE state = 'accepted');
