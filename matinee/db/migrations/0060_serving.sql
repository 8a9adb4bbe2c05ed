-- What the API reads of the catalogue, and the one predicate of who may see what.

-- A refresh token that was rotated away: used again soon it is a race of two tabs, used late it is a theft.
ALTER TABLE auth_session ADD COLUMN previous_hash bytea;
ALTER TABLE auth_session ADD COLUMN rotated_at timestamptz;
CREATE INDEX auth_session_previous ON auth_session (previous_hash);

CREATE INDEX title_browse ON title ((coalesce(year, 0)) DESC, title_id DESC);

-- A title with what a list needs. `root_id` is the top of its parents; `offers_of` the nearest title, itself or a
-- parent, that has offers: an episode is sold with its series unless it has terms of its own.
CREATE VIEW served_title AS
SELECT t.title_id, t.kind, t.parent_id, t.number, t.year, t.runtime_s, t.maturity, t.genres, t.state, t.created_at,
       t.feed_hash IS NULL AS bare,
       coalesce(t3.title_id, t2.title_id, t1.title_id, t.title_id) AS root_id,
       CASE WHEN t1.kind = 'season' THEN t1.number END AS season,
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
       coalesce((SELECT jsonb_object_agg(x.language, x.title) FROM title_text x WHERE x.title_id = t.title_id), '{}') AS titles
FROM title t
LEFT JOIN title t1 ON t1.title_id = t.parent_id
LEFT JOIN title t2 ON t2.title_id = t1.parent_id
LEFT JOIN title t3 ON t3.title_id = t2.parent_id;

-- What a viewer with this maturity limit in this region (null: unknown) may see at this moment.
-- serving.catalog.availability.allowed says the same for one title, with a reason; a test holds them together.
CREATE FUNCTION visible_title(maturity_limit int, region text, moment timestamptz) RETURNS SETOF served_title
LANGUAGE sql STABLE AS $$
    SELECT * FROM served_title t
    WHERE t.maturity <= maturity_limit
      AND (t.state = 'published' OR (t.bare AND t.playable))
      AND (t.bare OR t.offers_of IS NULL OR EXISTS (
          SELECT FROM offer o
          WHERE o.title_id = t.offers_of AND o.open @> moment AND (o.regions = '{}' OR region = ANY (o.regions))))
$$;
