with playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where item_id is not null and not is_bot

),

days as (

    select
        item_id,
        {{ day_number('event_date') }} as day,
        event_date,
        count(*) as plays,
        sum(case when is_completed then 1 else 0 end) as completions
    from playbacks
    group by item_id, event_date

),

-- A viewer counts from a viewing day until 30 days later, or until the next one takes over.
viewings as (

    select
        item_id,
        day,
        least(day + 30, coalesce(lead(day) over (partition by item_id, profile_key order by day), day + 30)) as until_day
    from (
        select distinct item_id, profile_key, {{ day_number('event_date') }} as day
        from playbacks
        where profile_key is not null
    ) as profile_days

),

changes as (

    select item_id, day, sum(change) as change
    from (
        select item_id, day, 1 as change from viewings
        union all
        select item_id, until_day, -1 from viewings
        union all
        select item_id, day, 0 from days
    ) as all_days
    group by item_id, day

),

viewers as (

    select
        item_id,
        day,
        sum(change) over (partition by item_id order by day rows between unbounded preceding and current row) as viewers
    from changes

),

windows as (

    select
        item_id,
        day,
        event_date,
        sum(plays) over (partition by item_id order by day range between 6 preceding and current row) as plays_7d,
        sum(plays) over (partition by item_id order by day range between 13 preceding and current row) as plays_14d,
        sum(plays) over last_30_days as plays_30d,
        sum(completions) over last_30_days as completions_30d
    from days
    window last_30_days as (partition by item_id order by day range between 29 preceding and current row)

),

final as (

    select
        windows.item_id as title_id,
        {{ end_of_day('windows.event_date') }} as event_timestamp,
        cast(windows.plays_7d as bigint) as plays_7d,
        cast(windows.plays_14d as bigint) as plays_14d,
        cast(windows.plays_30d as bigint) as plays_30d,
        cast(viewers.viewers as bigint) as viewers_30d,
        cast(windows.completions_30d as double) / windows.plays_30d as completion_30d
    from windows
    inner join viewers on windows.item_id = viewers.item_id and windows.day = viewers.day

)

select * from final
