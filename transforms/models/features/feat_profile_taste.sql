with interactions as (

    select * from {{ ref('fct_interaction') }}
    where is_positive

),

titles as (

    select title_id, genres from {{ ref('dim_title') }}

),

-- A series stands for its episodes: the genres are those of the item.
liked as (

    select
        interactions.profile_key,
        interactions.event_date,
        {{ day_number('interactions.event_date') }} as day,
        {{ explode('titles.genres') }} as genre
    from interactions
    inner join titles on interactions.item_id = titles.title_id

),

genre_days as (

    select profile_key, event_date, day, genre, count(*) as times
    from liked
    group by profile_key, event_date, day, genre

),

profile_days as (

    select distinct profile_key, event_date, day from genre_days

),

shares as (

    select
        profile_days.profile_key,
        profile_days.event_date,
        genre_days.genre,
        sum(genre_days.times) as times
    from profile_days
    inner join genre_days
        on profile_days.profile_key = genre_days.profile_key
        and genre_days.day between profile_days.day - 89 and profile_days.day
    group by profile_days.profile_key, profile_days.event_date, genre_days.genre

),

ranked as (

    select
        profile_key,
        event_date,
        genre,
        times,
        row_number() over (partition by profile_key, event_date order by times desc, genre) as place,
        sum(times) over (partition by profile_key, event_date) as all_times,
        count(*) over (partition by profile_key, event_date) as genres_watched
    from shares

),

final as (

    select
        profile_key,
        {{ end_of_day('event_date') }} as event_timestamp,
        genre as top_genre,
        cast(times as double) / all_times as top_genre_share,
        cast(genres_watched as bigint) as genres_watched
    from ranked
    where place = 1

)

select * from final
