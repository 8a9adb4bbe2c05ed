-- name: on_sale
-- One price a plan and interval: that for the region, else the one for wherever no other is for.
SELECT DISTINCT ON (p.rank, r.plan_id, r.months)
    r.price_id, r.plan_id, r.version, r.months, r.currency, r.amount_minor, r.regions, r.succeeded_by, r.succeeds_at,
    p.names, p.rank, v.streams, v.max_height, v.includes, v.devices
FROM price r JOIN plan_version v USING (plan_id, version) JOIN plan p USING (plan_id)
WHERE r.sold @> %(at)s::timestamptz AND (r.regions = '{}' OR %(region)s = ANY (r.regions))
ORDER BY p.rank, r.plan_id, r.months, (r.regions = '{}'), lower(r.sold) DESC, r.price_id

-- name: prices
-- Every price that ever was: some hundred rows.
SELECT r.price_id, r.plan_id, r.version, r.months, r.currency, r.amount_minor, r.regions, r.succeeded_by, r.succeeds_at,
       p.names, p.rank, v.streams, v.max_height, v.includes, v.devices,
       r.sold @> %(at)s::timestamptz AS is_sold
FROM price r JOIN plan_version v USING (plan_id, version) JOIN plan p USING (plan_id)
ORDER BY p.rank, r.plan_id, r.currency, r.months, lower(r.sold), r.price_id

-- name: price
SELECT r.price_id, r.plan_id, r.version, r.months, r.currency, r.amount_minor, r.regions, r.succeeded_by, r.succeeds_at,
       p.names, p.rank, v.streams, v.max_height, v.includes, v.devices,
       r.sold @> %(at)s::timestamptz AS is_sold
FROM price r JOIN plan_version v USING (plan_id, version) JOIN plan p USING (plan_id)
WHERE r.price_id = %(price_id)s

-- name: tax
SELECT rate_bp FROM tax_rate WHERE country = %(country)s AND valid @> %(day)s::date

-- name: taxes
SELECT country, rate_bp FROM tax_rate WHERE country = ANY (%(countries)s) AND valid @> %(day)s::date

-- name: add_version
INSERT INTO plan_version (plan_id, version, includes, streams, max_height, devices, since)
SELECT plan_id, %(version)s, %(includes)s, %(streams)s, %(max_height)s, %(devices)s, %(at)s FROM plan
WHERE plan_id = %(plan_id)s

-- name: newest_version
SELECT version, includes, streams, max_height, devices FROM plan_version WHERE plan_id = %(plan_id)s
ORDER BY version DESC LIMIT 1

-- name: set_plan
-- A plan that is given away has the qualities of its newest version.
UPDATE plan SET includes = %(includes)s, streams = %(streams)s, max_height = %(max_height)s, devices = %(devices)s
WHERE plan_id = %(plan_id)s

-- name: replaced
-- What is sold now of the plan and interval, for the same regions.
SELECT price_id FROM price
WHERE plan_id = %(plan_id)s AND months = %(months)s AND sold @> %(at)s::timestamptz
  AND regions @> %(regions)s AND regions <@ %(regions)s FOR UPDATE

-- name: end_sale
UPDATE price SET sold = tstzrange(lower(sold), %(at)s) WHERE price_id = ANY (%(price_ids)s)

-- name: add_price
INSERT INTO price (price_id, plan_id, version, months, currency, amount_minor, regions, sold)
VALUES (%(price_id)s, %(plan_id)s, %(version)s, %(months)s, %(currency)s, %(amount_minor)s, %(regions)s,
        tstzrange(%(at)s, NULL))

-- name: succeed
-- Of a price that was to be succeeded already, the subscribers are told of the newest successor alone.
UPDATE price SET succeeded_by = %(price_id)s, succeeds_at = %(succeeds_at)s, announced_at = %(at)s
WHERE price_id = ANY (%(price_ids)s)

-- name: concerned
-- Who pays, or is about to pay, one of these prices, and can be written to.
SELECT a.account_id, a.email, coalesce(a.language, 'en') AS language, coalesce(s.next_price_id, s.price_id) AS price_id
FROM subscription s JOIN customer c USING (customer_id) JOIN account a USING (account_id)
WHERE coalesce(s.next_price_id, s.price_id) = ANY (%(price_ids)s)
  AND s.state IN ('trialing', 'active', 'past_due', 'paused') AND NOT s.ends
  AND (s.state <> 'trialing' OR s.next_price_id IS NOT NULL) AND a.email IS NOT NULL
