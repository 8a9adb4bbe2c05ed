with paying as (

    select
        account_key,
        month_number,
        lag(month_number) over (partition by account_key order by month_number) as earlier_month_number,
        lead(month_number) over (partition by account_key order by month_number) as later_month_number
    from {{ ref('int_subscription_month') }}
    where is_paying

),

-- From the first month at whose end somebody paid.
months as (

    select distinct month, month_number
    from {{ ref('dim_date') }}
    where month_number >= (select min(month_number) from paying)

),

starts as (

    select month_number + 1 as month_number, count(*) as accounts
    from paying
    group by month_number

),

cancels as (

    select month_number + 1 as month_number, count(*) as accounts
    from paying
    where later_month_number is null or later_month_number > month_number + 1
    group by month_number

),

-- The month of loss is the one after the last with a payment: within the twelve before this one.
resubscribes as (

    select month_number, count(*) as accounts
    from paying
    where earlier_month_number < month_number - 1 and month_number - (earlier_month_number + 1) <= 12
    group by month_number

),

churns as (

    select movements.account_key, months.month_number
    from {{ ref('fct_mrr_movement') }} as movements
    inner join months on movements.month = months.month
    where movements.kind = 'churn'

),

frequent as (

    select months.month_number, churns.account_key
    from months
    inner join churns on churns.month_number between months.month_number - 23 and months.month_number
    group by months.month_number, churns.account_key
    having count(*) >= 3

),

serial as (

    select month_number, count(*) as accounts
    from frequent
    group by month_number

),

final as (

    select
        months.month,
        cast(coalesce(starts.accounts, 0) as bigint) as subscribers_at_start,
        cast(coalesce(cancels.accounts, 0) as bigint) as cancels,
        cast(coalesce(resubscribes.accounts, 0) as bigint) as resubscribes,
        cast(coalesce(cancels.accounts, 0) as double) / starts.accounts as gross_churn,
        cast(coalesce(cancels.accounts, 0) - coalesce(resubscribes.accounts, 0) as double) / starts.accounts as net_churn,
        cast(coalesce(serial.accounts, 0) as bigint) as serial_churners
    from months
    left join starts on months.month_number = starts.month_number
    left join cancels on months.month_number = cancels.month_number
    left join resubscribes on months.month_number = resubscribes.month_number
    left join serial on months.month_number = serial.month_number

)

select * from final
