-- writer: transcoding.keys. Which secrets of a home belong to this database: a digest (HMAC-SHA256) of each version that was
-- used with it, from which the secret cannot be told. A home with others would publish what no other home can open.
CREATE TABLE secret_check (
    name    text NOT NULL,
    version int NOT NULL CHECK (version > 0),
    digest  bytea NOT NULL,
    PRIMARY KEY (name, version)
);
