with titles as (

    select * from {{ ref('stg_titles') }}

),

-- Extra, episode, season, series: three steps up is as deep as a catalogue goes.
chains as (

    select
        titles.title_id,
        titles.kind,
        titles.packaged_at,
        parents.title_id as parent_id,
        grandparents.title_id as grandparent_id,
        ancestors.title_id as ancestor_id
    from titles
    left join titles as parents on titles.parent_id = parents.title_id
    left join titles as grandparents on parents.parent_id = grandparents.title_id
    left join titles as ancestors on grandparents.parent_id = ancestors.title_id

),

-- What stands under each title and plays; a trailer does not make a film playable.
members as (

    select title_id as of_title, packaged_at from chains
    union all
    select parent_id, packaged_at from chains where kind <> 'extra'
    union all
    select grandparent_id, packaged_at from chains where kind <> 'extra'
    union all
    select ancestor_id, packaged_at from chains where kind <> 'extra'

),

playable as (

    select of_title, min(packaged_at) as packaged_at
    from members
    where of_title is not null
    group by of_title

),

final as (

    select
        titles.title_id,
        titles.kind,
        titles.parent_id,
        coalesce(chains.ancestor_id, chains.grandparent_id, chains.parent_id, chains.title_id) as item_id,
        titles.title,
        titles.title_en,
        titles.title_ru,
        titles.year,
        titles.runtime_s,
        titles.maturity,
        titles.genres,
        playable.packaged_at is not null as is_playable,
        playable.packaged_at,
        titles.created_at,
        -- The catalogue keeps no earlier publication than its own row.
        titles.created_at as released_at
    from titles
    inner join chains on titles.title_id = chains.title_id
    inner join playable on titles.title_id = playable.of_title

)

select * from final
