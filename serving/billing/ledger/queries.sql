-- name: open
INSERT INTO ledger_transaction (kind, source, occurred_at)
SELECT * FROM unnest(%(kinds)s::text[], %(sources)s::text[], %(moments)s::timestamptz[])
ON CONFLICT (kind, source) DO NOTHING
RETURNING transaction_id, kind, source

-- name: post
INSERT INTO posting (transaction_id, line, ledger, party, currency, amount_minor)
SELECT * FROM unnest(%(transactions)s::bigint[], %(lines)s::smallint[], %(ledgers)s::text[], %(parties)s::text[],
                     %(currencies)s::text[], %(amounts)s::bigint[])

-- name: balance
SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor FROM posting
WHERE ledger = %(ledger)s AND party = %(party)s AND currency = %(currency)s
