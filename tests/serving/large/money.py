"""Values for the queries about money, and which of them read whole tables because that is what they are for."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg.types.range import Range

NOW = datetime(2026, 6, 1, tzinfo=UTC)
_WHO = "a-0000007"
CUSTOMER, INVOICE, PAYMENT, METHOD = f"c-{_WHO}", f"i-{_WHO}", f"p-{_WHO}", f"m-{_WHO}"
SUBSCRIPTION, REFUND, DISPUTE, PROMO = f"s-{_WHO}", f"r-{_WHO}", f"d-{_WHO}", f"o-{_WHO}"
PERIOD = Range(NOW, NOW + timedelta(days=30))

_INVOICE = {
    "invoice_id": "new", "number": "new", "customer_id": CUSTOMER, "purpose": "rent", "currency": "EUR",
    "total_minor": 1, "discount_minor": 0, "tax_minor": 0, "tax_country": "", "tax_bp": 0, "from_balance": 0,
    "state": "open", "reason": "purchase", "language": "en", "country": "", "issued_at": NOW.isoformat(),
}  # fmt: skip
_PAYMENT = {
    "payment_id": PAYMENT, "invoice_id": INVOICE, "customer_id": CUSTOMER, "provider": "sandbox", "state": "succeeded",
    "amount_minor": 599, "currency": "EUR", "attempt": 1, "save_method": False, "fee_minor": 0, "refunded_minor": 0,
    "surplus": False, "provider_ref": _WHO, "created_at": NOW.isoformat(), "settled_at": NOW.isoformat(),
}  # fmt: skip
_SUBSCRIPTION = {
    "subscription_id": SUBSCRIPTION, "state": "active", "price_id": "basic-month-eur", "zone": "UTC", "country": "",
    "elapsed": 0, "ends": False, "pauses": False, "attempts": 0, "worth_minor": 0, "defaulted": False,
}  # fmt: skip
_REFUND = {
    "refund_id": "new", "payment_id": PAYMENT, "amount_minor": 1, "currency": "EUR", "reason": "test",
    "keeps_right": False, "created_at": NOW.isoformat(),
}  # fmt: skip
_STRETCH = {
    "period_id": "new", "subscription_id": "new", "account_id": "a-0014999", "plan": "basic", "state": "active",
    "monthly_minor": 1, "currency": "EUR", "opened": "2020-01-01T00:00:00Z", "closed": "2020-02-01T00:00:00Z",
    "end_reason": "cancelled",
}  # fmt: skip

VALUES: dict[str, Any] = {
    "customer_id": CUSTOMER, "customers": [CUSTOMER], "currencies": ["EUR"], "subscription_id": SUBSCRIPTION,
    "subscription_ids": [SUBSCRIPTION], "invoice_id": INVOICE, "invoice_ids": [INVOICE], "invoices": [INVOICE],
    "payment_id": PAYMENT, "payments": [PAYMENT], "refund_id": REFUND, "dispute_id": DISPUTE, "promo_id": PROMO,
    "method_id": METHOD, "methods": [METHOD], "provider": "sandbox", "provider_ref": "new", "event_id": f"e-{_WHO}",
    "ref": "new", "key": "k", "route": "POST /", "fingerprint": b"8" * 32, "lease": NOW, "subject": INVOICE,
    "status": 200, "body": "{}", "state": "open", "before_at": NOW, "before_id": INVOICE, "amount": 1,
    "amount_minor": 1, "fee_minor": 0, "asked_at": NOW, "settled_at": None, "note_id": None, "failure": None,
    "opened_at": NOW, "until": NOW + timedelta(days=30), "from_": NOW, "anchor": None, "due_at": NOW, "event": "paid",
    "period": PERIOD, "period_ids": [_WHO], "zone": "UTC", "country": "FR", "countries": ["FR"],
    "day": date(2026, 6, 1), "price_id": "basic-month-eur", "price_ids": ["basic-month-eur"], "regions": ["FR"],
    "months": 1, "version": 1, "succeeds_at": NOW + timedelta(days=31), "includes": ["basic"], "devices": [],
    "plans": ["basic"], "titles": ["t-000005"], "code": "NEW", "first_time": False, "limit_total": 5,
    "limit_person": 1, "periods": 1, "origins": ["simulate"], "ids": [PAYMENT, REFUND], "sources": [INVOICE],
    "payment_ids": [PAYMENT], "notice": NOW, "ledger": "receivable", "party": CUSTOMER, "next_price_id": None,
    "redemptions": json.dumps([{"redemption_id": "new", "promo_id": PROMO, "customer_id": CUSTOMER,
                                "invoice_id": "i-a-0014999"}]),
    "refunds": json.dumps([_REFUND]),
    "events": json.dumps([{"subscription_id": SUBSCRIPTION, "at": NOW.isoformat(), "event": "kept",
                           "became": "active", "details": {}}]),
}  # fmt: skip
# The same for one query, where a name means something else there.
OWN: dict[str, dict[str, Any]] = {
    "admin/billing/payments": {"before": PAYMENT},
    "admin/billing/payments_of": {"before": PAYMENT},
    "admin/billing/payments_named": {"q": f"M-{_WHO}"},
    "admin/billing/disputes": {"before": DISPUTE},
    "admin/billing/books": {"before": 10_000},
    "billing/idempotency_done": {"body": b"{}"},
    "billing/event_kept": {"event_id": "new"},
    "billing/invoices/add_invoices": {"invoices": json.dumps([_INVOICE])},
    "billing/invoices/add_lines": {"lines": json.dumps([{"invoice_id": "i-a-0000003", "line": 1, "kind": "plan",
                                                         "amount_minor": 599, "tax_minor": 0, "names": {}}])},
    "billing/ledger/post": {
        "kinds": ["charge"], "sources": ["new"], "moments": [NOW], "places": [1, 1], "lines": [1, 2],
        "ledgers": ["receivable", "rental"], "parties": [CUSTOMER, ""], "currencies": ["EUR", "EUR"],
        "amounts": [1, -1]},
    "billing/payments/add": {"payments": json.dumps([{**_PAYMENT, "payment_id": "new", "settled_at": None}])},
    "billing/payments/put": {"payments": json.dumps([_PAYMENT])},
    "billing/payments/unreserve": {"amount": 0},
    "billing/payments/put_refund": {"state": "succeeded", "settled_at": NOW},
    "billing/payments/save_methods": {"methods": json.dumps([{"method_id": "new", "customer_id": CUSTOMER,
        "provider": "sandbox", "provider_ref": "new", "label": "Visa", "created_at": NOW.isoformat()}])},
    "billing/claim_events": {"after": timedelta(minutes=1), "before": NOW},
    "billing/payments/claim_methods": {"after": timedelta(minutes=1), "before": NOW},
    "billing/payments/claim_payments": {"after": timedelta(minutes=1), "before": NOW, "charges": False},
    "billing/claim_customers": {"after": timedelta(minutes=1)},
    "billing/payments/claim_refunds": {"after": timedelta(minutes=1), "before": NOW},
    "billing/payments/surplus_kept": {"after": timedelta(minutes=1)},
    "billing/payments/close_dispute": {"state": "won"},
    "billing/payments/add_dispute": {"dispute_id": "new"},
    "billing/products/add_version": {"version": 9},
    "billing/products/add_price": {"price_id": "new"},
    "billing/promo/carried": {"changing": True},
    "billing/renewals/clocks": {"overdue": timedelta(days=7)},
    "billing/promo/listed": {"after": PROMO},
    "billing/promo/add": {"promo_id": "new", "kind": "percent", "currency": None},
    "billing/promo/found": {"key": "CODEAOOOOOO7"},
    "billing/promo/withdraw": {"key": "CODEAOOOOOO7"},
    "billing/purchases/for_sale": {"kind": "rent"},
    "billing/reconcile/booked": {"since": NOW, "kinds": ["charge"]},
    "billing/reconcile/providers": {"names": ["sandbox"]},
    "billing/reconcile/corrected": {"sources": [PAYMENT]},
    "billing/subscriptions/add": {"subscription_id": "new", "state": "incomplete", "period": None},
    "billing/subscriptions/update": {"rows": json.dumps([_SUBSCRIPTION])},
    "billing/subscriptions/add_periods": {"rows": json.dumps([_STRETCH])},
    "billing/subscriptions/end_periods": {"closed": [NOW], "reasons": ["cancelled"]},
}  # fmt: skip
_VERIFY = "once a day, the whole ledger against everything that it is of"
WHOLE: dict[str, str] = {
    **{f"billing/reconcile/{name}": _VERIFY for name in (
        "guards", "unbalanced", "empty", "lines", "charges", "credited", "paid", "unpaid", "movements", "refunds",
        "notes", "surplus", "owed", "disputed", "balances", "total", "clearing", "first_moved")},
    "billing/customers_to_adopt": "once, for simulated viewers",
    "billing/adoptable": "once, for simulated viewers",
    "billing/forget_notices": "when an account is erased: notices name payments within what providers said",
    "billing/products/concerned": "when a price changes, everybody who pays it",
}  # fmt: skip
