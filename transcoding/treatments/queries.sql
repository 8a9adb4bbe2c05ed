-- name: titles
SELECT t.title_id, coalesce(p.duration_ms / 1000.0, t.runtime_s)::float8 AS duration_s, j.plan, p.rungs, p.treatment,
       d.treatment AS decided,
       coalesce((
           SELECT state = 'failed' AND NOT retry FROM transcode_job
           WHERE title_id = d.title_id AND treatment = d.treatment ORDER BY created_at DESC, job_id DESC LIMIT 1
       ), false) AS failed,
       (extract(epoch FROM %(now)s - d.decided_at) / 86400)::float8 AS decided_days,
       (extract(epoch FROM %(now)s - t.created_at) / 86400)::float8 AS known_days
FROM title t
LEFT JOIN playable playing USING (title_id)
LEFT JOIN package p USING (package_id)
LEFT JOIN LATERAL (
    SELECT plan FROM transcode_job WHERE package_id = p.package_id ORDER BY updated_at DESC LIMIT 1
) j ON true
LEFT JOIN title_treatment d ON d.title_id = t.title_id
WHERE EXISTS (SELECT FROM master m WHERE m.title_id = t.title_id AND m.state = 'accepted')
ORDER BY t.title_id;

-- name: measured_cpu
SELECT j.treatment, j.plan, sum(t.cpu_s)::float8 AS cpu_s
FROM transcode_job j JOIN transcode_task t USING (job_id)
WHERE j.state = 'published' AND j.plan IS NOT NULL AND t.kind IN ('plan', 'chunk') AND j.updated_at > %(since)s
GROUP BY j.job_id
HAVING bool_and(t.cpu_s IS NOT NULL)
ORDER BY j.updated_at DESC LIMIT 200;

-- name: decide
INSERT INTO title_treatment (title_id, treatment, reason, decided_at, saved_gb, cpu_s)
VALUES (%(title_id)s, %(treatment)s, %(reason)s, %(now)s, %(saved_gb)s, %(cpu_s)s)
ON CONFLICT (title_id) DO UPDATE
SET treatment = excluded.treatment, reason = excluded.reason, decided_at = excluded.decided_at,
    saved_gb = excluded.saved_gb, cpu_s = excluded.cpu_s;

-- name: store_audience
INSERT INTO transcode_audience (measured_at, kbps, hours, censored)
VALUES (%(now)s, %(kbps)s, %(hours)s, %(censored)s) ON CONFLICT (measured_at) DO NOTHING;

-- name: decisions
SELECT d.title_id, d.treatment, p.treatment, d.reason, d.saved_gb, d.cpu_s,
       coalesce((
           SELECT state = 'failed' AND NOT retry FROM transcode_job
           WHERE title_id = d.title_id AND treatment = d.treatment ORDER BY created_at DESC, job_id DESC LIMIT 1
       ), false) AS failed
FROM title_treatment d LEFT JOIN playable playing USING (title_id) LEFT JOIN package p USING (package_id)
ORDER BY d.saved_gb DESC, d.title_id;

-- name: last_decision
SELECT max(decided_at) FROM title_treatment;
