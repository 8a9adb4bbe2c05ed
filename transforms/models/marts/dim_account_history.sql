with versions as (

    select
        *,
        row_number() over (partition by account_key order by dbt_valid_from) as version
    from {{ ref('snap_account') }}

),

final as (

    select
        account_key,
        cast(version as integer) as version,
        origin,
        country,
        role,
        profiles,
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
