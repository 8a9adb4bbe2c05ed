-- writer: transcoding.treatments. How much work a title is worth, decided from what viewers watch. What is not here is
-- encoded as the settings say. `saved_gb`: bits that viewers need not load in four weeks; `cpu_s`: what encoding costs.
CREATE TABLE title_treatment (
    title_id   text PRIMARY KEY REFERENCES title ON DELETE CASCADE,
    treatment  text NOT NULL CHECK (treatment IN ('fast', 'standard', 'premium')),
    reason     text NOT NULL,
    decided_at timestamptz NOT NULL,
    saved_gb   double precision NOT NULL CHECK (saved_gb >= 0),
    cpu_s      double precision NOT NULL CHECK (cpu_s >= 0)
);

-- writer: transcoding.treatments. Bandwidth of viewers: quantiles at 5 %, 15 %, ..., 95 % of the hours watched, kbit/s.
-- The newest row is what ladders are spaced for.
CREATE TABLE transcode_audience (
    measured_at timestamptz PRIMARY KEY,
    kbps        double precision[] NOT NULL,
    hours       double precision NOT NULL,  -- watched, that this was seen in
    censored    double precision NOT NULL   -- share of them that played the best rung: their bandwidth is higher still
);
