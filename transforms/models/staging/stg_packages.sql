-- Superseded and collected packages were played as well, so only failed ones stay out.
select
    package_id,
    title_id,
    treatment,
    duration_ms,
    rungs,
    ladder,
    created_at,
    -- The first package of a title also stands for what was played before anybody wrote packages down.
    case when row_number() over first_to_last > 1 then created_at end as serves_from,
    lead(created_at) over first_to_last as serves_until
from {{ source('raw', 'package') }}
where state <> 'failed'
window first_to_last as (partition by title_id order by created_at, package_id)
