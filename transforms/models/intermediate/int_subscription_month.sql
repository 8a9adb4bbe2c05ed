select
    days.account_key,
    dates.month,
    dates.month_number,
    days.plan,
    days.is_paying,
    days.currency,
    case when days.is_paying then days.monthly_minor else 0 end as mrr_minor
from {{ ref('fct_subscription_day') }} as days
inner join {{ ref('dim_date') }} as dates on days.day = dates.day
where dates.is_month_end
