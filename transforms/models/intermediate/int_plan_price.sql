with lines as (

    select * from {{ ref('stg_invoice_lines') }}
    where purpose = 'subscription'

),

discounts as (

    select
        invoice_key,
        sum(net_minor) as net_minor
    from lines
    where kind = 'discount'
    group by invoice_key

),

-- A renewal counts while it is tried, so also one that was voided in the end; a first payment when it has come.
plans as (

    select
        lines.*,
        lines.net_minor + coalesce(discounts.net_minor, 0) as due_minor,
        {{ whole_division('2 * 10000 * lines.list_minor + 10000 + lines.tax_bp', '2 * (10000 + lines.tax_bp)') }} as list_net_minor
    from lines
    left join discounts on lines.invoice_key = discounts.invoice_key
    where lines.kind = 'plan' and (lines.state = 'paid' or lines.reason = 'renewal')

),

priced as (

    select
        accounts.account_key,
        plans.invoice_key,
        plans.line,
        plans.plan_id as plan,
        plans.currency,
        cast(plans.period_from as date) as from_day,
        -- Until the plan's next one begins. Another plan's lies beside it: who has a change refunded goes on with what
        -- was paid before.
        least(
            cast(plans.period_until as date),
            lead(cast(plans.period_from as date)) over (
                partition by plans.customer_key, plans.plan_id
                order by plans.period_from, plans.issued_at, plans.invoice_key, plans.line
            )
        ) as until_day,
        -- Rounded to the nearest unit. Part of a period says little about a month: the price list does.
        cast(
            case
                when plans.months is not null
                    then {{ whole_division('2 * plans.due_minor + plans.months', '2 * plans.months') }}
                else {{ whole_division('2 * plans.list_net_minor + plans.list_months', '2 * plans.list_months') }}
            end as bigint
        ) as monthly_minor
    from plans
    inner join {{ ref('stg_accounts') }} as accounts on plans.customer_key = accounts.customer_key

),

final as (

    select * from priced
    where from_day < until_day and monthly_minor is not null

)

select * from final
