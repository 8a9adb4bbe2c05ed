"""Addresses of the page, for letters and codes. Never taken from a request: its Host is what somebody wrote there."""

from contextlib import suppress
from urllib.parse import quote

from matinee.errors import StackError
from matinee.settings import Settings


def site(settings: Settings) -> str:
    """The page's address, without a slash at its end: the setting's, else where this home listens."""
    from matinee.ports import known_port

    if settings.public_url:
        return settings.public_url
    name = settings.gateway_name.split(",")[0].strip()
    listening = [("gateway", f"https://{name}")] if settings.gateway else []
    for service, address in (*listening, ("api", "http://127.0.0.1")):  # the API alone, where no gateway was started
        with suppress(StackError):
            return f"{address}:{known_port(settings.home, service)}"
    return "http://127.0.0.1"  # nothing has listened in this home yet


def link(settings: Settings, screen: str, **values: str) -> str:
    """The address of a screen. What is secret stands behind the `#`: browsers send that to nobody."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())
    return f"{site(settings)}/#/{screen}" + (f"?{query}" if query else "")
