-- name: positions
-- The newest 200 of each profile, and what was finished before them, however long ago: of older films and series the
-- title that was touched last, where it was seen to the end.
WITH placed AS (
    SELECT p.*, row_number() OVER (PARTITION BY p.profile_id ORDER BY p.updated_at DESC, p.title_id) AS place
    FROM playback_position p WHERE p.profile_id = ANY (%(profile_ids)s::text[])
), older AS (
    SELECT DISTINCT ON (o.profile_id, root.title_id) o.*
    FROM placed o
    JOIN title t ON t.title_id = o.title_id
    LEFT JOIN title parent ON parent.title_id = t.parent_id
    CROSS JOIN LATERAL (SELECT coalesce(parent.parent_id, parent.title_id, t.title_id) AS title_id) root
    WHERE o.place > 200
    ORDER BY o.profile_id, root.title_id, o.place
)
SELECT profile_id, title_id, position_ms, duration_ms, updated_at FROM (
    SELECT * FROM placed WHERE place <= 200
    UNION ALL
    SELECT * FROM older WHERE position_ms >= %(share)s * duration_ms
) q
ORDER BY updated_at DESC, title_id

-- name: catalogue_mark
-- Changes with every commit that touches a title, its texts, offers or packages.
SELECT version::text AS mark FROM catalogue_version

-- name: catalogue
-- One JSON text: parsing it costs a tenth of reading rows.
SELECT coalesce(json_agg(found), '[]')::text AS titles FROM (
    SELECT t.title_id, t.kind, t.parent_id, t.root_id, t.titles, t.year, t.runtime_s, t.maturity, t.genres, t.playable, t.bare,
           t.state, t.season, t.number, extract(epoch FROM t.created_at) AS created,
           offer_terms(t.offers_of) AS offer_terms
    FROM served_title t WHERE t.kind IN ('film', 'series', 'episode')
) found

-- name: contents
SELECT * FROM export_title WHERE title_id = ANY (%(title_ids)s::text[])
