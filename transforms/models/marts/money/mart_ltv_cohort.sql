with revenue as (

    select
        customer_key,
        currency,
        month,
        sum(amount_minor) as amount_minor
    from {{ ref('int_revenue_line') }}
    where customer_key is not null
    group by customer_key, currency, month

),

last_month as (

    select max(month) as last_month from revenue

),

-- Whoever was ever charged, in the month in which there first was something of money with them.
members as (

    select
        revenue.customer_key,
        revenue.currency,
        least(
            min(revenue.month), min(cast(date_trunc('month', cast(customers.created_at as date)) as date))
        ) as cohort_month
    from revenue
    inner join {{ ref('stg_customers') }} as customers on revenue.customer_key = customers.customer_key
    group by revenue.customer_key, revenue.currency

),

cohorts as (

    select
        members.cohort_month,
        members.currency,
        last_month.last_month,
        count(*) as customers
    from members
    cross join last_month
    group by members.cohort_month, members.currency, last_month.last_month

),

months as (

    select
        cohort_month,
        currency,
        customers,
        {{ each_date('cohort_month', 'last_month', 'month') }} as month
    from cohorts

),

earned as (

    select
        members.cohort_month,
        members.currency,
        revenue.month,
        sum(revenue.amount_minor) as revenue_minor
    from members
    inner join revenue on members.customer_key = revenue.customer_key and members.currency = revenue.currency
    group by members.cohort_month, members.currency, revenue.month

),

joined as (

    select
        months.cohort_month,
        months.currency,
        {{ month_number('months.month') }} - {{ month_number('months.cohort_month') }} as month_n,
        months.customers,
        coalesce(earned.revenue_minor, 0) as revenue_minor,
        sum(coalesce(earned.revenue_minor, 0)) over (
            partition by months.cohort_month, months.currency
            order by months.month
        ) as to_date_minor
    from months
    left join earned
        on
            months.cohort_month = earned.cohort_month
            and months.currency = earned.currency
            and months.month = earned.month

),

final as (

    select
        cohort_month,
        currency,
        cast(month_n as integer) as month_n,
        cast(customers as bigint) as customers,
        cast(revenue_minor as bigint) as revenue_minor,
        cast(to_date_minor as bigint) as to_date_minor,
        cast(to_date_minor as double) / customers as ltv_minor
    from joined

)

select * from final
