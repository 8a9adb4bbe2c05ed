-- What besides the source decided a package: its plan version and its encoder. A master that failed is tried again
-- when this changes; null: it failed for a reason that is not its own, and is tried again every time.
ALTER TABLE package ADD COLUMN tools text;
