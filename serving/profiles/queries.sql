-- name: viewer
-- The profile that is named, else the one that the sign-in has entered, else the account's first.
SELECT p.profile_id, p.maturity, p.kids, p.language, a.country, s.salt, p.pin_hash IS NOT NULL AS locked,
       EXISTS (SELECT FROM account_pin k WHERE k.account_id = a.account_id) AS guarded,
       v.profile_id AS entered, v.kids_limit, v.proven_until,
       a.born, entitlements_of(a.account_id, %(now)s) AS entitlements
FROM account a
JOIN profile p ON p.account_id = a.account_id
LEFT JOIN account_salt s ON s.account_id = a.account_id
LEFT JOIN session_profile v ON v.session_id = %(session_id)s
WHERE a.account_id = %(account_id)s AND (%(profile_id)s::text IS NULL OR p.profile_id = %(profile_id)s)
ORDER BY p.profile_id = v.profile_id DESC NULLS LAST, p.created_at, p.profile_id
LIMIT 1

-- name: profiles
-- row: serving.profiles.types.Profile +role +country +guarded +entered +kids_limit +proven_until -open
SELECT p.profile_id, p.name, p.maturity, p.kids, p.language, p.colour, p.audio_language, p.subtitle_language, p.autoplay,
       a.role, a.country, p.pin_hash IS NOT NULL AS locked,
       EXISTS (SELECT FROM account_pin k WHERE k.account_id = a.account_id) AS guarded,
       v.profile_id AS entered, v.kids_limit, v.proven_until
FROM account a
LEFT JOIN profile p ON p.account_id = a.account_id
LEFT JOIN session_profile v ON v.session_id = %(session_id)s
WHERE a.account_id = %(account_id)s
ORDER BY p.created_at, p.profile_id

-- name: sign_in_place
SELECT EXISTS (SELECT FROM account_pin k WHERE k.account_id = %(account_id)s) AS guarded,
       (SELECT v.kids_limit FROM session_profile v WHERE v.session_id = %(session_id)s) AS kids_limit,
       (SELECT v.entered_at FROM session_profile v WHERE v.session_id = %(session_id)s) AS entered_at

-- name: hold_account
-- Two requests that change the profiles of one account, or count or enter them, take turns: who waited reads anew, in a
-- statement of its own.
SELECT account_id FROM account WHERE account_id = %(account_id)s FOR NO KEY UPDATE

-- name: count_profiles
SELECT count(*)::int AS profiles FROM profile WHERE account_id = %(account_id)s

-- name: change_profile
UPDATE profile
SET name = %(name)s, maturity = %(maturity)s, language = %(language)s, colour = %(colour)s,
    audio_language = %(audio_language)s, subtitle_language = %(subtitle_language)s, autoplay = %(autoplay)s
WHERE profile_id = %(profile_id)s AND account_id = %(account_id)s

-- name: change_limits
-- Sign-ins that are in a profile live with its new limit at once.
UPDATE session_profile v SET kids_limit = CASE WHEN p.kids THEN p.maturity END
FROM profile p WHERE p.profile_id = v.profile_id AND p.profile_id = %(profile_id)s

-- name: drop_profile
DELETE FROM profile WHERE profile_id = %(profile_id)s AND account_id = %(account_id)s

-- name: enter
INSERT INTO session_profile (session_id, profile_id, kids_limit, proven_until, entered_at)
SELECT s.session_id, %(profile_id)s, %(kids_limit)s, %(proven_until)s, %(now)s
FROM auth_session s
WHERE s.session_id = %(session_id)s AND s.account_id = %(account_id)s AND s.revoked_at IS NULL
ON CONFLICT (session_id) DO UPDATE
SET profile_id = excluded.profile_id, kids_limit = excluded.kids_limit, proven_until = excluded.proven_until,
    entered_at = excluded.entered_at
RETURNING session_id

-- name: pins
SELECT p.pin_hash AS own, k.pin_hash AS master
FROM profile p LEFT JOIN account_pin k USING (account_id)
WHERE p.profile_id = %(profile_id)s AND p.account_id = %(account_id)s

-- name: set_account_pin
INSERT INTO account_pin (account_id, pin_hash, set_at) VALUES (%(account_id)s, %(pin_hash)s, %(now)s)
ON CONFLICT (account_id) DO UPDATE SET pin_hash = excluded.pin_hash, set_at = excluded.set_at

-- name: drop_account_pin
DELETE FROM account_pin WHERE account_id = %(account_id)s

-- name: set_profile_pin
UPDATE profile SET pin_hash = %(pin_hash)s WHERE profile_id = %(profile_id)s AND account_id = %(account_id)s

-- name: forget_proofs
-- A PIN that was changed has to be typed anew, but not by the sign-in that changed it.
UPDATE session_profile v SET proven_until = CASE WHEN v.session_id = %(session_id)s THEN %(proven_until)s::timestamptz END
FROM profile p
WHERE p.profile_id = v.profile_id AND p.account_id = %(account_id)s

-- name: favourites
-- row: serving.profiles.types.Kept -poster
SELECT v.title_id, v.kind, v.root_id, r.titles AS root_titles, v.number, v.season, v.titles, v.year, v.runtime_s,
       v.maturity, v.genres, v.playable, f.added_at AS at, NULL::bigint AS position_ms, NULL::bigint AS duration_ms,
       NULL::float8 AS value
FROM favourite f
JOIN visible_title(%(maturity)s, %(region)s, %(now)s) v ON v.title_id = f.title_id
JOIN served_title r ON r.title_id = v.root_id
WHERE f.profile_id = %(profile_id)s
  AND (%(after)s::timestamptz IS NULL OR (f.added_at, f.title_id) < (%(after)s, %(after_id)s::text))
ORDER BY f.added_at DESC, f.title_id DESC
LIMIT %(limit)s

-- name: history
-- row: serving.profiles.types.Kept -poster
SELECT v.title_id, v.kind, v.root_id, r.titles AS root_titles, v.number, v.season, v.titles, v.year, v.runtime_s,
       v.maturity, v.genres, v.playable, w.updated_at AS at, w.position_ms, w.duration_ms, NULL::float8 AS value
FROM playback_position w
JOIN visible_title(%(maturity)s, %(region)s, %(now)s) v ON v.title_id = w.title_id
JOIN served_title r ON r.title_id = v.root_id
WHERE w.profile_id = %(profile_id)s
  AND (%(after)s::timestamptz IS NULL OR (w.updated_at, w.title_id) < (%(after)s, %(after_id)s::text))
ORDER BY w.updated_at DESC, w.title_id DESC
LIMIT %(limit)s

-- name: ratings
-- row: serving.profiles.types.Kept -poster
SELECT v.title_id, v.kind, v.root_id, r.titles AS root_titles, v.number, v.season, v.titles, v.year, v.runtime_s,
       v.maturity, v.genres, v.playable, g.rated_at AS at, NULL::bigint AS position_ms, NULL::bigint AS duration_ms,
       g.value::float8 AS value
FROM rating g
JOIN visible_title(%(maturity)s, %(region)s, %(now)s) v ON v.title_id = g.title_id
JOIN served_title r ON r.title_id = v.root_id
WHERE g.profile_id = %(profile_id)s
  AND (%(after)s::timestamptz IS NULL OR (g.rated_at, g.title_id) < (%(after)s, %(after_id)s::text))
ORDER BY g.rated_at DESC, g.title_id DESC
LIMIT %(limit)s

-- name: positions
SELECT title_id, position_ms, duration_ms, updated_at FROM playback_position
WHERE profile_id = %(profile_id)s
ORDER BY updated_at DESC, title_id DESC
LIMIT 200

-- name: add_favourite
WITH seen AS (
    SELECT title_id FROM visible_title(%(maturity)s, %(region)s, %(now)s) v WHERE v.title_id = %(title_id)s
), added AS (
    INSERT INTO favourite (profile_id, title_id, added_at)
    SELECT %(profile_id)s, title_id, %(now)s FROM seen
    ON CONFLICT DO NOTHING
)
SELECT title_id FROM seen

-- name: drop_favourite
DELETE FROM favourite WHERE profile_id = %(profile_id)s AND title_id = %(title_id)s

-- name: rate
WITH seen AS (
    SELECT title_id FROM visible_title(%(maturity)s, %(region)s, %(now)s) v WHERE v.title_id = %(title_id)s
), rated AS (
    INSERT INTO rating (profile_id, title_id, value, rated_at)
    SELECT %(profile_id)s, title_id, %(value)s, %(now)s FROM seen
    ON CONFLICT (profile_id, title_id) DO UPDATE SET value = excluded.value, rated_at = excluded.rated_at
)
SELECT title_id FROM seen

-- name: drop_rating
DELETE FROM rating WHERE profile_id = %(profile_id)s AND title_id = %(title_id)s

-- name: drop_history
DELETE FROM playback_position
WHERE profile_id = %(profile_id)s AND (%(title_id)s::text IS NULL OR title_id = %(title_id)s)

-- name: about
-- row: serving.profiles.types.About
SELECT v.title_id, f.title_id IS NOT NULL AS favourite, g.value::float8 AS rating,
       w.position_ms, w.duration_ms, w.updated_at AS watched_at
FROM visible_title(%(maturity)s, %(region)s, %(now)s) v
LEFT JOIN favourite f ON f.profile_id = %(profile_id)s AND f.title_id = v.title_id
LEFT JOIN rating g ON g.profile_id = %(profile_id)s AND g.title_id = v.title_id
LEFT JOIN playback_position w ON w.profile_id = %(profile_id)s AND w.title_id = v.title_id
WHERE v.title_id = %(title_id)s
