-- name: lock_enqueue
SELECT pg_advisory_xact_lock(7228114);

-- name: wanted
WITH newest AS (
    SELECT DISTINCT ON (m.title_id) m.title_id, m.master_id, m.bytes
    FROM master m
    WHERE m.state = 'accepted' AND m.title_id IS NOT NULL AND m.stored_path IS NOT NULL
      AND (%(titles)s::text[] IS NULL OR m.title_id = ANY (%(titles)s))
    ORDER BY m.title_id, m.created_at DESC, m.master_id DESC
), fact AS (
    SELECT n.title_id, n.master_id, n.bytes,
           coalesce(t.treatment,
                    (SELECT p.treatment FROM playable JOIN package p USING (package_id) WHERE p.title_id = n.title_id),
                    (SELECT j.treatment FROM transcode_job j
                     WHERE j.title_id = n.title_id AND j.master_id = n.master_id AND j.state = 'active'),
                    %(default)s) AS treatment,
           title_protection(n.title_id) AS protection,
           coalesce((SELECT array_agg(s.sha256 ORDER BY s.sha256) FROM master_sidecar s WHERE s.master_id = n.master_id),
                    '{}') AS sidecars
    FROM newest n LEFT JOIN title_treatment t USING (title_id)
), tried AS (
    SELECT j.title_id, j.state, j.retry, j.tools, j.watermark, j.created_at, j.updated_at,
           j.state = 'published' AND p.state = 'published' AND p.superseded_at IS NULL AS plays
    FROM fact f JOIN transcode_job j USING (title_id, master_id, treatment, protection, sidecars)
    LEFT JOIN package p USING (package_id)
)
SELECT f.title_id, f.master_id, f.treatment, f.protection, f.sidecars
FROM fact f
WHERE NOT EXISTS ( -- a watermark is more than none
    SELECT FROM tried j
    WHERE j.title_id = f.title_id AND j.tools = %(tools)s
      AND (((j.state = 'active' OR j.plays) AND j.watermark >= %(watermark)s)
           OR (j.state = 'failed' AND NOT j.retry AND j.watermark = %(watermark)s))
  )
  AND NOT EXISTS ( -- the work of other tools stands where they came later, or where it is marked and mine was made
    SELECT FROM tried j
    WHERE j.title_id = f.title_id AND j.tools <> %(tools)s AND j.watermark >= %(watermark)s
      AND (j.plays OR (j.state = 'active' AND EXISTS ( -- as long as somebody has them
        SELECT FROM transcode_task t JOIN transcode_job k USING (job_id)
        WHERE k.tools = j.tools AND t.updated_at > now() - interval '10 minutes')))
      AND ((SELECT min(k.created_at) FROM transcode_job k WHERE k.tools = j.tools)
           > (SELECT min(k.created_at) FROM transcode_job k WHERE k.tools = %(tools)s)
           OR (j.watermark > %(watermark)s AND EXISTS (
             SELECT FROM tried mine
             WHERE mine.title_id = f.title_id AND mine.tools = %(tools)s AND mine.state = 'published')))
  )
  AND NOT (%(back_off)s AND EXISTS (
    SELECT FROM tried j
    WHERE j.title_id = f.title_id AND j.tools = %(tools)s AND j.watermark = %(watermark)s AND j.state = 'failed'
    HAVING max(j.updated_at) > now() - least(interval '6 hours', interval '1 minute' * 2 ^ least(count(*) - 1, 9))
  ))
ORDER BY f.bytes DESC, f.master_id;

-- name: drop_job
UPDATE transcode_job SET state = 'dropped', updated_at = now() WHERE title_id = %(title_id)s AND state = 'active';

-- name: add_job
INSERT INTO transcode_job (job_id, title_id, master_id, treatment, protection, tools, sidecars, watermark, priority, created_at)
VALUES (%(job_id)s, %(title_id)s, %(master_id)s, %(treatment)s, %(protection)s, %(tools)s, %(sidecars)s, %(watermark)s,
        %(priority)s, clock_timestamp());

-- name: add_task
INSERT INTO transcode_task (task_id, job_id, kind, part, number, state, weight)
VALUES (%(task_id)s, %(job_id)s, %(kind)s, %(part)s, %(number)s, %(state)s, %(weight)s)
ON CONFLICT (job_id, kind, part, number) DO NOTHING;

-- name: claim
WITH next AS (
    SELECT t.task_id
    FROM transcode_task t JOIN transcode_job j USING (job_id)
    WHERE t.state = 'ready' AND t.not_before <= now() AND (t.lease_until IS NULL OR t.lease_until < now())
      AND t.attempts < %(most_attempts)s
      AND j.state = 'active' AND j.tools = %(tools)s
      AND (%(titles)s::text[] IS NULL OR j.title_id = ANY (%(titles)s))
    ORDER BY j.priority DESC, t.part, j.created_at, j.job_id,
             array_position(ARRAY['package', 'plan', 'check', 'audio', 'chunk'], t.kind), t.number
    LIMIT 1
    FOR UPDATE OF t SKIP LOCKED
)
UPDATE transcode_task t
SET holder = %(holder)s, lease_until = now() + make_interval(secs => %(lease_s)s), attempts = t.attempts + 1,
    progress = 0, updated_at = now()
FROM next, transcode_job j JOIN master m USING (master_id)
WHERE t.task_id = next.task_id AND j.job_id = t.job_id
RETURNING t.task_id, t.job_id, t.kind, t.part, t.number, t.attempts, t.failures, t.holder, j.title_id, j.master_id,
          m.stored_path, j.treatment, j.protection, j.sidecars, j.watermark, j.source, j.plan;

-- name: renew
UPDATE transcode_task t
SET lease_until = now() + make_interval(secs => %(lease_s)s), progress = %(progress)s, updated_at = now()
FROM transcode_job j
WHERE t.task_id = %(task_id)s AND t.holder = %(holder)s AND t.state = 'ready' AND j.job_id = t.job_id
  AND j.state = 'active';

-- name: release
UPDATE transcode_task
SET holder = NULL, lease_until = NULL, attempts = attempts - 1, progress = 0, updated_at = now()
WHERE task_id = %(task_id)s AND holder = %(holder)s AND state = 'ready';

-- name: put_back
UPDATE transcode_task
SET holder = NULL, lease_until = NULL, failures = failures + 1, error = %(error)s, progress = 0, updated_at = now(),
    not_before = now() + make_interval(secs => %(delay_s)s)
WHERE task_id = %(task_id)s AND holder = %(holder)s AND state = 'ready';

-- name: lock_job
SELECT state FROM transcode_job WHERE job_id = %(job_id)s FOR UPDATE;

-- name: finish_task
UPDATE transcode_task
SET state = 'done', lease_until = NULL, progress = 1, error = NULL, result = %(result)s, cpu_s = %(cpu_s)s, updated_at = now()
WHERE task_id = %(task_id)s AND holder = %(holder)s AND state = 'ready';

-- name: was_finished
SELECT FROM transcode_task WHERE task_id = %(task_id)s AND holder = %(holder)s AND state = 'done';

-- name: ready_packages
UPDATE transcode_task p SET state = 'ready', not_before = now(), updated_at = now()
WHERE p.job_id = %(job_id)s AND p.kind = 'package' AND p.state = 'waiting'
  AND NOT EXISTS (
    SELECT FROM transcode_task t
    WHERE t.job_id = p.job_id AND t.task_id <> p.task_id AND t.state <> 'done'
      AND (t.part < p.part OR (t.part = p.part AND t.kind <> 'package'))
  );

-- name: remake
UPDATE transcode_task SET state = 'ready', holder = NULL, lease_until = NULL, progress = 0, updated_at = now()
WHERE job_id = %(job_id)s AND state = 'done' AND kind = %(kind)s AND part = %(part)s AND number = %(number)s;

-- name: await_remade
UPDATE transcode_task SET state = 'waiting', holder = NULL, lease_until = NULL, updated_at = now()
WHERE task_id = %(task_id)s AND holder = %(holder)s AND state = 'ready';

-- name: planned
UPDATE transcode_job SET source = %(source)s, plan = %(plan)s, updated_at = now() WHERE job_id = %(job_id)s;

-- name: poison
UPDATE transcode_task
SET state = 'poisoned', lease_until = NULL, failures = failures + 1, error = %(error)s, updated_at = now()
WHERE task_id = %(task_id)s AND holder = %(holder)s AND state = 'ready';

-- name: worn_out
UPDATE transcode_task t
SET state = 'poisoned', lease_until = NULL, updated_at = now(),
    error = 'began ' || t.attempts || ' times: ' || coalesce(t.error, 'each time its worker ended without a word')
FROM transcode_job j
WHERE j.job_id = t.job_id AND j.state = 'active' AND t.state = 'ready' AND t.attempts >= %(most_attempts)s
  AND (t.lease_until IS NULL OR t.lease_until < now())
RETURNING t.job_id, j.title_id, j.master_id, j.treatment, j.protection, t.kind, t.error;

-- name: end_job
UPDATE transcode_job SET state = %(state)s, reason = %(reason)s, retry = %(retry)s, updated_at = now()
WHERE job_id = %(job_id)s AND state = 'active';

-- name: made_package
UPDATE transcode_job SET package_id = %(package_id)s, updated_at = now() WHERE job_id = %(job_id)s;

-- name: task_results
SELECT kind, part, number, result FROM transcode_task
WHERE job_id = %(job_id)s AND state = 'done' AND result IS NOT NULL ORDER BY kind, part, number;

-- name: tasks_of
SELECT kind, part, number FROM transcode_task WHERE job_id = %(job_id)s AND state = 'done';

-- name: active_jobs
SELECT job_id FROM transcode_job
WHERE state = 'active' AND (%(titles)s::text[] IS NULL OR title_id = ANY (%(titles)s))
  AND (%(tools)s::text IS NULL OR tools = %(tools)s)
ORDER BY created_at, job_id;

-- name: progress_of
SELECT title_id, state, fraction, weight, weight_done, tasks, tasks_running FROM transcode_progress
WHERE job_id = ANY (%(jobs)s) ORDER BY created_at, job_id;

-- name: outcomes
SELECT j.title_id, j.master_id, coalesce(j.package_id, '') AS package_id, j.state, j.reason, p.duration_ms,
       coalesce(p.rungs, '[]') AS rungs, extract(epoch FROM j.updated_at - j.created_at)::float8 AS seconds, j.retry
FROM transcode_job j LEFT JOIN package p USING (package_id)
WHERE j.job_id = ANY (%(jobs)s) AND j.state IN ('published', 'failed') ORDER BY j.updated_at, j.job_id;

-- name: queue
SELECT title_id, state, treatment, tasks, tasks_done, fraction, weight - weight_done AS weight_left, attempts,
       coalesce(error, reason, '') AS error
FROM transcode_progress
WHERE state = 'active' OR updated_at > now() - interval '1 day'
ORDER BY state = 'active' DESC, priority DESC, CASE WHEN state = 'active' THEN created_at END, updated_at DESC
LIMIT %(most)s;

-- name: recent_speed
SELECT coalesce(sum(t.weight) / nullif(extract(epoch FROM max(t.updated_at) - min(t.updated_at)), 0), 0)::float8
FROM transcode_task t WHERE t.state = 'done' AND t.updated_at > now() - interval '10 minutes';

-- name: audience
SELECT kbps FROM transcode_audience ORDER BY measured_at DESC LIMIT 1;

-- name: published
SELECT package_id, title_id FROM package WHERE state = 'published' ORDER BY package_id;

-- name: plays
SELECT EXISTS (SELECT FROM package WHERE title_id = %(title_id)s AND state = 'published');

-- name: has_masters
SELECT EXISTS (SELECT FROM master WHERE state = 'accepted' AND stored_path IS NOT NULL);

-- name: lost
UPDATE package SET state = 'failed', reason = 'its files are gone from the media store', tools = NULL
WHERE package_id = %(package_id)s AND state = 'published';

-- name: record
INSERT INTO package (package_id, title_id, master_id, state, reason, duration_ms, rungs, tools, protection, treatment)
VALUES (%(package_id)s, %(title_id)s, %(master_id)s, %(state)s, %(reason)s, %(duration_ms)s, %(rungs)s, %(tools)s,
        %(protection)s, %(treatment)s)
ON CONFLICT (package_id) DO UPDATE
SET state = excluded.state, reason = excluded.reason, duration_ms = excluded.duration_ms, rungs = excluded.rungs,
    tools = excluded.tools, created_at = now(), superseded_at = NULL;

-- name: supersede
UPDATE package SET superseded_at = now()
WHERE title_id = %(title_id)s AND package_id <> %(package_id)s AND state = 'published' AND superseded_at IS NULL;

-- name: collectable
SELECT p.package_id, p.title_id FROM package p
WHERE p.state = 'published' AND p.superseded_at < now() - make_interval(secs => %(grace_s)s)
  AND NOT EXISTS (SELECT FROM playback_session s WHERE s.package_id = p.package_id AND s.expires_at > now())
  AND EXISTS (SELECT FROM package n WHERE n.title_id = p.title_id AND n.state = 'published' AND n.superseded_at IS NULL)
ORDER BY p.superseded_at FOR UPDATE OF p SKIP LOCKED;

-- name: collect
UPDATE package SET state = 'collected' WHERE package_id = %(package_id)s;

-- name: package_states
SELECT package_id, state FROM package;

-- name: package_state
SELECT state FROM package WHERE package_id = %(package_id)s;

-- name: lock_package
SELECT pg_advisory_xact_lock(hashtextextended(%(package_id)s, 7228114));

-- name: known_titles
SELECT title_id FROM title WHERE title_id = ANY (%(names)s) ORDER BY title_id;

-- name: living_jobs
SELECT job_id FROM transcode_job WHERE state = 'active';

-- name: holders
-- Also those whose lease ended lately: while PostgreSQL is away nobody can renew, and workers go on.
SELECT holder FROM transcode_task WHERE state = 'ready' AND lease_until > now() - interval '10 minutes';

-- name: end_lease
UPDATE transcode_task SET holder = NULL, lease_until = NULL, updated_at = now()
WHERE holder = %(holder)s AND state = 'ready';

-- name: add_content_key
INSERT INTO content_key (key_id, title_id, tier, period, wrapped, kek)
VALUES (%(key_id)s, %(title_id)s, %(tier)s, %(period)s, %(wrapped)s, %(kek)s)
ON CONFLICT (title_id, tier, period) DO NOTHING;

-- name: content_key
SELECT key_id, wrapped, kek FROM content_key
WHERE title_id = %(title_id)s AND tier = %(tier)s AND period = %(period)s;

-- name: content_key_by_id
SELECT key_id, title_id, tier, wrapped, kek FROM content_key WHERE key_id = %(key_id)s;

-- name: secret_checks
SELECT version, digest FROM secret_check WHERE name = %(name)s;

-- name: add_secret_check
INSERT INTO secret_check (name, version, digest) VALUES (%(name)s, %(version)s, %(digest)s) ON CONFLICT DO NOTHING;

-- name: content_key_under
SELECT key_id, wrapped FROM content_key WHERE kek = %(kek)s LIMIT 1;

-- name: lock_content_keys
LOCK TABLE content_key IN SHARE ROW EXCLUSIVE MODE;

-- name: content_keys_of_others
SELECT key_id, wrapped, kek FROM content_key WHERE kek <> %(kek)s;

-- name: rewrap_content_key
UPDATE content_key SET wrapped = %(wrapped)s, kek = %(kek)s WHERE key_id = %(key_id)s;

-- name: content_key_versions
SELECT DISTINCT kek FROM content_key;

-- name: sidecars
SELECT language, stored_path, forced FROM master_sidecar WHERE master_id = %(master_id)s ORDER BY language, forced;

-- name: store_probe
INSERT INTO transcode_probe (master_id, settings, codec, height, crf, sample, start_s, kbps, vmaf, weight)
VALUES (
    %(master_id)s, %(settings)s, %(codec)s, %(height)s, %(crf)s, %(sample)s, %(start_s)s, %(kbps)s, %(vmaf)s,
    %(weight)s
)
ON CONFLICT (master_id, settings, height, crf, sample) DO UPDATE
SET start_s = excluded.start_s, kbps = excluded.kbps, vmaf = excluded.vmaf, weight = excluded.weight, created_at = now();

-- name: load_probes
SELECT codec, height, crf, sample, start_s, kbps, vmaf, weight
FROM transcode_probe WHERE master_id = %(master_id)s AND settings = ANY(%(settings)s)
ORDER BY codec, height DESC, crf, sample;
