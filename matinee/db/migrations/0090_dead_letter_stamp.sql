-- What the server knew about the sender of a dead letter (country, bot), so that a replay writes it as the intake would
-- have. Rows from before it know nothing.
ALTER TABLE dead_letter ADD COLUMN stamp jsonb NOT NULL DEFAULT '{}';
