{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_days() }}"
) }}

with receipts as (

    select * from {{ ref('stg_events') }}

),

touched as (

    select event_date from {{ source('raw', 'touched_days') }}

),

candidates as (

    select *
    from receipts
    {% if is_incremental() %}
    where event_date in (select event_date from touched)
    {% endif %}

),

-- Few ids come more than once, and only those are ranked: among all their receipts, whatever day each fell on.
repeated as (

    select event_id
    from receipts
    {% if is_incremental() %}
    where event_id in (select event_id from candidates)
    {% endif %}
    group by event_id
    having count(*) > 1

),

ranked as (

    select
        event_id,
        log_id,
        source_file,
        row_number() over (partition by event_id order by received_at, log_id, source_file) as place
    from receipts
    where event_id in (select event_id from repeated)

),

-- The first receipt wins, also against another payload or another day.
repetitions as (

    select event_id, log_id, source_file
    from ranked
    where place > 1

),

final as (

    select candidates.*
    from candidates
    left join repetitions
        on candidates.event_id = repetitions.event_id
        and candidates.log_id = repetitions.log_id
        and candidates.source_file = repetitions.source_file
    where repetitions.event_id is null

)

select * from final
