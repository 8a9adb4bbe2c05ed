-- Read by warehouse.export: the books as the lake may know them. Ids of money name no person once an account is erased,
-- but lead to one before; so they stand as keys: SHA-256 after the pepper of this database. A key outlives the account.
CREATE FUNCTION lake_key(pepper bytea, id text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT encode(sha256(pepper || convert_to('money:' || id, 'UTF8')), 'hex')
$$;

-- What leads from an account to its customer goes with the account's row; customers stay.
CREATE OR REPLACE VIEW export_account AS
SELECT a.account_id, a.role, a.origin, a.country, a.created_at,
       (SELECT count(*) FROM profile p WHERE p.account_id = a.account_id) AS profiles,
       lake_key(x.value, c.customer_id) AS customer_key
FROM account a LEFT JOIN customer c USING (account_id) CROSS JOIN erasure_pepper x;

CREATE VIEW export_customer AS
SELECT lake_key(x.value, c.customer_id) AS customer_key, c.created_at
FROM customer c CROSS JOIN erasure_pepper x;

-- `source_key` of a charge or void is the invoice's `invoice_key`, of a credit the credit note's; a payout's is the
-- provider's id of it, which is no person's.
CREATE VIEW export_posting AS
SELECT t.transaction_id, p.line, t.kind,
       CASE t.kind WHEN 'payout' THEN t.source ELSE lake_key(x.value, t.source) END AS source_key,
       t.occurred_at, p.ledger, a.kind AS ledger_kind, a.party AS party_kind,
       CASE a.party WHEN 'customer' THEN lake_key(x.value, p.party) ELSE p.party END AS party,
       p.currency, p.amount_minor
FROM posting p
JOIN ledger_transaction t USING (transaction_id)
JOIN ledger_account a USING (ledger)
CROSS JOIN erasure_pepper x;

-- What each ledger holds, by the database's own count: what the lake's postings are held against.
CREATE VIEW export_ledger_total AS
SELECT ledger, currency, count(*) AS postings, sum(amount_minor)::bigint AS amount_minor
FROM posting GROUP BY ledger, currency;

-- What invoices and credit notes (`credits_key` names the invoice) are for. Amounts include tax.
CREATE VIEW export_invoice_line AS
SELECT lake_key(x.value, i.invoice_id) AS invoice_key, l.line, l.kind, i.purpose, i.reason, i.state,
       lake_key(x.value, i.customer_id) AS customer_key, lake_key(x.value, i.credits) AS credits_key,
       lake_key(x.value, i.subscription_id) AS subscription_key,
       l.plan_id, coalesce(l.title_id, i.title_id) AS title_id, l.months,
       lower(coalesce(l.period, i.period)) AS period_from, upper(coalesce(l.period, i.period)) AS period_until,
       i.currency, l.amount_minor, l.tax_minor, i.tax_country, i.tax_bp, i.country,
       r.amount_minor AS list_minor, r.months AS list_months,
       (SELECT min(d.promo_id) FROM promo_redemption d
        WHERE d.invoice_id = i.invoice_id AND d.state <> 'released') AS promo_id,
       i.issued_at, i.paid_at
FROM invoice_line l
JOIN invoice i USING (invoice_id)
LEFT JOIN price r USING (price_id)
CROSS JOIN erasure_pepper x;

CREATE VIEW export_subscription_event AS
SELECT e.event_id, lake_key(x.value, e.subscription_id) AS subscription_key,
       lake_key(x.value, s.customer_id) AS customer_key, e.at, e.event, e.was, e.became
FROM subscription_event e
JOIN subscription s USING (subscription_id)
CROSS JOIN erasure_pepper x;
