select
    customer_key,
    created_at
from {{ source('raw', 'customer') }}
