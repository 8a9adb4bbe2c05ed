"""The Arrow schema of a landed event: what the collector writes and the warehouse loads.

No account or profile id, e-mail or address gets here: only the keys of `matinee.pseudonyms`.
Timestamps are UTC. `log_id` is the event's place in the event log (imports: file and line), unique within a file.
`fingerprint` is SHA-256 over the event as sent, so that the same id with another payload is seen.
"""

import pyarrow as pa

_TS = pa.timestamp("us", tz="UTC")

LANDED_EVENT = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("schema", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("log_id", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("account_key", pa.string()),
        pa.field("profile_key", pa.string()),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("playback_id", pa.string()),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("title_id", pa.string()),
        pa.field("device", pa.string()),
        pa.field("country", pa.string()),
        pa.field("ts_client", _TS, nullable=False),
        pa.field("ts_sent", _TS, nullable=False),
        pa.field("received_at", _TS, nullable=False),
        pa.field("event_ts", _TS, nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("position_ms", pa.int64()),
        pa.field("played_ms", pa.int64()),
        pa.field("stall_ms", pa.int64()),
        pa.field("stalls", pa.int64()),
        pa.field("paused_ms", pa.int64()),
        pa.field("startup_ms", pa.int64()),
        pa.field("bits", pa.int64()),
        pa.field("rendition", pa.string()),
        pa.field("surface_row", pa.string()),
        pa.field("surface_position", pa.int64()),
        pa.field("surface_model", pa.string()),
        pa.field("surface_version", pa.string()),
        pa.field("surface_propensity", pa.float64()),
        pa.field("surface_source", pa.string()),
        pa.field("surface_request_id", pa.string()),
        pa.field("experiments", pa.string()),  # JSON object: experiment -> variant
        pa.field("rate_value", pa.float64()),
        pa.field("favourite_on", pa.bool_()),
        pa.field("search_query", pa.string()),
        pa.field("search_results", pa.int64()),
        pa.field("search_clicked", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_fatal", pa.bool_()),
        pa.field("exposure_experiment", pa.string()),
        pa.field("exposure_variant", pa.string()),
        pa.field("exposure_salt", pa.string()),
        pa.field("bot", pa.string()),  # why the sender counts as a bot, null for people
    ]
)
