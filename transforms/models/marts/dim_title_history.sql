with versions as (

    select
        *,
        row_number() over (partition by title_id order by dbt_valid_from) as version
    from {{ ref('snap_title') }}

),

final as (

    select
        title_id,
        cast(version as integer) as version,
        kind,
        parent_id,
        title,
        title_en,
        title_ru,
        year,
        runtime_s,
        maturity,
        genres,
        -- What the first build found is taken to have been so from the beginning.
        cast(
            case when version = 1 then least(cast(dbt_valid_from as timestamptz), created_at)
            else cast(dbt_valid_from as timestamptz) end as timestamptz
        ) as valid_from,
        cast(dbt_valid_to as timestamptz) as valid_to,
        dbt_valid_to is null as is_current
    from versions

)

select * from final
