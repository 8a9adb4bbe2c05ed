-- What proration goes by: what was paid for the time from `worth_from` to `paid_until`, less what went back since.
-- `moved_at`: the last move (null: none yet); a clock that is put back does not put a subscription back. `country`: whose
-- tax is in the price (ISO 3166-1).
ALTER TABLE subscription
    ADD COLUMN worth_minor bigint NOT NULL DEFAULT 0 CHECK (worth_minor >= 0),
    ADD COLUMN worth_from  timestamptz,
    ADD COLUMN moved_at    timestamptz,
    ADD COLUMN country     text NOT NULL DEFAULT '';

-- What a subscription has now and later, which every move looks at.
CREATE INDEX subscription_period_of ON subscription_period (subscription_id, opened);
