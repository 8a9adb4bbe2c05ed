with playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where profile_key is not null and title_id is not null and not is_bot

),

events as (

    select * from {{ ref('int_events') }}
    where profile_key is not null and title_id is not null and bot is null

),

titles as (

    select * from {{ ref('dim_title') }}

),

views as (

    select
        playbacks.playback_id as interaction_id,
        playbacks.account_key,
        playbacks.profile_key,
        playbacks.title_id,
        'view' as kind,
        playbacks.started_at as happened_at,
        playbacks.event_date,
        -- A title of unknown length has no share.
        case
            when titles.runtime_s is not null then least(playbacks.played_ms / (titles.runtime_s * 1e3), 1e0)
        end as value,
        coalesce(
            playbacks.played_ms >= 300000 or playbacks.played_ms >= 100 * cast(titles.runtime_s as bigint),
            playbacks.played_ms >= 300000
        ) as is_positive,
        playbacks.origin
    from playbacks
    left join titles on playbacks.title_id = titles.title_id

),

statements as (

    select
        event_id as interaction_id,
        account_key,
        profile_key,
        title_id,
        case event_type when 'rate' then 'rate' else 'favourite' end as kind,
        event_ts as happened_at,
        event_date,
        case event_type when 'rate' then rate_value else case when favourite_on then 1e0 else 0e0 end end as value,
        case event_type when 'rate' then rate_value >= 3.5e0 else coalesce(favourite_on, false) end as is_positive,
        origin
    from events
    where event_type in ('rate', 'favourite')

),

combined as (

    select * from views
    union all
    select * from statements

),

final as (

    select
        combined.interaction_id,
        combined.account_key,
        combined.profile_key,
        coalesce(titles.item_id, combined.title_id) as item_id,
        combined.title_id,
        combined.kind,
        combined.happened_at,
        combined.event_date,
        cast(combined.value as double) as value,
        combined.is_positive,
        combined.origin
    from combined
    left join titles on combined.title_id = titles.title_id

)

select * from final
