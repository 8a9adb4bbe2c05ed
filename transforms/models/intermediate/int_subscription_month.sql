with month_ends as (

    select
        days.account_key,
        days.day,
        dates.month,
        dates.month_number,
        days.plan,
        days.is_paying,
        days.currency,
        days.monthly_minor
    from {{ ref('fct_subscription_day') }} as days
    inner join {{ ref('dim_date') }} as dates on days.day = dates.day
    where dates.is_month_end

),

-- What the last invoice for that day says.
invoiced as (

    select
        month_ends.account_key,
        month_ends.month,
        prices.monthly_minor,
        row_number() over (
            partition by month_ends.account_key, month_ends.month
            order by prices.issued_at desc, prices.invoice_key, prices.line
        ) as place
    from month_ends
    inner join {{ ref('int_plan_price') }} as prices
        on
            month_ends.account_key = prices.account_key
            and month_ends.plan = prices.plan
            and month_ends.currency = prices.currency
            and month_ends.day >= prices.from_day
            and month_ends.day < prices.until_day
    where prices.monthly_minor is not null

),

final as (

    select
        month_ends.account_key,
        month_ends.month,
        month_ends.month_number,
        month_ends.plan,
        month_ends.is_paying,
        month_ends.currency,
        invoiced.account_key is not null as is_invoiced,
        case when month_ends.is_paying then coalesce(invoiced.monthly_minor, month_ends.monthly_minor) else 0 end as mrr_minor
    from month_ends
    left join invoiced
        on
            month_ends.account_key = invoiced.account_key
            and month_ends.month = invoiced.month
            and invoiced.place = 1

)

select * from final
