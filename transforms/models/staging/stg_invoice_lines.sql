select
    invoice_key,
    line,
    kind,
    purpose,
    reason,
    state,
    customer_key,
    credits_key,
    subscription_key,
    -- What a code took off belongs to the plan that it was taken off.
    coalesce(
        plan_id,
        case
            when kind = 'discount'
                then max(case when kind = 'plan' then plan_id end) over (partition by invoice_key)
        end
    ) as plan_id,
    title_id,
    months,
    period_from,
    period_until,
    currency,
    amount_minor - tax_minor as net_minor,
    tax_minor,
    nullif(tax_country, '') as tax_country,
    tax_bp,
    coalesce(nullif(country, ''), nullif(tax_country, '')) as country,
    list_minor,
    list_months,
    promo_id,
    issued_at,
    paid_at
from {{ source('raw', 'invoice_line') }}
