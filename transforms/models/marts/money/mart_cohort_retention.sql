with paying_days as (

    select
        account_key,
        plan,
        day,
        row_number() over (partition by account_key order by day) as place
    from {{ ref('fct_subscription_day') }}
    where is_paying

),

months as (

    select distinct month, month_number from {{ ref('dim_date') }}

),

members as (

    select
        paying_days.account_key,
        paying_days.plan,
        months.month as cohort_month,
        months.month_number as cohort_number
    from paying_days
    inner join months on cast(date_trunc('month', paying_days.day) as date) = months.month
    where paying_days.place = 1

),

month_ends as (

    select account_key, month_number
    from {{ ref('int_subscription_month') }}
    where is_paying

),

plays as (

    select distinct
        playbacks.account_key,
        months.month_number
    from {{ ref('fct_playback_session') }} as playbacks
    inner join months on cast(date_trunc('month', playbacks.event_date) as date) = months.month
    where playbacks.is_valid and not playbacks.is_bot

),

-- A member's months from the one in which it began, each with what it did.
member_months as (

    select
        members.cohort_month,
        members.plan,
        months.month_number - members.cohort_number as month_n,
        members.account_key,
        months.month_number = members.cohort_number or month_ends.account_key is not null as is_paying,
        plays.account_key is not null as is_watching
    from members
    inner join months on members.cohort_number <= months.month_number
    left join month_ends
        on members.account_key = month_ends.account_key and months.month_number = month_ends.month_number
    left join plays on members.account_key = plays.account_key and months.month_number = plays.month_number

),

counted as (

    select
        cohort_month,
        plan,
        cast(month_n as integer) as month_n,
        count(*) as accounts,
        sum(case when is_paying then 1 else 0 end) as paying,
        sum(case when is_watching then 1 else 0 end) as watching
    from member_months
    group by cohort_month, plan, month_n

),

final as (

    select
        cohort_month,
        plan,
        month_n,
        cast(accounts as bigint) as accounts,
        cast(paying as bigint) as paying,
        cast(watching as bigint) as watching,
        cast(paying as double) / accounts as retention
    from counted

)

select * from final
