with booked as (

    select * from {{ ref('int_revenue_line') }}

),

-- What is of one thing: a charge and all that takes it back.
things as (

    select
        invoice_key,
        ledger,
        currency,
        country,
        plan_id,
        from_day,
        until_day,
        month,
        {{ day_number('from_day') }} as first_number,
        greatest({{ day_number('until_day') }} - {{ day_number('from_day') }}, 1) as days,
        sum(amount_minor) as amount_minor
    from booked
    group by invoice_key, ledger, currency, country, plan_id, from_day, until_day, month

),

-- Months in which something of it is booked or over.
bounds as (

    select
        *,
        min(least(month, coalesce(cast(date_trunc('month', from_day) as date), month))) over (
            partition by invoice_key, ledger, currency, country, plan_id, from_day, until_day
        ) as first_month,
        max(greatest(month, coalesce(cast(date_trunc('month', until_day) as date), month))) over (
            partition by invoice_key, ledger, currency, country, plan_id, from_day, until_day
        ) as last_month
    from things

),

months as (

    select
        bounds.*,
        {{ each_date('first_month', 'last_month', 'month') }} as due_month
    from bounds

),

-- Of what has been booked by a month's end, as much as of its days are over: rounded to whole units downwards, and a
-- month takes the difference, so that months sum to the invoice. What has no days is recognised when it is booked.
due as (

    select
        due_month as month,
        invoice_key,
        ledger,
        currency,
        country,
        plan_id,
        from_day,
        until_day,
        {{ whole_division(
            'sum(case when month <= due_month then amount_minor else 0 end) * case when max(first_number) is null then 1 '
            ~ 'else least(greatest(max(' ~ day_number("cast(due_month + interval '1' month as date)")
            ~ ') - max(first_number), 0), max(days)) end',
            'max(days)'
        ) }} as due_minor
    from months
    group by invoice_key, ledger, currency, country, plan_id, from_day, until_day, due_month

),

recognised as (

    select
        month,
        ledger,
        currency,
        country,
        plan_id,
        due_minor - lag(due_minor, 1, cast(0 as bigint)) over (
            partition by invoice_key, ledger, currency, country, plan_id, from_day, until_day
            order by month
        ) as amount_minor
    from due

),

sums as (

    select
        month,
        currency,
        ledger,
        country,
        plan_id,
        amount_minor as booked_minor,
        0 as recognised_minor
    from booked
    union all
    select
        month,
        currency,
        ledger,
        country,
        plan_id,
        0 as booked_minor,
        amount_minor as recognised_minor
    from recognised

),

final as (

    select
        month,
        currency,
        ledger,
        country,
        plan_id as plan,
        cast(sum(booked_minor) as bigint) as booked_minor,
        cast(sum(recognised_minor) as bigint) as recognised_minor,
        cast(sum(booked_minor) - sum(recognised_minor) as bigint) as deferred_minor
    from sums
    group by month, currency, ledger, country, plan_id
    having sum(booked_minor) <> 0 or sum(recognised_minor) <> 0

)

select * from final
