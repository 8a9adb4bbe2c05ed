with items as (

    select * from {{ ref('dim_title') }}
    where title_id = item_id and kind <> 'extra'

),

titles as (

    select * from {{ ref('stg_titles') }}

),

final as (

    select
        items.item_id,
        items.kind,
        items.year,
        items.maturity,
        items.genres,
        titles.tags,
        titles.countries,
        titles.people,
        titles.roles,
        items.title_en,
        items.title_ru,
        titles.synopsis_en,
        titles.synopsis_ru
    from items
    inner join titles on items.item_id = titles.title_id

)

select * from final
