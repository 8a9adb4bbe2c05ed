with playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where title_id is not null and not is_bot

),

titles as (

    select * from {{ ref('dim_title') }}

),

days as (

    select
        event_date,
        title_id,
        count(*) as plays,
        count(distinct profile_key) as viewers,
        sum(played_ms) as played_ms,
        sum(case when is_completed then 1 else 0 end) as completions
    from playbacks
    group by event_date, title_id

),

final as (

    select
        days.event_date,
        days.title_id,
        cast(days.plays as bigint) as plays,
        cast(days.viewers as bigint) as viewers,
        days.played_ms / 3.6e6 as hours_viewed,
        days.played_ms / (nullif(titles.runtime_s, 0) * 1e3) as views,
        cast(days.completions as bigint) as completions
    from days
    left join titles on days.title_id = titles.title_id

)

select * from final
