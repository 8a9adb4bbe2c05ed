-- Text under a key of the body that was a JSON string there, not the rendering of a number, a flag, a list or an object.
-- Cases rather than AND and OR: only they leave out what need not be looked at.
CREATE OR REPLACE MACRO is_text(x, body, path) AS
    strlen(x) <= 256 AND CASE
        WHEN ascii(x) > 57 THEN ascii(x) <> 91 AND ascii(x) <> 123 AND x <> 'true' AND x <> 'false'
        WHEN regexp_full_match(x, '-?[0-9][0-9.eE+-]*') THEN json_type(body, path) = 'VARCHAR'
        ELSE true
    END;
CREATE OR REPLACE MACRO may_be_text(x, body, path) AS CASE WHEN x IS NULL THEN true ELSE is_text(x, body, path) END;

CREATE OR REPLACE MACRO is_count(x) AS CASE WHEN x IS NULL THEN true ELSE regexp_full_match(x, '[0-9]{1,15}') END;

CREATE OR REPLACE MACRO has_data(type) AS CASE type
    WHEN 'rate' THEN true WHEN 'favourite' THEN true WHEN 'search' THEN true WHEN 'error' THEN true
    WHEN 'exposure' THEN true ELSE false
END;

CREATE OR REPLACE MACRO is_object(x) AS ascii(x) = 123;

CREATE OR REPLACE MACRO is_time(x) AS regexp_full_match(
    x,
    '[12][0-9]{3}-[01][0-9]-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][01][0-9]:[0-5][0-9])'
);
CREATE OR REPLACE MACRO micros(x) AS epoch_us(TRY_CAST(x AS TIMESTAMPTZ));

CREATE OR REPLACE MACRO in_calendar(us) AS us BETWEEN -62135596800000000 AND 253402300799999999;

-- decode
WITH parsed AS (
    SELECT place, log_id, body, TRY(json_transform(body, getvariable('event_shape'))) AS e FROM entries
),

opened AS (
    SELECT
        *,
        CASE WHEN e.surface IS NOT NULL THEN json_transform(e.surface, getvariable('surface_shape')) END AS s,
        micros(e.ts_client) AS client_us,
        micros(e.ts_sent) AS sent_us,
        micros(e.received_at) AS received_us
    FROM parsed
)

SELECT
    place,
    e.account_id,
    e.profile_id,
    e.event_id,
    e."schema",
    e.origin,
    log_id,
    e.fingerprint,
    e.session_id,
    e.playback_id,
    coalesce(TRY_CAST(e.seq AS BIGINT), 0) AS seq,
    e.title_id,
    e.device,
    e.country,
    client_us AS ts_client,
    sent_us AS ts_sent,
    received_us AS received_at,
    received_us - (sent_us - client_us) AS event_ts,
    e.type,
    TRY_CAST(e.position_ms AS BIGINT) AS position_ms,
    TRY_CAST(e.played_ms AS BIGINT) AS played_ms,
    TRY_CAST(e.stall_ms AS BIGINT) AS stall_ms,
    TRY_CAST(e.stalls AS BIGINT) AS stalls,
    TRY_CAST(e.paused_ms AS BIGINT) AS paused_ms,
    TRY_CAST(e.startup_ms AS BIGINT) AS startup_ms,
    TRY_CAST(e.bits AS BIGINT) AS bits,
    e.rendition,
    s.row AS surface_row,
    TRY_CAST(s.position AS BIGINT) AS surface_position,
    s.model AS surface_model,
    s.version AS surface_version,
    TRY_CAST(s.propensity AS DOUBLE) AS surface_propensity,
    s.source AS surface_source,
    s.request_id AS surface_request_id,
    e.bot,
    e.experiments,
    CASE WHEN has_data(e.type) THEN e.type || ' ' || e.data END AS details,
    coalesce(
        regexp_full_match(e.event_id, '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
        AND regexp_full_match(e."schema", 'viewer-event/1\.[0-9]{1,3}')
        AND e.origin IN ('live', 'import', 'simulate')
        AND regexp_full_match(e.fingerprint, '[0-9]*[a-f][0-9a-f]*') AND strlen(e.fingerprint) = 64
        AND may_be_text(e.account_id, body, '$.account_id')
        AND may_be_text(e.profile_id, body, '$.profile_id')
        AND is_text(e.session_id, body, '$.session_id')
        AND may_be_text(e.playback_id, body, '$.playback_id')
        AND (
            e.title_id IS NULL
            OR (
                regexp_full_match(e.title_id, '[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}')
                AND is_text(e.title_id, body, '$.title_id')
            )
        )
        AND may_be_text(e.device, body, '$.device')
        AND (e.country IS NULL OR regexp_full_match(e.country, '[A-Z]{2}'))
        AND may_be_text(e.rendition, body, '$.rendition')
        AND may_be_text(e.bot, body, '$.bot')
        AND is_time(e.ts_client) AND is_time(e.ts_sent) AND is_time(e.received_at)
        AND in_calendar(client_us) AND in_calendar(sent_us) AND in_calendar(received_us)
        AND in_calendar(received_us - (sent_us - client_us))
        AND CASE
            WHEN e.type IN ('play', 'heartbeat', 'stop') THEN e.playback_id <> '' AND e.title_id IS NOT NULL
            WHEN e.type IN ('impression', 'rate', 'favourite') THEN e.title_id IS NOT NULL
            ELSE e.type IN ('error', 'search', 'exposure')
        END
        AND is_count(e.seq) AND is_count(e.position_ms) AND is_count(e.played_ms) AND is_count(e.stall_ms) AND is_count(e.stalls)
        AND is_count(e.paused_ms) AND is_count(e.startup_ms) AND is_count(e.bits)
        AND (
            e.surface IS NULL
            OR (
                is_object(e.surface)
                AND may_be_text(s.row, e.surface, '$.row')
                AND is_count(s.position)
                AND may_be_text(s.model, e.surface, '$.model')
                AND may_be_text(s.version, e.surface, '$.version')
                AND (
                    s.propensity IS NULL
                    OR (
                        regexp_full_match(s.propensity, '[0-9.eE-]+')
                        AND TRY_CAST(s.propensity AS DOUBLE) BETWEEN 0 AND 1
                    )
                )
                AND may_be_text(s.source, e.surface, '$.source')
                AND may_be_text(s.request_id, e.surface, '$.request_id')
            )
        )
        AND (e.experiments IS NULL OR is_object(e.experiments))
        AND CASE WHEN e.data IS NULL THEN NOT has_data(e.type) ELSE is_object(e.data) END,
        false
    ) AS fits
FROM opened
