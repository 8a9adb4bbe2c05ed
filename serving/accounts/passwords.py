"""Passwords: Argon2id with OWASP's smallest parameters (19 MiB, two passes), in two threads at most.

A hash costs about 40 ms of CPU, so more threads would only starve the rest of the API. Passwords count in the form NFKC
(NIST SP 800-63B, 3.1.1.2): two keyboards that write one word in two ways log in alike. Nothing is cut off.
"""

import asyncio
import base64
import re
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from serving.problems import Problem

SHORTEST = 8
LONGEST = 256
_WORKERS = 2
_SERVICE = ("matinee",)
_PASSES, _MEMORY_KIB = 2, 19_456
_hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
_PARTS = re.compile(r"[^\W\d_]+")


def normal(password: str) -> str:
    """The form in which a password is judged, hashed and checked."""
    return unicodedata.normalize("NFKC", password)


def hash_now(password: str) -> str:
    """Argon2id hash in PHC form; blocks for its whole cost."""
    return _hasher.hash(normal(password))


class Passwords:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="argon2")
        # What an unknown e-mail is checked against, so that it costs as much as a wrong password: a hash of nothing.
        salt, hashed = _text(secrets.token_bytes(16)), _text(secrets.token_bytes(32))
        self._nobody = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p=1${salt}${hashed}"

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, hash_now, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password fits; without a stored hash never, at the same cost."""
        fits = await asyncio.get_running_loop().run_in_executor(self._threads, _fits, stored or self._nobody, password)
        return fits and stored is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode()


def _fits(stored: str, password: str) -> bool:
    # As it was typed too: hashes from before passwords were brought into one form are of that.
    return any(_is(stored, form) for form in dict.fromkeys((normal(password), password)))


def _is(stored: str, form: str) -> bool:
    try:
        return _hasher.verify(stored, form)
    except (VerificationError, InvalidHashError):
        return False


def check_strength(password: str, email: str) -> None:
    """Refuse what is guessed first (ASVS 5.0, 6.2.4, 6.2.11).

    Common are the 30,000 most frequent passwords of leaks, in any case; personal is what consists of the e-mail, a part
    of it or the service's name, whatever digits and signs stand around.

    Raises:
        Problem: 422 `weak_password`, with the member `reason`.
    """
    folded = normal(password).casefold()
    if folded in _common():
        raise weak("common", "this password is among those that are tried first: choose another one")
    words = {*_PARTS.findall(email.casefold()), *_SERVICE, email.casefold()}
    parts = set(_PARTS.findall(folded))
    if folded in words or (parts and parts <= words):
        raise weak("personal", "this password is made of your e-mail or this service's name: choose another one")


def weak(reason: str, detail: str) -> Problem:
    return Problem(422, "weak_password", detail, reason=reason)


@cache
def _common() -> frozenset[str]:
    # A second's tenth of work, so only when the first password is chosen.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(word.casefold() for word in FREQUENCY_LISTS["passwords"])
