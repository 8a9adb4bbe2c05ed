-- name: positions
SELECT asked.profile_id, q.title_id, v.root_id, q.position_ms, q.duration_ms, q.updated_at
FROM unnest(%(profile_ids)s::text[]) AS asked (profile_id)
CROSS JOIN LATERAL (
    SELECT * FROM playback_position p WHERE p.profile_id = asked.profile_id
    ORDER BY p.updated_at DESC, p.title_id LIMIT 200
) q
JOIN served_title v ON v.title_id = q.title_id
ORDER BY q.updated_at DESC, q.title_id

-- name: newest
SELECT title_id FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE kind IN ('film', 'series') AND playable
ORDER BY created_at DESC, title_id LIMIT %(limit)s
