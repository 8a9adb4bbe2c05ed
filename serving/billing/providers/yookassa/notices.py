"""YooKassa's notices carry no signature: where they come from is all that says whose they are, and nothing in them is
believed but that there is a payment, or refund, to look at.

The networks: https://yookassa.ru/developers/using-api/webhooks
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

import orjson

from matinee.errors import SettingsError
from serving.billing.providers.base import ForgedError, Notice, ProviderRefusedError
from serving.billing.providers.yookassa.objects import checked

NETWORKS = (
    "185.71.76.0/27,185.71.77.0/27,77.75.153.0/25,77.75.154.128/25,77.75.156.11/32,77.75.156.35/32,2a02:5180::/32"
)
Networks = tuple[IPv4Network | IPv6Network, ...]
_KINDS: dict[str, Literal["payment", "refund", "method"]] = {
    "payment": "payment",
    "refund": "refund",
    "payment_method": "method",
}
_GROUPS_OF_64_BITS = 4


def networks(given: str | None) -> Networks:
    """Of the setting, else those that YooKassa documents.

    Raises:
        SettingsError: one of them is no network.
    """
    try:
        return tuple(ip_network(each.strip()) for each in (given or NETWORKS).split(",") if each.strip())
    except ValueError as error:
        raise SettingsError(f"MATINEE_YOOKASSA_NETWORKS={given}: {error}") from None


def notice(body: bytes, address: str, allowed: Networks) -> Notice:
    """A notice, from an address as `serving.limits.address` tells it (of IPv6 the first half).

    Raises:
        ForgedError: it comes from elsewhere, or is none.
    """
    if not _within(address, allowed):
        raise ForgedError(f"a notice from {address or 'nowhere'}, which is none of YooKassa's networks")
    try:
        told = orjson.loads(body)
        event, about = str(told["event"]), told["object"]
        if told["type"] != "notification":
            raise ValueError(told["type"])
        ref, status = checked(str(about["id"])), str(about.get("status"))[:40]
    except (ValueError, KeyError, TypeError, AttributeError, ProviderRefusedError) as error:
        raise ForgedError(f"not a notice of YooKassa's ({type(error).__name__})") from None
    # There is no id of the message: it is the same while it tells the same of the same thing.
    return Notice(f"{event}:{ref}"[:200], _KINDS.get(event.partition(".")[0], "other"), event[:80], ref, None, {
        "id": ref, "status": status,
    })  # fmt: skip


def _within(address: str, allowed: Networks) -> bool:
    half = "::" not in address and address.count(":") == _GROUPS_OF_64_BITS - 1
    try:
        found = ip_address(f"{address}::" if half else address)
    except ValueError:
        return False
    return any(found in network for network in allowed)
