"""What settings say of a provider whose library is too heavy to be asked before the API is live."""

from urllib.parse import urlsplit

from matinee.errors import SettingsError
from matinee.settings import Settings

_HERE = ("127.0.0.1", "localhost", "::1")


def stripe(settings: Settings) -> tuple[str, str]:
    """Stripe's address and our secret key there.

    Raises:
        SettingsError: there is no key, or it would go over the network in the clear.
    """
    if not settings.stripe_secret_key:
        raise SettingsError("MATINEE_STRIPE_SECRET_KEY is not set: take it from Stripe's dashboard (sk_… or rk_…)")
    url = settings.stripe_url or "https://api.stripe.com"
    if url.startswith("http://") and urlsplit(url).hostname not in _HERE:
        raise SettingsError(f"MATINEE_STRIPE_URL={url}: the key goes by https:// only, except on this machine")
    return url, settings.stripe_secret_key
