{% set windows = {'dau': 1, 'wau': 7, 'mau': 28} %}

with viewing_days as (

    select distinct profile_key, event_date
    from {{ ref('fct_playback_session') }}
    where is_valid and not is_bot and profile_key is not null

),

-- A viewer counts from a viewing day until the window has passed over it, or until the next one takes over.
viewings as (

    select
        event_date,
        lead(event_date) over (partition by profile_key order by event_date) as next_date
    from viewing_days

),

changes as (

    select event_date, {% for name in windows %}1 as {{ name }}{{ ', ' if not loop.last }}{% endfor %}
    from viewings
    {% for name, days in windows.items() %}
    {% set over = "cast(event_date + interval '" ~ days ~ "' day as date)" %}
    union all
    select
        coalesce(least(next_date, {{ over }}), {{ over }}),
        {% for other in windows %}{{ -1 if other == name else 0 }}{{ ', ' if not loop.last }}{% endfor %}

    from viewings
    {% endfor %}

),

day_changes as (

    select event_date, {% for name in windows %}sum({{ name }}) as {{ name }}{{ ', ' if not loop.last }}{% endfor %}
    from changes
    group by event_date

),

bounds as (

    select min(event_date) as first_day, max(event_date) as last_day
    from viewing_days

),

days as (

    select {{ each_date('first_day', 'last_day', 'day') }} as event_date
    from bounds

),

counted as (

    select
        days.event_date,
        {% for name in windows %}
        sum(coalesce(day_changes.{{ name }}, 0)) over (
            order by days.event_date rows between unbounded preceding and current row
        ) as {{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from days
    left join day_changes on days.event_date = day_changes.event_date

),

final as (

    select
        event_date,
        cast(dau as bigint) as dau,
        cast(wau as bigint) as wau,
        cast(mau as bigint) as mau,
        -- Unknown after four weeks without anyone.
        cast(dau as double) / nullif(mau, 0) as stickiness
    from counted

)

select * from final
