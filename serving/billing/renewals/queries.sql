-- name: waiting
SELECT count(*) AS count FROM subscription WHERE due_at <= %(at)s

-- name: clocks
-- PostgreSQL's own clock, when money was last heard of, and whether anything has been due for long: a clock that jumped
-- leaves that, where a service of few subscribers is merely silent.
SELECT clock_timestamp() AS there,
       greatest((SELECT at FROM subscription_event ORDER BY event_id DESC LIMIT 1),
                (SELECT occurred_at FROM ledger_transaction ORDER BY transaction_id DESC LIMIT 1)) AS newest,
       coalesce((SELECT min(due_at) FROM subscription) <= %(at)s::timestamptz - %(overdue)s::interval, false) AS is_overdue

-- name: put_off
-- The one that comes next.
UPDATE subscription SET due_at = %(until)s WHERE subscription_id = (
    SELECT subscription_id FROM subscription WHERE due_at <= %(at)s ORDER BY due_at, subscription_id LIMIT 1)
RETURNING subscription_id
