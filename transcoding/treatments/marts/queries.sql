-- name: demand
WITH watched AS (
    SELECT title_id, sum(hours_viewed) AS hours FROM mart_title_day WHERE event_date > $since GROUP BY title_id
), loaded AS (
    SELECT title_id, sum(bits) / 8e9 AS delivered_gb,
           coalesce(sum(stall_ms) / nullif(sum(played_ms + stall_ms), 0), 0) AS stall_ratio
    FROM fct_playback_session WHERE event_date > $since AND title_id IS NOT NULL GROUP BY title_id
)
SELECT title_id, CAST(hours AS DOUBLE) AS hours, CAST(coalesce(delivered_gb, 0) AS DOUBLE) AS delivered_gb,
       CAST(coalesce(stall_ratio, 0) AS DOUBLE) AS stall_ratio
FROM watched LEFT JOIN loaded USING (title_id);

-- name: shares
SELECT treatment, hours, delivered_gb, fixed_gb FROM mart_encoding_saving WHERE week_start > $since;

-- name: sessions
SELECT title_id, bits, played_ms,
       CAST(nullif(regexp_extract(last_rendition, '^([0-9]{2,4})p', 1), '') AS INTEGER) AS height
FROM fct_playback_session
WHERE event_date > $since AND title_id IS NOT NULL AND bits > 0 AND played_ms >= 30000 AND last_rendition IS NOT NULL;
