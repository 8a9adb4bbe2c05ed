-- name: positions
SELECT q.title_id, v.root_id, v.kind, v.titles, q.position_ms, q.duration_ms, q.updated_at
FROM playback_position q JOIN served_title v USING (title_id)
WHERE q.profile_id = %(profile_id)s
ORDER BY q.updated_at DESC, q.title_id LIMIT 200

-- name: newest
SELECT title_id FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE kind IN ('film', 'series') AND playable
ORDER BY created_at DESC, title_id LIMIT %(limit)s
