-- Lists and searches at 20,000 titles and more: windows of single countries in the row itself, names in an order that the
-- best of many are found by without looking at all, people as rows; and rows made for some titles without planning for all.

-- Country -> when offers for it are open, as text of a nummultirange of Unix seconds; null: none is for single countries.
ALTER TABLE listed_title ADD COLUMN open_in jsonb;

-- writer: the triggers. Each name of a film or series that may be seen, folded, and what orders those that begin alike.
CREATE TABLE listed_name (
    title_id  text NOT NULL REFERENCES title ON DELETE CASCADE,
    name      text COLLATE "C" NOT NULL,
    playable  boolean NOT NULL,
    sort_year int NOT NULL,
    PRIMARY KEY (title_id, name)
);
CREATE INDEX listed_name_name ON listed_name (name);
CREATE INDEX listed_name_1 ON listed_name (left(name, 1), playable DESC, sort_year DESC, title_id);
CREATE INDEX listed_name_2 ON listed_name (left(name, 2), playable DESC, sort_year DESC, title_id);
CREATE INDEX listed_name_3 ON listed_name (left(name, 3), playable DESC, sort_year DESC, title_id);

-- writer: the triggers. Everybody whom a title ever named; `titles`: of how many they are now.
CREATE TABLE listed_person (
    person_id text PRIMARY KEY,
    name      text NOT NULL,
    folded    text NOT NULL,
    words     tsvector NOT NULL GENERATED ALWAYS AS (search_words(folded, 'B')) STORED,
    titles    int NOT NULL DEFAULT 0
);
CREATE INDEX listed_person_words ON listed_person USING gin (words) WITH (fastupdate = off);
DROP INDEX title_person_words;
DROP INDEX listed_title_names;

DROP FUNCTION picked_title(int, text, timestamptz, boolean, text[], int, int, int, timestamptz, boolean, text, jsonb, jsonb);
DROP FUNCTION visible_title(int, text, timestamptz);
DROP VIEW served_title;
DROP VIEW title_listing;

-- The rows of listed_title for these titles, made of the tables that say it.
CREATE FUNCTION title_listing(ids text[]) RETURNS SETOF listed_title LANGUAGE sql STABLE AS $$
WITH placed AS MATERIALIZED (
    SELECT t.*, t1.title_id AS id1, t2.title_id AS id2, t3.title_id AS id3,
           CASE WHEN t1.kind = 'season' THEN t1.number END AS season,
           CASE WHEN 'withdrawn' IN (t.state, t1.state, t2.state, t3.state) THEN 'withdrawn' ELSE t.state END AS effective,
           t.feed_hash IS NULL AND t.state IN ('draft', 'review') AS bare,
           CASE WHEN EXISTS (SELECT FROM offer o WHERE o.title_id = t.title_id) THEN t.title_id
                WHEN EXISTS (SELECT FROM offer o WHERE o.title_id = t1.title_id) THEN t1.title_id
                WHEN EXISTS (SELECT FROM offer o WHERE o.title_id = t2.title_id) THEN t2.title_id
                WHEN EXISTS (SELECT FROM offer o WHERE o.title_id = t3.title_id) THEN t3.title_id
           END AS offers_of,
           EXISTS (SELECT FROM package p WHERE p.title_id = t.title_id AND p.state = 'published')
           OR (t.kind IN ('series', 'season') AND EXISTS (
               SELECT FROM title c
               LEFT JOIN title g ON g.parent_id = c.title_id AND g.kind = 'episode'
               JOIN package p ON p.title_id IN (c.title_id, g.title_id) AND p.state = 'published'
               WHERE c.parent_id = t.title_id AND c.kind IN ('season', 'episode'))) AS playable,
           coalesce((SELECT jsonb_object_agg(x.language, x.title) FROM title_text x WHERE x.title_id = t.title_id), '{}')
               AS titles
    FROM title t
    LEFT JOIN title t1 ON t1.title_id = t.parent_id
    LEFT JOIN title t2 ON t2.title_id = t1.parent_id
    LEFT JOIN title t3 ON t3.title_id = t2.parent_id
    WHERE t.title_id = ANY (ids)
), offered AS MATERIALIZED (
    SELECT p.*, o.offer_terms, coalesce(o.open, '{}') AS open, coalesce(o.is_regional, false) AS is_regional,
           coalesce(o.facets, '{}') AS offer_facets,
           o.open_in,
           (SELECT jsonb_object_agg(key, folded(value)) FROM jsonb_each_text(p.titles)) AS called,
           ARRAY(SELECT folded(left(alias, 500)) FROM jsonb_array_elements_text(
               CASE jsonb_typeof(p.extra -> 'aliases') WHEN 'array' THEN p.extra -> 'aliases' ELSE '[]' END) alias)
               AS aliases
    FROM placed p LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
                   'kind', kind, 'plans', plans, 'regions', regions,
                   'from', extract(epoch FROM lower(o.open)), 'until', extract(epoch FROM upper(o.open))) ORDER BY position)
                   AS offer_terms,
               range_agg(o.open) FILTER (WHERE regions = '{}') AS open,
               bool_or(regions <> '{}') AS is_regional,
               array_agg(DISTINCT 'offer:' || kind) AS facets,
               (SELECT jsonb_object_agg(region, windows) FROM (
                   SELECT region, range_agg(numrange(extract(epoch FROM lower(r.open)), extract(epoch FROM upper(r.open))))::text
                       AS windows
                   FROM offer r, unnest(r.regions) AS region WHERE r.title_id = p.offers_of GROUP BY region) local) AS open_in
        FROM offer o WHERE o.title_id = p.offers_of) o ON true
)
SELECT o.title_id, o.kind, o.parent_id, coalesce(o.id3, o.id2, o.id1, o.title_id) AS root_id, o.number, o.season, o.year,
       o.runtime_s, o.maturity, o.genres, o.effective AS state, o.bare, o.playable, o.offers_of, o.offer_terms, o.titles,
       o.created_at, coalesce(o.published_at, o.created_at) AS added_at,
       o.effective = 'published' OR (o.bare AND o.playable AND o.effective <> 'withdrawn') AS is_shown,
       o.kind IN ('film', 'series') AS is_root,
       o.bare OR o.offers_of IS NULL AS is_free,
       o.open, o.is_regional,
       ARRAY(SELECT DISTINCT facet FROM (
           SELECT 'kind:' || o.kind AS facet
           UNION ALL SELECT 'playable' WHERE o.playable
           UNION ALL SELECT 'maturity:' || o.maturity
           UNION ALL SELECT 'genre:' || genre FROM unnest(o.genres) AS genre
           UNION ALL SELECT 'tag:' || tag FROM unnest(o.tags) AS tag
           UNION ALL SELECT 'country:' || country FROM unnest(o.countries) AS country
           UNION ALL SELECT 'language:' || language FROM jsonb_object_keys(o.titles) AS language
           UNION ALL SELECT 'person:' || person_id FROM title_person x WHERE x.title_id = o.title_id
           UNION ALL SELECT unnest(o.offer_facets)) facets) AS facets,
       coalesce(o.year, 0) AS sort_year,
       coalesce(o.called ->> 'en', o.called ->> 'ru', (SELECT min(value) FROM jsonb_each_text(o.called)), lower(o.title_id)),
       coalesce(o.called ->> 'ru', o.called ->> 'en', (SELECT min(value) FROM jsonb_each_text(o.called)), lower(o.title_id)),
       names.all_of_them,
       search_words(array_to_string(names.all_of_them, ' '), 'A')
           || coalesce((SELECT search_words(string_agg(n.folded, ' '), 'B')
                        FROM title_person x JOIN listed_person n USING (person_id) WHERE x.title_id = o.title_id), ''),
       rtrim(json_build_object(
           'title_id', o.title_id, 'kind', o.kind, 'titles', o.titles, 'year', o.year, 'runtime_s', o.runtime_s,
           'maturity', o.maturity, 'genres', o.genres, 'playable', o.playable,
           'poster', CASE WHEN o.playable THEN '/media-posters/' || o.title_id || '.jpg' END)::text, '}') AS card,
       json_build_object('state', o.effective, 'bare', o.bare, 'playable', o.playable, 'maturity', o.maturity,
                         'offer_terms', o.offer_terms)::text AS terms,
       o.open_in
FROM offered o
CROSS JOIN LATERAL (
    SELECT ARRAY(SELECT DISTINCT name FROM (
        SELECT value AS name FROM jsonb_each_text(o.called) UNION ALL SELECT unnest(o.aliases)) every WHERE name <> '')
        AS all_of_them) names
$$;

-- What the API reads of a title; `offers_of`, `root_id` and `season` as in listed_title.
CREATE VIEW served_title AS
SELECT title_id, kind, parent_id, number, year, runtime_s, maturity, genres, state, created_at, bare, root_id, season,
       offers_of, playable, titles, is_shown, is_root, is_free, open, is_regional, offer_terms, facets, added_at, sort_year,
       name_en, name_ru, names, words, card, terms, open_in
FROM listed_title;

-- What a viewer with this maturity limit in this region (null: unknown) may see at this moment.
-- serving.rights.core.decide says the same for one title, with a reason; a test holds them together.
CREATE FUNCTION visible_title(maturity_limit int, region text, moment timestamptz) RETURNS SETOF served_title
LANGUAGE sql STABLE AS $$
    SELECT * FROM served_title t
    WHERE t.is_shown AND t.maturity <= maturity_limit
      AND (t.is_free OR t.open @> moment
           OR (t.is_regional AND (t.open_in ->> region)::nummultirange @> extract(epoch FROM moment)))
$$;

-- What a viewer may see of what a list is narrowed to. Every argument but the first three may be null: not asked.
-- `contained` and `contained_text`: one of the two has to be within `extra` (a number may have been meant as text).
CREATE FUNCTION picked_title(
    maturity_limit int, region text, moment timestamptz, roots boolean, wanted text[], at_most int, year_from int,
    year_to int, added_since timestamptz, plays boolean, written text, contained jsonb, contained_text jsonb
) RETURNS SETOF served_title LANGUAGE sql STABLE AS $$
    SELECT * FROM visible_title(maturity_limit, region, moment) t
    WHERE t.is_root = roots AND t.facets @> wanted
      AND (at_most IS NULL OR t.maturity <= at_most)
      AND (year_from IS NULL OR t.sort_year >= year_from)
      AND (year_to IS NULL OR (t.sort_year <= year_to AND t.sort_year > 0))
      AND (added_since IS NULL OR t.added_at >= added_since)
      AND (plays IS NULL OR t.playable = plays)
      AND (written IS NULL OR t.words @@ search_query(written, ''))
      AND (contained IS NULL OR t.title_id = ANY (ARRAY(
          SELECT x.title_id FROM title x WHERE x.extra @> contained OR x.extra @> contained_text)))
$$;

-- Makes the rows of these titles, of what is below them and of their parents anew, and tells whom it concerns.
CREATE OR REPLACE FUNCTION refresh_listed(touched text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    affected text[];
    changed text[];
    people text[];
BEGIN
    WITH RECURSIVE below AS (
        SELECT title_id FROM title WHERE title_id = ANY (touched)
        UNION SELECT t.title_id FROM below b JOIN title t ON t.parent_id = b.title_id
    ), above AS (
        SELECT title_id, parent_id FROM title WHERE title_id = ANY (touched)
        UNION SELECT t.title_id, t.parent_id FROM above a JOIN title t ON t.title_id = a.parent_id
    )
    SELECT array_agg(title_id ORDER BY title_id) INTO affected
    FROM (SELECT title_id FROM below UNION SELECT title_id FROM above) found;
    INSERT INTO listed_person (person_id, name, folded)
    SELECT person_id, min(name), folded(min(name)) FROM title_person p
    WHERE title_id = ANY (affected) AND NOT EXISTS (SELECT FROM listed_person n WHERE n.person_id = p.person_id)
    GROUP BY person_id ON CONFLICT DO NOTHING;
    people := ARRAY(SELECT DISTINCT substr(facet, 8) FROM listed_title, unnest(facets) AS facet
                    WHERE title_id = ANY (affected) AND starts_with(facet, 'person:'));
    WITH made AS (
        INSERT INTO listed_title AS old SELECT * FROM title_listing(affected)
        ON CONFLICT (title_id) DO UPDATE SET
            kind = excluded.kind, parent_id = excluded.parent_id, root_id = excluded.root_id, number = excluded.number,
            season = excluded.season, year = excluded.year, runtime_s = excluded.runtime_s, maturity = excluded.maturity,
            genres = excluded.genres, state = excluded.state, bare = excluded.bare, playable = excluded.playable,
            offers_of = excluded.offers_of, offer_terms = excluded.offer_terms, titles = excluded.titles,
            created_at = excluded.created_at, added_at = excluded.added_at, is_shown = excluded.is_shown,
            is_root = excluded.is_root, is_free = excluded.is_free, open = excluded.open,
            is_regional = excluded.is_regional, facets = excluded.facets, sort_year = excluded.sort_year,
            name_en = excluded.name_en, name_ru = excluded.name_ru, names = excluded.names, words = excluded.words,
            card = excluded.card, terms = excluded.terms, open_in = excluded.open_in
        WHERE old IS DISTINCT FROM excluded
        RETURNING title_id)
    SELECT array_agg(title_id) INTO changed FROM made;
    DELETE FROM listed_name WHERE title_id = ANY (changed);
    INSERT INTO listed_name SELECT title_id, left(name, 500), playable, sort_year FROM listed_title, unnest(names) AS name
    WHERE title_id = ANY (changed) AND is_shown AND is_root ON CONFLICT DO NOTHING;
    UPDATE listed_person n SET titles = counted.titles FROM (
        SELECT person_id, (SELECT count(DISTINCT p.title_id) FROM title_person p WHERE p.person_id = named.person_id) AS titles
        FROM (SELECT person_id FROM title_person WHERE title_id = ANY (affected) UNION SELECT unnest(people)) named) counted
    WHERE n.person_id = counted.person_id AND n.titles <> counted.titles;
    INSERT INTO title_terms (title_id, since, terms)
    SELECT l.title_id, told_now(), l.terms FROM listed_title l
    WHERE l.title_id = ANY (changed) AND l.terms IS DISTINCT FROM (
        SELECT h.terms FROM title_terms h WHERE h.title_id = l.title_id ORDER BY since DESC LIMIT 1)
    ON CONFLICT (title_id, since) DO UPDATE SET terms = excluded.terms;
    INSERT INTO outbox (topic, key) SELECT 'title', title_id FROM unnest(touched) AS title_id UNION
                                    SELECT 'title', title_id FROM unnest(changed) AS title_id;
END $$;

DELETE FROM listed_title;
INSERT INTO listed_person (person_id, name, folded, titles)
SELECT person_id, min(name), folded(min(name)), count(DISTINCT title_id) FROM title_person GROUP BY person_id;
INSERT INTO listed_title SELECT * FROM title_listing(ARRAY(SELECT title_id FROM title));
INSERT INTO listed_name SELECT title_id, left(name, 500), playable, sort_year FROM listed_title, unnest(names) AS name
WHERE is_shown AND is_root ON CONFLICT DO NOTHING;
ANALYZE listed_title;
ANALYZE listed_name;
ANALYZE listed_person;
