with periods as (

    select * from {{ ref('stg_subscriptions') }}

),

last_day as (

    select max(day) as day from {{ ref('dim_date') }}

),

-- A period holds at the end of a day if it was opened before midnight and not closed before it.
bounded as (

    select
        periods.*,
        cast(periods.opened_at as date) as first_day,
        least(
            coalesce(cast(cast(periods.closed_at as date) - interval '1' day as date), last_day.day), last_day.day
        ) as final_day
    from periods
    inner join last_day on cast(periods.opened_at as date) <= last_day.day

),

days as (

    select
        account_key,
        {{ each_date('first_day', 'final_day', 'day') }} as day,
        plan,
        state,
        is_paying,
        monthly_minor,
        currency
    from bounded
    where first_day <= final_day

),

invoiced as (

    select
        account_key,
        {{ each_date('from_day', "cast(until_day - interval '1' day as date)", 'day') }} as day,
        plan,
        currency,
        monthly_minor
    from {{ ref('int_plan_price') }}

),

final as (

    select
        days.account_key,
        days.day,
        days.plan,
        days.state,
        days.is_paying,
        coalesce(invoiced.monthly_minor, days.monthly_minor) as monthly_minor,
        days.currency,
        invoiced.account_key is not null as is_invoiced
    from days
    left join invoiced
        on
            days.account_key = invoiced.account_key
            and days.day = invoiced.day
            and days.plan = invoiced.plan
            and days.currency = invoiced.currency

)

select * from final
