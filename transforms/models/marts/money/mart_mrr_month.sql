with movements as (

    select * from {{ ref('fct_mrr_movement') }}

),

balances as (

    select * from {{ ref('int_subscription_month') }}
    where is_paying

),

currencies as (

    select currency, min(month) as first_month
    from movements
    group by currency

),

-- A month without a movement has a row as well.
months as (

    select distinct dates.month, currencies.currency
    from {{ ref('dim_date') }} as dates
    inner join currencies on dates.month >= currencies.first_month

),

moved as (

    select
        month,
        currency,
        sum(case when kind = 'new' then amount_minor else 0 end) as new_minor,
        sum(case when kind = 'expansion' then amount_minor else 0 end) as expansion_minor,
        sum(case when kind = 'contraction' then amount_minor else 0 end) as contraction_minor,
        sum(case when kind = 'churn' then amount_minor else 0 end) as churn_minor,
        sum(case when kind = 'reactivation' then amount_minor else 0 end) as reactivation_minor
    from movements
    group by month, currency

),

-- From the subscriptions themselves, so that the movements can be held against it.
closings as (

    select
        month,
        currency,
        sum(mrr_minor) as closing_minor,
        count(*) as subscribers
    from balances
    group by month, currency

),

joined as (

    select
        months.month,
        months.currency,
        cast(coalesce(moved.new_minor, 0) as bigint) as new_minor,
        cast(coalesce(moved.expansion_minor, 0) as bigint) as expansion_minor,
        cast(coalesce(moved.contraction_minor, 0) as bigint) as contraction_minor,
        cast(coalesce(moved.churn_minor, 0) as bigint) as churn_minor,
        cast(coalesce(moved.reactivation_minor, 0) as bigint) as reactivation_minor,
        cast(coalesce(closings.closing_minor, 0) as bigint) as closing_minor,
        cast(coalesce(closings.subscribers, 0) as bigint) as subscribers
    from months
    left join moved on months.month = moved.month and months.currency = moved.currency
    left join closings on months.month = closings.month and months.currency = closings.currency

),

final as (

    select
        month,
        currency,
        lag(closing_minor, 1, cast(0 as bigint)) over (partition by currency order by month) as opening_minor,
        new_minor,
        expansion_minor,
        contraction_minor,
        churn_minor,
        reactivation_minor,
        closing_minor,
        subscribers,
        cast(closing_minor as double) / nullif(subscribers, 0) as arpu_minor
    from joined

)

select * from final
