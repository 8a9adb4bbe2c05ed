-- name: called
-- Films and series whose names begin with the text, those called exactly so first, then what plays, then the newest. Each
-- length has an index in this order, so that the best of thousands cost no more than the best of few.
WITH asked AS MATERIALIZED (SELECT folded(%(text)s) AS text)
SELECT v.card, v.terms, v.title_id, v.parent_id, v.root_id, v.kind FROM (
    (SELECT n.title_id, 0 AS rank, n.playable, n.sort_year FROM asked, listed_name n WHERE n.name = asked.text
     ORDER BY n.playable DESC, n.sort_year DESC, n.title_id LIMIT %(limit)s)
    UNION ALL
    (SELECT n.title_id, 1, n.playable, n.sort_year FROM listed_name n
     WHERE left(n.name, 1) = (SELECT text FROM asked WHERE length(text) = 1)
     ORDER BY n.playable DESC, n.sort_year DESC, n.title_id LIMIT %(limit)s * 2)
    UNION ALL
    (SELECT n.title_id, 1, n.playable, n.sort_year FROM listed_name n
     WHERE left(n.name, 2) = (SELECT text FROM asked WHERE length(text) = 2)
     ORDER BY n.playable DESC, n.sort_year DESC, n.title_id LIMIT %(limit)s * 2)
    UNION ALL
    (SELECT n.title_id, 1, n.playable, n.sort_year FROM listed_name n
     WHERE left(n.name, 3) = (SELECT text FROM asked WHERE length(text) = 3)
     ORDER BY n.playable DESC, n.sort_year DESC, n.title_id LIMIT %(limit)s * 2)
    UNION ALL
    (SELECT n.title_id, 1, n.playable, n.sort_year FROM listed_name n
     WHERE n.name >= (SELECT text FROM asked WHERE length(text) > 3)
       AND n.name < (SELECT text || chr(1114111) FROM asked)
     ORDER BY n.playable DESC, n.sort_year DESC, n.title_id LIMIT %(limit)s * 2)
) n
CROSS JOIN LATERAL (SELECT * FROM visible_title(%(maturity)s, %(region)s, %(now)s) s WHERE s.title_id = n.title_id) v
ORDER BY n.rank, n.playable DESC, n.sort_year DESC, n.title_id

-- name: worded
-- Those that have all words somewhere, in their names first, then in those of their people. Of very many some hundred count.
SELECT card, terms, title_id, parent_id, root_id, kind FROM (
    SELECT card, terms, title_id, parent_id, root_id, kind, words, playable, sort_year
    FROM visible_title(%(maturity)s, %(region)s, %(now)s)
    WHERE is_root AND words @@ search_query(%(text)s, '')
    LIMIT 250) found
ORDER BY words @@ search_query(%(text)s, 'A') DESC, playable DESC, sort_year DESC, title_id
LIMIT %(limit)s

-- name: people
-- Who is called so and did something that the viewer may see; of many those with most titles.
SELECT p.person_id, p.name, p.titles FROM (
    SELECT person_id, name, titles FROM listed_person
    WHERE length(folded(%(text)s)) > 2 AND words @@ search_query(%(text)s, '') AND titles > 0
    ORDER BY titles DESC, person_id LIMIT %(limit)s * 2) p
WHERE EXISTS (
    SELECT FROM title_person x
    CROSS JOIN LATERAL (SELECT FROM visible_title(%(maturity)s, %(region)s, %(now)s) s WHERE s.title_id = x.title_id) v
    WHERE x.person_id = p.person_id)
ORDER BY p.titles DESC, p.person_id LIMIT %(limit)s
