-- name: jobs
SELECT state, count(*) FROM transcode_job GROUP BY state ORDER BY state;

-- name: tasks
SELECT CASE WHEN t.state = 'ready' AND t.lease_until > now() THEN 'running' ELSE t.state END, count(*)
FROM transcode_task t JOIN transcode_job j USING (job_id) WHERE j.state = 'active' GROUP BY 1 ORDER BY 1;

-- name: packages
SELECT CASE WHEN superseded_at IS NOT NULL AND state = 'published' THEN 'superseded' ELSE state END, count(*)
FROM package GROUP BY 1 ORDER BY 1;

-- name: failed
SELECT DISTINCT ON (title_id) title_id, treatment, coalesce(reason, '')
FROM transcode_job j
WHERE state = 'failed'
  AND NOT EXISTS (SELECT FROM transcode_job n WHERE n.title_id = j.title_id AND n.created_at > j.created_at)
ORDER BY title_id, created_at DESC;
