-- The catalogue with moderators, offers that cannot contradict each other, and what lists and searches read.

-- Moderation: draft -> review -> published -> withdrawn. `version` counts the changes, for those who edit at the same time.
ALTER TABLE title DROP CONSTRAINT title_state_check;
ALTER TABLE title
    ADD CONSTRAINT title_state_check CHECK (state IN ('draft', 'review', 'published', 'withdrawn')),
    ADD COLUMN version int NOT NULL DEFAULT 1,
    ADD COLUMN published_at timestamptz,  -- the first time; null: since it came
    ADD COLUMN note text;                 -- what the moderator said who sent it back or withdrew it

-- writer: ingest.moderation. What a moderator changed and no feed may overwrite until it is released.
CREATE TABLE title_override (
    title_id   text NOT NULL REFERENCES title ON DELETE CASCADE,
    field      text NOT NULL,
    value      jsonb NOT NULL,
    account_id text NOT NULL,
    set_at     timestamptz NOT NULL,
    PRIMARY KEY (title_id, field)
);

-- Letters as search sees them: small, without accents, ё as е; whatever separates words is one space. Spelled out, because
-- the database may know no other letters than ASCII. Apostrophes go, so that "ocean's" is found as "oceans".
CREATE FUNCTION folded(written text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT btrim(regexp_replace(
        translate(CASE WHEN octet_length(written) = length(written) THEN lower(written COLLATE "C")
                       ELSE translate(lower(normalize(written) COLLATE "C"), 'АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏёҐӘӨҮҰҚҢҒҺÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåçèéêëìíîïñòóôõöøùúûüýÿĀāĂăĄąĆćĈĉĊċČčĎďĐđĒēĔĕĖėĘęĚěĜĝĞğĠġĢģĤĥĦĨĩĪīĬĭĮįİıĲĴĵĶķĹĺĻļĽľĿŁłŃńŅņŇňŊŌōŎŏŐőŒŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŦŨũŪūŬŭŮůŰűŲųŴŵŶŷŸŹźŻżŽžȘșȚțΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫάέήίΰςϊϋόύώϏ', 'абвгдежзийклмнопрстуфхцчшщъыьэюяѐеђѓєѕіїјљњћќѝўџеґәөүұқңғһaaaaaaæceeeeiiiiðnoooooouuuuyþsaaaaaaceeeeiiiinoooooouuuuyyaaaaaaccccccccddddeeeeeeeeeegggggggghhħiiiiiiiiiiĳjjkkllllllŀllnnnnnnŋooooooœrrrrrrssssssssttttŧuuuuuuuuuuuuwwyyyzzzzzzssttαβγδεζηθικλμνξοπρστυφχψωιυαεηιυσιυουωϗ') END, '''’`ʼ', ''),
        '[[:space:]!-/:-@[-^{-~_ «»„“”‘‚–—―…№·−×•¡¿。、，！？]+', ' ', 'g'))
$$;

-- Who has the same name is the same person.
CREATE FUNCTION person_key(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(encode(sha256(convert_to(folded(name), 'UTF8')), 'hex'), 16)
$$;
ALTER TABLE title_person ADD COLUMN person_id text GENERATED ALWAYS AS (person_key(name)) STORED;
CREATE INDEX title_person_person ON title_person (person_id, title_id);

-- Words that all have to begin a word, in any order; null where there is none. `weights`: '' all, 'A' names of titles.
CREATE FUNCTION search_query(written text, weights text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT string_agg(left(word, 60) || ':*' || weights, ' & ')::tsquery
    FROM (SELECT word FROM unnest(string_to_array(folded(written), ' ')) AS word WHERE word <> '' LIMIT 8) words
$$;

-- Whatever stands in the vector beside a name: its words, and all of it as one ("spider-man" is found as "spiderman").
CREATE FUNCTION search_words(name text, weight text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(string_agg(left(word, 500) || ':1' || weight, ' ')::tsvector, '')
    FROM unnest(string_to_array(name, ' ') || replace(name, ' ', '')) AS word WHERE word <> ''
$$;

-- Offers. Two prices of one title for renting (or buying) it, in one currency, for the same plans, in one country, at one
-- moment: which is it? A country is a number and a range of one; an offer without regions is for every number.
CREATE FUNCTION offer_regions(regions text[]) RETURNS int8multirange LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN regions = '{}' THEN int8multirange(int8range(NULL, NULL)) ELSE (
        SELECT range_agg(int8range(code, code, '[]'))
        FROM (SELECT ascii(region) * 256 + ascii(substr(region, 2)) AS code FROM unnest(regions) AS region) codes) END
$$;
CREATE FUNCTION offer_subject(title_id text, kind text, currency text, plans text[]) RETURNS int8range
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT int8range(code, code, '[]') FROM (SELECT hashtextextended(concat_ws(chr(1), title_id, kind, currency,
        (SELECT string_agg(plan, chr(2) ORDER BY plan) FROM (SELECT DISTINCT plan FROM unnest(plans) AS plan) p)), 0) >> 1
        AS code) hashed
$$;
-- Where an older catalogue contradicts itself the first offer stays; the others are kept aside, and the next feed is read
-- anew, so that its line is refused with the reason.
CREATE TEMPORARY TABLE contradicting ON COMMIT DROP AS
SELECT later.title_id, later.position, to_jsonb(later)::text AS line, title.feed_hash
FROM offer later JOIN title USING (title_id)
WHERE later.kind IN ('rent', 'buy') AND EXISTS (
    SELECT FROM offer earlier
    WHERE earlier.title_id = later.title_id AND earlier.position < later.position AND earlier.kind = later.kind
      AND offer_subject(earlier.title_id, earlier.kind, earlier.currency, earlier.plans)
          && offer_subject(later.title_id, later.kind, later.currency, later.plans)
      AND offer_regions(earlier.regions) && offer_regions(later.regions) AND earlier.open && later.open);
INSERT INTO feed_rejection (feed_hash, line_number, feed_name, reason, line)
SELECT 'migration 0115', row_number() OVER (ORDER BY title_id, position), 'offers of an older catalogue',
       'offer ' || position || ' of ' || title_id || ' contradicts an earlier one', convert_to(line, 'UTF8')
FROM contradicting;
UPDATE title SET feed_hash = '\x' WHERE title_id IN (SELECT title_id FROM contradicting WHERE feed_hash IS NOT NULL);
DELETE FROM offer o USING contradicting c WHERE o.title_id = c.title_id AND o.position = c.position;
ALTER TABLE offer ADD CONSTRAINT offer_no_contradiction EXCLUDE USING gist (
    offer_subject(title_id, kind, currency, plans) WITH &&,
    offer_regions(regions) WITH &&,
    open WITH &&
) WHERE (kind IN ('rent', 'buy')) DEFERRABLE INITIALLY IMMEDIATE;

-- writer: the triggers below. A title as lists, searches and the right to play read it, made from the tables that say it.
CREATE TABLE listed_title (
    title_id    text PRIMARY KEY REFERENCES title ON DELETE CASCADE,
    kind        text NOT NULL,
    parent_id   text,
    root_id     text NOT NULL,             -- the top of its parents
    number      int,
    season      int,
    year        int,
    runtime_s   int,
    maturity    int NOT NULL,
    genres      text[] NOT NULL,
    state       text NOT NULL,             -- `withdrawn` where a parent is
    bare        boolean NOT NULL,          -- made from a film file, not from a feed, and no moderator's: free for everybody
    playable    boolean NOT NULL,          -- it has a film, or an episode has
    offers_of   text,                      -- the nearest title, itself or a parent, that has offers
    offer_terms jsonb,                     -- those, as serving.rights.core.terms_of reads them; null: none
    titles      jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    added_at    timestamptz NOT NULL,      -- when it was published first
    is_shown    boolean NOT NULL,          -- its state lets it be seen
    is_root     boolean NOT NULL,          -- a film or a series
    is_free     boolean NOT NULL,          -- no offer has to be open for it to be seen
    open        tstzmultirange NOT NULL,   -- when an offer for every country is open
    is_regional boolean NOT NULL,          -- it has offers for some countries
    facets      text[] NOT NULL,           -- `genre:drama`, `person:<person_id>`, `country:FR`, …
    sort_year   int NOT NULL,
    name_en     text COLLATE "C" NOT NULL, -- folded; another language's where it has none in this
    name_ru     text COLLATE "C" NOT NULL,
    names       text[] NOT NULL,           -- every name and alias, folded
    words       tsvector NOT NULL,         -- A: of names, B: of people
    card        text NOT NULL,             -- JSON of what clients see in a list, but for its closing brace
    terms       text NOT NULL              -- JSON of what serving.rights.core.terms_of reads, but for the ids
);
CREATE INDEX listed_title_newest ON listed_title (is_root, sort_year DESC, title_id DESC) WHERE is_shown;
CREATE INDEX listed_title_added ON listed_title (is_root, added_at DESC, title_id DESC) WHERE is_shown;
CREATE INDEX listed_title_name_en ON listed_title (is_root, name_en, title_id) WHERE is_shown;
CREATE INDEX listed_title_name_ru ON listed_title (is_root, name_ru, title_id) WHERE is_shown;
CREATE INDEX listed_title_facets ON listed_title USING gin (facets) WITH (fastupdate = off);
CREATE INDEX listed_title_names ON listed_title USING gin (names) WITH (fastupdate = off);
CREATE INDEX listed_title_words ON listed_title USING gin (words) WITH (fastupdate = off);
CREATE INDEX listed_title_root ON listed_title (root_id);
CREATE INDEX listed_title_parent ON listed_title (parent_id);

DROP FUNCTION visible_title(int, text, timestamptz);
DROP VIEW served_title;

-- What a row of listed_title is made of; its columns in their order.
CREATE VIEW title_listing AS
WITH placed AS (
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
), offered AS (
    SELECT p.*, o.offer_terms, coalesce(o.open, '{}') AS open, coalesce(o.is_regional, false) AS is_regional,
           coalesce(o.facets, '{}') AS offer_facets,
           ARRAY(SELECT folded(name) FROM (
               SELECT x.title AS name FROM title_text x WHERE x.title_id = p.title_id
               UNION ALL
               SELECT jsonb_array_elements_text(CASE jsonb_typeof(p.extra -> 'aliases')
                                                WHEN 'array' THEN p.extra -> 'aliases' ELSE '[]' END)) called) AS names
    FROM placed p LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
                   'kind', kind, 'plans', plans, 'regions', regions,
                   'from', extract(epoch FROM lower(o.open)), 'until', extract(epoch FROM upper(o.open))) ORDER BY position)
                   AS offer_terms,
               range_agg(o.open) FILTER (WHERE regions = '{}') AS open,
               bool_or(regions <> '{}') AS is_regional,
               array_agg(DISTINCT 'offer:' || kind) AS facets
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
       folded(coalesce(o.titles ->> 'en', o.titles ->> 'ru', (SELECT min(value) FROM jsonb_each_text(o.titles)), o.title_id))
           AS name_en,
       folded(coalesce(o.titles ->> 'ru', o.titles ->> 'en', (SELECT min(value) FROM jsonb_each_text(o.titles)), o.title_id))
           AS name_ru,
       o.names,
       search_words(array_to_string(o.names, ' '), 'A')
           || coalesce((SELECT search_words(string_agg(folded(x.name), ' '), 'B')
                        FROM title_person x WHERE x.title_id = o.title_id), '') AS words,
       rtrim(json_build_object(
           'title_id', o.title_id, 'kind', o.kind, 'titles', o.titles, 'year', o.year, 'runtime_s', o.runtime_s,
           'maturity', o.maturity, 'genres', o.genres, 'playable', o.playable,
           'poster', CASE WHEN o.playable THEN '/media-posters/' || o.title_id || '.jpg' END)::text, '}') AS card,
       json_build_object('state', o.effective, 'bare', o.bare, 'playable', o.playable, 'maturity', o.maturity,
                         'offer_terms', o.offer_terms)::text AS terms
FROM offered o;

-- What the API reads of a title; `offers_of`, `root_id` and `season` as in listed_title.
CREATE VIEW served_title AS
SELECT title_id, kind, parent_id, number, year, runtime_s, maturity, genres, state, created_at, bare, root_id, season,
       offers_of, playable, titles, is_shown, is_root, is_free, open, is_regional, offer_terms, facets, added_at, sort_year,
       name_en, name_ru, names, words, card, terms
FROM listed_title;

-- What a viewer with this maturity limit in this region (null: unknown) may see at this moment.
-- serving.rights.core.decide says the same for one title, with a reason; a test holds them together.
CREATE FUNCTION visible_title(maturity_limit int, region text, moment timestamptz) RETURNS SETOF served_title
LANGUAGE sql STABLE AS $$
    SELECT * FROM served_title t
    WHERE t.is_shown AND t.maturity <= maturity_limit
      AND (t.is_free OR t.open @> moment OR (t.is_regional AND EXISTS (
          SELECT FROM offer o
          WHERE o.title_id = t.offers_of AND o.open @> moment AND region = ANY (o.regions))))
$$;

-- writer: the triggers below, nothing is ever removed. What decided about a title since when, for `as_of`. Texts, genres and
-- people of earlier times are not kept, nor is anything from before this table was made: what was found then counts as
-- true since the title came.
CREATE TABLE title_terms (
    title_id  text NOT NULL REFERENCES title ON DELETE CASCADE,
    since     timestamptz NOT NULL,
    terms     text NOT NULL,
    PRIMARY KEY (title_id, since)
);

-- Titles that a transaction touched; gone when it commits.
CREATE UNLOGGED TABLE title_changed (
    transaction xid8 NOT NULL,
    title_id    text NOT NULL,
    PRIMARY KEY (transaction, title_id)
);

-- The moment that is written into histories; a writer with a clock of its own sets `matinee.now` in its transaction.
CREATE FUNCTION told_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('matinee.now', true), '')::timestamptz, now())
$$;

CREATE FUNCTION mark_title() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO title_changed VALUES (pg_current_xact_id(), NEW.title_id) ON CONFLICT DO NOTHING;
    END IF;
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND OLD.title_id <> NEW.title_id) THEN
        INSERT INTO title_changed VALUES (pg_current_xact_id(), OLD.title_id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO title_changed SELECT pg_current_xact_id(), OLD.parent_id WHERE OLD.parent_id IS NOT NULL ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER title_marked AFTER INSERT OR UPDATE OR DELETE ON title FOR EACH ROW EXECUTE FUNCTION mark_title();
CREATE TRIGGER title_parent_marked AFTER UPDATE OF parent_id OR DELETE ON title FOR EACH ROW EXECUTE FUNCTION mark_parent();
CREATE TRIGGER title_text_marked AFTER INSERT OR UPDATE OR DELETE ON title_text FOR EACH ROW EXECUTE FUNCTION mark_title();
CREATE TRIGGER title_person_marked AFTER INSERT OR UPDATE OR DELETE ON title_person FOR EACH ROW EXECUTE FUNCTION mark_title();
CREATE TRIGGER offer_marked AFTER INSERT OR UPDATE OR DELETE ON offer FOR EACH ROW EXECUTE FUNCTION mark_title();
CREATE TRIGGER package_marked AFTER INSERT OR UPDATE OR DELETE ON package FOR EACH ROW EXECUTE FUNCTION mark_title();

-- Makes the rows of these titles, of what is below them and of their parents anew, and tells whom it concerns.
CREATE FUNCTION refresh_listed(touched text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    affected text[];
    changed text[];
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
    WITH made AS (
        INSERT INTO listed_title AS old SELECT * FROM title_listing WHERE title_id = ANY (affected)
        ON CONFLICT (title_id) DO UPDATE SET
            kind = excluded.kind, parent_id = excluded.parent_id, root_id = excluded.root_id, number = excluded.number,
            season = excluded.season, year = excluded.year, runtime_s = excluded.runtime_s, maturity = excluded.maturity,
            genres = excluded.genres, state = excluded.state, bare = excluded.bare, playable = excluded.playable,
            offers_of = excluded.offers_of, offer_terms = excluded.offer_terms, titles = excluded.titles,
            created_at = excluded.created_at, added_at = excluded.added_at, is_shown = excluded.is_shown,
            is_root = excluded.is_root, is_free = excluded.is_free, open = excluded.open,
            is_regional = excluded.is_regional, facets = excluded.facets, sort_year = excluded.sort_year,
            name_en = excluded.name_en, name_ru = excluded.name_ru, names = excluded.names, words = excluded.words,
            card = excluded.card, terms = excluded.terms
        WHERE old IS DISTINCT FROM excluded
        RETURNING title_id)
    SELECT array_agg(title_id) INTO changed FROM made;
    INSERT INTO title_terms (title_id, since, terms)
    SELECT l.title_id, told_now(), l.terms FROM listed_title l
    WHERE l.title_id = ANY (changed) AND l.terms IS DISTINCT FROM (
        SELECT h.terms FROM title_terms h WHERE h.title_id = l.title_id ORDER BY since DESC LIMIT 1)
    ON CONFLICT (title_id, since) DO UPDATE SET terms = excluded.terms;
    INSERT INTO outbox (topic, key) SELECT 'title', title_id FROM unnest(touched) AS title_id UNION
                                    SELECT 'title', title_id FROM unnest(changed) AS title_id;
END $$;

-- Once a transaction, when it commits. One at a time: two that touch a family at once would each miss the other's part.
CREATE FUNCTION refresh_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched text[];
BEGIN
    WITH gone AS (DELETE FROM title_changed WHERE transaction = pg_current_xact_id() RETURNING title_id)
    SELECT array_agg(title_id) INTO touched FROM gone;
    IF touched IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7228116);
        PERFORM refresh_listed(touched);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER title_changed_refreshed AFTER INSERT ON title_changed
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refresh_changed();

INSERT INTO listed_title SELECT * FROM title_listing;
INSERT INTO title_terms SELECT title_id, created_at, terms FROM listed_title;
