"""The right to watch: one pure rule, and what accounts may watch by."""

from serving.rights.core import ANY_DEVICE, Device, OfferTerms, Refusal, Terms, decide
from serving.rights.entitlements import NOTHING, Entitlements
from serving.rights.welcome import welcome

__all__ = ["ANY_DEVICE", "NOTHING", "Device", "Entitlements", "OfferTerms", "Refusal", "Terms", "decide", "welcome"]
