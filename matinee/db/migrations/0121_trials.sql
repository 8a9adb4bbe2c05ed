-- Since 0116 a title on subscription opens by a plan only, and who registers gets a trial. Those who registered before and
-- have never had a subscription get the one that is usual, as serving.rights.welcome writes it. A new home has none of them.
WITH waiting AS (
    SELECT a.account_id, gen_random_uuid()::text AS period_id,
           CASE a.country WHEN 'RU' THEN 'RUB' WHEN 'US' THEN 'USD' WHEN 'GB' THEN 'GBP' ELSE 'EUR' END AS currency
    FROM account a
    WHERE a.password_hash IS NOT NULL
      AND a.created_at < (SELECT applied_at FROM migration WHERE name = '0116_rights')
      AND NOT EXISTS (SELECT FROM subscription_period p WHERE p.account_id = a.account_id)
)
INSERT INTO subscription_period
    (period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened, closed, end_reason)
SELECT period_id, period_id, account_id, 'premium', 'trial', 0, currency, now(), now() + interval '14 days', 'cancelled'
FROM waiting;
