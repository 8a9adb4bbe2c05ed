-- name: title_to_mark
SELECT p.master_id, m.stored_path
FROM playable p JOIN master m USING (master_id)
WHERE p.title_id = %(title_id)s;

-- name: titles_left
SELECT p.title_id
FROM playable p JOIN master m USING (master_id)
WHERE m.stored_path IS NOT NULL AND (%(titles)s::text[] IS NULL OR p.title_id = ANY (%(titles)s))
  AND NOT EXISTS (SELECT FROM title_fingerprint f WHERE f.title_id = p.title_id AND f.master_id = p.master_id)
  AND NOT EXISTS (SELECT FROM transcode_job j WHERE j.title_id = p.title_id AND j.state = 'active')
ORDER BY p.created_at, p.title_id;

-- name: store_fingerprint
INSERT INTO title_fingerprint (title_id, master_id, method, words, error, made_at)
VALUES (%(title_id)s, %(master_id)s, %(method)s, %(words)s, %(error)s, now())
ON CONFLICT (title_id) DO UPDATE
SET master_id = excluded.master_id, method = excluded.method, words = excluded.words, error = excluded.error,
    made_at = excluded.made_at;

-- name: siblings
SELECT f.title_id, f.words
FROM title t
JOIN title s ON s.kind = 'episode' AND s.title_id <> t.title_id
JOIN title parent ON parent.title_id = t.parent_id
LEFT JOIN title other ON other.title_id = s.parent_id
JOIN title_fingerprint f ON f.title_id = s.title_id AND f.method = %(method)s AND f.words IS NOT NULL
WHERE t.title_id = %(title_id)s AND t.kind = 'episode' AND f.master_id <> %(master_id)s
  AND (s.parent_id = t.parent_id OR (parent.kind = 'season' AND other.parent_id = parent.parent_id))
ORDER BY (s.parent_id = t.parent_id) DESC, abs(coalesce(s.number, 0) - coalesce(t.number, 0)), s.title_id
LIMIT %(most)s;

-- name: forget_markers
DELETE FROM title_marker WHERE title_id = %(title_id)s;

-- name: store_marker
INSERT INTO title_marker AS m (title_id, kind, start_ms, end_ms, source, confidence, made_at)
VALUES (%(title_id)s, %(kind)s, %(start_ms)s, %(end_ms)s, %(source)s, %(confidence)s, now())
ON CONFLICT (title_id, kind) DO UPDATE
SET start_ms = excluded.start_ms, end_ms = excluded.end_ms, source = excluded.source, confidence = excluded.confidence,
    made_at = excluded.made_at
WHERE m.source <> 'sound' OR m.confidence < excluded.confidence;
