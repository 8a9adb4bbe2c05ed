{% set buckets = [500, 1000, 2000, 4000, 8000] %}

with playbacks as (

    select
        *,
        date_trunc('hour', started_at) as hour
    from {{ ref('fct_playback_session') }}
    where not is_bot and origin <> 'import'

),

hours as (

    select
        hour,
        coalesce(device, 'unknown') as device,
        coalesce(country, 'ZZ') as country,
        count(*) as attempts,
        sum(case when is_started then 1 else 0 end) as starts,
        sum(case when not is_started and is_failed then 1 else 0 end) as start_failures,
        sum(case when not is_started and not is_failed then 1 else 0 end) as exits_before_start,
        {{ total('coalesce(startup_ms, 0)') }} as startup_ms_sum,
        {% for bucket in buckets %}
        sum(case when startup_ms > {{ buckets[loop.index0 - 1] if loop.index0 else -1 }} and startup_ms <= {{ bucket }} then 1 else 0 end) as startup_le_{{ bucket }},
        {% endfor %}
        sum(case when startup_ms > {{ buckets[-1] }} then 1 else 0 end) as startup_gt_{{ buckets[-1] }},
        -- A player that never says how long it took has started all the same once it plays.
        sum(case when is_started and startup_ms is null then 1 else 0 end) as startup_unknown,
        {{ total('wall_ms') }} as watch_ms,
        {{ total('stall_ms') }} as stall_ms,
        {{ total('stalls') }} as stalls,
        {{ total('played_ms') }} as played_ms,
        {{ total('bits') }} as bits,
        sum(case when is_failed then 1 else 0 end) as failures
    from playbacks
    group by 1, 2, 3

),

final as (

    select
        hour,
        device,
        country,
        cast(attempts as bigint) as attempts,
        cast(starts as bigint) as starts,
        cast(start_failures as bigint) as start_failures,
        cast(exits_before_start as bigint) as exits_before_start,
        startup_ms_sum,
        {% for bucket in buckets %}
        cast(startup_le_{{ bucket }} as bigint) as startup_le_{{ bucket }},
        {% endfor %}
        cast(startup_gt_{{ buckets[-1] }} as bigint) as startup_gt_{{ buckets[-1] }},
        cast(startup_unknown as bigint) as startup_unknown,
        watch_ms,
        stall_ms,
        stalls,
        played_ms,
        bits,
        cast(failures as bigint) as failures,
        cast(stall_ms as double) / nullif(watch_ms, 0) as stalled_share,
        cast(bits as double) / nullif(played_ms, 0) as average_kbps,
        cast(failures as double) / attempts as failure_share,
        cast(exits_before_start as double) / attempts as exit_before_start_share
    from hours

)

select * from final
