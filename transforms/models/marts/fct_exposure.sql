with exposures as (

    select * from {{ ref('int_events') }}
    where event_type = 'exposure' and account_key is not null

),

ranked as (

    select
        *,
        row_number() over (
            partition by exposure_experiment, account_key order by event_ts, received_at, event_id
        ) as place
    from exposures

),

variants as (

    select
        exposure_experiment,
        account_key,
        count(distinct exposure_variant) as variants_seen,
        bool_or(bot is not null) as is_bot
    from exposures
    group by exposure_experiment, account_key

),

final as (

    select
        ranked.exposure_experiment as experiment,
        ranked.account_key,
        ranked.exposure_variant as variant,
        ranked.exposure_salt as salt,
        ranked.event_ts as first_exposed_at,
        ranked.event_date,
        cast(variants.variants_seen as integer) as variants_seen,
        variants.is_bot
    from ranked
    inner join variants
        on ranked.exposure_experiment = variants.exposure_experiment and ranked.account_key = variants.account_key
    where ranked.place = 1

)

select * from final
