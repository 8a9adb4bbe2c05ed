-- Whether an earlier subscription of the customer ended while a renewal was owed; until this one has been renewed, nothing
-- is open while it owes one.
ALTER TABLE subscription ADD COLUMN defaulted boolean NOT NULL DEFAULT false;
