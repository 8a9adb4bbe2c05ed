-- name: titles
SELECT title_id, kind, parent_id,
       -- What was packaged is what plays: its length wins over the feed's, as in the warehouse.
       coalesce(round(duration_ms / 1000.0)::int, runtime_s) AS runtime_s,
       genres
FROM export_title
