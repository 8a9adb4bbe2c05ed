with senders as (

    select
        account_key,
        max(case when bot is null then 1 else 0 end) as is_person
    from {{ ref('int_events') }}
    where account_key is not null
    group by account_key

),

subscribed as (

    select
        account_key,
        max(case when state = 'trial' then 1 else 0 end) as trial,
        max(case when is_paying then 1 else 0 end) as paid
    from {{ ref('stg_subscriptions') }}
    group by account_key

),

played as (

    select distinct account_key
    from {{ ref('fct_playback_session') }}
    where is_valid and not is_bot

),

-- Imported viewers never signed up, and who sent nothing but a bot's events is none.
accounts as (

    select
        cast(dim_account.created_at as date) as day,
        coalesce(dim_account.country, 'ZZ') as country,
        coalesce(senders.is_person, 0) as visited,
        coalesce(subscribed.trial, 0) as trial,
        coalesce(subscribed.paid, 0) as paid,
        case when played.account_key is null then 0 else 1 end as played
    from {{ ref('dim_account') }} as dim_account
    left join senders on dim_account.account_key = senders.account_key
    left join subscribed on dim_account.account_key = subscribed.account_key
    left join played on dim_account.account_key = played.account_key
    where dim_account.origin <> 'import' and coalesce(senders.is_person, 1) = 1

),

final as (

    select
        day,
        country,
        cast(count(*) as bigint) as accounts,
        cast(sum(visited) as bigint) as visited,
        cast(sum(visited * trial) as bigint) as trial,
        cast(sum(visited * trial * paid) as bigint) as paid,
        cast(sum(visited * trial * paid * played) as bigint) as played
    from accounts
    group by day, country

)

select * from final
