select cast(height as integer) as height, cast(kbps as integer) as kbps
from (
    values (234, 145), (360, 365), (432, 730), (432, 1100), (540, 2000), (720, 3000), (720, 4500), (1080, 6000), (1080, 7800)
) as variants (height, kbps)
