-- name: pending
SELECT m.master_id, m.title_id, m.stored_path
FROM master m
WHERE m.state = 'accepted' AND m.title_id IS NOT NULL AND m.stored_path IS NOT NULL
  AND NOT EXISTS (
    SELECT FROM package p
    WHERE p.master_id = m.master_id AND p.title_id = m.title_id AND (p.state = 'published' OR p.tools = %(tools)s)
  )
ORDER BY m.bytes DESC, m.master_id;

-- name: published
SELECT package_id, title_id FROM package WHERE state = 'published' ORDER BY package_id;

-- name: lost
UPDATE package SET state = 'failed', reason = 'its files are gone from the media store', tools = NULL
WHERE package_id = %(package_id)s;

-- name: record
INSERT INTO package (package_id, title_id, master_id, state, reason, duration_ms, rungs, tools)
VALUES (%(package_id)s, %(title_id)s, %(master_id)s, %(state)s, %(reason)s, %(duration_ms)s, %(rungs)s, %(tools)s)
ON CONFLICT (package_id) DO UPDATE
SET state = excluded.state, reason = excluded.reason, duration_ms = excluded.duration_ms, rungs = excluded.rungs,
    tools = excluded.tools, created_at = now();

-- name: add_content_key
INSERT INTO content_key (key_id, title_id, tier, period, wrapped, kek)
VALUES (%(key_id)s, %(title_id)s, %(tier)s, %(period)s, %(wrapped)s, %(kek)s)
ON CONFLICT (title_id, tier, period) DO NOTHING;

-- name: content_key
SELECT key_id, wrapped, kek FROM content_key
WHERE title_id = %(title_id)s AND tier = %(tier)s AND period = %(period)s;

-- name: content_key_by_id
SELECT key_id, title_id, tier, wrapped, kek FROM content_key WHERE key_id = %(key_id)s;

-- name: lock_content_keys
LOCK TABLE content_key IN SHARE ROW EXCLUSIVE MODE;

-- name: content_keys_of_others
SELECT key_id, wrapped, kek FROM content_key WHERE kek <> %(kek)s;

-- name: rewrap_content_key
UPDATE content_key SET wrapped = %(wrapped)s, kek = %(kek)s WHERE key_id = %(key_id)s;

-- name: content_key_versions
SELECT DISTINCT kek FROM content_key;

-- name: sidecars
SELECT language, stored_path, forced FROM master_sidecar WHERE master_id = %(master_id)s ORDER BY language, forced;
