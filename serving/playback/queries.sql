-- name: playable
SELECT p.package_id, p.duration_ms, p.rungs FROM playable p WHERE p.title_id = %(title_id)s

-- name: open_session
INSERT INTO playback_session (playback_id, account_id, profile_id, title_id, package_id, created_at, expires_at, browser)
VALUES (%(playback_id)s, %(account_id)s, %(profile_id)s, %(title_id)s, %(package_id)s, %(now)s, %(expires_at)s, %(browser)s)

-- name: heartbeat
WITH session AS (
    UPDATE playback_session SET expires_at = %(expires_at)s
    WHERE playback_id = %(playback_id)s AND account_id = %(account_id)s AND expires_at > %(now)s
    RETURNING profile_id, title_id, package_id
), stored AS (
    INSERT INTO playback_position (profile_id, title_id, position_ms, duration_ms, updated_at)
    SELECT s.profile_id, s.title_id, least(%(position_ms)s, p.duration_ms), p.duration_ms, %(now)s
    FROM session s JOIN package p USING (package_id)
    ON CONFLICT (profile_id, title_id) DO UPDATE
    SET position_ms = excluded.position_ms, duration_ms = excluded.duration_ms, updated_at = excluded.updated_at
)
SELECT profile_id, title_id, package_id FROM session

-- name: close_session
UPDATE playback_session SET expires_at = %(now)s
WHERE playback_id = %(playback_id)s AND account_id = %(account_id)s AND expires_at > %(now)s

-- name: poster
SELECT p.title_id, p.package_id
FROM served_title v JOIN playable p ON p.title_id = v.title_id
WHERE v.title_id = %(title_id)s
   OR v.parent_id = %(title_id)s
   OR v.parent_id IN (SELECT title_id FROM title WHERE parent_id = %(title_id)s)
ORDER BY (v.title_id = %(title_id)s) DESC, coalesce(v.season, 0), v.number NULLS LAST, v.title_id
LIMIT 1

-- name: plays_in
SELECT true AS found FROM playback_session
WHERE browser = %(browser)s AND title_id = %(title_id)s AND expires_at > %(now)s
LIMIT 1

-- name: markers
SELECT kind, start_ms, end_ms FROM title_marker WHERE title_id = %(title_id)s ORDER BY start_ms
