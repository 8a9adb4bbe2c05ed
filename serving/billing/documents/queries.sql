-- name: of_customer
-- Invoices and credit notes, the newest first; what was taken back, or is not paid and need not be, is nobody's paper.
SELECT i.invoice_id, i.number, i.purpose, i.state, i.currency, i.total_minor, i.credited_minor, i.issued_at, i.paid_at,
       (SELECT l.names FROM invoice_line l WHERE l.invoice_id = i.invoice_id ORDER BY l.line LIMIT 1) AS names
FROM invoice i JOIN customer c USING (customer_id)
WHERE c.account_id = %(account_id)s
  AND (i.state = 'paid' OR i.state = 'open' AND i.reason IN ('renewal', 'resume'))
  AND (i.issued_at, i.invoice_id) < (%(before_at)s, %(before_id)s)
ORDER BY i.issued_at DESC, i.invoice_id DESC LIMIT %(limit)s

-- name: paper
-- What stands on an invoice beyond itself. No account: for staff.
SELECT o.number AS credited, m.label AS paid_by, s.zone
FROM invoice i
JOIN customer c USING (customer_id)
LEFT JOIN invoice o ON o.invoice_id = i.credits
LEFT JOIN subscription s ON s.subscription_id = i.subscription_id
LEFT JOIN payment p ON p.invoice_id = coalesce(i.credits, i.invoice_id) AND p.state = 'succeeded' AND NOT p.surplus
LEFT JOIN payment_method m ON m.method_id = coalesce(p.method_id, p.saved_id)
WHERE i.invoice_id = %(invoice_id)s AND c.account_id = %(account_id)s
