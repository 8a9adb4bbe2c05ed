-- name: positions
SELECT asked.profile_id, q.title_id, q.position_ms, q.duration_ms, q.updated_at
FROM unnest(%(profile_ids)s::text[]) AS asked (profile_id)
CROSS JOIN LATERAL (
    SELECT * FROM playback_position p WHERE p.profile_id = asked.profile_id
    ORDER BY p.updated_at DESC, p.title_id LIMIT 200
) q
ORDER BY q.updated_at DESC, q.title_id

-- name: catalogue_mark
-- Changes with every commit that touches what the catalogue is made of: how many rows, and which transactions wrote them.
SELECT concat_ws(' ',
    (SELECT count(*) || ':' || coalesce(sum(hashint8(xmin::text::bigint)::bigint), 0) FROM title),
    (SELECT count(*) || ':' || coalesce(sum(hashint8(xmin::text::bigint)::bigint), 0) FROM title_text),
    (SELECT count(*) || ':' || coalesce(sum(hashint8(xmin::text::bigint)::bigint), 0) FROM offer),
    (SELECT count(*) || ':' || coalesce(sum(hashint8(xmin::text::bigint)::bigint), 0) FROM package)) AS mark

-- name: catalogue
-- One JSON text: parsing it costs a tenth of reading rows.
SELECT coalesce(json_agg(found), '[]')::text AS titles FROM (
    SELECT t.title_id, t.kind, t.root_id, t.titles, t.year, t.runtime_s, t.maturity, t.genres, t.playable, t.bare,
           t.state = 'published' AS published, t.season, t.number, extract(epoch FROM t.created_at) AS created,
           (SELECT json_agg(json_build_object('regions', o.regions, 'from', extract(epoch FROM lower(o.open)),
                                              'until', extract(epoch FROM upper(o.open))))
            FROM offer o WHERE o.title_id = t.offers_of) AS offers
    FROM served_title t WHERE t.kind IN ('film', 'series', 'episode')
) found

-- name: contents
SELECT * FROM export_title WHERE title_id = ANY (%(title_ids)s::text[])
