-- name: totals
SELECT count(*), count(DISTINCT profile_key), coalesce(sum(played_ms), 0) / 3.6e6, count(DISTINCT title_id),
       coalesce(sum(stall_ms) / nullif(sum(wall_ms), 0), 0), coalesce(avg(CAST(is_failed AS INT)), 0)
FROM fct_playback_session WHERE NOT is_bot;

-- name: active_days
SELECT event_date AS day, dau, wau, mau FROM mart_active_day ORDER BY 1;

-- name: hours_by_day
SELECT event_date AS day, coalesce(device, 'unknown') AS device, sum(played_ms) / 3.6e6 AS hours
FROM fct_playback_session WHERE NOT is_bot AND origin <> 'import' GROUP BY ALL ORDER BY ALL;

-- name: top_items
SELECT coalesce(t.title_en, t.title, w.item_id) AS title_en, coalesce(t.title_ru, t.title, w.item_id) AS title_ru,
       w.views, w.hours_viewed, w.plays
FROM mart_item_week w LEFT JOIN dim_title t ON t.title_id = w.item_id
WHERE w.week_start = (SELECT max(week_start) FROM mart_item_week) AND w.views IS NOT NULL
ORDER BY w.rank LIMIT 15;

-- name: sessions_by_day
SELECT event_date AS day, coalesce(device, 'unknown') AS device, coalesce(country, 'ZZ') AS country,
       count(*) AS sessions
FROM fct_session WHERE NOT is_bot GROUP BY ALL ORDER BY ALL;

-- name: week_hours
SELECT isodow(started_at) AS weekday, hour(started_at) AS hour, coalesce(device, 'unknown') AS device,
       coalesce(country, 'ZZ') AS country, count(*) AS plays
FROM fct_playback_session WHERE NOT is_bot AND origin <> 'import' GROUP BY ALL ORDER BY ALL;

-- name: engagement
SELECT coalesce(t.title_en, t.title, e.title_id) AS title_en, coalesce(t.title_ru, t.title, e.title_id) AS title_ru,
       e.starters, coalesce(e.watchers, 0) AS watchers, coalesce(e.completers, 0) AS completers
FROM mart_title_engagement e LEFT JOIN dim_title t USING (title_id)
WHERE e.window_days = 28 ORDER BY e.starters DESC, e.title_id LIMIT 15;

-- name: retention
SELECT r.title_id, coalesce(t.title_en, t.title, r.title_id) AS title_en,
       coalesce(t.title_ru, t.title, r.title_id) AS title_ru, r.minute, r.share
FROM mart_title_retention r LEFT JOIN dim_title t USING (title_id)
WHERE r.title_id IN (
    SELECT title_id FROM mart_title_retention WHERE minute = 0 ORDER BY playbacks DESC, title_id LIMIT 30
)
ORDER BY max(r.playbacks) OVER (PARTITION BY r.title_id) DESC, r.title_id, r.minute;

-- name: startup
WITH starts AS (
    UNPIVOT mart_qoe_hour
    ON startup_le_500, startup_le_1000, startup_le_2000, startup_le_4000, startup_le_8000, startup_gt_8000
    INTO NAME bucket VALUE plays
)
SELECT CAST(hour AS DATE) AS day, device, country,
       CASE bucket WHEN 'startup_le_500' THEN '1' WHEN 'startup_le_1000' THEN '2' WHEN 'startup_le_2000' THEN '3'
                   WHEN 'startup_le_4000' THEN '4' WHEN 'startup_le_8000' THEN '5' ELSE '6' END AS bucket,
       sum(plays) AS starts
FROM starts GROUP BY ALL ORDER BY ALL;

-- name: qoe
SELECT CAST(hour AS DATE) AS day, device, country, sum(stall_ms) AS stall_ms, sum(watch_ms) AS watch_ms
FROM mart_qoe_hour GROUP BY ALL ORDER BY ALL;

-- name: bitrate
SELECT CAST(hour AS DATE) AS day, device, country, sum(bits) AS bits, sum(played_ms) AS played_ms
FROM mart_qoe_hour GROUP BY ALL ORDER BY ALL;

-- name: failures
SELECT CAST(hour AS DATE) AS day, device, country, sum(failures) AS failures, sum(attempts) AS attempts
FROM mart_qoe_hour GROUP BY ALL ORDER BY ALL;

-- name: exits
SELECT CAST(hour AS DATE) AS day, device, country, sum(exits_before_start) AS exits_before_start,
       sum(attempts) AS attempts
FROM mart_qoe_hour GROUP BY ALL ORDER BY ALL;

-- name: mrr_movements
SELECT month, currency, kind, sum(amount_minor) / 1e2 AS amount FROM fct_mrr_movement GROUP BY ALL ORDER BY ALL;

-- name: mrr
SELECT month, currency, closing_minor / 1e2 AS mrr, subscribers FROM mart_mrr_month ORDER BY ALL;

-- name: churn
SELECT month, 1e2 * gross_churn AS gross, 1e2 * net_churn AS net FROM mart_churn_month
WHERE gross_churn IS NOT NULL ORDER BY 1;

-- name: cohorts
SELECT strftime(cohort_month, '%Y-%m') AS cohort, month_n, sum(paying) AS paying, sum(accounts) AS accounts
FROM mart_cohort_retention GROUP BY ALL ORDER BY ALL;

-- name: funnel
SELECT country, sum(accounts) AS accounts, sum(visited) AS visited, sum(trial) AS trial, sum(paid) AS paid,
       sum(played) AS played
FROM mart_funnel_day GROUP BY ALL ORDER BY ALL;

-- name: costs
SELECT coalesce(t.title_en, t.title, c.title_id) AS title_en, coalesce(t.title_ru, t.title, c.title_id) AS title_ru,
       c.currency, sum(c.cost_minor) / 1e2 / nullif(sum(c.hours_viewed), 0) * 1e3 AS cost_per_thousand_hours
FROM mart_content_cost c LEFT JOIN dim_title t USING (title_id)
GROUP BY ALL HAVING sum(c.hours_viewed) > 0 ORDER BY 4 DESC LIMIT 40;

-- name: revenue
SELECT month, currency, country, sum(booked_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END) AS booked,
       sum(recognised_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END) AS recognised
FROM mart_revenue_month GROUP BY ALL ORDER BY ALL;

-- name: revenue_by_ledger
SELECT month, currency, country, ledger,
       sum(recognised_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END) AS revenue
FROM mart_revenue_month WHERE recognised_minor <> 0 GROUP BY ALL ORDER BY ALL;

-- name: unit_economics
SELECT month, currency, arpu_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END AS arpu,
       predicted_ltv_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END AS ltv
FROM mart_arpu_month ORDER BY ALL;

-- name: ltv_cohorts
SELECT strftime(cohort_month, '%Y-%m') AS cohort, month_n, currency,
       to_date_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END AS to_date, customers
FROM mart_ltv_cohort ORDER BY ALL;

-- name: given_back
SELECT month, currency, provider, refunded_minor + disputed_minor AS given_back, paid_minor AS paid
FROM mart_payment_month ORDER BY ALL;

-- name: fees
SELECT month, currency, provider, fee_minor + lost_minor AS cost, paid_minor AS paid FROM mart_payment_month ORDER BY ALL;

-- name: taxes
SELECT month, currency, country, tax_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END AS tax
FROM mart_tax_month ORDER BY ALL;

-- name: promo_cost
SELECT month, currency, coalesce(promo_id, '') AS promo,
       discount_minor / CASE currency WHEN 'JPY' THEN 1e0 ELSE 1e2 END AS discount
FROM mart_promo_month ORDER BY ALL;

-- name: experiments
SELECT experiment || ' · ' || metric || ' (' || method || ')' AS label, relative, relative_low, relative_high,
       n_control, n_treatment, srm_p_value
FROM mart_experiment_result WHERE relative IS NOT NULL ORDER BY experiment, metric, method;

-- name: intake
WITH kinds AS (
    UNPIVOT (SELECT received_date, events AS first, repeats, conflicts FROM mart_intake_day)
    ON first, repeats, conflicts INTO NAME kind VALUE receipts
)
SELECT received_date AS day, kind, sum(receipts) AS receipts FROM kinds GROUP BY ALL ORDER BY ALL;

-- name: late
SELECT received_date AS day, sum(late) AS late, sum(events) AS events FROM mart_intake_day GROUP BY ALL ORDER BY ALL;
