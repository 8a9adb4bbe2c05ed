-- What came before there were treatments was made as the fast lane makes it.
CREATE OR REPLACE VIEW export_package AS
SELECT package_id, title_id, state, duration_ms, rungs, created_at, coalesce(treatment, 'fast') AS treatment, protection,
       superseded_at
FROM package;
