-- What keeps the books looks at our own tables, whatever the writer's search_path puts before them.
ALTER FUNCTION posting_balances() SET search_path = public, pg_temp;
ALTER FUNCTION ledger_transaction_posted() SET search_path = public, pg_temp;
ALTER FUNCTION ledger_keeps() SET search_path = public, pg_temp;
ALTER FUNCTION customer_keeps() SET search_path = public, pg_temp;
ALTER FUNCTION invoice_keeps() SET search_path = public, pg_temp;

-- The lines of an invoice are written by one statement and come to what it says: later ones would change what was issued.
CREATE FUNCTION invoice_lines_fit() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    wrong text;
BEGIN
    SELECT w.invoice_id INTO wrong
    FROM (SELECT invoice_id, sum(amount_minor) AS amount, sum(tax_minor) AS tax, count(*) AS lines
          FROM written GROUP BY invoice_id) w
    WHERE (w.amount, w.tax) <> (SELECT i.total_minor, i.tax_minor FROM invoice i WHERE i.invoice_id = w.invoice_id)
       OR w.lines <> (SELECT count(*) FROM invoice_line l WHERE l.invoice_id = w.invoice_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'what was issued stays: the lines of invoice % come all at once, and to its total and tax', wrong
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER invoice_lines_fit AFTER INSERT ON invoice_line
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_fit();
