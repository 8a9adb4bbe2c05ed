-- Several people share an account: children's profiles, PINs, what each of them prefers and has said of titles.

-- A profile that is limited to twelve or less is a child's. `pin_hash`: its own PIN; who has it may enter.
-- `audio_language` and `subtitle_language` are what its player was set to last (BCP 47; `off`: no subtitles).
ALTER TABLE profile
    ADD COLUMN kids boolean NOT NULL GENERATED ALWAYS AS (maturity <= 12) STORED,
    ADD COLUMN colour text NOT NULL DEFAULT '#e8a33d' CHECK (colour ~ '^#[0-9a-f]{6}$'),
    ADD COLUMN audio_language text CHECK (audio_language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
    ADD COLUMN subtitle_language text CHECK (subtitle_language ~ '^(off|[a-z]{2,3}(-[A-Za-z0-9]{2,8})*)$'),
    ADD COLUMN autoplay boolean NOT NULL DEFAULT true,
    ADD COLUMN pin_hash bytea CHECK (length(pin_hash) = 32);

-- writer: serving.profiles. The PIN that leads out of children's profiles and into every locked one.
CREATE TABLE account_pin (
    account_id text PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    pin_hash   bytea NOT NULL CHECK (length(pin_hash) = 32),
    set_at     timestamptz NOT NULL DEFAULT now()
);

-- writer: serving.profiles. Which profile a sign-in has entered. `kids_limit` is set while that is a child's, and stays
-- when the profile is deleted; `proven_until`: so long the PIN of a locked profile need not be typed again.
CREATE TABLE session_profile (
    session_id   text PRIMARY KEY REFERENCES auth_session ON DELETE CASCADE,
    profile_id   text REFERENCES profile ON DELETE SET NULL,
    kids_limit   int,
    proven_until timestamptz,
    entered_at   timestamptz NOT NULL
);
CREATE INDEX session_profile_profile ON session_profile (profile_id);

-- writer: serving.profiles
CREATE TABLE favourite (
    profile_id text NOT NULL REFERENCES profile ON DELETE CASCADE,
    title_id   text NOT NULL REFERENCES title ON DELETE CASCADE,
    added_at   timestamptz NOT NULL,
    PRIMARY KEY (profile_id, title_id)
);
CREATE INDEX favourite_newest ON favourite (profile_id, added_at DESC, title_id DESC);
CREATE INDEX favourite_title ON favourite (title_id);

-- writer: serving.profiles
CREATE TABLE rating (
    profile_id text NOT NULL REFERENCES profile ON DELETE CASCADE,
    title_id   text NOT NULL REFERENCES title ON DELETE CASCADE,
    value      numeric(2, 1) NOT NULL CHECK (value BETWEEN 0.5 AND 5 AND value * 2 = floor(value * 2)),
    rated_at   timestamptz NOT NULL,
    PRIMARY KEY (profile_id, title_id)
);
CREATE INDEX rating_newest ON rating (profile_id, rated_at DESC, title_id DESC);
CREATE INDEX rating_title ON rating (title_id);

CREATE INDEX playback_position_newest ON playback_position (profile_id, updated_at DESC, title_id DESC);
