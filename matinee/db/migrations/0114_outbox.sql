-- writer: matinee.db.outbox. What has to happen beyond PostgreSQL because a transaction committed: one row, written by
-- that transaction. `transaction` orders rows without gaps: once it is below every running transaction's number, nothing
-- can appear before the row any more (`id` alone is given out before the commit).
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    topic       text NOT NULL,
    key         text NOT NULL,
    payload     jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction, id)
);
CREATE INDEX outbox_key ON outbox (topic, key);

-- Who reads which topics, and up to where; a failing row is tried `tries` times before it is kept aside.
CREATE TABLE outbox_consumer (
    name        text PRIMARY KEY,
    topics      text[] NOT NULL,
    transaction xid8 NOT NULL,
    id          bigint NOT NULL,
    tries       int NOT NULL DEFAULT 0,  -- of the row that comes next
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- What a consumer could not do, with the last reason.
CREATE TABLE outbox_poison (
    consumer    text NOT NULL,
    id          bigint NOT NULL,
    topic       text NOT NULL,
    key         text NOT NULL,
    payload     jsonb NOT NULL,
    reason      text NOT NULL,
    created_at  timestamptz NOT NULL,
    given_up_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, id)
);

-- Listeners hear the topic, once a transaction, when it commits.
CREATE FUNCTION outbox_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('matinee_outbox', topic) FROM (SELECT DISTINCT topic FROM added) topics;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_tell AFTER INSERT ON outbox REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_tell();
