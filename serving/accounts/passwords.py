"""Passwords: Argon2id with OWASP's smallest parameters (19 MiB, two passes), in two threads at most.

A hash costs about 40 ms of CPU, so more threads would only starve the rest of the API.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_WORKERS = 2
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def hash_now(password: str) -> str:
    """Argon2id hash in PHC form; blocks for its whole cost."""
    return _hasher.hash(password)


class Passwords:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="argon2")
        # What an unknown e-mail is checked against, so that it costs as much as a wrong password.
        self._nobody = hash_now("")

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, hash_now, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password fits; without a stored hash never, at the same cost."""
        fits = await asyncio.get_running_loop().run_in_executor(self._threads, _fits, stored or self._nobody, password)
        return fits and stored is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _fits(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
