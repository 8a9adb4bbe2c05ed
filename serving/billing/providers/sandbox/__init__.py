"""The embedded payment provider: hosted pages, saved cards, refunds, disputes, webhooks and faults, and no money."""

from serving.billing.providers.sandbox.core import Sandbox

__all__ = ["Sandbox"]
