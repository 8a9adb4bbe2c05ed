-- Whose rights changed: API processes keep in memory what accounts may watch by, and ask here what to forget.

-- writer: the triggers below; `serving.playback` clears it up. `xact` tells apart what a reader has seen: what was
-- committed late has an older one, but not one older than the oldest that ran when the reader looked.
CREATE TABLE rights_change (
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account    bytea,              -- the first half of the SHA-256 of its id, which outlives no account; null: everybody's
    xact       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX rights_change_xact ON rights_change (xact);
CREATE INDEX rights_change_made ON rights_change (made_at);

CREATE FUNCTION account_mark(account_id text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(sha256(convert_to(account_id, 'UTF8')), 1, 16)
$$;

CREATE FUNCTION note_rights() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rights_change (account) SELECT DISTINCT account_mark(account_id) FROM touched;
    RETURN NULL;
END $$;

CREATE FUNCTION note_right() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rights_change (account) VALUES (account_mark(NEW.account_id));
    RETURN NULL;
END $$;

CREATE FUNCTION note_everybodys_rights() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rights_change DEFAULT VALUES;
    RETURN NULL;
END $$;

CREATE TRIGGER rights_added AFTER INSERT ON subscription_period REFERENCING NEW TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_changed AFTER UPDATE ON subscription_period REFERENCING NEW TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_dropped AFTER DELETE ON subscription_period REFERENCING OLD TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_added AFTER INSERT ON entitlement REFERENCING NEW TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_changed AFTER UPDATE ON entitlement REFERENCING NEW TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_dropped AFTER DELETE ON entitlement REFERENCING OLD TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_changed AFTER UPDATE ON profile REFERENCING NEW TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_dropped AFTER DELETE ON profile REFERENCING OLD TABLE AS touched
FOR EACH STATEMENT EXECUTE FUNCTION note_rights();
CREATE TRIGGER rights_changed AFTER UPDATE OF country, born ON account
FOR EACH ROW WHEN (OLD.country IS DISTINCT FROM NEW.country OR OLD.born IS DISTINCT FROM NEW.born)
EXECUTE FUNCTION note_right();
CREATE TRIGGER rights_changed AFTER UPDATE OF revoked_at ON auth_session
FOR EACH ROW WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at) EXECUTE FUNCTION note_right();
CREATE TRIGGER rights_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON plan
FOR EACH STATEMENT EXECUTE FUNCTION note_everybodys_rights();
CREATE TRIGGER rights_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON plan_version
FOR EACH STATEMENT EXECUTE FUNCTION note_everybodys_rights();
CREATE TRIGGER rights_emptied AFTER TRUNCATE ON subscription_period
FOR EACH STATEMENT EXECUTE FUNCTION note_everybodys_rights();
CREATE TRIGGER rights_emptied AFTER TRUNCATE ON entitlement
FOR EACH STATEMENT EXECUTE FUNCTION note_everybodys_rights();

-- What players offer to skip is kept with the title.
CREATE TRIGGER title_marker_marked AFTER INSERT OR UPDATE OR DELETE ON title_marker
FOR EACH ROW EXECUTE FUNCTION mark_title();
