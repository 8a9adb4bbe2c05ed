-- name: totals
SELECT count(*), count(DISTINCT profile_key), coalesce(sum(played_ms), 0) / 3600000.0, count(DISTINCT title_id),
       coalesce(sum(stall_ms) / nullif(sum(played_ms + stall_ms), 0), 0), coalesce(avg(CAST(is_failed AS INT)), 0)
FROM fct_playback_session;

-- name: days
FROM (
    SELECT event_date, CAST(sum(plays) AS BIGINT), sum(hours_viewed)
    FROM mart_title_day GROUP BY event_date ORDER BY event_date DESC LIMIT 60
)
ORDER BY event_date;

-- name: top_titles
SELECT w.week_start, w.rank, coalesce(t.title_en, t.title, w.title_id), coalesce(t.title_ru, t.title, w.title_id),
       w.plays, w.viewers, w.hours_viewed, w.views
FROM mart_title_week w LEFT JOIN dim_title t USING (title_id)
WHERE w.week_start = (SELECT max(week_start) FROM mart_title_week)
ORDER BY w.rank LIMIT 10;

-- name: experiments
SELECT experiment, metric, method, n_control, n_treatment, relative, relative_low, relative_high, srm_p_value
FROM mart_experiment_result
ORDER BY experiment, metric, method;
