with titles as (

    select * from {{ ref('dim_title') }}

),

-- A trailer is not its film.
playbacks as (

    select
        playbacks.item_id,
        playbacks.profile_key,
        playbacks.played_ms,
        cast(date_trunc('week', playbacks.event_date) as date) as week_start
    from {{ ref('fct_playback_session') }} as playbacks
    left join titles on playbacks.title_id = titles.title_id
    where not playbacks.is_bot
        and playbacks.item_id is not null
        and coalesce(titles.kind, 'film') <> 'extra'

),

items as (

    select item_id, sum(cast(runtime_s as bigint)) as runtime_s
    from titles
    where kind in ('film', 'episode')
    group by item_id

),

weeks as (

    select
        week_start,
        item_id,
        count(*) as plays,
        count(distinct profile_key) as viewers,
        sum(played_ms) as played_ms
    from playbacks
    group by week_start, item_id

),

measured as (

    select
        weeks.week_start,
        weeks.item_id,
        cast(weeks.plays as bigint) as plays,
        cast(weeks.viewers as bigint) as viewers,
        weeks.played_ms / 3.6e6 as hours_viewed,
        cast(items.runtime_s as bigint) as runtime_s,
        weeks.played_ms / (nullif(items.runtime_s, 0) * 1e3) as views
    from weeks
    left join items on weeks.item_id = items.item_id

),

final as (

    select
        *,
        cast(
            row_number() over (
                partition by week_start order by views desc nulls last, hours_viewed desc, plays desc, item_id
            ) as integer
        ) as rank
    from measured

)

select * from final
