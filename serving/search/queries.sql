-- name: titles
-- The best first: called exactly so, beginning so, with all the words in their names, by people who are called so.
SELECT card, terms, title_id, parent_id, root_id, kind
FROM visible_title(%(maturity)s, %(region)s, %(now)s) v
WHERE v.is_root AND v.words @@ search_query(%(text)s, '')
ORDER BY CASE WHEN v.names @> ARRAY[folded(%(text)s)] THEN 0
              WHEN EXISTS (SELECT FROM unnest(v.names) name WHERE starts_with(name, folded(%(text)s))) THEN 1
              WHEN v.words @@ search_query(%(text)s, 'A') THEN 2 ELSE 3 END,
         v.playable DESC, v.sort_year DESC, v.title_id
LIMIT %(limit)s

-- name: people
SELECT p.person_id, min(p.name) AS name, count(DISTINCT p.title_id)::int AS titles
FROM title_person p
CROSS JOIN LATERAL (SELECT FROM visible_title(%(maturity)s, %(region)s, %(now)s) s WHERE s.title_id = p.title_id) v
WHERE search_words(folded(p.name), 'B') @@ search_query(%(text)s, '')
GROUP BY p.person_id ORDER BY titles DESC, name, p.person_id LIMIT %(limit)s
