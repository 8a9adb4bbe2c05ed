-- Imports tell any time, and nothing happens after it was received.
with known as (

    select
        origin,
        case when origin = 'import' then least(event_date, cast(received_at as date)) else event_date end as event_date
    from {{ ref('int_events') }}

),

-- An import is no news of the days up to it: only where there is nothing else does it end the series.
events as (

    select
        min(event_date) as first_day,
        coalesce(max(event_date) filter (where origin <> 'import'), max(event_date)) as last_day
    from known

),

subscriptions as (

    select min(cast(opened_at as date)) as first_day from {{ ref('stg_subscriptions') }}

),

-- The last event day is the last of which anything is known; with no events there is no day at all.
bounds as (

    select
        least(events.first_day, coalesce(subscriptions.first_day, events.first_day)) as first_day,
        events.last_day
    from events
    cross join subscriptions
    where events.last_day is not null

),

days as (

    select {{ each_date('first_day', 'last_day', 'day') }} as day
    from bounds

),

weeks as (

    select
        day,
        cast(date_trunc('week', day) as date) as week_start
    from days

),

final as (

    select
        day,
        week_start,
        -- The year of the week's Thursday.
        cast(extract(year from week_start + interval '3' day) as integer) as iso_year,
        cast(extract(week from day) as integer) as iso_week,
        cast({{ day_number('day') }} - {{ day_number('week_start') }} + 1 as integer) as weekday,
        {{ day_number('day') }} - {{ day_number('week_start') }} >= 5 as is_weekend,
        cast(date_trunc('month', day) as date) as month,
        cast({{ month_number('day') }} as integer) as month_number,
        extract(day from day + interval '1' day) = 1 or day = max(day) over () as is_month_end
    from weeks

)

select * from final
