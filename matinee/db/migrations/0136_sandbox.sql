-- The embedded payment provider: what a bank's side of it remembers, apart from our own tables as a provider's would be.
-- No money moves, nothing here is of a person: no e-mail, no card's number. writer: serving.billing.providers.sandbox
CREATE SCHEMA sandbox;

-- A saved card; `card` is the name of a test card.
CREATE TABLE sandbox.method (
    ref          text PRIMARY KEY,
    customer_id  text NOT NULL,
    card         text NOT NULL,
    created_at   timestamptz NOT NULL,
    forgotten_at timestamptz
);

CREATE TABLE sandbox.payment (
    ref            text PRIMARY KEY,
    payment_id     text NOT NULL UNIQUE,   -- the caller's key of idempotence
    customer_id    text NOT NULL,
    state          text NOT NULL CHECK (state IN ('pending', 'action', 'succeeded', 'failed')),
    amount_minor   bigint NOT NULL CHECK (amount_minor > 0),
    currency       text NOT NULL,
    description    text NOT NULL,
    language       text NOT NULL,
    return_url     text,
    save_method    boolean NOT NULL DEFAULT false,
    card           text,
    method_ref     text REFERENCES sandbox.method,
    failure        text,
    fee_minor      bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    receipt        jsonb,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    settled_at     timestamptz,
    CHECK ((state IN ('succeeded', 'failed')) = (settled_at IS NOT NULL))
);
CREATE INDEX sandbox_payment_settled ON sandbox.payment (settled_at) WHERE state = 'succeeded';
CREATE INDEX sandbox_payment_disputed ON sandbox.payment (settled_at) WHERE state = 'succeeded' AND card = 'disputed';

CREATE TABLE sandbox.refund (
    ref          text PRIMARY KEY,
    refund_id    text NOT NULL UNIQUE,
    payment_ref  text NOT NULL REFERENCES sandbox.payment,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency     text NOT NULL,
    at           timestamptz NOT NULL
);
CREATE INDEX sandbox_refund_payment ON sandbox.refund (payment_ref);
CREATE INDEX sandbox_refund_at ON sandbox.refund (at);

CREATE TABLE sandbox.dispute (
    ref          text PRIMARY KEY,
    payment_ref  text NOT NULL UNIQUE REFERENCES sandbox.payment,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency     text NOT NULL,
    fee_minor    bigint NOT NULL,
    reason       text NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'won', 'lost')),
    opened_at    timestamptz NOT NULL,
    closed_at    timestamptz,
    CHECK ((state = 'open') = (closed_at IS NULL))
);

-- What our webhook has still to be told.
CREATE TABLE sandbox.notice (
    event_id text PRIMARY KEY,
    kind     text NOT NULL,
    ref      text NOT NULL,
    at       timestamptz NOT NULL,
    tries    int NOT NULL DEFAULT 0,
    due_at   timestamptz NOT NULL
);
CREATE INDEX sandbox_notice_due ON sandbox.notice (due_at);

-- The switches for faults, as `serving.billing.providers.sandbox.faults` reads them; one row at most, which wins over
-- MATINEE_SANDBOX_FAULTS.
CREATE TABLE sandbox.switches (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    faults   text NOT NULL
);
