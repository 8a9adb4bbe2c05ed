-- name: browse
SELECT title_id, kind, titles, year, runtime_s, maturity, genres, playable
FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE kind = ANY (%(kinds)s::text[])
  AND (%(genre)s::text IS NULL OR %(genre)s = ANY (genres))
  AND (%(playable)s::boolean IS NULL OR playable = %(playable)s)
  AND (%(pattern)s::text IS NULL OR EXISTS (
      SELECT FROM title_text x WHERE x.title_id = visible_title.title_id AND x.title ~ %(pattern)s))
  AND (%(after_year)s::int IS NULL OR (coalesce(year, 0), title_id) < (%(after_year)s, %(after_id)s::text))
ORDER BY coalesce(year, 0) DESC, title_id DESC
LIMIT %(limit)s

-- name: genres
SELECT genre, count(*)::int AS titles
FROM visible_title(%(maturity)s, %(region)s, %(now)s), unnest(genres) AS genre
WHERE kind IN ('film', 'series')
GROUP BY genre ORDER BY titles DESC, genre

-- name: cards
SELECT title_id, kind, titles, year, runtime_s, maturity, genres, playable
FROM served_title WHERE title_id = ANY (%(title_ids)s::text[])

-- name: visible_cards
SELECT title_id, kind, titles, year, runtime_s, maturity, genres, playable
FROM visible_title(%(maturity)s, %(region)s, %(now)s) WHERE title_id = ANY (%(title_ids)s::text[])

-- name: same_genre
SELECT v.title_id, v.kind, v.titles, v.year, v.runtime_s, v.maturity, v.genres, v.playable,
       (SELECT count(*)::int FROM unnest(v.genres) g WHERE g = ANY (root.genres)) AS shared
FROM title root, visible_title(%(maturity)s, %(region)s, %(now)s) v
WHERE root.title_id = %(root_id)s AND v.kind IN ('film', 'series') AND v.title_id <> root.title_id
  AND v.genres && root.genres
ORDER BY shared DESC, v.playable DESC, coalesce(v.year, 0) DESC, v.title_id
LIMIT %(limit)s

-- name: terms
SELECT v.title_id, v.kind, v.parent_id, v.root_id, v.number, v.season, v.titles, v.year, v.runtime_s, v.maturity,
       v.genres, v.playable, v.state, v.bare, v.offers_of, offer_terms(v.offers_of) AS offer_terms
FROM served_title v WHERE v.title_id = %(title_id)s

-- name: details
SELECT tags, countries, extra,
       coalesce((SELECT jsonb_object_agg(language, synopsis) FROM title_text x
                 WHERE x.title_id = t.title_id AND synopsis <> ''), '{}') AS synopsis,
       coalesce((SELECT jsonb_agg(jsonb_build_object('name', name, 'role', role) ORDER BY position)
                 FROM title_person p WHERE p.title_id = t.title_id), '[]') AS people
FROM title t WHERE title_id = %(title_id)s

-- name: offers
SELECT kind, plans, price, currency, regions, lower(open) AS "from", upper(open) AS until
FROM offer WHERE title_id = %(title_id)s ORDER BY position

-- name: descendants
SELECT v.title_id, v.kind, v.parent_id, v.number, v.season, v.titles, v.year, v.runtime_s, v.maturity, v.genres,
       v.playable, q.position_ms, q.duration_ms, q.updated_at,
       coalesce((SELECT jsonb_object_agg(language, synopsis) FROM title_text x
                 WHERE x.title_id = v.title_id AND synopsis <> ''), '{}') AS synopsis
FROM visible_title(%(maturity)s, %(region)s, %(now)s) v
LEFT JOIN playback_position q ON q.title_id = v.title_id AND q.profile_id = %(profile_id)s
WHERE v.parent_id = %(root_id)s
   OR v.parent_id IN (SELECT title_id FROM title WHERE parent_id = %(root_id)s)
ORDER BY coalesce(v.season, 0), v.number NULLS LAST, v.title_id

-- name: position
SELECT position_ms, duration_ms, updated_at FROM playback_position
WHERE profile_id = %(profile_id)s AND title_id = %(title_id)s
