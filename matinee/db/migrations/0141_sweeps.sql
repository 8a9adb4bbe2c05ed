-- When somebody last acted on a notice, or asked a provider to forget a way to pay: both are tried again after pauses that
-- grow, so that what never comes to an end keeps nobody else waiting.
ALTER TABLE provider_event ADD COLUMN asked_at timestamptz;
ALTER TABLE payment_method ADD COLUMN asked_at timestamptz;
