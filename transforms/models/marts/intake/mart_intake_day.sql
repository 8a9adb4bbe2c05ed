{% set lateness -%}
{{ microseconds('received_at') }} - {{ microseconds('event_ts') }}
{%- endset %}

with receipts as (

    select * from {{ ref('stg_events') }}

),

-- What came again; everything else is the first receipt of its event.
again as (

    select
        cast(received_at as date) as received_date,
        origin,
        count(*) as receipts,
        sum(case when is_conflict then 1 else 0 end) as conflicts,
        sum(case when {{ lateness }} > 3600000000 then 1 else 0 end) as late
    from {{ ref('int_event_repeated') }}
    where place > 1
    group by 1, 2

),

files as (

    select
        cast(received_at as date) as received_date,
        origin,
        source_file,
        count(*) as receipts,
        count(bot) as bots,
        sum(case when {{ lateness }} > 3600000000 then 1 else 0 end) as late,
        sum(
            case
                when abs({{ microseconds('received_at') }} - {{ microseconds('ts_sent') }}) > 60000000 then 1
                else 0
            end
        ) as skewed
    from receipts
    group by 1, 2, 3

),

received as (

    select
        received_date,
        origin,
        sum(receipts) as receipts,
        sum(bots) as bots,
        sum(late) as late,
        sum(skewed) as skewed,
        count(*) as files
    from files
    group by received_date, origin

),

-- An event counts on the day of its first receipt.
counted as (

    select
        received.*,
        received.receipts - coalesce(again.receipts, 0) as events,
        received.late - coalesce(again.late, 0) as late_events,
        coalesce(again.receipts, 0) - coalesce(again.conflicts, 0) as repeats,
        coalesce(again.conflicts, 0) as conflicts
    from received
    left join again on received.received_date = again.received_date and received.origin = again.origin

),

final as (

    select
        received_date,
        origin,
        cast(receipts as bigint) as receipts,
        cast(events as bigint) as events,
        cast(repeats as bigint) as repeats,
        cast(conflicts as bigint) as conflicts,
        cast(late_events as bigint) as late,
        late_events / cast(nullif(events, 0) as double) as late_share,
        cast(bots as bigint) as bots,
        cast(skewed as bigint) as skewed,
        cast(files as bigint) as files
    from counted

)

select * from final
