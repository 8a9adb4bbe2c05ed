with playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where profile_key is not null and not is_bot

),

days as (

    select
        profile_key,
        event_date,
        {{ day_number('event_date') }} as day,
        count(*) as plays,
        sum(played_ms) as played_ms,
        sum(case when is_completed then 1 else 0 end) as completions
    from playbacks
    group by profile_key, event_date

),

windows as (

    select
        profile_key,
        event_date,
        sum(plays) over (
            partition by profile_key order by day range between 6 preceding and current row
        ) as plays_7d,
        sum(plays) over last_30_days as plays_30d,
        sum(played_ms) over last_30_days as played_ms_30d,
        sum(completions) over last_30_days as completions_30d
    from days
    window last_30_days as (partition by profile_key order by day range between 29 preceding and current row)

),

final as (

    select
        profile_key,
        {{ end_of_day('event_date') }} as event_timestamp,
        cast(plays_7d as bigint) as plays_7d,
        cast(plays_30d as bigint) as plays_30d,
        played_ms_30d / 3.6e6 as hours_30d,
        cast(completions_30d as double) / plays_30d as completion_30d
    from windows

)

select * from final
