-- writer: matinee.pseudonyms. Who was erased, so that what still comes in of them makes no new life: SHA-256 of the account's
-- id after a pepper of this database. It can be asked about an id, not read.
CREATE TABLE erasure_pepper (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    value  bytea NOT NULL
);
INSERT INTO erasure_pepper (value) VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

CREATE TABLE erased_account (
    digest    bytea PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now()
);

-- writer: matinee.pseudonyms. What erased people were called in the lake: files there may still hold rows of these until
-- `matinee erase --purge` rewrites them, and no load may bring such a row back. Nothing leads from here to a person.
CREATE TABLE erased_key (
    kind      text NOT NULL CHECK (kind IN ('account_key', 'profile_key', 'session_id', 'playback_id')),
    key       text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    swept_at  timestamptz,  -- when the last place that anybody can ask had lost it
    PRIMARY KEY (kind, key)
);

-- writer: ingest.erase. A landed file that is being written again without some of its rows: committed before the file is
-- replaced, gone when the ledger says how many rows are left.
CREATE TABLE landed_rewrite (
    path text PRIMARY KEY REFERENCES landed_file ON DELETE CASCADE,
    rows int NOT NULL
);
