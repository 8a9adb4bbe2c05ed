-- One row a profile: what it liked (item, first moment in microseconds), what is done with, its latest playbacks and
-- statements. Definitions as in models.recommenders.marts.
WITH items AS (
    SELECT title_id AS item_id FROM dim_title WHERE title_id = item_id AND kind <> 'extra'
),

interactions AS (
    SELECT i.*, epoch_us(i.happened_at) AS ts FROM fct_interaction i WHERE i.profile_key IS NOT NULL
),

first_days AS (
    SELECT max(event_date) - CAST($days AS integer) AS day FROM interactions
),

liked AS (
    SELECT profile_key, list({id: item_id, ts: ts} ORDER BY ts DESC, item_id)[:$history] AS liked
    FROM (
        SELECT profile_key, item_id, min(ts) AS ts
        FROM interactions SEMI JOIN items USING (item_id)
        WHERE is_positive
        GROUP BY ALL
    )
    GROUP BY profile_key
),

done AS (
    SELECT profile_key, list(DISTINCT item_id ORDER BY item_id) AS done
    FROM interactions SEMI JOIN items USING (item_id)
    WHERE kind = 'rate' OR (kind = 'view' AND value >= $finished AND title_id = item_id)
    GROUP BY profile_key
),

plays AS (
    SELECT profile_key, list({
        id: playback_id, ts: epoch_us(started_at), title: title_id, played: played_ms, position: max_position_ms,
        bot: is_bot
    } ORDER BY started_at DESC)[:$keep] AS plays
    FROM fct_playback_session
    WHERE profile_key IS NOT NULL AND event_date > (SELECT day FROM first_days)
    GROUP BY profile_key
),

statements AS (
    SELECT profile_key, list({
        id: interaction_id, ts: ts, title: title_id, positive: is_positive, rated: kind = 'rate'
    } ORDER BY ts DESC)[:$keep] AS statements
    FROM interactions
    WHERE kind <> 'view' AND event_date > (SELECT day FROM first_days)
    GROUP BY profile_key
)

SELECT profile_key, coalesce(liked, []) AS liked, coalesce(done, []) AS done, coalesce(plays, []) AS plays,
       coalesce(statements, []) AS statements
FROM liked
FULL JOIN done USING (profile_key)
FULL JOIN plays USING (profile_key)
FULL JOIN statements USING (profile_key)
ORDER BY profile_key
