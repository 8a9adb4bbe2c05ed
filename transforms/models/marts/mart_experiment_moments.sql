{#-
    Sums over units as they stood at the end of each day. A unit's totals are a step function that changes only on its
    active days, so the steps are summed by day and then accumulated: no grid of units x days is built. All sums are of
    whole milliseconds and plays, so they do not depend on the order of summation; hours appear in the last step.
-#}
{% set ms_an_hour = 3.6e6 %}

with exposures as (

    select * from {{ ref('fct_exposure') }}
    where not is_bot

),

units as (

    select experiment, variant, account_key, first_exposed_at, event_date
    from exposures
    where variants_seen = 1

),

playbacks as (

    select account_key, started_at, event_date, played_ms
    from {{ ref('fct_playback_session') }}
    where account_key is not null and not is_bot

),

before_exposure as (

    select
        units.experiment,
        units.account_key,
        sum(playbacks.played_ms) as ms,
        count(*) as plays
    from units
    inner join playbacks
        on units.account_key = playbacks.account_key
        and playbacks.started_at < units.first_exposed_at
        and playbacks.started_at >= units.first_exposed_at - interval '14' day
    group by units.experiment, units.account_key

),

-- Being exposed is a row with zeros; it comes first, as nothing counts before it.
activity as (

    select experiment, variant, account_key, event_date, 1 as unit, 0 as ms, 0 as plays
    from units
    union all
    select units.experiment, units.variant, units.account_key, playbacks.event_date, 0, playbacks.played_ms, 1
    from units
    inner join playbacks
        on units.account_key = playbacks.account_key
        and playbacks.started_at >= units.first_exposed_at

),

unit_days as (

    select
        experiment,
        variant,
        account_key,
        event_date,
        sum(unit) as unit,
        sum(ms) as ms,
        sum(plays) as plays
    from activity
    group by experiment, variant, account_key, event_date

),

totals as (

    select
        unit_days.experiment,
        unit_days.variant,
        unit_days.event_date,
        unit_days.unit,
        unit_days.ms,
        unit_days.plays,
        sum(unit_days.ms) over unit_so_far as total_ms,
        sum(unit_days.plays) over unit_so_far as total_plays,
        coalesce(before_exposure.ms, 0) as ms_before,
        coalesce(before_exposure.plays, 0) as plays_before
    from unit_days
    left join before_exposure
        on unit_days.experiment = before_exposure.experiment
        and unit_days.account_key = before_exposure.account_key
    window unit_so_far as (
        partition by unit_days.experiment, unit_days.account_key
        order by unit_days.event_date
        rows between unbounded preceding and current row
    )

),

-- Each unit's y and x after the day and before it; before its exposure both are nothing.
steps as (

    select
        experiment, variant, event_date, unit, 'hours_per_account' as metric,
        total_ms as y, total_ms - ms as y_was,
        ms_before as x, case when unit = 1 then 0 else ms_before end as x_was
    from totals
    union all
    select
        experiment, variant, event_date, unit, 'plays_per_account',
        total_plays, total_plays - plays,
        plays_before, case when unit = 1 then 0 else plays_before end
    from totals
    union all
    select
        experiment, variant, event_date, unit, 'hours_per_play',
        total_ms, total_ms - ms,
        total_plays, total_plays - plays
    from totals

),

exact as (

    select
        experiment, variant, metric, event_date, unit,
        cast(y as decimal(19, 0)) as y, cast(y_was as decimal(19, 0)) as y_was,
        cast(x as decimal(19, 0)) as x, cast(x_was as decimal(19, 0)) as x_was
    from steps

),

day_steps as (

    select
        experiment, variant, metric, event_date,
        sum(unit) as n,
        sum(y - y_was) as y,
        sum(y * y - y_was * y_was) as y2,
        sum(x - x_was) as x,
        sum(x * x - x_was * x_was) as x2,
        sum(x * y - x_was * y_was) as xy
    from exact
    group by experiment, variant, metric, event_date

),

exclusions as (

    select experiment, variant, event_date, count(*) as excluded
    from exposures
    where variants_seen > 1
    group by experiment, variant, event_date

),

-- Every day on which anything happened, from the variant's first on.
days as (

    select event_date from playbacks
    union
    select event_date from exposures

),

first_days as (

    select experiment, variant, metric, min(event_date) as first_day
    from day_steps
    group by experiment, variant, metric

),

calendar as (

    select first_days.experiment, first_days.variant, first_days.metric, days.event_date
    from first_days
    inner join days on days.event_date >= first_days.first_day

),

accumulated as (

    select
        calendar.experiment,
        calendar.variant,
        calendar.metric,
        calendar.event_date,
        sum(coalesce(day_steps.n, 0)) over so_far as n,
        sum(coalesce(day_steps.y, 0)) over so_far as y,
        sum(coalesce(day_steps.y2, 0)) over so_far as y2,
        sum(coalesce(day_steps.x, 0)) over so_far as x,
        sum(coalesce(day_steps.x2, 0)) over so_far as x2,
        sum(coalesce(day_steps.xy, 0)) over so_far as xy,
        case when calendar.metric = 'plays_per_account' then 1e0 else {{ ms_an_hour }} end as y_scale,
        case when calendar.metric = 'hours_per_account' then {{ ms_an_hour }} else 1e0 end as x_scale
    from calendar
    left join day_steps
        on calendar.experiment = day_steps.experiment
        and calendar.variant = day_steps.variant
        and calendar.metric = day_steps.metric
        and calendar.event_date = day_steps.event_date
    window so_far as (
        partition by calendar.experiment, calendar.variant, calendar.metric
        order by calendar.event_date
        rows between unbounded preceding and current row
    )

),

left_out as (

    select
        calendar.experiment, calendar.variant, calendar.metric, calendar.event_date,
        sum(coalesce(exclusions.excluded, 0)) as excluded
    from calendar
    left join exclusions
        on calendar.experiment = exclusions.experiment
        and calendar.variant = exclusions.variant
        and exclusions.event_date <= calendar.event_date
    group by calendar.experiment, calendar.variant, calendar.metric, calendar.event_date

),

final as (

    select
        accumulated.experiment,
        accumulated.variant,
        accumulated.metric,
        accumulated.event_date,
        cast(accumulated.n as bigint) as n,
        cast(accumulated.y as double) / accumulated.y_scale as sum_y,
        cast(accumulated.y2 as double) / (accumulated.y_scale * accumulated.y_scale) as sum_y2,
        cast(accumulated.x as double) / accumulated.x_scale as sum_x,
        cast(accumulated.x2 as double) / (accumulated.x_scale * accumulated.x_scale) as sum_x2,
        cast(accumulated.xy as double) / (accumulated.x_scale * accumulated.y_scale) as sum_xy,
        cast(left_out.excluded as bigint) as excluded
    from accumulated
    inner join left_out
        on accumulated.experiment = left_out.experiment
        and accumulated.variant = left_out.variant
        and accumulated.metric = left_out.metric
        and accumulated.event_date = left_out.event_date

)

select * from final
