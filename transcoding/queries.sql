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
