-- One schema. Each table names the one room that writes it; others read through views or that room's functions.

-- writer: matinee.db.viewers creates rows, serving.accounts changes them
CREATE TABLE account (
    account_id    text PRIMARY KEY,
    email         text,
    password_hash text,
    role          text NOT NULL DEFAULT 'viewer' CHECK (role IN ('viewer', 'moderator', 'admin')),
    origin        text NOT NULL DEFAULT 'live' CHECK (origin IN ('live', 'import', 'simulate')),
    country       text CHECK (country ~ '^[A-Z]{2}$'),
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX account_email ON account (lower(email));

-- writer: matinee.db.viewers creates rows, serving.accounts changes them
CREATE TABLE profile (
    profile_id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES account ON DELETE CASCADE,
    name       text NOT NULL,
    maturity   int NOT NULL DEFAULT 18 CHECK (maturity IN (0, 6, 12, 16, 18)),
    language   text NOT NULL DEFAULT 'en' CHECK (language ~ '^[a-z]{2}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX profile_account ON profile (account_id);

-- writer: matinee.pseudonyms. No foreign key: events may name accounts that are gone or were never here.
CREATE TABLE account_salt (
    account_id text PRIMARY KEY,
    salt       bytea NOT NULL CHECK (length(salt) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- writer: serving.accounts
CREATE TABLE auth_session (
    session_id   text PRIMARY KEY,
    account_id   text NOT NULL REFERENCES account ON DELETE CASCADE,
    refresh_hash bytea NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz
);
CREATE INDEX auth_session_account ON auth_session (account_id);

-- writer: ingest.catalog
CREATE TABLE title (
    title_id    text PRIMARY KEY CHECK (title_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    kind        text NOT NULL CHECK (kind IN ('film', 'series', 'season', 'episode', 'extra')),
    parent_id   text REFERENCES title,
    number      int,  -- place among its siblings, from the feed's extra.number
    year        int,
    runtime_s   int,
    maturity    int NOT NULL CHECK (maturity IN (0, 6, 12, 16, 18)),
    genres      text[] NOT NULL DEFAULT '{}',
    tags        text[] NOT NULL DEFAULT '{}',
    countries   text[] NOT NULL DEFAULT '{}',
    images      jsonb NOT NULL DEFAULT '{}',
    extra       jsonb NOT NULL DEFAULT '{}',
    state       text NOT NULL DEFAULT 'published' CHECK (state IN ('draft', 'published')),
    feed_hash   bytea,  -- of the feed line; null: a draft made from a file
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX title_parent ON title (parent_id);
CREATE INDEX title_extra ON title USING gin (extra);
CREATE INDEX title_genres ON title USING gin (genres);

-- writer: ingest.catalog
CREATE TABLE title_text (
    title_id text NOT NULL REFERENCES title ON DELETE CASCADE,
    language text NOT NULL,
    title    text NOT NULL,
    synopsis text NOT NULL DEFAULT '',
    PRIMARY KEY (title_id, language)
);

-- writer: ingest.catalog
CREATE TABLE title_person (
    title_id text NOT NULL REFERENCES title ON DELETE CASCADE,
    position int NOT NULL,
    name     text NOT NULL,
    role     text NOT NULL,
    PRIMARY KEY (title_id, position)
);

-- writer: ingest.catalog
CREATE TABLE offer (
    title_id  text NOT NULL REFERENCES title ON DELETE CASCADE,
    position  int NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('subscription', 'rent', 'buy', 'free')),
    plans     text[] NOT NULL DEFAULT '{}',
    price     numeric(12, 2),
    currency  text,
    regions   text[] NOT NULL DEFAULT '{}',
    open      tstzrange NOT NULL DEFAULT tstzrange(NULL, NULL),
    PRIMARY KEY (title_id, position)
);

-- writer: ingest.catalog. What a feed said and could not be used, whole.
CREATE TABLE feed_rejection (
    feed_hash   text NOT NULL,  -- SHA-256 of the feed file
    line_number int NOT NULL,
    feed_name   text NOT NULL,
    reason      text NOT NULL,
    line        bytea NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (feed_hash, line_number)
);

-- writer: ingest.masters
CREATE TABLE master (
    master_id   text PRIMARY KEY,  -- SHA-256 of the content, hexadecimal
    title_id    text REFERENCES title,
    file_name   text NOT NULL,     -- as it came in, without folders
    stored_path text,              -- below the media store; null where refused
    bytes       bigint NOT NULL,
    state       text NOT NULL CHECK (state IN ('accepted', 'refused')),
    reason      text,              -- why it was refused: one line
    probe       jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX master_title ON master (title_id);

-- writer: ingest.events (the collector). A file belongs to the lake if and only if it has a row here:
-- the row is the offset ledger, committed after the file is on disk.
CREATE TABLE landed_file (
    path        text PRIMARY KEY,  -- below the lake's root
    stream      text NOT NULL,     -- 'events', 'dead' or 'import:<source>'
    first_id    text NOT NULL,
    last_id     text NOT NULL,
    rows        int NOT NULL,
    landed_on   date NOT NULL,     -- received date, UTC
    landed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX landed_file_stream ON landed_file (stream, landed_on);

-- writer: ingest.events. The last log entry that is safely in the lake, whether it became an event or a dead letter.
CREATE TABLE log_offset (
    stream     text PRIMARY KEY,
    last_id    text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- writer: transcoding
CREATE TABLE package (
    package_id  text PRIMARY KEY,
    title_id    text NOT NULL REFERENCES title,
    master_id   text NOT NULL REFERENCES master,
    state       text NOT NULL CHECK (state IN ('published', 'failed')),
    reason      text,
    duration_ms bigint,
    rungs       jsonb NOT NULL DEFAULT '[]',
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX package_title ON package (title_id, created_at DESC);

-- writer: serving.playback
CREATE TABLE playback_session (
    playback_id text PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    profile_id  text NOT NULL REFERENCES profile ON DELETE CASCADE,
    title_id    text NOT NULL REFERENCES title,
    package_id  text NOT NULL REFERENCES package,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);
CREATE INDEX playback_session_account ON playback_session (account_id);

-- writer: serving.playback
CREATE TABLE playback_position (
    profile_id  text NOT NULL REFERENCES profile ON DELETE CASCADE,
    title_id    text NOT NULL REFERENCES title,
    position_ms bigint NOT NULL CHECK (position_ms >= 0),
    duration_ms bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (profile_id, title_id)
);

-- The newest published package of each title: what plays.
CREATE VIEW playable AS
SELECT DISTINCT ON (title_id) title_id, package_id, master_id, duration_ms, rungs, created_at
FROM package WHERE state = 'published'
ORDER BY title_id, created_at DESC, package_id DESC;

-- Read by warehouse.export, which replaces ids by keys before anything reaches the lake.
CREATE VIEW export_title AS
SELECT t.title_id, t.kind, t.parent_id, t.number,
       en.title AS title_en, ru.title AS title_ru,
       coalesce(en.title, ru.title, (SELECT min(title) FROM title_text x WHERE x.title_id = t.title_id), t.title_id) AS title,
       t.year, t.runtime_s, t.maturity, t.genres, t.tags, t.countries, t.state, t.created_at,
       p.package_id, p.duration_ms, p.created_at AS packaged_at
FROM title t
LEFT JOIN title_text en ON en.title_id = t.title_id AND en.language = 'en'
LEFT JOIN title_text ru ON ru.title_id = t.title_id AND ru.language = 'ru'
LEFT JOIN playable p ON p.title_id = t.title_id;

CREATE VIEW export_account AS
SELECT a.account_id, a.role, a.origin, a.country, a.created_at,
       (SELECT count(*) FROM profile p WHERE p.account_id = a.account_id) AS profiles
FROM account a;

CREATE VIEW export_profile AS
SELECT profile_id, account_id, maturity, language, created_at FROM profile;

CREATE VIEW export_package AS
SELECT package_id, title_id, state, duration_ms, rungs, created_at FROM package;
