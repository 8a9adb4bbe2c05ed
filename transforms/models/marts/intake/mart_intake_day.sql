with receipts as (

    select * from {{ ref('stg_events') }}

),

firsts as (

    select * from {{ ref('int_events') }}

),

repeated as (

    select event_id
    from receipts
    group by event_id
    having count(*) > 1

),

ranked as (

    select
        cast(received_at as date) as received_date,
        origin,
        fingerprint,
        row_number() over first_come as place,
        first_value(fingerprint) over first_come as first_fingerprint
    from receipts
    where event_id in (select event_id from repeated)
    window first_come as (partition by event_id order by received_at, log_id, source_file)

),

conflicts as (

    select
        received_date,
        origin,
        count(*) as conflicts
    from ranked
    where place > 1 and fingerprint <> first_fingerprint
    group by received_date, origin

),

files as (

    select
        cast(received_at as date) as received_date,
        origin,
        source_file,
        count(*) as receipts,
        count(bot) as bots,
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
        sum(skewed) as skewed,
        count(*) as files
    from files
    group by received_date, origin

),

-- An event counts on the day of its first receipt.
new as (

    select
        cast(received_at as date) as received_date,
        origin,
        count(*) as events,
        sum(
            case
                when {{ microseconds('received_at') }} - {{ microseconds('event_ts') }} > 3600000000 then 1
                else 0
            end
        ) as late
    from firsts
    group by 1, 2

),

final as (

    select
        received.received_date,
        received.origin,
        cast(received.receipts as bigint) as receipts,
        cast(coalesce(new.events, 0) as bigint) as events,
        cast(received.receipts - coalesce(new.events, 0) - coalesce(conflicts.conflicts, 0) as bigint) as repeats,
        cast(coalesce(conflicts.conflicts, 0) as bigint) as conflicts,
        cast(coalesce(new.late, 0) as bigint) as late,
        coalesce(new.late, 0) / cast(nullif(new.events, 0) as double) as late_share,
        cast(received.bots as bigint) as bots,
        cast(received.skewed as bigint) as skewed,
        cast(received.files as bigint) as files
    from received
    left join new on received.received_date = new.received_date and received.origin = new.origin
    left join conflicts on received.received_date = conflicts.received_date and received.origin = conflicts.origin

)

select * from final
