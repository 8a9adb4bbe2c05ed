"""Where a request comes from: a trusted gateway may say so in a header, else the account's country holds."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request

from matinee.settings import Settings

if TYPE_CHECKING:
    from serving.profiles.core import Viewer

_COUNTRY = re.compile(r"^[A-Z]{2}$")
_NOWHERE = frozenset({"XX", "ZZ", "T1"})  # unknown, and what gateways say of anonymising networks


def region_of(request: Request, settings: Settings) -> str | None:
    """The country in the header of the settings (`region_header`), from a trusted proxy alone; None: it says nothing.

    The server gives port 0 to a client that it knows from the `X-Forwarded-For` of a proxy that it trusts, and to no
    other.
    """
    if settings.region_header is None or request.client is None or request.client.port != 0:
        return None
    said = request.headers.get(settings.region_header, "").strip().upper()
    return said if _COUNTRY.match(said) and said not in _NOWHERE else None


def placed(viewer: "Viewer", request: Request, settings: Settings) -> "Viewer":
    """The viewer as somebody who asks from where the request comes: lists, search, recommendations, offers and playing
    judge that one region, or the account's country where nothing is said."""
    region = region_of(request, settings)
    return viewer if region is None else replace(viewer, region=region)
