-- Products. A plan's qualities are of a version; `plan` keeps those of the newest, by which plans are given away.
ALTER TABLE plan
    ADD COLUMN names jsonb NOT NULL DEFAULT '{}',          -- {language: name}
    ADD COLUMN rank  int NOT NULL DEFAULT 0;               -- a change to a higher one is an upgrade
UPDATE plan SET names = n.names::jsonb, rank = n.rank
FROM (VALUES ('basic', 1, '{"en": "Basic", "ru": "Базовый"}'),
             ('standard', 2, '{"en": "Standard", "ru": "Стандартный"}'),
             ('premium', 3, '{"en": "Premium", "ru": "Премиум"}')) AS n (plan_id, rank, names)
WHERE plan.plan_id = n.plan_id;

CREATE TABLE plan_version (
    plan_id    text NOT NULL REFERENCES plan,
    version    int NOT NULL CHECK (version > 0),
    includes   text[] NOT NULL DEFAULT '{}',
    streams    int NOT NULL CHECK (streams > 0),
    max_height int CHECK (max_height > 0),
    devices    text[] NOT NULL DEFAULT '{}',
    since      timestamptz NOT NULL,
    PRIMARY KEY (plan_id, version)
);
INSERT INTO plan_version (plan_id, version, includes, streams, max_height, devices, since)
SELECT plan_id, 1, includes, streams, max_height, devices, '2026-01-01Z' FROM plan;

-- What a period of a plan costs, tax included. Who subscribed at a price keeps it after it is no longer sold, unless it is
-- succeeded: then from the first renewal at or after `succeeds_at`, which is announced thirty days before.
CREATE TABLE price (
    price_id     text PRIMARY KEY,
    plan_id      text NOT NULL,
    version      int NOT NULL,
    months       int NOT NULL CHECK (months IN (1, 12)),
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0 AND amount_minor <= 100000000000),
    regions      text[] NOT NULL DEFAULT '{}',  -- ISO 3166-1; none: wherever no other price is for
    sold         tstzrange NOT NULL,
    succeeded_by text REFERENCES price,
    succeeds_at  timestamptz,
    announced_at timestamptz,
    FOREIGN KEY (plan_id, version) REFERENCES plan_version,
    CHECK ((succeeded_by IS NULL) = (succeeds_at IS NULL)),
    CHECK (succeeds_at >= announced_at + interval '30 days')
);
CREATE INDEX price_plan ON price (plan_id, version);
INSERT INTO price (price_id, plan_id, version, months, currency, amount_minor, regions, sold)
SELECT concat_ws('-', plan_id, CASE months WHEN 1 THEN 'month' ELSE 'year' END, lower(currency)),
       plan_id, 1, months, currency, minor * CASE months WHEN 1 THEN 1 ELSE 10 END, regions::text[], '[2026-01-01Z,)'
FROM (VALUES ('basic', 'RUB', 29900, '{RU,BY,KZ}'), ('standard', 'RUB', 44900, '{RU,BY,KZ}'), ('premium', 'RUB', 64900, '{RU,BY,KZ}'),
             ('basic', 'USD', 599, '{US}'), ('standard', 'USD', 999, '{US}'), ('premium', 'USD', 1499, '{US}'),
             ('basic', 'GBP', 499, '{GB}'), ('standard', 'GBP', 899, '{GB}'), ('premium', 'GBP', 1299, '{GB}'),
             ('basic', 'JPY', 790, '{JP}'), ('standard', 'JPY', 1290, '{JP}'), ('premium', 'JPY', 1980, '{JP}'),
             ('basic', 'EUR', 599, '{}'), ('standard', 'EUR', 999, '{}'), ('premium', 'EUR', 1399, '{}')
     ) AS p (plan_id, currency, minor, regions), (VALUES (1), (12)) AS m (months);

-- Value added tax that prices include, in hundredths of a percent; no row: none.
CREATE TABLE tax_rate (
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    rate_bp int NOT NULL CHECK (rate_bp BETWEEN 0 AND 10000),
    valid   daterange NOT NULL,
    EXCLUDE USING gist (int4range(hashtext(country), hashtext(country), '[]') WITH &&, valid WITH &&)
);
CREATE INDEX tax_rate_country ON tax_rate (country);
INSERT INTO tax_rate (country, rate_bp, valid) VALUES
    ('RU', 2000, '[2019-01-01,2026-01-01)'), ('RU', 2200, '[2026-01-01,)'), ('DE', 1900, '[2021-01-01,)'),
    ('FR', 2000, '[2014-01-01,)'), ('GB', 2000, '[2011-01-04,)'), ('JP', 1000, '[2019-10-01,)');

-- What a period was of; null where nobody versioned it (imports, the simulator).
ALTER TABLE subscription_period ADD COLUMN plan_version int;

-- As 0116, with the qualities of the version that was sold.
CREATE OR REPLACE FUNCTION entitlements_of(account text, moment timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'plans', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'plan', held.plan, 'includes', coalesce(v.includes, p.includes, '{}'),
                'streams', coalesce(v.streams, p.streams, 1),
                'max_height', CASE WHEN v.plan_id IS NULL THEN p.max_height ELSE v.max_height END,
                'devices', coalesce(v.devices, p.devices, '{}'),
                'from', extract(epoch FROM held.opened), 'until', extract(epoch FROM held.closed)))
            FROM (
                SELECT plan, plan_version, opened, closed FROM subscription_period
                WHERE account_id = account AND state IN ('trial', 'active', 'past_due')
                  AND (closed IS NULL OR closed > moment)
                UNION ALL
                SELECT plan_id, NULL, opened, closed FROM entitlement
                WHERE account_id = account AND plan_id IS NOT NULL AND (closed IS NULL OR closed > moment)
            ) held
            LEFT JOIN plan p ON p.plan_id = held.plan
            LEFT JOIN plan_version v ON v.plan_id = held.plan AND v.version = held.plan_version), '[]'),
        'titles', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'id', entitlement_id, 'kind', kind, 'title', title_id, 'is_started', started IS NOT NULL,
                'from', extract(epoch FROM opened), 'until', extract(epoch FROM closed)))
            FROM entitlement
            WHERE account_id = account AND title_id IS NOT NULL AND (closed IS NULL OR closed > moment)), '[]'))
$$;

-- Codes that take something off. `value`: percent in hundredths (2500 = 25 %), an amount in minor units of `currency`, or
-- months for nothing. `periods`: for how many periods of a subscription, null: for all; titles: always the one.
CREATE TABLE promo (
    promo_id     text PRIMARY KEY,
    code         text NOT NULL CHECK (code = upper(code) AND code ~ '^[0-9A-ZА-ЯЁ-]{3,32}$'),
    kind         text NOT NULL CHECK (kind IN ('percent', 'amount', 'free_period')),
    value        bigint NOT NULL CHECK (value > 0),
    currency     text CHECK (currency ~ '^[A-Z]{3}$'),
    periods      int DEFAULT 1 CHECK (periods > 0),
    plans        text[] NOT NULL DEFAULT '{}',   -- none and no titles: for any plan or title
    titles       text[] NOT NULL DEFAULT '{}',
    first_time   boolean NOT NULL DEFAULT false, -- for who has never paid
    limit_total  int CHECK (limit_total > 0),
    limit_person int DEFAULT 1 CHECK (limit_person > 0),
    open         tstzrange NOT NULL DEFAULT tstzrange(NULL, NULL),
    used         int NOT NULL DEFAULT 0,         -- reserved or redeemed
    created_at   timestamptz NOT NULL,
    withdrawn_at timestamptz,
    CHECK ((kind = 'amount') = (currency IS NOT NULL)),
    CHECK (kind <> 'percent' OR value <= 10000),
    CHECK (kind <> 'free_period' OR value <= 24),
    CHECK (used <= limit_total)
);
CREATE UNIQUE INDEX promo_code ON promo (code) WHERE withdrawn_at IS NULL;
