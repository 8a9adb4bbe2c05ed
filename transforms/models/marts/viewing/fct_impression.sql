with events as (

    select * from {{ ref('int_events') }}
    where event_type = 'impression' and title_id is not null

),

playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where is_valid and not is_bot

),

beats as (

    select playback_id, played_ms, event_ts
    from {{ ref('int_events') }}
    where playback_id is not null and played_ms > 0

),

titles as (

    select title_id, item_id, cast(nullif(runtime_s, 0) as bigint) as runtime_s
    from {{ ref('dim_title') }}

),

impressions as (

    select events.*, coalesce(titles.item_id, events.title_id) as item_id
    from events
    left join titles on events.title_id = titles.title_id

),

-- A day, because of who sees a title in the evening and plays it the next one. Its end only spares rows here.
begun as (

    select
        impressions.event_id,
        impressions.event_ts,
        playbacks.playback_id,
        least(30000, 900 * titles.runtime_s) as valid_ms
    from impressions
    inner join playbacks
        on impressions.profile_key = playbacks.profile_key
        and impressions.item_id = playbacks.item_id
        and playbacks.started_at >= impressions.event_ts
        and playbacks.started_at < impressions.event_ts + interval '24' hour
    left join titles on playbacks.title_id = titles.title_id

),

-- Nothing that happens after the day may decide about it, also not of a playback that goes on.
played as (

    select distinct begun.event_id
    from begun
    inner join beats
        on begun.playback_id = beats.playback_id
        and beats.played_ms >= begun.valid_ms
        and beats.event_ts < begun.event_ts + interval '24' hour

),

final as (

    select
        impressions.event_id,
        impressions.account_key,
        impressions.profile_key,
        impressions.session_id,
        impressions.title_id,
        impressions.item_id,
        impressions.event_ts as shown_at,
        impressions.event_date,
        impressions.seq,
        impressions.surface_row as row_id,
        impressions.surface_position as position,
        impressions.surface_model as model,
        impressions.surface_version as version,
        impressions.surface_propensity as propensity,
        impressions.surface_source as source,
        impressions.surface_request_id as request_id,
        impressions.experiments,
        impressions.origin,
        impressions.bot is not null as is_bot,
        played.event_id is not null as is_played
    from impressions
    left join played on impressions.event_id = played.event_id

)

select * from final
