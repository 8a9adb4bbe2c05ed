-- name: post
-- Facts with their postings, which name their fact by its place; what is in the ledger already is left alone. Comes back
-- with what was written.
WITH fact AS (
    SELECT * FROM unnest(%(kinds)s::text[], %(sources)s::text[], %(moments)s::timestamptz[])
        WITH ORDINALITY AS f (kind, source, occurred_at, place)
), written AS (
    INSERT INTO ledger_transaction (kind, source, occurred_at) SELECT kind, source, occurred_at FROM fact ORDER BY place
    ON CONFLICT (kind, source) DO NOTHING
    RETURNING transaction_id, kind, source
), posted AS (
    INSERT INTO posting (transaction_id, line, ledger, party, currency, amount_minor)
    SELECT w.transaction_id, p.line, p.ledger, p.party, p.currency, p.amount_minor
    FROM unnest(%(places)s::bigint[], %(lines)s::smallint[], %(ledgers)s::text[], %(parties)s::text[],
                %(currencies)s::text[], %(amounts)s::bigint[])
        AS p (place, line, ledger, party, currency, amount_minor)
    JOIN fact USING (place) JOIN written w USING (kind, source)
)
SELECT kind, source FROM written

-- name: balance
SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor FROM posting
WHERE ledger = %(ledger)s AND party = %(party)s AND currency = %(currency)s
