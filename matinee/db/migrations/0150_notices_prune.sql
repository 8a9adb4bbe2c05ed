-- Notices of providers that are done with go after their time: the sweep of every minute finds them by this.
CREATE INDEX provider_event_done ON provider_event (handled_at) WHERE handled_at IS NOT NULL;
