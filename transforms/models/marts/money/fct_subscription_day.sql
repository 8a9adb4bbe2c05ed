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

final as (

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

)

select * from final
