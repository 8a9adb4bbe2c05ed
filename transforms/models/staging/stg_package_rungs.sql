with exploded as (

    select package_id, {{ explode('ladder') }} as rung
    from {{ ref('stg_packages') }}

)

select
    package_id,
    rung.name as rendition,
    rung.codec as codec,
    rung.height as height,
    rung.average_bps as average_bps,
    rung.vmaf as vmaf
from exploded
