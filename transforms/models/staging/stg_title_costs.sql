select
    title_id,
    contract,
    amount_minor,
    currency,
    from_date,
    until_date
from {{ source('raw', 'title_cost') }}
where amount_minor is not null and currency is not null and from_date < until_date
