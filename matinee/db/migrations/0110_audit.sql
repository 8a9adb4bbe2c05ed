-- writer: matinee.db.audit, through audit_record(). Who did what to whom, a row after the other without a gap; each hash is
-- SHA-256 of the hash before it and the row's text, so that a row that was changed, removed or moved breaks the chain.
CREATE TABLE audit (
    position bigint PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text,               -- an account by its name here, a command or a worker; null: nobody who had signed in
    action   text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    subject  text,               -- an account by its name here, or the id of what is nobody's (a title)
    details  jsonb NOT NULL CHECK (jsonb_typeof(details) = 'object'),
    hash     bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_actor ON audit (actor, position DESC);
CREATE INDEX audit_subject ON audit (subject, position DESC);

-- The last row's place and hash: without it nobody would miss the newest rows. Its lock makes those who append wait for each other.
CREATE TABLE audit_head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint NOT NULL,
    hash     bytea NOT NULL
);
INSERT INTO audit_head (position, hash) VALUES (0, sha256('matinee audit'));

-- Accounts stand in the chain by a random name. Erasing an account deletes its name's row: the chain stays whole, and what it
-- says leads to nobody.
CREATE TABLE audit_name (
    name       text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    account_id text NOT NULL UNIQUE REFERENCES account ON DELETE CASCADE
);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- What is hashed of a row, after the hash before it. Its time in microseconds since 1970: no time zone of a session gets in.
CREATE FUNCTION audit_text(place bigint, moment timestamptz, who text, deed text, whom text, more jsonb)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_array(place, (extract(epoch FROM moment) * 1000000)::bigint, who, deed, whom, more)::text
$$;

CREATE FUNCTION audit_record(who text, deed text, whom text, more jsonb, moment timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    head  audit_head;
    place bigint;
    link  bytea;
BEGIN
    INSERT INTO audit_name (account_id) SELECT account_id FROM account WHERE account_id IN (who, whom)
    ON CONFLICT DO NOTHING;
    who := coalesce((SELECT n.name FROM audit_name n WHERE n.account_id = who), who);
    whom := coalesce((SELECT n.name FROM audit_name n WHERE n.account_id = whom), whom);
    SELECT * INTO head FROM audit_head FOR UPDATE;
    place := head.position + 1;
    link := sha256(head.hash || convert_to(audit_text(place, moment, who, deed, whom, more), 'UTF8'));
    INSERT INTO audit (position, at, actor, action, subject, details, hash)
    VALUES (place, moment, who, deed, whom, more, link);
    UPDATE audit_head SET position = place, hash = link;
    RETURN place;
END $$;

-- For people: accounts by their ids again, where there still are any.
CREATE VIEW audit_entry AS
SELECT a.position, a.at, coalesce(x.account_id, a.actor) AS actor, a.action, coalesce(y.account_id, a.subject) AS subject,
       a.details
FROM audit a
LEFT JOIN audit_name x ON x.name = a.actor
LEFT JOIN audit_name y ON y.name = a.subject;
