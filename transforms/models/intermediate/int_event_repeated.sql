{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_repetitions() }}"
) }}

with touched as (

    {{ touched_events() }}

),

receipts as (

    select * from {{ ref('stg_events') }}

),

-- Not from `receipts`: an engine that keeps what is read twice would write down every column of every receipt.
repeated as (

    select event_id
    from {{ ref('stg_events') }}
    {% if is_incremental() %}
    where event_id in (select event_id from touched)
    {% endif %}
    group by event_id
    having count(*) > 1

),

-- All receipts of an event, whatever day each fell on: the first one wins, also against another payload.
ranked as (

    select
        *,
        row_number() over first_come as place,
        fingerprint <> first_value(fingerprint) over first_come as is_conflict
    from receipts
    where event_id in (select event_id from repeated)
    window first_come as (partition by event_id order by received_at, log_id, source_file)

),

final as (

    select
        {{ event_columns() | join(',\n        ') }},
        cast(place as integer) as place,
        is_conflict
    from ranked

)

select * from final
