{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_days() }}"
) }}

{#-
    The receipts are read three times rather than named once: an engine may keep a named result that is used more than
    once, and this one is everything.
-#}
with touched as (

    select event_date from {{ source('raw', 'touched_days') }}

),

-- Few ids come more than once, and only those are ranked: among all their receipts, whatever day each fell on.
repeated as (

    select event_id
    from {{ ref('stg_events') }}
    {% if is_incremental() %}
    where event_id in (
        select event_id from {{ ref('stg_events') }} where event_date in (select event_date from touched)
    )
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
    from {{ ref('stg_events') }}
    where event_id in (select event_id from repeated)

),

-- The first receipt wins, also against another payload or another day.
repetitions as (

    select event_id, log_id, source_file
    from ranked
    where place > 1

),

final as (

    select
        receipts.event_id,
        receipts.origin,
        receipts.log_id,
        receipts.account_key,
        receipts.profile_key,
        receipts.session_id,
        receipts.playback_id,
        receipts.seq,
        receipts.title_id,
        receipts.device,
        receipts.country,
        receipts.received_at,
        receipts.event_ts,
        receipts.event_date,
        receipts.event_type,
        receipts.position_ms,
        receipts.played_ms,
        receipts.stall_ms,
        receipts.stalls,
        receipts.paused_ms,
        receipts.startup_ms,
        receipts.bits,
        receipts.rendition,
        receipts.surface_row,
        receipts.surface_position,
        receipts.surface_model,
        receipts.surface_version,
        receipts.surface_propensity,
        receipts.surface_source,
        receipts.surface_request_id,
        receipts.experiments,
        receipts.rate_value,
        receipts.favourite_on,
        receipts.search_query,
        receipts.search_results,
        receipts.search_clicked,
        receipts.error_code,
        receipts.error_fatal,
        receipts.exposure_experiment,
        receipts.exposure_variant,
        receipts.exposure_salt,
        receipts.bot,
        receipts.source_file
    from {{ ref('stg_events') }} as receipts
    left join repetitions
        on receipts.event_id = repetitions.event_id
        and receipts.log_id = repetitions.log_id
        and receipts.source_file = repetitions.source_file
    where repetitions.event_id is null
    {% if is_incremental() %}
        and receipts.event_date in (select event_date from touched)
    {% endif %}

)

select * from final
