"""Payment providers behind one interface (`base.py`): `sandbox`, `stripe`, `yookassa`."""

from matinee.clock import Clock
from matinee.errors import SettingsError
from matinee.settings import Settings
from serving.billing.providers.base import Provider

NAMES = ("sandbox", "stripe", "yookassa")


def provider_of(settings: Settings, name: str | None = None, clock: Clock | None = None) -> Provider:
    """A provider by its name, or the one of new payments (`MATINEE_PAYMENTS`); its owner closes it.

    `clock`: the embedded provider lives by it; of the others, what they remember depends on it.

    Raises:
        SettingsError: an unknown name, or a key of that provider is missing.
    """
    name = name or settings.payments
    # Each library is imported for who uses it alone: the API is live before any of them would be.
    match name:
        case "sandbox":
            from serving.billing.providers.sandbox.core import Sandbox

            return Sandbox(settings, clock)
        case "stripe":
            from serving.billing.providers.stripe import Stripe

            return Stripe(settings, clock)
        case "yookassa":
            from serving.billing.providers.yookassa import YooKassa

            return YooKassa(settings, clock)
    raise SettingsError(f"MATINEE_PAYMENTS={name}: no such payment provider; take one of {', '.join(NAMES)}")
