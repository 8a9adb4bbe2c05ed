"""Passwords of known leaks, by the range protocol of Have I Been Pwned: the first five hexadecimal digits of the SHA-1
leave the house, the answer lists the ends of all leaked hashes that begin so (k-anonymity). Off unless a URL is set.
"""

import asyncio
import hashlib
import logging
import urllib.request

from serving.accounts.passwords import normal, weak

_TIMEOUT_S = 1.5
_LONGEST_ANSWER = 1_000_000
_PREFIX = 5
log = logging.getLogger("matinee.api")


async def check_leaks(url: str | None, password: str) -> None:
    """Refuse a password that is in the lists behind `url`. Where those do not answer it passes, and the log says so.

    Raises:
        Problem: 422 `weak_password`, `reason` "breached".
    """
    if url is None:
        return
    # The protocol's choice of hash, for finding only.
    digest = hashlib.sha1(normal(password).encode(), usedforsecurity=False).hexdigest().upper()
    try:
        answer = await asyncio.to_thread(_ask, f"{url}/range/{digest[:_PREFIX]}")
    except (OSError, ValueError) as error:
        log.warning("leaked passwords cannot be asked for (%s): the password is taken unchecked", error)
        return
    if _among(answer, digest[_PREFIX:]):
        raise weak("breached", "this password is known from a leak: choose another one")


def _ask(url: str) -> str:
    # Padding hides from who watches the wire how many hashes begin like ours.
    headers = {"Add-Padding": "true", "User-Agent": "matinee"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the operator's setting, http(s) only
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
        return response.read(_LONGEST_ANSWER).decode("ascii")


def _among(answer: str, end: str) -> bool:
    """Whether the list has this end; padding counts zero leaks."""
    return any(
        line[: len(end)] == end and line[len(end) + 1 :].strip() not in ("", "0")
        for line in answer.upper().splitlines()
    )
