{% set audio_kbps = 128 %}

with sessions as (

    select * from {{ ref('fct_playback_session') }}
    where title_id is not null and bits > 0

),

packages as (

    select * from {{ ref('stg_packages') }}

),

rungs as (

    select * from {{ ref('stg_package_rungs') }}

),

-- From this many lines on a viewer of the fixed ladder would have played this rate; of a size's two the lower one.
fixed as (

    select
        case when row_number() over (order by height) > 1 then height else 0 end as from_height,
        lead(height) over (order by height) as below_height,
        min(kbps) as kbps
    from {{ ref('stg_fixed_ladder') }}
    group by height

),

served as (

    select
        sessions.title_id,
        sessions.event_date,
        sessions.played_ms,
        sessions.bits,
        sessions.last_rendition,
        packages.package_id,
        coalesce(packages.treatment, 'unknown') as treatment
    from sessions
    left join packages
        on sessions.title_id = packages.title_id
        and (packages.serves_from is null or sessions.started_at >= packages.serves_from)
        and (packages.serves_until is null or sessions.started_at < packages.serves_until)

),

sized as (

    select
        served.*,
        -- A client may name any rendition; one that is not of the package has the size that its name begins with.
        coalesce(
            rungs.height,
            cast(nullif(regexp_extract(served.last_rendition, '^([0-9]{2,4})p', 1), '') as integer),
            0
        ) as height
    from served
    left join rungs on served.package_id = rungs.package_id and served.last_rendition = rungs.rendition

),

final as (

    select
        cast(date_trunc('week', sized.event_date) as date) as week_start,
        sized.title_id,
        sized.treatment,
        cast(count(*) as bigint) as plays,
        cast(sum(sized.played_ms) / 3.6e6 as double) as hours,
        cast(sum(sized.bits) / 8e9 as double) as delivered_gb,
        cast(sum(sized.played_ms * (fixed.kbps + {{ audio_kbps }})) / 8e9 as double) as fixed_gb,
        cast(sum(sized.played_ms * (fixed.kbps + {{ audio_kbps }}) - sized.bits) / 8e9 as double) as saved_gb
    from sized
    inner join fixed
        on sized.height >= fixed.from_height
        and (fixed.below_height is null or sized.height < fixed.below_height)
    group by 1, 2, 3

)

select
    *,
    saved_gb / nullif(fixed_gb, 0) as saved_share
from final
