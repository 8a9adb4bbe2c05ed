-- writer: transcoding.queue. A master on its way to a package of a title, with all that decides the package's bytes: when
-- any of it differs from what a title has, a new job is made.
CREATE TABLE transcode_job (
    job_id     text PRIMARY KEY,
    title_id   text NOT NULL REFERENCES title ON DELETE CASCADE,
    master_id  text NOT NULL REFERENCES master ON DELETE CASCADE,
    treatment  text NOT NULL,
    protection text NOT NULL CHECK (protection IN ('clear', 'aes128')),
    tools      text NOT NULL,                -- plan version and encoder
    sidecars   text[] NOT NULL DEFAULT '{}', -- SHA-256 of each file of subtitles beside the master, sorted
    watermark  boolean NOT NULL DEFAULT false,
    state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'published', 'failed', 'dropped')),
    priority   int NOT NULL DEFAULT 0,       -- the higher, the sooner
    source     jsonb,                        -- what the master is; null until it was looked into
    plan       jsonb,
    reason     text,
    retry      boolean NOT NULL DEFAULT false, -- it failed for a reason that is not the master's own
    package_id text,                         -- the newest it made
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX transcode_job_active ON transcode_job (title_id) WHERE state = 'active';
CREATE INDEX transcode_job_master ON transcode_job (master_id, title_id);

-- writer: transcoding.queue. The steps of a job. Whoever works on one holds its lease: `holder` is a token made for this
-- claim, and only who still holds it may finish. A lease that ran out is anybody's.
CREATE TABLE transcode_task (
    task_id     text PRIMARY KEY,
    job_id      text NOT NULL REFERENCES transcode_job ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('plan', 'check', 'audio', 'chunk', 'package')),
    part        int NOT NULL DEFAULT 0,    -- of the job's packages: the early one, then the whole one
    number      int NOT NULL DEFAULT 0,    -- of the chunk
    state       text NOT NULL CHECK (state IN ('waiting', 'ready', 'done', 'poisoned')),
    weight      double precision NOT NULL, -- how much work it is: megapixels to encode
    attempts    int NOT NULL DEFAULT 0,    -- how often it was begun
    failures    int NOT NULL DEFAULT 0,    -- how often it failed by its own fault
    not_before  timestamptz NOT NULL DEFAULT now(),
    holder      text,
    lease_until timestamptz,
    progress    real NOT NULL DEFAULT 0,   -- 0 to 1
    error       text,                      -- of the last attempt
    result      jsonb,
    cpu_s       double precision,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, kind, part, number)
);
CREATE INDEX transcode_task_ready ON transcode_task (job_id) WHERE state = 'ready';

-- A job as people follow it; `fraction` by weight, 0 to 1.
CREATE VIEW transcode_progress AS
SELECT j.job_id, j.title_id, j.master_id, j.treatment, j.protection, j.state, j.priority, j.reason, j.package_id,
       j.created_at, j.updated_at,
       count(t.task_id) AS tasks, count(*) FILTER (WHERE t.state = 'done') AS tasks_done,
       count(*) FILTER (WHERE t.state = 'ready' AND t.lease_until > now()) AS tasks_running,
       coalesce(sum(t.weight), 0) AS weight,
       coalesce(sum(t.weight * CASE WHEN t.state = 'done' THEN 1 ELSE t.progress END), 0) AS weight_done,
       CASE WHEN j.state = 'published' THEN 1
            ELSE coalesce(sum(t.weight * CASE WHEN t.state = 'done' THEN 1 ELSE t.progress END) / nullif(sum(t.weight), 0), 0)
       END AS fraction,
       coalesce(sum(t.attempts), 0) AS attempts, coalesce(sum(t.cpu_s), 0) AS cpu_s,
       max(t.error) FILTER (WHERE t.state <> 'done') AS error
FROM transcode_job j LEFT JOIN transcode_task t USING (job_id)
GROUP BY j.job_id;

-- A package that a newer one of its title replaced goes on playing for who plays it, and is collected later: then its row
-- stays (others refer to it) and its files go.
ALTER TABLE package DROP CONSTRAINT package_state_check;
ALTER TABLE package ADD CONSTRAINT package_state_check CHECK (state IN ('published', 'failed', 'collected'));
ALTER TABLE package ADD COLUMN protection text NOT NULL DEFAULT 'clear' CHECK (protection IN ('clear', 'aes128'));
ALTER TABLE package ADD COLUMN treatment text;
ALTER TABLE package ADD COLUMN superseded_at timestamptz;

-- `aes128` where viewers must be entitled to a title: the nearest of it, its season and its series that has offers at
-- all has none that is free. `serving` decides who is.
CREATE FUNCTION title_protection(wanted text) RETURNS text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE line AS (
        SELECT title_id, parent_id, 0 AS up FROM title WHERE title_id = wanted
        UNION ALL
        SELECT t.title_id, t.parent_id, l.up + 1 FROM title t JOIN line l ON t.title_id = l.parent_id WHERE l.up < 5
    ), nearest AS (
        SELECT l.title_id FROM line l WHERE EXISTS (SELECT FROM offer o WHERE o.title_id = l.title_id)
        ORDER BY l.up LIMIT 1
    )
    SELECT CASE WHEN NOT EXISTS (SELECT FROM nearest)
                  OR EXISTS (SELECT FROM offer o JOIN nearest USING (title_id) WHERE o.kind = 'free')
           THEN 'clear' ELSE 'aes128' END
$$;
