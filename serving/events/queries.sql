-- name: playback_of_session
SELECT profile_id, title_id FROM playback_session WHERE playback_id = %(playback_id)s AND account_id = %(account_id)s
