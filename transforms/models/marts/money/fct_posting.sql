select
    transaction_id,
    line,
    kind,
    source_key,
    occurred_at,
    cast(date_trunc('month', cast(occurred_at as date)) as date) as month,
    ledger,
    ledger_kind,
    party_kind,
    party,
    currency,
    amount_minor
from {{ ref('stg_postings') }}
