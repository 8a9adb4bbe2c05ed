-- The browser of a playback session: SHA-256 of its HttpOnly cookie. Players ask for content keys without a token of
-- their own, so a key is handed to the browser that holds a living session of the key's title. Null: an older session.
ALTER TABLE playback_session ADD COLUMN browser bytea;
CREATE INDEX playback_session_browser ON playback_session (browser, title_id);
