-- Read by warehouse.export: of each title's newest master the probe encodes of each codec with the newest settings.
CREATE VIEW export_probe AS
WITH newest_master AS (
    SELECT DISTINCT ON (title_id) title_id, master_id FROM master
    WHERE state = 'accepted' AND title_id IS NOT NULL
    ORDER BY title_id, created_at DESC, master_id
), newest_settings AS (
    SELECT DISTINCT ON (master_id, codec) master_id, codec, settings FROM transcode_probe
    ORDER BY master_id, codec, created_at DESC, settings
)
SELECT m.title_id, p.master_id, p.codec, p.height, p.crf, p.sample, p.kbps, p.vmaf, p.weight
FROM transcode_probe p JOIN newest_settings USING (master_id, codec, settings) JOIN newest_master m USING (master_id);
