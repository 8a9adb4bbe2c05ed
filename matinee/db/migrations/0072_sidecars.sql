-- writer: ingest.sidecars. Subtitle files that lay beside a master: one a language, and one more with what even viewers
-- of the film's own language need (forced). `stored_path` is below the media store and changes with the content.
CREATE TABLE master_sidecar (
    master_id   text NOT NULL REFERENCES master,
    language    text NOT NULL,    -- BCP 47; 'und' where neither its name nor its text tells
    forced      boolean NOT NULL,
    format      text NOT NULL CHECK (format IN ('srt', 'vtt', 'ass', 'ssa')),
    stored_path text NOT NULL,
    sha256      text NOT NULL,
    file_name   text NOT NULL,    -- as it came in, without folders
    path        text NOT NULL,    -- where it came from: gone from there, it is gone from here
    cues        int NOT NULL,
    dropped     int NOT NULL,     -- cues that cannot be used
    added_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (master_id, language, forced)
);
