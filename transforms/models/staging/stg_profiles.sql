select
    profile_key,
    account_key,
    maturity,
    language,
    created_at
from {{ source('raw', 'profile') }}
