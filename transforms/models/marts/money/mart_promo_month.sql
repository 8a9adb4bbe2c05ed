with taken_off as (

    select
        month,
        promo_id,
        currency,
        count(distinct invoice_key) as invoices,
        count(distinct customer_key) as customers,
        -sum(amount_minor) as discount_minor
    from {{ ref('int_revenue_line') }}
    where ledger = 'discount'
    group by month, promo_id, currency

),

final as (

    select
        month,
        promo_id,
        currency,
        cast(invoices as bigint) as invoices,
        cast(customers as bigint) as customers,
        cast(discount_minor as bigint) as discount_minor
    from taken_off

)

select * from final
