-- A change that costs nothing leaves what was paid for the plan before it; and access goes on for two days after what was
-- paid for, while a renewal waits for being billed.
with prices as (

    select
        account_key,
        from_day,
        cast(until_day + interval '2' day as date) as until_day
    from {{ ref('int_plan_price') }}

),

accounts as (

    select distinct account_key from prices

)

select
    days.account_key,
    days.day
from {{ ref('fct_subscription_day') }} as days
inner join accounts on days.account_key = accounts.account_key
left join prices
    on days.account_key = prices.account_key and prices.from_day <= days.day and prices.until_day > days.day
where days.is_paying and prices.account_key is null
