select
    account_key,
    origin,
    country,
    role,
    profiles,
    created_at
from {{ ref('stg_accounts') }}
