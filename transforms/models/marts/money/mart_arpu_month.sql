with subscribers as (

    select
        month,
        currency,
        subscribers as closing_subscribers,
        lag(subscribers, 1, cast(0 as bigint)) over (partition by currency order by month) as opening_subscribers
    from {{ ref('mart_mrr_month') }}

),

churned as (

    select
        month,
        currency,
        count(*) as accounts
    from {{ ref('fct_mrr_movement') }}
    where kind = 'churn'
    group by month, currency

),

revenue as (

    select
        month,
        currency,
        sum(
            case when ledger = 'subscription' or (ledger = 'discount' and plan is not null) then recognised_minor else 0 end
        ) as recurring_minor,
        sum(recognised_minor) as recognised_minor
    from {{ ref('mart_revenue_month') }}
    group by month, currency

),

costs as (

    select
        month,
        currency,
        sum(amount_minor) as cost_minor
    from {{ ref('fct_posting') }}
    where ledger_kind = 'expense'
    group by month, currency

),

joined as (

    select
        subscribers.month,
        subscribers.currency,
        subscribers.opening_subscribers,
        subscribers.closing_subscribers,
        coalesce(churned.accounts, 0) as churned_subscribers,
        coalesce(revenue.recurring_minor, 0) as recurring_minor,
        coalesce(revenue.recognised_minor, 0) as recognised_minor,
        coalesce(costs.cost_minor, 0) as cost_minor
    from subscribers
    left join churned on subscribers.month = churned.month and subscribers.currency = churned.currency
    left join revenue on subscribers.month = revenue.month and subscribers.currency = revenue.currency
    left join costs on subscribers.month = costs.month and subscribers.currency = costs.currency

),

-- One month alone says little about who leaves and what providers keep.
quarters as (

    select
        *,
        sum(churned_subscribers) over quarter as churned_in_three,
        sum(opening_subscribers) over quarter as opening_in_three,
        sum(recognised_minor) over quarter as recognised_in_three,
        sum(cost_minor) over quarter as cost_in_three
    from joined
    window quarter as (partition by currency order by month rows between 2 preceding and current row)

),

rates as (

    select
        *,
        (opening_subscribers + closing_subscribers) / 2e0 as average_subscribers,
        cast(churned_in_three as double) / nullif(opening_in_three, 0) as churn,
        1e0 - cast(cost_in_three as double) / nullif(recognised_in_three, 0) as margin
    from quarters

),

final as (

    select
        month,
        currency,
        cast(opening_subscribers as bigint) as opening_subscribers,
        cast(closing_subscribers as bigint) as closing_subscribers,
        average_subscribers,
        cast(churned_subscribers as bigint) as churned_subscribers,
        cast(recurring_minor as bigint) as recurring_minor,
        cast(recurring_minor as double) / nullif(average_subscribers, 0) as arpu_minor,
        churn,
        margin,
        cast(recurring_minor as double) / nullif(average_subscribers, 0) * margin
        / case when churn < 1e0 / 60 then 1e0 / 60 else churn end as predicted_ltv_minor
    from rates

)

select * from final
