with moved as (

    select
        month,
        currency,
        party as provider,
        sum(case when kind = 'payment' then 1 else 0 end) as payments,
        sum(case when kind = 'payment' then amount_minor else 0 end) as paid_minor,
        sum(case when kind = 'refund' then 1 else 0 end) as refunds,
        sum(case when kind = 'refund' then -amount_minor else 0 end) as refunded_minor,
        sum(case when kind = 'dispute' and ledger = 'disputed' then 1 else 0 end) as disputes,
        sum(case when kind = 'dispute' and ledger = 'disputed' then amount_minor else 0 end) as disputed_minor,
        sum(case when kind = 'dispute_lost' and ledger = 'disputed' then 1 else 0 end) as disputes_lost,
        sum(case when ledger = 'loss' then amount_minor else 0 end) as lost_minor,
        sum(case when ledger = 'fee' then amount_minor else 0 end) as fee_minor,
        sum(case when ledger = 'bank' then amount_minor else 0 end) as paid_out_minor
    from {{ ref('fct_posting') }}
    where party_kind = 'provider'
    group by month, currency, party

),

final as (

    select
        month,
        currency,
        provider,
        cast(payments as bigint) as payments,
        cast(paid_minor as bigint) as paid_minor,
        cast(refunds as bigint) as refunds,
        cast(refunded_minor as bigint) as refunded_minor,
        cast(disputes as bigint) as disputes,
        cast(disputed_minor as bigint) as disputed_minor,
        cast(disputes_lost as bigint) as disputes_lost,
        cast(lost_minor as bigint) as lost_minor,
        cast(fee_minor as bigint) as fee_minor,
        cast(paid_out_minor as bigint) as paid_out_minor,
        cast(refunded_minor as double) / nullif(paid_minor, 0) as refund_rate,
        cast(disputes as double) / nullif(payments, 0) as dispute_rate,
        cast(fee_minor as double) / nullif(paid_minor, 0) as fee_share
    from moved

)

select * from final
