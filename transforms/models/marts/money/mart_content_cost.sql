with contracts as (

    select
        *,
        {{ day_number('until_date') }} - {{ day_number('from_date') }} as days
    from {{ ref('stg_title_costs') }}

),

last_month as (

    select max(month) as month from {{ ref('dim_date') }}

),

-- A contract without an end has tens of thousands of months: only those up to the last month are made.
known as (

    select
        contracts.*,
        least(cast(until_date - interval '1' day as date), last_month.month) as last_day
    from contracts
    inner join last_month on contracts.from_date < cast(last_month.month + interval '1' month as date)

),

months as (

    select
        *,
        {{ each_date("cast(date_trunc('month', from_date) as date)", 'last_day', 'month') }} as month
    from known

),

-- Days of the contract that are over when the month begins, and when it ends.
elapsed as (

    select
        months.*,
        greatest({{ day_number('months.month') }} - {{ day_number('from_date') }}, 0) as days_before,
        least(
            {{ day_number("cast(months.month + interval '1' month as date)") }} - {{ day_number('from_date') }}, days
        ) as days_after
    from months

),

-- What is due up to a day is rounded down, and a month takes the difference: so months sum to the contract exactly.
-- An amount times millions of days is more than 64 bits hold, so whole minor units a day are taken out first.
costs as (

    select
        title_id,
        month,
        currency,
        sum(
            {{ whole_division('amount_minor', 'days') }} * (days_after - days_before)
            + {{ whole_division('amount_minor % days * days_after', 'days') }}
            - {{ whole_division('amount_minor % days * days_before', 'days') }}
        ) as cost_minor
    from elapsed
    group by title_id, month, currency

),

playbacks as (

    select
        title_id,
        cast(date_trunc('month', event_date) as date) as month,
        sum(played_ms) as played_ms
    from {{ ref('fct_playback_session') }}
    where not is_bot and title_id is not null
    group by title_id, month

),

episodes as (

    select * from {{ ref('dim_title') }}
    where kind = 'episode'

),

-- What is played counts for itself; an episode for its season and its series as well.
members as (

    select distinct title_id, title_id as of_title from playbacks
    union all
    select title_id, parent_id as of_title from episodes
    union all
    select title_id, item_id as of_title from episodes
    where item_id <> parent_id

),

viewing as (

    select
        members.of_title as title_id,
        playbacks.month,
        sum(playbacks.played_ms) as played_ms
    from playbacks
    inner join members on playbacks.title_id = members.title_id
    group by members.of_title, playbacks.month

),

final as (

    select
        costs.title_id,
        costs.month,
        costs.currency,
        cast(costs.cost_minor as bigint) as cost_minor,
        coalesce(viewing.played_ms, 0) / 3.6e6 as hours_viewed,
        cast(costs.cost_minor as double) * 3.6e9 / nullif(viewing.played_ms, 0) as cost_per_thousand_hours
    from costs
    left join viewing on costs.title_id = viewing.title_id and costs.month = viewing.month

)

select * from final
