with facts as (

    select
        transaction_id,
        kind,
        source_key,
        month
    from {{ ref('fct_posting') }}
    where line = 1 and kind in ('charge', 'void', 'credit')

),

corrections as (

    select * from {{ ref('fct_posting') }}
    where kind = 'correction' and ledger_kind = 'revenue'

),

invoiced as (

    select
        facts.transaction_id,
        lines.line,
        facts.month,
        coalesce(lines.credits_key, lines.invoice_key) as invoice_key,
        lines.customer_key,
        case lines.kind
            when 'rent' then 'rental'
            when 'buy' then 'purchase'
            when 'discount' then 'discount'
            else 'subscription'
        end as ledger,
        lines.plan_id,
        lines.title_id,
        lines.country,
        lines.tax_country,
        lines.promo_id,
        lines.currency,
        cast(lines.period_from as date) as from_day,
        cast(lines.period_until as date) as until_day,
        case when facts.kind = 'charge' then lines.net_minor else -lines.net_minor end as amount_minor
    from facts
    inner join {{ ref('stg_invoice_lines') }} as lines on facts.source_key = lines.invoice_key
    where lines.net_minor <> 0

),

corrected as (

    select
        transaction_id,
        line,
        month,
        source_key as invoice_key,
        cast(null as string) as customer_key,
        ledger,
        cast(null as string) as plan_id,
        cast(null as string) as title_id,
        cast(null as string) as country,
        cast(null as string) as tax_country,
        cast(null as string) as promo_id,
        currency,
        cast(null as date) as from_day,
        cast(null as date) as until_day,
        -amount_minor as amount_minor
    from corrections

)

select * from invoiced
union all
select * from corrected
