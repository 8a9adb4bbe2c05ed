{% set windows = [7, 28] %}

with playbacks as (

    select * from {{ ref('fct_playback_session') }}
    where not is_bot and title_id is not null

),

first_playbacks as (

    select title_id, min(started_at) as first_at
    from playbacks
    group by title_id

),

-- What was watched before the catalogue knew it (an imported history) was out by then.
titles as (

    select
        dim_title.title_id,
        least(dim_title.released_at, first_playbacks.first_at) as released_at,
        cast(nullif(dim_title.runtime_s, 0) as bigint) as runtime_s
    from {{ ref('dim_title') }} as dim_title
    inner join first_playbacks on dim_title.title_id = first_playbacks.title_id

),

households as (

    select
        playbacks.title_id,
        playbacks.account_key,
        {% for days in windows %}
        sum(case when playbacks.started_at < titles.released_at + interval '{{ days }}' day then playbacks.played_ms end)
            as played_ms_{{ days }},
        max(case when playbacks.started_at < titles.released_at + interval '{{ days }}' day then playbacks.max_position_ms end)
            as position_ms_{{ days }}{{ ',' if not loop.last }}
        {% endfor %}
    from playbacks
    inner join titles on playbacks.title_id = titles.title_id
    where playbacks.account_key is not null
    group by playbacks.title_id, playbacks.account_key

),

windowed as (

    {% for days in windows %}
    select
        title_id,
        {{ days }} as window_days,
        played_ms_{{ days }} as played_ms,
        position_ms_{{ days }} as position_ms
    from households
    where played_ms_{{ days }} is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

reached as (

    select
        windowed.title_id,
        windowed.window_days,
        titles.released_at,
        titles.runtime_s,
        windowed.position_ms,
        windowed.played_ms >= least(120000, coalesce(900 * titles.runtime_s, 120000)) as is_starter
    from windowed
    inner join titles on windowed.title_id = titles.title_id

),

final as (

    select
        title_id,
        window_days,
        released_at,
        cast(count(*) as bigint) as households,
        cast(sum(case when is_starter then 1 else 0 end) as bigint) as starters,
        -- A share of an unknown length is unknown.
        cast(
            sum(case when runtime_s is not null then case when is_starter and position_ms >= 700 * runtime_s then 1 else 0 end end)
            as bigint
        ) as watchers,
        cast(
            sum(case when runtime_s is not null then case when is_starter and position_ms >= 900 * runtime_s then 1 else 0 end end)
            as bigint
        ) as completers
    from reached
    group by title_id, window_days, released_at

)

select * from final
