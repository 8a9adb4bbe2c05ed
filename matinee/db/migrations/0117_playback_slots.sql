-- A playback session as a stream: `expires_at` ends the session, `slot_until` its place among the account's streams;
-- heartbeats move both, through Redis, in batches. What the session was granted by is judged again while it plays:
-- `region` is where it was opened, `session_id` the sign-in (no foreign key: it may be gone), `max_height` limits the rungs
-- (lines; null: none), `streams` how many may run beside it, itself included. Addresses of files hold since `issued_at`;
-- those from before `previous_at` are over, those between live a minute on.
ALTER TABLE playback_session
    ADD COLUMN session_id  text,
    ADD COLUMN region      text,
    ADD COLUMN device_kind text,
    ADD COLUMN device_name text,
    ADD COLUMN max_height  int,
    ADD COLUMN streams     int NOT NULL DEFAULT 1,
    ADD COLUMN slot_until  timestamptz,
    ADD COLUMN issued_at   timestamptz,
    ADD COLUMN previous_at timestamptz,
    ADD COLUMN ended_at    timestamptz,
    ADD COLUMN end_reason  text;
CREATE INDEX playback_session_living ON playback_session (account_id, expires_at) WHERE ended_at IS NULL;
CREATE INDEX playback_session_ended ON playback_session (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX playback_session_signed_in ON playback_session (session_id) WHERE ended_at IS NULL;
