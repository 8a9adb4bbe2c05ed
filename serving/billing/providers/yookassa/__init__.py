"""YooKassa by its API v3, through a client of our own: the official one has no timeout and breaks on a page of HTML."""

from serving.billing.providers.yookassa.core import YooKassa

__all__ = ["YooKassa"]
