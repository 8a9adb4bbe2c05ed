select
    account_key,
    origin,
    country,
    role,
    cast(profiles as integer) as profiles,
    created_at,
    customer_key
from {{ source('raw', 'account') }}
