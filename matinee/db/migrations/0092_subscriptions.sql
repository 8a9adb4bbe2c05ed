-- writer: matinee.db.subscriptions, on behalf of billing; until there is a ledger, of the simulator. What an account had
-- and when: a period ends whenever plan, price or state changes, so that one row holds for all of its time.
CREATE TABLE subscription_period (
    period_id       text PRIMARY KEY,
    subscription_id text NOT NULL,
    account_id      text NOT NULL REFERENCES account ON DELETE CASCADE,
    plan            text NOT NULL CHECK (plan <> ''),
    state           text NOT NULL CHECK (state IN ('trial', 'active', 'past_due', 'paused')),
    monthly_minor   bigint NOT NULL CHECK (monthly_minor >= 0),  -- price of a month in minor units, tax out; yearly plans / 12
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    opened          timestamptz NOT NULL,
    closed          timestamptz CHECK (closed > opened),
    end_reason      text CHECK (end_reason IN ('paid', 'plan_change', 'cancelled', 'payment', 'paused', 'resumed')),
    CHECK ((closed IS NULL) = (end_reason IS NULL)),
    -- No account has two periods at one moment. GiST knows ranges but not text: the account stands as a range of its hash.
    -- Looked at when a statement ends, so that one statement may close a period and open the next.
    CONSTRAINT subscription_period_no_overlap EXCLUDE USING gist (
        int8range(hashtextextended(account_id, 0) >> 1, hashtextextended(account_id, 0) >> 1, '[]') WITH &&,
        tstzrange(opened, closed) WITH &&
    ) DEFERRABLE INITIALLY IMMEDIATE
);
CREATE INDEX subscription_period_account ON subscription_period (account_id, opened);

-- Read by warehouse.export, which replaces the ids by keys: an id may have the account's in it.
CREATE VIEW export_subscription AS
SELECT period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened, closed, end_reason
FROM subscription_period;

-- What titles cost, from the feed's extra.costs: [{amount_minor, currency, from, until}], the days up to `until` without it.
-- A feed may write anything there, so warehouse.export reads the contract itself; `contract` counts from 1.
CREATE VIEW export_title_cost AS
SELECT t.title_id, costs.contract::int AS contract, costs.terms
FROM title t
CROSS JOIN LATERAL jsonb_array_elements(
    CASE jsonb_typeof(t.extra -> 'costs') WHEN 'array' THEN t.extra -> 'costs' ELSE '[]' END
) WITH ORDINALITY AS costs (terms, contract);
