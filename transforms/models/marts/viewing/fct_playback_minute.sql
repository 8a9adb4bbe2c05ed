{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_playbacks() }}"
) }}

with touched as (

    {{ touched_playbacks() }}

),

beats as (

    select
        playback_id,
        {{ whole_division('position_ms', 60000) }} as minute,
        event_ts
    from {{ ref('int_events') }}
    where event_type in ('play', 'heartbeat', 'stop')
        and position_ms is not null
    {% if is_incremental() %}
        and playback_id in (select playback_id from touched)
    {% endif %}

),

playbacks as (

    select * from {{ ref('int_playback_session') }}

),

minutes as (

    select
        playback_id,
        minute,
        min(event_ts) as first_at,
        count(*) as beats
    from beats
    group by playback_id, minute

),

final as (

    select
        minutes.playback_id,
        minutes.minute,
        playbacks.title_id,
        playbacks.profile_key,
        playbacks.event_date,
        minutes.first_at,
        minutes.beats,
        playbacks.is_bot
    from minutes
    inner join playbacks on minutes.playback_id = playbacks.playback_id

)

select * from final
