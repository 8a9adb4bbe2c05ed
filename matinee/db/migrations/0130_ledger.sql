-- Money. Every table of it names a customer, never an account: an erased account leaves its customer behind, whom nothing
-- leads to a person any more, and the books stay whole. writer: serving.billing
CREATE TABLE customer (
    customer_id text PRIMARY KEY,
    account_id  text UNIQUE REFERENCES account ON DELETE SET NULL,
    created_at  timestamptz NOT NULL
);

-- The chart of accounts. `party` says whose of them a posting is of: customers' ids, providers' names, countries' codes.
-- A debit is positive, a credit negative.
CREATE TABLE ledger_account (
    ledger  text PRIMARY KEY,
    kind    text NOT NULL CHECK (kind IN ('asset', 'liability', 'revenue', 'expense')),
    party   text CHECK (party IN ('customer', 'provider', 'country')),
    meaning text NOT NULL
);
INSERT INTO ledger_account (ledger, kind, party, meaning) VALUES
    ('receivable', 'asset', 'customer', 'what the customer owes; below zero: what we owe the customer (credit)'),
    ('clearing', 'asset', 'provider', 'taken by the payment provider and not yet paid out'),
    ('disputed', 'asset', 'provider', 'held back by the provider while a dispute is open'),
    ('bank', 'asset', 'provider', 'paid out to our bank account'),
    ('tax', 'liability', 'country', 'value added tax that is owed to the country'),
    ('subscription', 'revenue', NULL, 'plans, at list price without tax'),
    ('rental', 'revenue', NULL, 'rented titles, at list price without tax'),
    ('purchase', 'revenue', NULL, 'bought titles, at list price without tax'),
    ('discount', 'revenue', NULL, 'what promo codes took off, without tax'),
    ('fee', 'expense', 'provider', 'what the provider keeps'),
    ('loss', 'expense', 'provider', 'lost disputes, and their fees');

-- One business fact (`kind`, `source`), written once.
CREATE TABLE ledger_transaction (
    transaction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN (
        'charge',        -- an invoice: source its id
        'void',          -- an invoice that is not to be paid after all
        'payment',       -- money came: the payment's id
        'fee',           -- what the provider kept of it: the payment's, refund's or dispute's id
        'credit',        -- a credit note (its id): revenue and tax given back to the customer's balance
        'refund',        -- money went back: the refund's id
        'dispute', 'dispute_won', 'dispute_lost',  -- the dispute's id
        'payout',        -- the provider's id of it
        'correction'     -- by a person, with a reason in the audit log
    )),
    source         text NOT NULL CHECK (source <> ''),
    occurred_at    timestamptz NOT NULL,
    UNIQUE (kind, source)
);
CREATE INDEX ledger_transaction_at ON ledger_transaction (occurred_at, transaction_id);

CREATE TABLE posting (
    transaction_id bigint NOT NULL REFERENCES ledger_transaction,
    line           smallint NOT NULL CHECK (line > 0),
    ledger         text NOT NULL REFERENCES ledger_account,
    party          text NOT NULL DEFAULT '',  -- '' where the ledger knows none
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor   bigint NOT NULL CHECK (amount_minor <> 0),
    PRIMARY KEY (transaction_id, line)
);
CREATE INDEX posting_balance ON posting (ledger, party, currency) INCLUDE (amount_minor);

-- All postings of a transaction are written by one statement and sum to zero in each currency. So no moment, not even
-- within a database transaction, knows an unbalanced ledger; and as a fact without postings is never committed (below),
-- none that is committed ever gets more of them.
CREATE FUNCTION posting_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    SELECT transaction_id, currency, sum(amount_minor) AS amount INTO wrong
    FROM written GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % does not balance: % % are left over',
            wrong.transaction_id, wrong.amount, wrong.currency USING ERRCODE = 'check_violation';
    END IF;
    SELECT w.transaction_id INTO wrong
    FROM (SELECT transaction_id, count(*) AS lines FROM written GROUP BY transaction_id) w
    WHERE w.lines <> (SELECT count(*) FROM posting p WHERE p.transaction_id = w.transaction_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is closed: its postings come all at once', wrong.transaction_id
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT w.transaction_id, w.ledger, w.party INTO wrong FROM written w JOIN ledger_account a USING (ledger)
    WHERE CASE a.party
        WHEN 'customer' THEN NOT EXISTS (SELECT FROM customer c WHERE c.customer_id = w.party)
        WHEN 'country' THEN w.party !~ '^[A-Z]{2}$'
        WHEN 'provider' THEN w.party !~ '^[a-z]+$'
        ELSE w.party <> '' END LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction %: party % does not fit ledger %', wrong.transaction_id, wrong.party, wrong.ledger
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER posting_balances AFTER INSERT ON posting
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION posting_balances();

-- A business fact without postings is none.
CREATE FUNCTION ledger_transaction_posted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM posting WHERE transaction_id = NEW.transaction_id) THEN
        RAISE EXCEPTION 'ledger transaction % has no postings', NEW.transaction_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER ledger_transaction_posted AFTER INSERT ON ledger_transaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_transaction_posted();

-- Append-only: what was wrong is put right by a transaction of its own.
CREATE FUNCTION ledger_keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % of % is not allowed, write a correction', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_keeps();
CREATE TRIGGER ledger_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_keeps();
CREATE TRIGGER ledger_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_keeps();

-- Who has postings stays, as a number without a name if need be.
CREATE FUNCTION customer_keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM posting WHERE ledger = 'receivable' AND party = OLD.customer_id) THEN
        RAISE EXCEPTION 'customer % has postings: erase the account, not the customer', OLD.customer_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END
$$;
CREATE TRIGGER customer_keeps BEFORE DELETE ON customer FOR EACH ROW EXECUTE FUNCTION customer_keeps();

-- Balances are derived, never kept.
CREATE VIEW ledger_balance AS
SELECT ledger, party, currency, sum(amount_minor)::bigint AS amount_minor
FROM posting GROUP BY ledger, party, currency;
