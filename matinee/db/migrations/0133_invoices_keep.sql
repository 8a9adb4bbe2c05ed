-- What was issued stays as it was issued: an invoice is paid or void once, given back by credit notes, and never undone.
-- The period that it opens may move, for that begins when somebody pays. writer: serving.billing
CREATE FUNCTION invoice_keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was issued stays: % of % is not allowed, write a credit note', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER invoice_keeps BEFORE DELETE OR TRUNCATE ON invoice FOR EACH STATEMENT EXECUTE FUNCTION invoice_keeps();
CREATE TRIGGER invoice_keeps BEFORE DELETE OR TRUNCATE ON invoice_line FOR EACH STATEMENT EXECUTE FUNCTION invoice_keeps();
CREATE TRIGGER invoice_stays BEFORE UPDATE ON invoice FOR EACH ROW WHEN (
    (OLD.invoice_id, OLD.number, OLD.customer_id, OLD.purpose, OLD.credits, OLD.subscription_id, OLD.title_id,
     OLD.currency, OLD.total_minor, OLD.discount_minor, OLD.tax_minor, OLD.tax_country, OLD.tax_bp, OLD.from_balance,
     OLD.reason, OLD.language, OLD.country, OLD.issued_at)
    IS DISTINCT FROM
    (NEW.invoice_id, NEW.number, NEW.customer_id, NEW.purpose, NEW.credits, NEW.subscription_id, NEW.title_id,
     NEW.currency, NEW.total_minor, NEW.discount_minor, NEW.tax_minor, NEW.tax_country, NEW.tax_bp, NEW.from_balance,
     NEW.reason, NEW.language, NEW.country, NEW.issued_at)
    OR (OLD.state <> 'open' AND (OLD.state, OLD.paid_at) IS DISTINCT FROM (NEW.state, NEW.paid_at))
    OR NEW.credited_minor < OLD.credited_minor
) EXECUTE FUNCTION invoice_keeps();
CREATE TRIGGER invoice_stays BEFORE UPDATE ON invoice_line FOR EACH ROW WHEN (
    (OLD.invoice_id, OLD.line, OLD.kind, OLD.plan_id, OLD.price_id, OLD.title_id, OLD.months, OLD.amount_minor,
     OLD.tax_minor, OLD.names)
    IS DISTINCT FROM
    (NEW.invoice_id, NEW.line, NEW.kind, NEW.plan_id, NEW.price_id, NEW.title_id, NEW.months, NEW.amount_minor,
     NEW.tax_minor, NEW.names)
) EXECUTE FUNCTION invoice_keeps();

-- What a customer has to pay still: read whenever an invoice is issued to them.
CREATE INDEX invoice_owed ON invoice (customer_id, currency) INCLUDE (total_minor, from_balance) WHERE state = 'open';

-- No sum of postings comes near the end of bigint.
ALTER TABLE posting ADD CONSTRAINT posting_amount_is_sane CHECK (amount_minor BETWEEN -1e13::bigint AND 1e13::bigint);
