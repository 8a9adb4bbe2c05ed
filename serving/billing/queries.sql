-- name: customer_of
SELECT customer_id FROM customer WHERE account_id = %(account_id)s

-- name: add_customer
-- None comes back where the account is gone, or where somebody else has made it meanwhile: `customer_of` tells then.
INSERT INTO customer (customer_id, account_id, created_at)
SELECT %(customer_id)s, account_id, %(at)s FROM account WHERE account_id = %(account_id)s
ON CONFLICT (account_id) DO NOTHING
RETURNING customer_id

-- name: account_of
SELECT account_id FROM customer WHERE customer_id = %(customer_id)s
