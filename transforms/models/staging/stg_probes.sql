select
    title_id,
    codec,
    height,
    crf,
    sample,
    kbps,
    vmaf,
    weight
from {{ source('raw', 'probe') }}
