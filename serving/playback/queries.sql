-- name: to_play
-- All that decides about playing titles, and what their players need, for each of those who ask at once.
SELECT g.asker, v.title_id, v.kind, v.parent_id, v.root_id, v.state, v.bare, v.playable, v.maturity,
       v.offer_terms, entitlements_of(g.account_id, %(now)s) AS entitlements,
       p.package_id, p.duration_ms, coalesce(p.rungs, '[]') AS rungs,
       coalesce((SELECT jsonb_agg(jsonb_build_object('kind', m.kind, 'start_ms', m.start_ms, 'end_ms', m.end_ms)
                                  ORDER BY m.start_ms)
                 FROM title_marker m WHERE m.title_id = v.title_id), '[]') AS marked
FROM unnest(%(title_ids)s::text[], %(account_ids)s::text[]) WITH ORDINALITY AS g (title_id, account_id, asker)
JOIN served_title v USING (title_id)
LEFT JOIN LATERAL (
    SELECT n.package_id, n.duration_ms, n.rungs FROM package n
    WHERE n.title_id = v.title_id AND n.state = 'published' ORDER BY n.created_at DESC, n.package_id DESC LIMIT 1
) p ON true

-- name: open_sessions
-- Those that are opened at once, and what each takes over from; rows are locked in one order, as in write_beats. Answers
-- with where each profile left the title, and what ended.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(sessions)s::jsonb) AS g (
        playback_id text, account_id text, profile_id text, title_id text, package_id text, created_at timestamptz,
        expires_at timestamptz, browser text, session_id text, region text, device_kind text, device_name text,
        max_height int, streams int, slot_until timestamptz, issued_at timestamptz, previous_at timestamptz,
        others text[])
), locked AS MATERIALIZED (
    SELECT s.playback_id FROM playback_session s
    WHERE s.playback_id = ANY (ARRAY(SELECT unnest(others) FROM given)) AND s.ended_at IS NULL
    ORDER BY s.playback_id FOR UPDATE
), ended AS (
    UPDATE playback_session s
    SET ended_at = g.created_at, end_reason = %(reason)s, expires_at = least(s.expires_at, g.created_at)
    FROM locked CROSS JOIN LATERAL (
        SELECT n.playback_id, n.account_id, n.created_at FROM given n WHERE locked.playback_id = ANY (n.others)
    ) g
    WHERE s.playback_id = locked.playback_id AND s.account_id = g.account_id
    RETURNING s.playback_id, g.playback_id AS taken_by
), opened AS (
    INSERT INTO playback_session (playback_id, account_id, profile_id, title_id, package_id, created_at, expires_at,
                                  browser, session_id, region, device_kind, device_name, max_height, streams,
                                  slot_until, issued_at, previous_at)
    SELECT playback_id, account_id, profile_id, title_id, package_id, created_at, expires_at, decode(browser, 'hex'),
           session_id, region, device_kind, device_name, max_height, streams, slot_until, issued_at, previous_at
    FROM given
)
SELECT g.playback_id, ARRAY(SELECT e.playback_id FROM ended e WHERE e.taken_by = g.playback_id) AS ended,
       q.position_ms, q.duration_ms
FROM given g LEFT JOIN playback_position q USING (profile_id, title_id)

-- name: living_sessions
-- row: serving.playback.sessions.Session
SELECT s.playback_id, s.account_id, s.profile_id, s.title_id, s.package_id, coalesce(s.browser, '') AS browser,
       coalesce(p.duration_ms, 0) AS duration_ms, s.streams, s.created_at, coalesce(s.issued_at, s.created_at) AS issued_at,
       coalesce(s.previous_at, s.created_at) AS previous_at, s.expires_at, s.slot_until, s.session_id, s.region,
       s.device_kind, s.device_name, s.max_height
FROM playback_session s JOIN package p USING (package_id)
WHERE s.account_id = %(account_id)s AND s.ended_at IS NULL AND s.expires_at > %(now)s
ORDER BY s.playback_id

-- name: heartbeat
-- Without Redis: as beat.lua, but for the slot.
WITH session AS (
    UPDATE playback_session SET expires_at = %(expires_at)s, slot_until = %(slot_until)s,
        previous_at = CASE WHEN issued_at <= %(renew_before)s THEN issued_at ELSE previous_at END,
        issued_at = CASE WHEN issued_at <= %(renew_before)s THEN %(now)s ELSE issued_at END
    WHERE playback_id = %(playback_id)s AND account_id = %(account_id)s AND browser = %(browser)s
      AND ended_at IS NULL AND expires_at > %(now)s
    RETURNING profile_id, title_id, package_id, issued_at, max_height
), stored AS (
    INSERT INTO playback_position AS old (profile_id, title_id, position_ms, duration_ms, updated_at)
    SELECT s.profile_id, s.title_id, least(%(position_ms)s, p.duration_ms), p.duration_ms, %(at)s
    FROM session s JOIN package p USING (package_id)
    ON CONFLICT (profile_id, title_id) DO UPDATE
    SET position_ms = excluded.position_ms, duration_ms = excluded.duration_ms, updated_at = excluded.updated_at
    WHERE old.updated_at <= excluded.updated_at
)
SELECT profile_id, title_id, package_id, issued_at, max_height FROM session

-- name: ending
-- Why a session takes no heartbeats; nothing where the account has no such session.
SELECT s.end_reason, s.ended_at IS NULL AND s.expires_at > %(now)s AS lives
FROM playback_session s WHERE s.playback_id = %(playback_id)s AND s.account_id = %(account_id)s

-- name: session_state
SELECT s.playback_id, coalesce(s.end_reason, '') AS over, s.issued_at, s.previous_at, s.max_height
FROM playback_session s WHERE s.playback_id = ANY (%(playback_ids)s::text[])

-- name: write_beats
-- What heartbeats changed, times in ms since 1970, newest time wins; rows are locked in one order, for several processes
-- write.
WITH given AS MATERIALIZED (
    SELECT g.playback_id, g.profile_id, g.title_id, g.position_ms, g.duration_ms, to_timestamp(g.at / 1e3::float8) AS at,
           to_timestamp(g.slot_until / 1e3::float8) AS slot_until, to_timestamp(g.expires_at / 1e3::float8) AS expires_at,
           to_timestamp(g.issued_at / 1e3::float8) AS issued_at, to_timestamp(g.previous_at / 1e3::float8) AS previous_at
    FROM jsonb_to_recordset(%(beats)s::jsonb) AS g (
        playback_id text, profile_id text, title_id text, position_ms bigint, at bigint, duration_ms bigint,
        slot_until bigint, expires_at bigint, issued_at bigint, previous_at bigint)
), locked AS MATERIALIZED (
    SELECT s.playback_id FROM playback_session s
    WHERE s.playback_id IN (SELECT playback_id FROM given) AND s.ended_at IS NULL
    ORDER BY s.playback_id FOR UPDATE
), kept AS (
    UPDATE playback_session s
    SET expires_at = greatest(s.expires_at, g.expires_at), slot_until = greatest(s.slot_until, g.slot_until),
        previous_at = CASE WHEN g.issued_at > s.issued_at THEN g.previous_at ELSE s.previous_at END,
        issued_at = greatest(s.issued_at, g.issued_at)
    FROM given g JOIN locked USING (playback_id) WHERE s.playback_id = g.playback_id
)
INSERT INTO playback_position AS old (profile_id, title_id, position_ms, duration_ms, updated_at)
SELECT DISTINCT ON (g.profile_id, g.title_id) g.profile_id, g.title_id, g.position_ms, g.duration_ms, g.at
FROM given g JOIN profile USING (profile_id) JOIN title USING (title_id)
WHERE g.at IS NOT NULL
ORDER BY g.profile_id, g.title_id, g.at DESC
ON CONFLICT (profile_id, title_id) DO UPDATE
SET position_ms = excluded.position_ms, duration_ms = excluded.duration_ms, updated_at = excluded.updated_at
WHERE old.updated_at <= excluded.updated_at

-- name: end_sessions
UPDATE playback_session SET ended_at = %(now)s, end_reason = %(reason)s, expires_at = least(expires_at, %(now)s)
WHERE playback_id = ANY (%(playback_ids)s::text[]) AND account_id = %(account_id)s AND ended_at IS NULL
RETURNING playback_id

-- name: end_refused
UPDATE playback_session s SET ended_at = %(now)s, end_reason = r.reason, expires_at = least(s.expires_at, %(now)s)
FROM unnest(%(playback_ids)s::text[], %(reasons)s::text[]) AS r (playback_id, reason)
WHERE s.playback_id = r.playback_id AND s.ended_at IS NULL

-- name: end_others
UPDATE playback_session SET ended_at = %(now)s, end_reason = 'profile', expires_at = least(expires_at, %(now)s)
WHERE session_id = %(session_id)s AND profile_id <> %(profile_id)s AND ended_at IS NULL AND expires_at > %(now)s
RETURNING playback_id, account_id, end_reason

-- name: end_signed_out
UPDATE playback_session s SET ended_at = %(now)s, end_reason = 'signed_out', expires_at = least(s.expires_at, %(now)s)
FROM auth_session u
WHERE u.revoked_at > %(since)s AND s.session_id = u.session_id AND s.ended_at IS NULL AND s.expires_at > %(now)s

-- name: lately_ended
SELECT playback_id, account_id, end_reason FROM playback_session WHERE ended_at > %(since)s

-- name: playing_now
SELECT s.playback_id, coalesce(s.device_name, s.device_kind) AS device, p.name AS profile, s.title_id,
       coalesce((SELECT jsonb_object_agg(x.language, x.title) FROM title_text x WHERE x.title_id = s.title_id), '{}') AS titles,
       s.created_at AS started_at
FROM playback_session s JOIN profile p USING (profile_id)
WHERE s.playback_id = ANY (%(playback_ids)s::text[]) ORDER BY s.created_at

-- name: larger_plans
SELECT plan_id AS plan, streams FROM plan WHERE streams > %(streams)s ORDER BY streams

-- name: plays_in
SELECT s.playback_id, s.account_id
FROM playback_session s
WHERE s.browser = %(browser)s AND s.title_id = %(title_id)s AND s.ended_at IS NULL AND s.expires_at > %(now)s
ORDER BY s.slot_until DESC NULLS LAST LIMIT 1

-- name: judged
-- What decides about living sessions: the viewer and the terms of the title, whether the sign-in is over, what the session
-- was granted, and how many older streams of the account hold a slot.
SELECT s.playback_id, s.account_id, s.profile_id, s.device_kind, p.maturity, p.language,
       coalesce(s.region, a.country) AS region, v.title_id, v.parent_id, v.root_id, v.state, v.bare, v.playable,
       v.maturity AS title_maturity, offer_terms(v.offers_of) AS offer_terms,
       extract(year FROM age(%(now)s::timestamptz AT TIME ZONE 'UTC', a.born::timestamp))::int AS age,
       entitlements_of(s.account_id, %(now)s) AS entitlements,
       EXISTS (SELECT FROM auth_session u WHERE u.session_id = s.session_id AND u.revoked_at IS NOT NULL) AS signed_out,
       s.max_height, s.streams,
       (SELECT count(*) FROM playback_session o
        WHERE o.account_id = s.account_id AND o.ended_at IS NULL AND o.expires_at > %(now)s AND o.slot_until > %(now)s
          AND o.playback_id < s.playback_id) AS older
FROM playback_session s
JOIN account a USING (account_id)
JOIN profile p ON p.profile_id = s.profile_id
JOIN served_title v ON v.title_id = s.title_id
WHERE s.playback_id = ANY (%(playback_ids)s::text[]) AND s.ended_at IS NULL AND s.expires_at > %(now)s

-- name: lock_judge
SELECT pg_try_advisory_xact_lock(6017) AS locked

-- name: living_after
SELECT playback_id FROM playback_session
WHERE ended_at IS NULL AND expires_at > %(now)s AND playback_id > %(after)s ORDER BY playback_id LIMIT %(count)s

-- name: poster
-- Of the title, else of its first episode that has one; what nobody may see has none.
SELECT p.title_id, p.package_id
FROM served_title v JOIN playable p ON p.title_id = v.title_id
WHERE (v.title_id = %(title_id)s
       OR v.parent_id = %(title_id)s
       OR v.parent_id IN (SELECT title_id FROM title WHERE parent_id = %(title_id)s))
  AND (v.state = 'published' OR v.bare)
ORDER BY (v.title_id = %(title_id)s) DESC, coalesce(v.season, 0), v.number NULLS LAST, v.title_id
LIMIT 1
