-- name: playing
SELECT package_id FROM playable WHERE title_id = %(title_id)s

-- name: sessions
SELECT playback_id, account_id, created_at FROM watched_package WHERE package_id = %(package_id)s ORDER BY playback_id
