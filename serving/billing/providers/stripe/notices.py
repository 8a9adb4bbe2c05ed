"""Stripe's webhooks: whose they are and of when (docs.stripe.com/webhooks, "Verify webhook signatures manually")."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from stripe import SignatureVerificationError, WebhookSignature

from serving.billing.providers.base import ForgedError, Notice

OLDEST_S = 300
NEWEST_S = 60  # the library takes any time to come; clocks differ by less
# The library reads the first `t`, as loosely as int() does: it is passed only what has one time, in digits.
_HEADER = re.compile(r"t=([0-9]{1,12})((?:,v[0-9]+=[0-9a-f]{1,128}){1,10})", re.ASCII)
Kind = Literal["payment", "refund", "dispute", "method", "other"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("charge.dispute.", "dispute"),
    ("charge.refund", "refund"),
    ("refund.", "refund"),
    ("checkout.session.", "payment"),
    ("payment_intent.", "payment"),
    ("charge.", "payment"),
    ("payment_method.", "method"),
    ("", "other"),
)


def notice(headers: Mapping[str, str], body: bytes, now: datetime, secret: str | None) -> Notice:
    """Read a webhook.

    Raises:
        ForgedError: the signature is not over this body by our secret, its time is not about now, it is no event.
    """
    if not secret:
        raise ForgedError("stripe: MATINEE_STRIPE_WEBHOOK_SECRET is not set, so that no webhook can be believed")
    header = {name.lower(): value for name, value in headers.items()}.get("stripe-signature", "")
    found = _HEADER.fullmatch(header)
    if found is None:
        raise ForgedError("stripe: the webhook has no readable Stripe-Signature")
    try:
        WebhookSignature.verify_header(body, header, secret, tolerance=None)
        event = json.loads(body)
    except (SignatureVerificationError, ValueError) as error:  # ValueError: neither UTF-8 nor JSON
        raise ForgedError(
            f"stripe: the webhook is not signed by our secret, or no event ({type(error).__name__})"
        ) from None
    age = now.timestamp() - int(found[1])
    if not -NEWEST_S <= age <= OLDEST_S:
        raise ForgedError(f"stripe: the webhook is of {age:.0f} s ago; {-NEWEST_S} to {OLDEST_S} are believed")
    return _read(event)


def _read(event: Any) -> Notice:
    try:
        name, about = str(event["type"]), event["data"]["object"]
        intent, ours = about.get("payment_intent"), about.get("metadata") or {}
        payment_id = ours.get("payment_id") or about.get("client_reference_id")
        kept = {
            "type": name,
            "created": event.get("created"),
            "object": about.get("object"),
            "status": about.get("status"),
            "payment_intent": intent.get("id") if isinstance(intent, dict) else intent,
        }
        event_id, ref = str(event["id"]), str(about.get("id") or "")
    except (KeyError, TypeError, AttributeError):
        raise ForgedError("stripe: the webhook is no snapshot event: give the endpoint that payload style") from None
    kind: Kind = next(kind for start, kind in _KINDS if name.startswith(start))
    return Notice(event_id, kind, name, ref, payment_id if isinstance(payment_id, str) else None, kept)
