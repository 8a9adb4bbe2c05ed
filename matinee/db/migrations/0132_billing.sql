-- Subscriptions, invoices, payments. writer: serving.billing; times come from its clock, never from the server's.

-- A way to pay that a provider keeps for us: never a card's number, only its token there.
CREATE TABLE payment_method (
    method_id    text PRIMARY KEY,
    customer_id  text NOT NULL REFERENCES customer,
    provider     text NOT NULL,
    provider_ref text,           -- the token; null once it was forgotten
    label        text NOT NULL,  -- as its owner knows it: `Visa •••• 4242`
    created_at   timestamptz NOT NULL,
    removed_at   timestamptz,
    UNIQUE (provider, provider_ref)
);
CREATE INDEX payment_method_customer ON payment_method (customer_id);

-- One row a subscription from its beginning to its end; its moves are rows of subscription_event.
CREATE TABLE subscription (
    subscription_id text PRIMARY KEY,
    customer_id     text NOT NULL REFERENCES customer,
    state           text NOT NULL CHECK (state IN ('incomplete', 'trialing', 'active', 'past_due', 'paused', 'expired')),
    price_id        text NOT NULL REFERENCES price,
    next_price_id   text REFERENCES price,    -- from the next period on
    zone            text NOT NULL DEFAULT 'UTC',  -- IANA: in whose wall time periods are counted
    anchor          timestamptz,              -- periods are whole months from here
    elapsed         int NOT NULL DEFAULT 0,   -- months from the anchor to the start of the current period
    period          tstzrange,                -- the current one: a trial, paid, or owed while past due
    paid_until      timestamptz,              -- null: nothing was paid yet
    ends            boolean NOT NULL DEFAULT false,  -- cancelled: ends with the period
    pauses          boolean NOT NULL DEFAULT false,  -- pauses with the period
    resumes_at      timestamptz,              -- of a pause that has an end
    attempts        int NOT NULL DEFAULT 0,   -- refused charges of the current renewal
    due_at          timestamptz,              -- when a renewal run has to look at it; null: never
    method_id       text REFERENCES payment_method,
    created_at      timestamptz NOT NULL,
    ended_at        timestamptz
);
CREATE UNIQUE INDEX subscription_live ON subscription (customer_id) WHERE state NOT IN ('expired', 'incomplete');
CREATE INDEX subscription_customer ON subscription (customer_id);
CREATE INDEX subscription_due ON subscription (due_at, subscription_id) WHERE due_at IS NOT NULL;

CREATE TABLE subscription_event (
    event_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id text NOT NULL REFERENCES subscription,
    at              timestamptz NOT NULL,
    event           text NOT NULL,
    was             text,
    became          text NOT NULL,
    details         jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX subscription_event_of ON subscription_event (subscription_id, event_id);

-- Numbers are in the order of issue; a database transaction that fails leaves a gap.
CREATE SEQUENCE invoice_number;

-- An invoice, or a credit note (`credits` names the invoice). Amounts include tax; a credit note's are positive too.
CREATE TABLE invoice (
    invoice_id      text PRIMARY KEY,
    number          text NOT NULL UNIQUE,
    customer_id     text NOT NULL REFERENCES customer,
    purpose         text NOT NULL CHECK (purpose IN ('subscription', 'rent', 'buy', 'credit')),
    credits         text REFERENCES invoice,
    subscription_id text REFERENCES subscription,
    title_id        text,
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_minor     bigint NOT NULL CHECK (total_minor >= 0),     -- after discount
    discount_minor  bigint NOT NULL DEFAULT 0 CHECK (discount_minor >= 0),
    tax_minor       bigint NOT NULL CHECK (tax_minor >= 0 AND tax_minor <= total_minor),
    tax_country     text NOT NULL DEFAULT '',
    tax_bp          int NOT NULL DEFAULT 0,
    from_balance    bigint NOT NULL DEFAULT 0 CHECK (from_balance >= 0 AND from_balance <= total_minor),
    credited_minor  bigint NOT NULL DEFAULT 0 CHECK (credited_minor >= 0 AND credited_minor <= total_minor),
    state           text NOT NULL CHECK (state IN ('open', 'paid', 'void')),
    reason          text NOT NULL,  -- start, renewal, change, resume, purchase, refund, …
    period          tstzrange,      -- that it opens
    language        text NOT NULL DEFAULT 'en',
    country         text NOT NULL DEFAULT '',
    issued_at       timestamptz NOT NULL,
    paid_at         timestamptz,
    CHECK ((purpose = 'credit') = (credits IS NOT NULL)),
    CHECK ((state = 'paid') = (paid_at IS NOT NULL))
);
-- A renewal is billed once, however often and by however many it is run.
CREATE UNIQUE INDEX invoice_renewal ON invoice (subscription_id, lower(period))
    WHERE reason = 'renewal' AND state <> 'void';
CREATE INDEX invoice_customer ON invoice (customer_id, issued_at DESC, invoice_id DESC);
CREATE INDEX invoice_subscription ON invoice (subscription_id);
CREATE INDEX invoice_credits ON invoice (credits);

CREATE TABLE invoice_line (
    invoice_id     text NOT NULL REFERENCES invoice,
    line           smallint NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('plan', 'unused', 'rent', 'buy', 'discount', 'refund')),
    plan_id        text,
    price_id       text REFERENCES price,
    title_id       text,
    months         int,        -- of a plan's period; null where the line is of a part of one
    period         tstzrange,
    amount_minor   bigint NOT NULL,  -- tax included; below zero: `unused`, `discount`
    tax_minor      bigint NOT NULL,
    names          jsonb NOT NULL DEFAULT '{}',  -- {language: what it is called}
    PRIMARY KEY (invoice_id, line)
);

-- An attempt to be paid for an invoice. `payment_id` is the idempotency key at the provider, so a call that nobody heard
-- the answer of is made again without a second charge.
CREATE TABLE payment (
    payment_id     text PRIMARY KEY,
    invoice_id     text NOT NULL REFERENCES invoice,
    customer_id    text NOT NULL REFERENCES customer,
    provider       text NOT NULL,
    provider_ref   text,
    state          text NOT NULL CHECK (state IN ('created', 'pending', 'succeeded', 'failed')),
    amount_minor   bigint NOT NULL CHECK (amount_minor > 0),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    method_id      text REFERENCES payment_method,   -- charged without its owner; null: by a hosted page
    save_method    boolean NOT NULL DEFAULT false,
    attempt        int NOT NULL DEFAULT 1,
    checkout_url   text,       -- the provider's hosted page (or 3-D Secure challenge)
    failure        text,       -- the provider's code
    fee_minor      bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0 AND refunded_minor <= amount_minor),
    created_at     timestamptz NOT NULL,
    asked_at       timestamptz,  -- when the provider was last asked about it
    settled_at     timestamptz,
    UNIQUE (provider, provider_ref),
    CHECK ((state IN ('succeeded', 'failed')) = (settled_at IS NOT NULL))
);
CREATE INDEX payment_invoice ON payment (invoice_id);
CREATE INDEX payment_customer ON payment (customer_id, created_at DESC, payment_id DESC);
CREATE INDEX payment_unsettled ON payment (created_at) WHERE state IN ('created', 'pending');
CREATE UNIQUE INDEX payment_of_invoice ON payment (invoice_id) WHERE state = 'succeeded';

CREATE TABLE refund (
    refund_id    text PRIMARY KEY,   -- the idempotency key at the provider
    payment_id   text NOT NULL REFERENCES payment,
    note_id      text REFERENCES invoice,   -- the credit note
    provider_ref text,
    state        text NOT NULL CHECK (state IN ('created', 'pending', 'succeeded', 'failed')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency     text NOT NULL,
    reason       text NOT NULL,
    keeps_right  boolean NOT NULL DEFAULT false,  -- a goodwill refund: what was paid for stays
    failure      text,
    asked_by     text,               -- who of the staff
    created_at   timestamptz NOT NULL,
    settled_at   timestamptz
);
CREATE INDEX refund_payment ON refund (payment_id);
CREATE INDEX refund_unsettled ON refund (created_at) WHERE state IN ('created', 'pending');

CREATE TABLE dispute (
    dispute_id   text PRIMARY KEY,
    payment_id   text NOT NULL REFERENCES payment,
    provider     text NOT NULL,
    provider_ref text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency     text NOT NULL,
    fee_minor    bigint NOT NULL DEFAULT 0,
    reason       text NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'won', 'lost')),
    opened_at    timestamptz NOT NULL,
    closed_at    timestamptz,
    UNIQUE (provider, provider_ref)
);
CREATE INDEX dispute_payment ON dispute (payment_id);

-- What a code took off which invoice. Reserved with the invoice, redeemed when it is paid, released when it is void.
CREATE TABLE promo_redemption (
    redemption_id   text PRIMARY KEY,
    promo_id        text NOT NULL REFERENCES promo,
    customer_id     text NOT NULL REFERENCES customer,
    subscription_id text REFERENCES subscription,
    invoice_id      text NOT NULL REFERENCES invoice,
    state           text NOT NULL CHECK (state IN ('reserved', 'redeemed', 'released')),
    periods_left    int,   -- further periods that it is good for; null: all
    at              timestamptz NOT NULL
);
CREATE INDEX promo_redemption_of ON promo_redemption (promo_id, customer_id);
CREATE INDEX promo_redemption_invoice ON promo_redemption (invoice_id);
CREATE INDEX promo_redemption_subscription ON promo_redemption (subscription_id);

-- What providers told us, each once; what could not be used stays with its reason.
CREATE TABLE provider_event (
    provider    text NOT NULL,
    event_id    text NOT NULL,
    kind        text NOT NULL,
    ref         text,
    body        jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    handled_at  timestamptz,
    reason      text,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX provider_event_waiting ON provider_event (received_at) WHERE handled_at IS NULL;

-- The first answer to a request that costs money (draft-ietf-httpapi-idempotency-key-header-07). `status` null: in flight.
CREATE TABLE idempotency (
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    route       text NOT NULL,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),  -- SHA-256 of the request's body
    status      int,
    body        bytea,
    begun_at    timestamptz NOT NULL,
    done_at     timestamptz,
    PRIMARY KEY (account_id, route, key)
);
CREATE INDEX idempotency_begun ON idempotency (begun_at);

-- What an entitlement was bought by: it goes when that is refunded.
ALTER TABLE entitlement ADD COLUMN invoice_id text REFERENCES invoice;
CREATE INDEX entitlement_invoice ON entitlement (invoice_id) WHERE invoice_id IS NOT NULL;
