-- name: waiting
SELECT count(*) AS count FROM subscription WHERE due_at <= %(at)s

-- name: put_off
-- The one that comes next.
UPDATE subscription SET due_at = %(until)s WHERE subscription_id = (
    SELECT subscription_id FROM subscription WHERE due_at <= %(at)s ORDER BY due_at, subscription_id LIMIT 1)
RETURNING subscription_id
