{% set target = 95 %}

with points as (

    select
        title_id,
        height,
        crf,
        sum(kbps * weight) / sum(weight) as kbps,
        sum(vmaf * weight) / sum(weight) as vmaf
    from {{ ref('stg_probes') }}
    where codec = 'h264' and kbps > 0 and weight > 0
    group by title_id, height, crf

),

largest as (

    select title_id, max(height) as height
    from points
    group by title_id

),

ranked as (

    select
        points.*,
        row_number() over (partition by points.title_id order by abs(points.vmaf - {{ target }}), points.crf) as place
    from points
    inner join largest on points.title_id = largest.title_id and points.height = largest.height

),

nearest as (

    select
        title_id,
        height,
        max(case when place = 1 then ln(kbps) end) as first_log,
        max(case when place = 1 then vmaf end) as first_vmaf,
        max(case when place = 2 then ln(kbps) end) as second_log,
        max(case when place = 2 then vmaf end) as second_vmaf
    from ranked
    where place <= 2
    group by title_id, height

),

steps as (

    select
        title_id,
        height,
        first_log,
        -- A flat pair of probes has no slope that could be followed.
        coalesce(
            ({{ target }} - first_vmaf) * (second_log - first_log) / nullif(second_vmaf - first_vmaf, 0), 0
        ) as step
    from nearest

),

final as (

    select
        title_id,
        height,
        -- Far beyond the probes the line means nothing: a factor of four at most.
        -- Rounded, so that the order of summing cannot show.
        round(exp(first_log + greatest(least(step, ln(4)), -ln(4))), 1) as kbps_vmaf_95
    from steps

)

select * from final
