-- writer: migrations; later billing. What a plan opens: offers that name it or one that it includes, so many streams at
-- once, rungs up to a height (null: all), on devices of these kinds (empty: on any).
CREATE TABLE plan (
    plan_id    text PRIMARY KEY,
    includes   text[] NOT NULL DEFAULT '{}',
    streams    int NOT NULL CHECK (streams > 0),
    max_height int CHECK (max_height > 0),
    devices    text[] NOT NULL DEFAULT '{}'
);
INSERT INTO plan (plan_id, includes, streams, max_height) VALUES
    ('basic', '{}', 1, 720),
    ('standard', '{basic}', 2, 1080),
    ('premium', '{standard,basic}', 4, 2160);

-- writer: serving.rights. What an account may watch beside its subscription: a title that was rented, bought or given,
-- with everything below it, or a plan that was given. A rental waits to be started until `closed`; its first play sets
-- `started`, and `closed` to the end of its hours. `closed` null: for ever.
CREATE TABLE entitlement (
    entitlement_id text PRIMARY KEY,
    account_id     text NOT NULL REFERENCES account ON DELETE CASCADE,
    kind           text NOT NULL CHECK (kind IN ('rent', 'buy', 'grant')),
    title_id       text REFERENCES title,
    plan_id        text REFERENCES plan,
    opened         timestamptz NOT NULL,
    started        timestamptz,
    closed         timestamptz CHECK (closed > opened),
    CHECK ((title_id IS NULL) <> (plan_id IS NULL)),
    CHECK (kind = 'grant' OR title_id IS NOT NULL),
    CHECK (kind <> 'rent' OR closed IS NOT NULL),
    CHECK (started IS NULL OR kind = 'rent')
);
CREATE INDEX entitlement_account ON entitlement (account_id, closed);
CREATE INDEX entitlement_title ON entitlement (title_id);

-- The account holder's date of birth, if told: who is younger than a title's maturity may not watch it.
ALTER TABLE account ADD COLUMN born date;

-- What an account may watch by at this moment and later, as serving.rights.entitlements reads it; times in Unix seconds.
-- A plan that is not in the table (of an import) opens its own offers, for one stream.
CREATE FUNCTION entitlements_of(account text, moment timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'plans', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'plan', held.plan, 'includes', coalesce(p.includes, '{}'), 'streams', coalesce(p.streams, 1),
                'max_height', p.max_height, 'devices', coalesce(p.devices, '{}'),
                'from', extract(epoch FROM held.opened), 'until', extract(epoch FROM held.closed)))
            FROM (
                SELECT plan, opened, closed FROM subscription_period
                WHERE account_id = account AND state IN ('trial', 'active', 'past_due')
                  AND (closed IS NULL OR closed > moment)
                UNION ALL
                SELECT plan_id, opened, closed FROM entitlement
                WHERE account_id = account AND plan_id IS NOT NULL AND (closed IS NULL OR closed > moment)
            ) held LEFT JOIN plan p ON p.plan_id = held.plan), '[]'),
        'titles', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'id', entitlement_id, 'kind', kind, 'title', title_id, 'is_started', started IS NOT NULL,
                'from', extract(epoch FROM opened), 'until', extract(epoch FROM closed)))
            FROM entitlement
            WHERE account_id = account AND title_id IS NOT NULL AND (closed IS NULL OR closed > moment)), '[]'))
$$;

-- A trial is written with its end, which is still to come: the lake hears of an end when it is there.
CREATE OR REPLACE VIEW export_subscription AS
SELECT period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened,
       CASE WHEN closed <= now() THEN closed END AS closed, CASE WHEN closed <= now() THEN end_reason END AS end_reason
FROM subscription_period;

-- The offers of a title as serving.rights.core.terms_of reads them; null: none.
CREATE FUNCTION offer_terms(title text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(jsonb_build_object(
        'kind', kind, 'plans', plans, 'regions', regions,
        'from', extract(epoch FROM lower(open)), 'until', extract(epoch FROM upper(open))) ORDER BY position)
    FROM offer WHERE title_id = title
$$;
