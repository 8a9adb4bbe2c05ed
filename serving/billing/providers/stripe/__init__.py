"""Stripe (https://docs.stripe.com/api): Checkout, saved methods, refunds, disputes, balance."""

from serving.billing.providers.stripe.core import Stripe

__all__ = ["Stripe"]
