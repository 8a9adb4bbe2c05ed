-- What a viewer may see of what a list is narrowed to. Every argument but the first three may be null: not asked.
-- `contained` and `contained_text`: one of the two has to be within `extra` (a number may have been meant as text).
CREATE FUNCTION picked_title(
    maturity_limit int, region text, moment timestamptz, roots boolean, wanted text[], at_most int, year_from int,
    year_to int, added_since timestamptz, plays boolean, written text, contained jsonb, contained_text jsonb
) RETURNS SETOF served_title LANGUAGE sql STABLE AS $$
    SELECT * FROM visible_title(maturity_limit, region, moment) t
    WHERE t.is_root = roots AND t.facets @> wanted
      AND (at_most IS NULL OR t.maturity <= at_most)
      AND (year_from IS NULL OR t.year >= year_from) AND (year_to IS NULL OR t.year <= year_to)
      AND (added_since IS NULL OR t.added_at >= added_since)
      AND (plays IS NULL OR t.playable = plays)
      AND (written IS NULL OR t.words @@ search_query(written, ''))
      AND (contained IS NULL OR t.title_id IN (
          SELECT x.title_id FROM title x WHERE x.extra @> contained OR x.extra @> contained_text))
$$;

-- Listeners hear topic and key; of a statement that writes many rows of a topic, only the topic.
CREATE OR REPLACE FUNCTION outbox_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('matinee_outbox', CASE WHEN many THEN topic ELSE topic || ' ' || key END)
    FROM (SELECT DISTINCT topic, many, CASE WHEN many THEN '' ELSE left(key, 1000) END AS key
          FROM (SELECT topic, key, count(*) OVER (PARTITION BY topic) > 20 AS many FROM added) counted) told;
    RETURN NULL;
END $$;

CREATE INDEX title_person_words ON title_person USING gin (search_words(folded(name), 'B')) WITH (fastupdate = off);
