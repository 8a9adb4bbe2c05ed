-- Whether anything in the catalogue changed, asked in one look at one row: what was made of it may be kept that long.

-- writer: the trigger below. Another version with every commit that touches a title, whichever way it is restored.
CREATE TABLE catalogue_version (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    version uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO catalogue_version DEFAULT VALUES;

-- Once a transaction, when it commits. One at a time: two that touch a family at once would each miss the other's part.
CREATE OR REPLACE FUNCTION refresh_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched text[];
BEGIN
    -- The first of the transaction's rows took all of them along; looking for more would read every dead one each time.
    IF NOT EXISTS (SELECT FROM title_changed c WHERE c.transaction = NEW.transaction AND c.title_id = NEW.title_id) THEN
        RETURN NULL;
    END IF;
    WITH gone AS (DELETE FROM title_changed WHERE transaction = pg_current_xact_id() RETURNING title_id)
    SELECT array_agg(title_id) INTO touched FROM gone;
    IF touched IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7228116);
        PERFORM refresh_listed(touched);
        UPDATE catalogue_version SET version = gen_random_uuid();
    END IF;
    RETURN NULL;
END $$;

-- The next moment at which an offer opens or ends.
CREATE INDEX offer_opens ON offer (lower(open));
CREATE INDEX offer_ends ON offer (upper(open));
