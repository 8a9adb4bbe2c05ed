with playbacks as (

    select
        *,
        cast(date_trunc('week', event_date) as date) as week_start
    from {{ ref('fct_playback_session') }}
    where title_id is not null and not is_bot

),

titles as (

    select * from {{ ref('dim_title') }}

),

weeks as (

    select
        week_start,
        title_id,
        count(*) as plays,
        count(distinct profile_key) as viewers,
        sum(played_ms) as played_ms
    from playbacks
    group by week_start, title_id

),

measured as (

    select
        weeks.week_start,
        weeks.title_id,
        cast(weeks.plays as bigint) as plays,
        cast(weeks.viewers as bigint) as viewers,
        weeks.played_ms / 3.6e6 as hours_viewed,
        weeks.played_ms / (nullif(titles.runtime_s, 0) * 1e3) as views
    from weeks
    left join titles on weeks.title_id = titles.title_id

),

final as (

    select
        *,
        cast(
            row_number() over (
                partition by week_start order by views desc nulls last, hours_viewed desc, plays desc, title_id
            ) as integer
        ) as rank
    from measured

)

select * from final
