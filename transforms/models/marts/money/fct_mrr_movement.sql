with balances as (

    select account_key, month_number, currency, mrr_minor
    from {{ ref('int_subscription_month') }}
    where mrr_minor > 0

),

months as (

    select distinct month, month_number from {{ ref('dim_date') }}

),

firsts as (

    select account_key, min(month_number) as first_month_number
    from balances
    group by account_key

),

-- A balance comes in its month and goes in the next; what stays the same cancels out.
changes as (

    select account_key, month_number, currency, mrr_minor as amount_minor from balances
    union all
    select account_key, month_number + 1, currency, -mrr_minor from balances

),

net as (

    select
        account_key,
        month_number,
        currency,
        cast(sum(amount_minor) as bigint) as amount_minor
    from changes
    group by account_key, month_number, currency
    having sum(amount_minor) <> 0

),

final as (

    select
        net.account_key,
        months.month,
        net.currency,
        -- Who pays on in another currency contracts in the one and expands in the other.
        case
            when net.month_number = firsts.first_month_number then 'new'
            when closing.account_key is null then 'churn'
            when opening.account_key is null then 'reactivation'
            when net.amount_minor > 0 then 'expansion'
            else 'contraction'
        end as kind,
        net.amount_minor
    from net
    inner join months on net.month_number = months.month_number
    inner join firsts on net.account_key = firsts.account_key
    left join balances as opening
        on net.account_key = opening.account_key and net.month_number - 1 = opening.month_number
    left join balances as closing
        on net.account_key = closing.account_key and net.month_number = closing.month_number

)

select * from final
