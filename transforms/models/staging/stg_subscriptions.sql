select
    period_key,
    subscription_key,
    account_key,
    plan,
    state,
    state in ('active', 'past_due') as is_paying,
    monthly_minor,
    currency,
    opened as opened_at,
    closed as closed_at,
    end_reason
from {{ source('raw', 'subscription') }}
