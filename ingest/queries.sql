-- name: record_part
INSERT INTO landed_file (path, stream, first_id, last_id, rows, landed_on) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (path) DO NOTHING

-- name: recorded_parts
SELECT path FROM landed_file WHERE stream = %s

-- name: totals
SELECT stream, count(*), coalesce(sum(rows), 0)::bigint FROM landed_file WHERE stream = ANY(%s) GROUP BY stream

-- name: log_offset
SELECT last_id FROM log_offset WHERE stream = %s

-- name: start_offset
INSERT INTO log_offset (stream, last_id) VALUES (%s, '0-0') ON CONFLICT DO NOTHING

-- name: move_offset
UPDATE log_offset SET last_id = %s, updated_at = now() WHERE stream = %s AND last_id = %s

-- name: is_locked
SELECT EXISTS (
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND l.objid = %s AND d.datname = current_database()
)

-- name: try_lock
SELECT pg_try_advisory_lock(%s)

-- name: lock
SELECT pg_advisory_lock(%s)

-- name: unlock
SELECT pg_advisory_unlock(%s)

-- name: record_dead_letter
INSERT INTO dead_letter (log_id, path, code, reason, origin, account_id, received_at, stamp)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (log_id) DO NOTHING

-- name: dead_letter_counts
SELECT code, count(*) FILTER (WHERE replayed_at IS NULL), count(*) FILTER (WHERE replayed_at IS NOT NULL)
FROM dead_letter GROUP BY code ORDER BY code

-- name: dead_letter_groups
-- Reasons that differ in their numbers and in what they quote are one.
SELECT code, summary, count(*) FILTER (WHERE replayed_at IS NULL) AS waiting,
       count(*) FILTER (WHERE replayed_at IS NOT NULL) AS replayed, min(received_at) AS first_seen,
       max(received_at) AS last_seen, (array_agg(log_id ORDER BY received_at DESC, log_id DESC))[1] AS newest
FROM (
    SELECT *, regexp_replace(regexp_replace(reason, '''[^'']*''', '''…''', 'g'), '[0-9][0-9,.:]*', 'N', 'g') AS summary
    FROM dead_letter WHERE (%(code)s::text IS NULL OR code = %(code)s)
    AND (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
) AS found
GROUP BY code, summary ORDER BY waiting DESC, last_seen DESC, code, summary

-- name: dead_letters
SELECT log_id, path, code, reason, origin, account_id, received_at, attempts, replayed_at, replayed_as, stamp
FROM dead_letter WHERE (%(code)s::text IS NULL OR code = %(code)s) AND (NOT %(waiting)s OR replayed_at IS NULL)
AND (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
ORDER BY received_at DESC, log_id DESC LIMIT %(limit)s

-- name: dead_letter
SELECT log_id, path, code, reason, origin, account_id, received_at, attempts, replayed_at, replayed_as, stamp
FROM dead_letter WHERE log_id = %s

-- name: salts_left
SELECT account_id, salt FROM account_salt WHERE account_id = ANY(%s)

-- name: dead_letters_to_replay
SELECT log_id, path, code, reason, origin, account_id, received_at, attempts, replayed_at, replayed_as, stamp
FROM dead_letter WHERE (%(code)s::text IS NULL OR code = %(code)s) AND replayed_at IS NULL
AND (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
ORDER BY path, log_id FOR UPDATE SKIP LOCKED

-- name: mark_replayed
UPDATE dead_letter SET attempts = attempts + 1, replayed_at = now(), replayed_as = %s WHERE log_id = %s

-- name: mark_attempted
UPDATE dead_letter SET attempts = attempts + 1, code = %s, reason = %s WHERE log_id = %s

-- name: one_catalogue_writer
SELECT pg_advisory_xact_lock(7228115)

-- name: titles_known
SELECT title_id, kind, parent_id, feed_hash FROM title

-- name: overrides
SELECT title_id, field, value FROM title_override WHERE title_id = ANY(%s)

-- name: upsert_title
-- The state of a title that a feed or a moderator knows is no feed's to change.
INSERT INTO title AS old (title_id, kind, parent_id, number, year, runtime_s, maturity, genres, tags, countries, images,
                          extra, feed_hash, state, published_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
        CASE WHEN %s THEN told_now() END)
ON CONFLICT (title_id) DO UPDATE SET
    kind = excluded.kind, parent_id = excluded.parent_id, number = excluded.number, year = excluded.year,
    runtime_s = excluded.runtime_s, maturity = excluded.maturity, genres = excluded.genres, tags = excluded.tags,
    countries = excluded.countries, images = excluded.images, extra = excluded.extra, feed_hash = excluded.feed_hash,
    state = CASE WHEN old.feed_hash IS NULL AND old.state = 'draft' AND old.withdrawn_at IS NULL THEN excluded.state
                 ELSE old.state END,
    published_at = coalesce(old.published_at,
        CASE WHEN old.feed_hash IS NULL AND old.state = 'draft' AND old.withdrawn_at IS NULL THEN excluded.published_at END),
    version = old.version + 1, updated_at = now()

-- name: write_title
UPDATE title SET number = %s, year = %s, runtime_s = %s, maturity = %s, genres = %s, tags = %s, countries = %s, images = %s,
    extra = %s, version = version + 1, updated_at = told_now()
WHERE title_id = %s

-- name: moderated
-- A title in the words of a feed, and what moderation knows of it.
SELECT t.state, t.version, t.note, t.feed_hash IS NOT NULL AS from_feed, t.updated_at, texts.titles,
       ARRAY(SELECT field FROM title_override o WHERE o.title_id = t.title_id) AS ours,
       jsonb_build_object(
           'id', t.title_id, 'kind', t.kind, 'parent', t.parent_id, 'titles', coalesce(texts.titles, '{}'),
           'synopsis', coalesce(texts.synopsis, '{}'), 'year', t.year, 'runtime_s', t.runtime_s, 'genres', t.genres,
           'tags', t.tags, 'maturity', t.maturity, 'countries', t.countries, 'images', t.images, 'extra', t.extra,
           'people', coalesce((SELECT jsonb_agg(jsonb_build_object('name', name, 'role', role) ORDER BY position)
                               FROM title_person p WHERE p.title_id = t.title_id), '[]'),
           'offers', coalesce((SELECT jsonb_agg(jsonb_build_object(
                                   'kind', kind, 'plans', plans, 'price', price::text, 'currency', currency,
                                   'regions', regions, 'from', lower(open), 'until', upper(open)) ORDER BY position)
                               FROM offer o WHERE o.title_id = t.title_id), '[]')) AS title
FROM title t
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(language, title) AS titles,
           jsonb_object_agg(language, synopsis) FILTER (WHERE synopsis <> '') AS synopsis
    FROM title_text x WHERE x.title_id = t.title_id) texts ON true
WHERE t.title_id = %s

-- name: override
INSERT INTO title_override (title_id, field, value, set_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (title_id, field) DO UPDATE SET value = excluded.value, set_at = excluded.set_at

-- name: release
DELETE FROM title_override WHERE title_id = %s AND field = ANY(%s)

-- name: read_feed_anew
-- No line has this hash, so the next run of the feed writes the title whatever its line says.
UPDATE title SET feed_hash = CASE WHEN feed_hash IS NULL THEN NULL ELSE '\x'::bytea END, version = version + 1,
    updated_at = told_now()
WHERE title_id = %s

-- name: set_state
-- What was withdrawn stays away, whatever its state, until it is published again.
UPDATE title SET state = wanted.state, note = %(note)s,
    published_at = CASE wanted.state WHEN 'published' THEN coalesce(published_at, told_now()) ELSE published_at END,
    withdrawn_at = CASE wanted.state WHEN 'withdrawn' THEN told_now() WHEN 'published' THEN NULL ELSE withdrawn_at END,
    version = version + 1, updated_at = told_now()
FROM (VALUES (%(state)s)) AS wanted (state)
WHERE title_id = %(title_id)s

-- name: moderation_queue
SELECT t.title_id, t.kind, t.state, t.version, t.note, t.updated_at, l.titles
FROM title t JOIN listed_title l USING (title_id)
WHERE t.state = %s AND (t.updated_at, t.title_id) > (%s::timestamptz, %s)
ORDER BY t.updated_at, t.title_id LIMIT %s

-- name: clear_texts
DELETE FROM title_text WHERE title_id = ANY(%s)

-- name: clear_people
DELETE FROM title_person WHERE title_id = ANY(%s)

-- name: clear_offers
DELETE FROM offer WHERE title_id = ANY(%s)

-- name: add_text
INSERT INTO title_text (title_id, language, title, synopsis) VALUES (%s, %s, %s, %s)

-- name: add_person
INSERT INTO title_person (title_id, position, name, role) VALUES (%s, %s, %s, %s)

-- name: add_offer
INSERT INTO offer (title_id, position, kind, plans, price, currency, regions, open)
VALUES (%s, %s, %s, %s, %s, %s, %s, tstzrange(%s, %s))

-- name: add_draft
INSERT INTO title (title_id, kind, year, maturity, state) VALUES (%s, 'film', %s, %s, 'draft') ON CONFLICT DO NOTHING

-- name: forget_rejections
DELETE FROM feed_rejection WHERE feed_hash = %s AND NOT line_number = ANY(%s)

-- name: add_rejection
INSERT INTO feed_rejection (feed_hash, line_number, feed_name, reason, line) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (feed_hash, line_number) DO UPDATE SET reason = excluded.reason WHERE feed_rejection.reason <> excluded.reason

-- name: titles_to_link
SELECT t.title_id, t.kind, t.year, t.extra -> 'master' AS master,
       (SELECT coalesce(array_agg(x.title), '{}') FROM title_text x WHERE x.title_id = t.title_id) AS names
FROM title t WHERE t.feed_hash IS NOT NULL AND t.kind IN ('film', 'episode', 'extra')

-- name: master_state
SELECT state FROM master WHERE master_id = %s

-- name: accepted_source
SELECT m.stored_path FROM master_source s JOIN master m USING (master_id)
WHERE s.path = %s AND s.bytes = %s AND s.modified_ns = %s AND s.relative_path = %s AND s.alone = %s AND m.state = 'accepted'

-- name: remember_source
INSERT INTO master_source (path, relative_path, bytes, modified_ns, alone, master_id) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (path) DO UPDATE SET relative_path = excluded.relative_path, bytes = excluded.bytes,
    modified_ns = excluded.modified_ns, alone = excluded.alone, master_id = excluded.master_id

-- name: add_master
-- A file that was here before with other content is a new version of the same title.
INSERT INTO master (master_id, file_name, stored_path, bytes, state, reason, probe, title_id)
VALUES (%s, %s, %s, %s, %s, %s, %s,
        (SELECT old.title_id FROM master_source s JOIN master old USING (master_id) WHERE s.path = %s))
ON CONFLICT (master_id) DO UPDATE SET file_name = excluded.file_name, stored_path = excluded.stored_path,
    state = excluded.state, reason = excluded.reason, probe = excluded.probe
    WHERE master.state = 'refused' AND excluded.state = 'accepted'

-- name: masters_to_link
SELECT m.master_id, m.title_id, s.path, s.relative_path, s.alone
FROM master m LEFT JOIN title t USING (title_id) JOIN master_source s USING (master_id)
WHERE m.state = 'accepted' AND (m.title_id IS NULL OR t.feed_hash IS NULL)
ORDER BY s.relative_path, s.path

-- name: link_master
UPDATE master SET title_id = %s WHERE master_id = %s

-- name: title_of_masters
SELECT master_id, title_id FROM master WHERE master_id = ANY(%s) AND title_id IS NOT NULL

-- name: drop_idle_draft
DELETE FROM title t WHERE t.title_id = %s AND t.feed_hash IS NULL AND t.state = 'draft' AND t.withdrawn_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM master m WHERE m.title_id = t.title_id)
    AND NOT EXISTS (SELECT 1 FROM package p WHERE p.title_id = t.title_id)
    AND NOT EXISTS (SELECT 1 FROM playback_session s WHERE s.title_id = t.title_id)
    AND NOT EXISTS (SELECT 1 FROM playback_position s WHERE s.title_id = t.title_id)
    AND NOT EXISTS (SELECT 1 FROM entitlement e WHERE e.title_id = t.title_id)
    AND NOT EXISTS (SELECT 1 FROM content_key k WHERE k.title_id = t.title_id)
    AND NOT EXISTS (SELECT 1 FROM title_override o WHERE o.title_id = t.title_id)

-- name: sidecars_of_master
SELECT language, forced, sha256, path, stored_path FROM master_sidecar WHERE master_id = %s ORDER BY language, forced

-- name: put_sidecar
INSERT INTO master_sidecar
    (master_id, language, forced, format, stored_path, sha256, file_name, path, cues, dropped)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (master_id, language, forced) DO UPDATE
SET format = excluded.format, stored_path = excluded.stored_path, sha256 = excluded.sha256,
    file_name = excluded.file_name, path = excluded.path, cues = excluded.cues, dropped = excluded.dropped,
    added_at = now()

-- name: drop_sidecar
DELETE FROM master_sidecar WHERE master_id = %s AND language = %s AND forced = %s

-- name: forget_letters
DELETE FROM dead_letter WHERE account_id = ANY(%s)

-- name: letters_that_may_name
-- Sealed for nobody in particular, or refused because they name a profile that is somebody else's.
SELECT log_id, path, code, reason, origin, account_id, received_at, attempts, replayed_at, replayed_as
FROM dead_letter WHERE account_id IS NULL OR code = 'profile_mismatch'

-- name: forget_letters_by_id
DELETE FROM dead_letter WHERE log_id = ANY(%s)

-- name: landed_events
SELECT path FROM landed_file WHERE stream <> 'dead' ORDER BY path

-- name: dead_files_with_strangers
SELECT f.path FROM landed_file f LEFT JOIN dead_letter d USING (path)
WHERE f.stream = 'dead' GROUP BY f.path, f.rows HAVING count(d.log_id) < f.rows ORDER BY f.path

-- name: letters_of_file
SELECT log_id FROM dead_letter WHERE path = %s

-- name: begin_rewrite
INSERT INTO landed_rewrite (path, rows) VALUES (%s, %s) ON CONFLICT (path) DO UPDATE SET rows = excluded.rows

-- name: rewrites
SELECT path, rows FROM landed_rewrite ORDER BY path

-- name: forget_rewrite
DELETE FROM landed_rewrite WHERE path = %s

-- name: set_landed_rows
UPDATE landed_file SET rows = %s WHERE path = %s

-- name: part_after
-- The file that ends first of those that end after this place: files of one batch, a received day each, may overlap.
-- What lands past the log has other names.
SELECT path, last_id FROM landed_file
WHERE stream = 'events' AND path ~ '/part-\d+-\d+-\d+-\d+\.parquet$'
  AND (split_part(last_id, '-', 1)::bigint, split_part(last_id, '-', 2)::bigint) > (%s::bigint, %s::bigint)
ORDER BY split_part(last_id, '-', 1)::bigint, split_part(last_id, '-', 2)::bigint
LIMIT 1
