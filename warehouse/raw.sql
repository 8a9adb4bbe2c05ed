CREATE SCHEMA IF NOT EXISTS raw;
CREATE SCHEMA IF NOT EXISTS audit;

-- Which landed files are in raw.events; written in the transaction that writes their rows.
CREATE TABLE IF NOT EXISTS raw.loaded_file (
    path      VARCHAR NOT NULL,
    rows      BIGINT NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL
);

-- Event days whose rows changed since dbt last built them; dbt clears those that were here when it started.
CREATE TABLE IF NOT EXISTS raw.touched_days (
    event_date DATE NOT NULL,
    touched_at TIMESTAMPTZ NOT NULL
);

-- Events received before the last of these days are gone (retention): their days cannot be built again.
CREATE TABLE IF NOT EXISTS raw.dropped_before (
    day DATE NOT NULL
);

-- Which export of each table raw.<name> holds.
CREATE TABLE IF NOT EXISTS raw.loaded_table (
    name VARCHAR NOT NULL,
    path VARCHAR NOT NULL
);

-- The last result of every dbt node: what `publish` looks at.
CREATE TABLE IF NOT EXISTS audit.node_result (
    node_id       VARCHAR NOT NULL,
    resource_type VARCHAR NOT NULL,
    status        VARCHAR NOT NULL,
    message       VARCHAR,
    invocation_id VARCHAR NOT NULL,
    finished_at   TIMESTAMPTZ NOT NULL
);

-- The first rows that each failed (or warning) test found, as JSON objects; `failures` is how many there are in all.
CREATE TABLE IF NOT EXISTS audit.failed_row (
    node_id  VARCHAR NOT NULL,
    failures BIGINT NOT NULL,
    row      VARCHAR NOT NULL
);
