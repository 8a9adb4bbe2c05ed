with profiles as (

    select * from {{ ref('stg_profiles') }}

),

accounts as (

    select * from {{ ref('dim_account') }}

),

newest_plays as (

    select profile_key, max_by(country, (started_at, playback_id)) as country
    from {{ ref('fct_playback_session') }}
    where profile_key is not null and country is not null
    group by profile_key

),

final as (

    select
        profiles.profile_key,
        profiles.account_key,
        profiles.maturity,
        profiles.language,
        -- What the account says is what pages are made for; only where it says nothing, where it was last watched.
        coalesce(accounts.country, newest_plays.country) as country,
        profiles.created_at
    from profiles
    left join accounts on profiles.account_key = accounts.account_key
    left join newest_plays on profiles.profile_key = newest_plays.profile_key

)

select * from final
