-- writer: transcoding.markers. What a title sounds like: one 32-bit word for each hop of its sound, little-endian.
-- `error`: why there is none; `words` is then null.
CREATE TABLE title_fingerprint (
    title_id  text PRIMARY KEY REFERENCES title ON DELETE CASCADE,
    master_id text NOT NULL REFERENCES master,
    method    text NOT NULL,  -- how the words were made: words of two methods are never compared
    words     bytea,
    error     text,
    made_at   timestamptz NOT NULL DEFAULT now(),
    CHECK ((words IS NULL) = (error IS NOT NULL))
);

-- writer: transcoding.markers. Places in a title that a player offers to skip; milliseconds from its beginning.
CREATE TABLE title_marker (
    title_id   text NOT NULL REFERENCES title ON DELETE CASCADE,
    kind       text NOT NULL CHECK (kind IN ('intro', 'credits')),
    start_ms   bigint NOT NULL CHECK (start_ms >= 0),
    end_ms     bigint NOT NULL,
    source     text NOT NULL,           -- 'sound' (repeated in a sibling), 'picture' (dark to the end)
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    made_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (title_id, kind),
    CHECK (end_ms > start_ms)
);

-- Read by transcoding.forensics: who was given which package.
CREATE VIEW watched_package AS
SELECT playback_id, account_id, package_id, created_at FROM playback_session;
