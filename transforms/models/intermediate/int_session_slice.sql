{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_days() }}"
) }}

{#-
    A visit ends with an idle gap of more than 30 minutes. Two events of the same half hour are never that far apart, so
    all events are grouped once, by half hours, and gaps are looked for between these few rows. No half hour crosses
    midnight, so that an increment rebuilds touched days alone.
-#}
{% set first_event = ['event_id', 'account_key', 'origin', 'device', 'country'] %}

with touched as (

    select event_date from {{ source('raw', 'touched_days') }}

),

events as (

    select
        *,
        case when profile_key is null then session_id end as anonymous_id,
        {{ whole_division(microseconds('event_ts'), 1800000000) }} as half_hour
    from {{ ref('int_events') }}
    where origin <> 'import'
    {% if is_incremental() %}
        and event_date in (select event_date from touched)
    {% endif %}

),

slices as (

    select
        profile_key,
        anonymous_id,
        playback_id,
        half_hour,
        min(event_ts) as first_at,
        max(event_ts) as last_at,
        min_by({{ record(first_event) }}, (event_ts, event_id)) as first_event,
        count(*) as events,
        count(case when event_type = 'impression' then 1 end) as impressions,
        count(case when event_type = 'search' then 1 end) as searches,
        count(case when event_type = 'rate' then 1 end) as ratings,
        bool_or(bot is not null) as is_bot
    from events
    group by profile_key, anonymous_id, playback_id, half_hour

),

final as (

    select
        coalesce(profile_key, concat('visit:', anonymous_id)) as visitor_key,
        profile_key,
        playback_id,
        half_hour,
        cast(first_at as date) as event_date,
        first_at,
        last_at,
        {% for column in first_event %}
        first_event.{{ column }} as {{ column }},
        {% endfor %}
        events,
        impressions,
        searches,
        ratings,
        is_bot
    from slices

)

select * from final
