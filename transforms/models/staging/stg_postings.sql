select
    transaction_id,
    line,
    kind,
    source_key,
    occurred_at,
    ledger,
    ledger_kind,
    party_kind,
    party,
    currency,
    amount_minor
from {{ source('raw', 'posting') }}
