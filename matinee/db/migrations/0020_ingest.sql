-- writer: ingest.collector makes the rows, ingest.deadletters marks them. What was refused and where it lies;
-- the payload itself is sealed in the lake file.
CREATE TABLE dead_letter (
    log_id       text PRIMARY KEY,
    path         text NOT NULL REFERENCES landed_file,
    code         text NOT NULL,
    reason       text NOT NULL,
    origin       text NOT NULL,
    account_id   text,             -- whose key seals it; null: the service's own key
    received_at  timestamptz NOT NULL,
    attempts     int NOT NULL DEFAULT 0,
    replayed_at  timestamptz,      -- when it was accepted after all
    replayed_as  text              -- its new place in the event log
);
CREATE INDEX dead_letter_code ON dead_letter (code) WHERE replayed_at IS NULL;
CREATE INDEX dead_letter_account ON dead_letter (account_id);

-- writer: ingest.masters. Files that were looked at, so that a second look costs no reading. `relative_path` is the
-- path below the folder that was given: by its names a film finds its title.
CREATE TABLE master_source (
    path          text PRIMARY KEY,
    relative_path text NOT NULL,
    bytes         bigint NOT NULL,
    modified_ns   bigint NOT NULL,
    alone         boolean NOT NULL,  -- the only film in its folder: then the folder's name may name it
    master_id     text NOT NULL REFERENCES master
);
CREATE INDEX master_source_master ON master_source (master_id);
