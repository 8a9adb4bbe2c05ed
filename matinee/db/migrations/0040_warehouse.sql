-- writer: warehouse.held. Landed files that the gate did not let into the warehouse, and what was decided about them.
CREATE TABLE held_file (
    path       text PRIMARY KEY REFERENCES landed_file ON DELETE CASCADE,
    batch      text NOT NULL,   -- what was checked together: 'events/<received date>' or 'import:<source>'
    state      text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'accepted')),
    reasons    jsonb NOT NULL,  -- [{check, column, unexpected, sample}]
    held_at    timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz
);
