-- What was withdrawn stays away until it is published again; words of names one by one; many titles in one transaction;
-- rows of the outbox that are kept aside for a while.

-- Since when a moderator keeps it away, also while it waits for review again; null: nobody does.
ALTER TABLE title ADD COLUMN withdrawn_at timestamptz;
UPDATE title SET withdrawn_at = updated_at WHERE state = 'withdrawn';

-- When the row goes into the outbox again by itself; null: when somebody says so.
ALTER TABLE outbox_poison ADD COLUMN again_at timestamptz;

-- The rows of listed_title for these titles, made of the tables that say it.
CREATE OR REPLACE FUNCTION title_listing(ids text[]) RETURNS SETOF listed_title LANGUAGE sql STABLE AS $$
WITH placed AS MATERIALIZED (
    SELECT t.*, t1.title_id AS id1, t2.title_id AS id2, t3.title_id AS id3,
           CASE WHEN t1.kind = 'season' THEN t1.number END AS season,
           CASE WHEN 'withdrawn' IN (t.state, t1.state, t2.state, t3.state)
                  OR coalesce(t.withdrawn_at, t1.withdrawn_at, t2.withdrawn_at, t3.withdrawn_at) IS NOT NULL
                THEN 'withdrawn' ELSE t.state END AS effective,
           t.feed_hash IS NULL AND t.withdrawn_at IS NULL AND t.state IN ('draft', 'review') AS bare,
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
       coalesce((SELECT string_agg(left(word, 500) || ':1A', ' ')::tsvector
                 FROM unnest(names.all_of_them) AS name,
                      unnest(string_to_array(name, ' ') || replace(name, ' ', '')) AS word WHERE word <> ''), '')
           || coalesce((SELECT string_agg(left(word, 500) || ':1B', ' ')::tsvector
                        FROM title_person x JOIN listed_person n USING (person_id),
                             unnest(string_to_array(n.folded, ' ') || replace(n.folded, ' ', '')) AS word
                        WHERE x.title_id = o.title_id AND word <> ''), ''),
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

-- Once a transaction, when it commits. One at a time: two that touch a family at once would each miss the other's part.
CREATE OR REPLACE FUNCTION refresh_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched text[];
BEGIN
    -- The first of the transaction's rows took all of them along; looking for more would read every dead one each time.
    IF NOT EXISTS (SELECT FROM title_changed c WHERE c.transaction = NEW.transaction AND c.title_id = NEW.title_id) THEN
        RETURN NULL;
    END IF;
    WITH gone AS (DELETE FROM title_changed WHERE transaction = pg_current_xact_id() RETURNING title_id)
    SELECT array_agg(title_id) INTO touched FROM gone;
    IF touched IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7228116);
        PERFORM refresh_listed(touched);
    END IF;
    RETURN NULL;
END $$;

DELETE FROM listed_title;
DELETE FROM listed_name;
INSERT INTO listed_title SELECT * FROM title_listing(ARRAY(SELECT title_id FROM title));
INSERT INTO listed_name SELECT title_id, left(name, 500), playable, sort_year FROM listed_title, unnest(names) AS name
WHERE is_shown AND is_root ON CONFLICT DO NOTHING;
ANALYZE listed_title;
ANALYZE listed_name;
