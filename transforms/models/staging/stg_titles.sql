select
    title_id,
    kind,
    parent_id,
    title,
    title_en,
    title_ru,
    year,
    runtime_s as feed_runtime_s,
    -- What was packaged is what plays: its length wins over the feed's.
    coalesce(cast(round(duration_ms / 1e3) as integer), runtime_s) as runtime_s,
    maturity,
    genres,
    tags,
    countries,
    people,
    roles,
    synopsis_en,
    synopsis_ru,
    created_at,
    packaged_at
from {{ source('raw', 'title') }}
