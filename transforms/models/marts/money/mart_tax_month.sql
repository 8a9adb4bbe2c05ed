with sums as (

    select
        month,
        party as country,
        currency,
        0 as net_minor,
        case when kind = 'charge' then -amount_minor else 0 end as charged_minor,
        case when kind in ('void', 'credit') then amount_minor else 0 end as given_back_minor,
        -amount_minor as tax_minor
    from {{ ref('fct_posting') }}
    where ledger = 'tax'
    union all
    select
        month,
        tax_country as country,
        currency,
        amount_minor as net_minor,
        0 as charged_minor,
        0 as given_back_minor,
        0 as tax_minor
    from {{ ref('int_revenue_line') }}
    where tax_country is not null

),

final as (

    select
        month,
        country,
        currency,
        cast(sum(net_minor) as bigint) as net_minor,
        cast(sum(charged_minor) as bigint) as charged_minor,
        cast(sum(given_back_minor) as bigint) as given_back_minor,
        cast(sum(tax_minor) as bigint) as tax_minor
    from sums
    group by month, country, currency

)

select * from final
