with titles as (

    select * from {{ ref('dim_title') }}

),

first_events as (

    select item_id, min(happened_at) as first_event_at
    from {{ ref('fct_interaction') }}
    group by item_id

),

complexity as (

    select * from {{ ref('int_title_complexity') }}

),

final as (

    select
        titles.title_id,
        -- Imported histories are older than the catalogue's row; what a title is was true then, too.
        cast(
            date_trunc('day', least(titles.created_at, coalesce(first_events.first_event_at, titles.created_at)))
            as {{ moment_type() }}
        ) as event_timestamp,
        titles.kind,
        titles.year,
        titles.runtime_s,
        titles.maturity,
        {{ first_of('titles.genres') }} as main_genre,
        complexity.kbps_vmaf_95
    from titles
    left join first_events on titles.title_id = first_events.item_id
    left join complexity on titles.title_id = complexity.title_id

)

select * from final
