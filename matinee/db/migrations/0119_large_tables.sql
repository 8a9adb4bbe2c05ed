-- What a million profiles would make slow: deleting a profile looks for its playbacks, and what expired is found by its time.
CREATE INDEX playback_session_profile ON playback_session (profile_id);
CREATE INDEX playback_session_expires ON playback_session (expires_at);
CREATE INDEX auth_session_expires ON auth_session (expires_at);
