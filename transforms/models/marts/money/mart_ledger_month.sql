with moved as (

    select
        month,
        ledger,
        ledger_kind,
        case when party_kind = 'customer' then '' else party end as party,
        currency,
        sum(case when amount_minor > 0 then amount_minor else 0 end) as debit_minor,
        sum(case when amount_minor < 0 then -amount_minor else 0 end) as credit_minor
    from {{ ref('fct_posting') }}
    group by month, ledger, ledger_kind, case when party_kind = 'customer' then '' else party end, currency

),

bounds as (

    select
        ledger,
        ledger_kind,
        party,
        currency,
        min(month) as first_month,
        max(max(month)) over () as last_month
    from moved
    group by ledger, ledger_kind, party, currency

),

-- A month without a posting has a row as well.
months as (

    select
        ledger,
        ledger_kind,
        party,
        currency,
        {{ each_date('first_month', 'last_month', 'month') }} as month
    from bounds

),

joined as (

    select
        months.month,
        months.ledger,
        months.ledger_kind,
        months.party,
        months.currency,
        coalesce(moved.debit_minor, 0) as debit_minor,
        coalesce(moved.credit_minor, 0) as credit_minor,
        sum(coalesce(moved.debit_minor, 0) - coalesce(moved.credit_minor, 0)) over (
            partition by months.ledger, months.party, months.currency
            order by months.month
        ) as closing_minor
    from months
    left join moved
        on
            months.month = moved.month
            and months.ledger = moved.ledger
            and months.party = moved.party
            and months.currency = moved.currency

),

final as (

    select
        month,
        ledger,
        ledger_kind,
        party,
        currency,
        cast(closing_minor - debit_minor + credit_minor as bigint) as opening_minor,
        cast(debit_minor as bigint) as debit_minor,
        cast(credit_minor as bigint) as credit_minor,
        cast(closing_minor as bigint) as closing_minor
    from joined

)

select * from final
