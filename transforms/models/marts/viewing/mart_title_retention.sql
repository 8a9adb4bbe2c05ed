with playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where is_valid and not is_bot

),

titles as (

    select
        title_id,
        cast({{ whole_division('runtime_s', 60) }} as bigint) as last_minute
    from {{ ref('dim_title') }}
    where runtime_s > 0

),

furthest as (

    select
        playbacks.title_id,
        titles.last_minute,
        -- Beyond the end is at the end.
        least({{ whole_division('playbacks.max_position_ms', 60000) }}, titles.last_minute) as minute,
        count(*) as playbacks
    from playbacks
    inner join titles on playbacks.title_id = titles.title_id
    group by 1, 2, 3

),

watched as (

    select title_id, last_minute, sum(playbacks) as playbacks
    from furthest
    group by title_id, last_minute

),

minutes as (

    select title_id, playbacks, {{ explode(numbers('0', 'last_minute')) }} as minute
    from watched

),

reached as (

    select
        minutes.title_id,
        minutes.minute,
        minutes.playbacks as at_start,
        sum(coalesce(furthest.playbacks, 0)) over (
            partition by minutes.title_id order by minutes.minute desc rows between unbounded preceding and current row
        ) as playbacks
    from minutes
    left join furthest on minutes.title_id = furthest.title_id and minutes.minute = furthest.minute

),

final as (

    select
        title_id,
        cast(minute as integer) as minute,
        cast(playbacks as bigint) as playbacks,
        cast(playbacks as double) / at_start as share
    from reached

)

select * from final
