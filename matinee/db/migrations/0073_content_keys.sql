-- writer: transcoding.keys. What the segments of protected packages are encrypted with: a key for each tier of a title
-- and each five minutes of film, the same in all its packages. `wrapped`: nonce, AES-256-GCM of the 16 bytes under the
-- key-encryption key of version `kek` in the home's secrets, bound to `key_id`.
CREATE TABLE content_key (
    key_id     text PRIMARY KEY,
    title_id   text NOT NULL REFERENCES title,
    tier       text NOT NULL CHECK (tier IN ('sd', 'hd', 'uhd', 'audio')),
    period     int NOT NULL CHECK (period >= 0),
    wrapped    bytea NOT NULL,
    kek        int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (title_id, tier, period)
);
