-- Lists. `browse_…` are whole lists: prepared once, they follow the index of their order. `pick_…` filter: they are
-- planned for their values, by the index of facets, of words or of the order. The first page starts at an impossible place.

-- name: browse_newest
SELECT card, terms, title_id, parent_id, root_id, kind, sort_year AS place
FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE is_root AND (sort_year, title_id) < (%(place)s::int, %(after_id)s)
ORDER BY sort_year DESC, title_id DESC LIMIT %(limit)s

-- name: pick_newest
SELECT card, terms, title_id, parent_id, root_id, kind, sort_year AS place
FROM picked_title(%(maturity)s, %(region)s, %(now)s, %(is_root)s, %(facets)s, %(at_most)s, %(year_from)s, %(year_to)s,
                  %(added_since)s, %(playable)s, %(words)s, %(extra)s, %(extra_text)s)
WHERE (sort_year, title_id) < (%(place)s::int, %(after_id)s)
ORDER BY sort_year DESC, title_id DESC LIMIT %(limit)s

-- name: browse_added
SELECT card, terms, title_id, parent_id, root_id, kind, added_at AS place
FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE is_root AND (added_at, title_id) < (%(place)s::timestamptz, %(after_id)s)
ORDER BY added_at DESC, title_id DESC LIMIT %(limit)s

-- name: pick_added
SELECT card, terms, title_id, parent_id, root_id, kind, added_at AS place
FROM picked_title(%(maturity)s, %(region)s, %(now)s, %(is_root)s, %(facets)s, %(at_most)s, %(year_from)s, %(year_to)s,
                  %(added_since)s, %(playable)s, %(words)s, %(extra)s, %(extra_text)s)
WHERE (added_at, title_id) < (%(place)s::timestamptz, %(after_id)s)
ORDER BY added_at DESC, title_id DESC LIMIT %(limit)s

-- name: browse_name_en
SELECT card, terms, title_id, parent_id, root_id, kind, name_en AS place
FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE is_root AND (name_en, title_id) > (%(place)s::text, %(after_id)s)
ORDER BY name_en ASC, title_id ASC LIMIT %(limit)s

-- name: pick_name_en
SELECT card, terms, title_id, parent_id, root_id, kind, name_en AS place
FROM picked_title(%(maturity)s, %(region)s, %(now)s, %(is_root)s, %(facets)s, %(at_most)s, %(year_from)s, %(year_to)s,
                  %(added_since)s, %(playable)s, %(words)s, %(extra)s, %(extra_text)s)
WHERE (name_en, title_id) > (%(place)s::text, %(after_id)s)
ORDER BY name_en ASC, title_id ASC LIMIT %(limit)s

-- name: browse_name_ru
SELECT card, terms, title_id, parent_id, root_id, kind, name_ru AS place
FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE is_root AND (name_ru, title_id) > (%(place)s::text, %(after_id)s)
ORDER BY name_ru ASC, title_id ASC LIMIT %(limit)s

-- name: pick_name_ru
SELECT card, terms, title_id, parent_id, root_id, kind, name_ru AS place
FROM picked_title(%(maturity)s, %(region)s, %(now)s, %(is_root)s, %(facets)s, %(at_most)s, %(year_from)s, %(year_to)s,
                  %(added_since)s, %(playable)s, %(words)s, %(extra)s, %(extra_text)s)
WHERE (name_ru, title_id) > (%(place)s::text, %(after_id)s)
ORDER BY name_ru ASC, title_id ASC LIMIT %(limit)s

-- name: mark
-- What differs after every commit that touches a title, and the next moment at which an offer opens or ends.
SELECT version::text,
       least((SELECT lower(open) FROM offer WHERE lower(open) > %(now)s ORDER BY lower(open) LIMIT 1),
             (SELECT upper(open) FROM offer WHERE upper(open) > %(now)s ORDER BY upper(open) LIMIT 1)) AS until
FROM catalogue_version

-- name: facets
-- How many titles of a filtered list have each facet; the largest of a kind first.
SELECT split_part(facet, ':', 1) AS facet, substr(facet, strpos(facet, ':') + 1) AS value, count(*)::int AS titles
FROM picked_title(%(maturity)s, %(region)s, %(now)s, %(is_root)s, %(facets)s, %(at_most)s, %(year_from)s, %(year_to)s,
                  %(added_since)s, %(playable)s, %(words)s, %(extra)s, %(extra_text)s) v, unnest(v.facets) AS facet
WHERE facet NOT LIKE 'person:%%'
GROUP BY facet ORDER BY 1, titles DESC, 2

-- name: genres
SELECT genre, count(*)::int AS titles
FROM visible_title(%(maturity)s, %(region)s, %(now)s), unnest(genres) AS genre
WHERE is_root
GROUP BY genre ORDER BY titles DESC, genre

-- name: terms_at
-- A page of `as_of`: what decided at a moment; for one to come, what decides now.
SELECT v.card, h.terms, v.title_id, v.parent_id, v.root_id, v.kind, v.sort_year AS place
FROM listed_title v CROSS JOIN LATERAL (
    SELECT terms FROM title_terms h WHERE h.title_id = v.title_id AND h.since <= %(moment)s ORDER BY since DESC LIMIT 1) h
WHERE v.is_root = %(is_root)s AND v.facets @> %(facets)s::text[]
  AND (v.sort_year, v.title_id) < (%(place)s::int, %(after_id)s)
ORDER BY v.sort_year DESC, v.title_id DESC LIMIT %(limit)s

-- name: person_titles
SELECT v.card, v.terms, v.title_id, v.parent_id, v.root_id, v.kind, p.role, p.name
FROM title_person p
CROSS JOIN LATERAL (SELECT * FROM visible_title(%(maturity)s, %(region)s, %(now)s) s WHERE s.title_id = p.title_id) v
WHERE p.person_id = %(person_id)s
ORDER BY p.role, v.sort_year DESC, v.title_id DESC LIMIT 500

-- name: cards
SELECT title_id, kind, titles, year, runtime_s, maturity, genres, playable
FROM served_title WHERE title_id = ANY (%(title_ids)s::text[])

-- name: visible_cards
SELECT title_id, kind, titles, year, runtime_s, maturity, genres, playable
FROM visible_title(%(maturity)s, %(region)s, %(now)s) WHERE title_id = ANY (%(title_ids)s::text[])

-- name: same_genre
SELECT v.title_id, v.kind, v.titles, v.year, v.runtime_s, v.maturity, v.genres, v.playable,
       (SELECT count(*)::int FROM unnest(v.genres) g WHERE g = ANY (root.genres)) AS shared
FROM listed_title root, visible_title(%(maturity)s, %(region)s, %(now)s) v
WHERE root.title_id = %(root_id)s AND v.is_root AND v.title_id <> root.title_id
  AND v.facets && ARRAY(SELECT 'genre:' || genre FROM unnest(root.genres) AS genre)
ORDER BY shared DESC, v.playable DESC, v.sort_year DESC, v.title_id
LIMIT %(limit)s

-- name: terms
SELECT v.title_id, v.kind, v.parent_id, v.root_id, v.number, v.season, v.titles, v.year, v.runtime_s, v.maturity,
       v.genres, v.playable, v.state, v.bare, v.offers_of, offer_terms(v.offers_of) AS offer_terms
FROM served_title v WHERE v.title_id = %(title_id)s

-- name: page
-- A title with everything that its page shows but for its family.
SELECT v.title_id, v.kind, v.parent_id, v.root_id, v.number, v.season, v.titles, v.year, v.runtime_s, v.maturity,
       v.genres, v.playable, v.state, v.bare, v.offers_of, v.offer_terms, t.tags, t.countries, t.images, t.extra,
       coalesce((SELECT jsonb_object_agg(language, synopsis) FROM title_text x
                 WHERE x.title_id = t.title_id AND synopsis <> ''), '{}') AS synopsis,
       coalesce((SELECT jsonb_agg(jsonb_build_object('person_id', person_id, 'name', name, 'role', role)
                                  ORDER BY position)
                 FROM title_person p WHERE p.title_id = t.title_id), '[]') AS people,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                     'kind', kind, 'plans', plans, 'price', price::text, 'currency', currency, 'regions', regions,
                     'from', lower(open), 'until', upper(open)) ORDER BY position)
                 FROM offer o WHERE o.title_id = v.offers_of), '[]') AS offers,
       q.position_ms, q.duration_ms,
       EXISTS (SELECT FROM listed_title c WHERE c.root_id = v.root_id AND c.title_id <> v.root_id) AS has_family
FROM served_title v JOIN title t ON t.title_id = v.title_id
LEFT JOIN playback_position q ON q.title_id = v.title_id AND q.profile_id = %(profile_id)s
WHERE v.title_id = %(title_id)s

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
WHERE v.root_id = %(root_id)s AND v.title_id <> %(root_id)s
ORDER BY coalesce(v.season, 0), v.number NULLS LAST, v.title_id

-- name: position
SELECT position_ms, duration_ms, updated_at FROM playback_position
WHERE profile_id = %(profile_id)s AND title_id = %(title_id)s
