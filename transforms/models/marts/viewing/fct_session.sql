{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ forget_touched_visitors() }}"
) }}

{% set first_event = ['event_id', 'account_key', 'profile_key', 'origin', 'device', 'country'] %}
{% set part = whole_division(microseconds('{at}') ~ ' - ' ~ microseconds('opened_at'), 86400000000) %}

with touched as (

    {{ touched_visitors() }}

),

slices as (

    select * from {{ ref('int_session_slice') }}
    {% if is_incremental() %}
    where visitor_key in (select visitor_key from touched)
    {% endif %}

),

followed as (

    select
        *,
        max(last_at) over (
            partition by visitor_key order by first_at, event_id rows between unbounded preceding and 1 preceding
        ) as seen_until
    from slices

),

-- The first event of an idle group names it.
grouped as (

    select
        *,
        max(case when seen_until is null or first_at > seen_until + interval '30' minute then first_at end) over (
            partition by visitor_key order by first_at, event_id rows between unbounded preceding and current row
        ) as opened_at
    from followed

),

-- A group is cut at every full day after its first event.
parted as (

    select
        *,
        {{ part | replace('{at}', 'first_at') }} as part,
        {{ part | replace('{at}', 'last_at') }} as last_part
    from grouped

),

-- Where a cut falls within a half hour, its events are looked at again.
cut as (

    select
        parted.visitor_key,
        parted.opened_at,
        {{ part | replace('{at}', 'events.event_ts') }} as part,
        parted.playback_id,
        events.event_ts as first_at,
        events.event_ts as last_at,
        events.event_id,
        events.account_key,
        events.profile_key,
        events.origin,
        events.device,
        events.country,
        1 as events,
        case when events.event_type = 'impression' then 1 else 0 end as impressions,
        case when events.event_type = 'search' then 1 else 0 end as searches,
        case when events.event_type = 'rate' then 1 else 0 end as ratings,
        events.bot is not null as is_bot
    from parted
    inner join {{ ref('int_events') }} as events
        on parted.visitor_key = {{ visitor_key('events') }}
        and events.event_ts between parted.first_at and parted.last_at
        and events.playback_id is not distinct from parted.playback_id
    where parted.part < parted.last_part and events.origin <> 'import'

),

pieces as (

    select
        visitor_key, opened_at, part, playback_id, first_at, last_at,
        event_id, account_key, profile_key, origin, device, country,
        events, impressions, searches, ratings, is_bot
    from parted
    where part = last_part
    union all
    select * from cut

),

ordered as (

    select
        *,
        row_number() over (partition by visitor_key, opened_at, part order by first_at, event_id) as place
    from pieces

),

sessions as (

    select
        visitor_key,
        {% for column in first_event %}
        max(case when place = 1 then {{ column }} end) as {{ column }},
        {% endfor %}
        min(first_at) as started_at,
        max(last_at) as ended_at,
        sum(events) as events,
        sum(impressions) as impressions,
        count(distinct playback_id) as plays,
        sum(searches) as searches,
        sum(ratings) as ratings,
        bool_or(is_bot) as is_bot
    from ordered
    group by visitor_key, opened_at, part

),

final as (

    select
        event_id as session_key,
        visitor_key,
        {% for column in first_event[1:] %}
        {{ column }},
        {% endfor %}
        started_at,
        ended_at,
        cast(started_at as date) as event_date,
        cast(events as bigint) as events,
        cast(impressions as bigint) as impressions,
        cast(plays as bigint) as plays,
        cast(searches as bigint) as searches,
        cast(ratings as bigint) as ratings,
        is_bot
    from sessions

)

select * from final
