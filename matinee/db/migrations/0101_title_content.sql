-- What a title is about goes to the lake as well: recommendations of titles that nobody has watched rest on it.
-- New columns of a view come last; `roles` has one entry for each of `people`.
CREATE OR REPLACE VIEW export_title AS
SELECT t.title_id, t.kind, t.parent_id, t.number,
       en.title AS title_en, ru.title AS title_ru,
       coalesce(en.title, ru.title, (SELECT min(title) FROM title_text x WHERE x.title_id = t.title_id), t.title_id) AS title,
       t.year, t.runtime_s, t.maturity, t.genres, t.tags, t.countries, t.state, t.created_at,
       p.package_id, p.duration_ms, p.created_at AS packaged_at,
       en.synopsis AS synopsis_en, ru.synopsis AS synopsis_ru,
       ARRAY(SELECT name FROM title_person x WHERE x.title_id = t.title_id ORDER BY position) AS people,
       ARRAY(SELECT role FROM title_person x WHERE x.title_id = t.title_id ORDER BY position) AS roles
FROM title t
LEFT JOIN title_text en ON en.title_id = t.title_id AND en.language = 'en'
LEFT JOIN title_text ru ON ru.title_id = t.title_id AND ru.language = 'ru'
LEFT JOIN playable p ON p.title_id = t.title_id;
