{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_playbacks() }}"
) }}

{% set described = [
    'account_key', 'profile_key', 'session_id', 'title_id', 'origin', 'device', 'country',
    'surface_row', 'surface_position', 'surface_model', 'surface_version', 'surface_propensity',
] %}

with touched as (

    {{ touched_playbacks() }}

),

events as (

    select *
    from {{ ref('int_events') }}
    where playback_id is not null
    {% if is_incremental() %}
        and playback_id in (select playback_id from touched)
    {% endif %}

),

playbacks as (

    select
        playback_id,
        -- The earliest event that names a title describes the playback: `play`, unless it was lost.
        min_by({{ record(described) }}, (title_id is null, event_ts, seq, event_id)) as described,
        min(event_ts) as started_at,
        max(event_ts) as ended_at,
        -- Counters only grow within a playback, so the largest is the last.
        max(coalesce(played_ms, 0)) as played_ms,
        max(coalesce(stall_ms, 0)) as stall_ms,
        max(coalesce(stalls, 0)) as stalls,
        max(coalesce(paused_ms, 0)) as paused_ms,
        max(startup_ms) as startup_ms,
        max(coalesce(bits, 0)) as bits,
        max(coalesce(position_ms, 0)) as max_position_ms,
        max_by(rendition, (event_ts, seq, event_id)) filter (where rendition is not null) as last_rendition,
        bool_or(coalesce(error_fatal, false)) as is_failed,
        bool_or(bot is not null) as is_bot
    from events
    group by playback_id

),

final as (

    select
        playback_id,
        {% for column in described %}
        described.{{ column }} as {{ column }},
        {% endfor %}
        started_at,
        ended_at,
        cast(started_at as date) as event_date,
        played_ms,
        stall_ms,
        stalls,
        paused_ms,
        startup_ms,
        bits,
        max_position_ms,
        last_rendition,
        is_failed,
        is_bot
    from playbacks

)

select * from final
