with playbacks as (

    select * from {{ ref('int_playback_session') }}

),

titles as (

    select title_id, item_id, cast(nullif(runtime_s, 0) as bigint) as runtime_s
    from {{ ref('dim_title') }}

),

final as (

    select
        playbacks.playback_id,
        playbacks.account_key,
        playbacks.profile_key,
        playbacks.session_id,
        playbacks.title_id,
        -- A title that left the catalogue, or never was in it, stands for itself.
        coalesce(titles.item_id, playbacks.title_id) as item_id,
        playbacks.origin,
        playbacks.device,
        playbacks.country,
        playbacks.started_at,
        playbacks.ended_at,
        playbacks.event_date,
        playbacks.played_ms,
        playbacks.stall_ms,
        playbacks.stalls,
        playbacks.paused_ms,
        playbacks.startup_ms,
        playbacks.bits,
        playbacks.max_position_ms,
        playbacks.last_rendition,
        playbacks.is_failed,
        coalesce(playbacks.max_position_ms >= 900 * titles.runtime_s, false) as is_completed,
        playbacks.is_bot,
        -- Of a title that is shorter, nine tenths; an unknown length is no bound.
        playbacks.played_ms >= least(30000, 900 * titles.runtime_s) as is_valid,
        playbacks.startup_ms is not null or playbacks.played_ms > 0 as is_started,
        coalesce(playbacks.startup_ms, 0) + playbacks.played_ms + playbacks.stall_ms as wall_ms,
        playbacks.surface_row,
        playbacks.surface_position,
        playbacks.surface_model,
        playbacks.surface_version,
        playbacks.surface_propensity
    from playbacks
    left join titles on playbacks.title_id = titles.title_id

)

select * from final
