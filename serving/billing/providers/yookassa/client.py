"""Asking YooKassa: HTTP with our patience, lists by cursor, and its errors in our words.

The protocol: https://yookassa.ru/developers/using-api/interaction-format
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from matinee.errors import SettingsError
from matinee.settings import Settings
from serving.billing.providers.base import ProviderAwayError, ProviderError, ProviderRefusedError

URL = "https://api.yookassa.ru/v3"
_PAGE = 100
_HERE = ("127.0.0.1", "localhost", "::1")
_KEY = "Idempotence-Key"
_WAIT = (408, 409, 425, 429)
# An answer that is older was given before, to an earlier request with the same key.
_FRESH = timedelta(seconds=2)


class OtherRequestError(ProviderRefusedError):
    """The key stands for a request that said something else."""


class Client:
    """One HTTP client, used by one event loop."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            SettingsError: the shop's number or key is not set, or the key would go over the network in the clear.
        """
        if not settings.yookassa_shop_id or not settings.yookassa_secret_key:
            raise SettingsError(
                "MATINEE_YOOKASSA_SHOP_ID and MATINEE_YOOKASSA_SECRET_KEY are not set: take both from the shop's page"
            )
        url = settings.yookassa_url or URL
        if url.startswith("http://") and urlsplit(url).hostname not in _HERE:
            raise SettingsError(f"MATINEE_YOOKASSA_URL={url}: the key goes by https:// only, except on this machine")
        self._patience_s = settings.payments_patience_s
        self._http = httpx.AsyncClient(
            base_url=url,
            auth=(settings.yookassa_shop_id, settings.yookassa_secret_key),
            timeout=self._patience_s,
            follow_redirects=False,
            headers={"accept": "application/json"},
        )

    async def post(self, what: str, path: str, key: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """What was made, and whether just now; a repeated `key` makes nothing and is answered as the first time.

        Raises: ProviderAwayError, ProviderRefusedError.
        """
        return await self._ask(what, "POST", path, json=body, headers={_KEY: key})

    async def get(self, what: str, path: str, **parameters: str) -> dict[str, Any]:
        """
        Raises: ProviderAwayError, ProviderRefusedError (`not_found` where there is none).
        """
        return (await self._ask(what, "GET", path, params=parameters))[0]

    async def every(self, what: str, path: str, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        """What a list has on all its pages."""
        page = {"limit": str(_PAGE), **parameters}
        while True:
            found = await self.get(what, path, **page)
            items, cursor = found.get("items"), found.get("next_cursor")
            if not isinstance(items, list) or cursor == page.get("cursor", ""):
                raise ProviderAwayError(f"yookassa: {what}: a list that nobody understands")
            for each in items:
                yield each
            if not cursor:
                return
            page["cursor"] = cursor

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _ask(self, what: str, method: str, path: str, **options: Any) -> tuple[dict[str, Any], bool]:
        try:
            async with asyncio.timeout(self._patience_s):  # httpx counts each read anew
                while True:
                    answer = await self._http.request(method, path, **options)
                    body = _read(what, answer)
                    if answer.status_code != 202:
                        return body, _is_fresh(answer, body)
                    # Taken, not done yet: the same request with the same key says more.
                    await asyncio.sleep(_wait_s(body))
        except TimeoutError:
            raise ProviderAwayError(f"yookassa: {what}: no answer within {self._patience_s:g} s") from None
        except httpx.HTTPError as error:
            # Its text may hold the address, never the key; its cause is of no use to anybody.
            raise ProviderAwayError(f"yookassa: {what}: not reached ({type(error).__name__})") from None


def _read(what: str, answer: httpx.Response) -> dict[str, Any]:
    status = answer.status_code
    try:
        body = answer.json()
    except ValueError:
        body = None
    if 200 <= status < 300 and isinstance(body, dict):
        return body
    if not isinstance(body, dict) or body.get("type") != "error" or status in _WAIT or not 400 <= status < 500:
        raise ProviderAwayError(f"yookassa: {what}: no answer that says what was done ({status})")
    raise _refused(what, status, body)


def _refused(what: str, status: int, body: Mapping[str, Any]) -> ProviderError:
    # A method that its owner took back at YooKassa is told as a wrong parameter.
    gone = body.get("parameter") == "payment_method_id"
    code = "method_gone" if gone else str(body.get("code") or "refused")
    parameter = f", parameter {body['parameter']}" if body.get("parameter") else ""
    said = str(body.get("description") or "")[:300]
    kind = OtherRequestError if body.get("parameter") == _KEY else ProviderRefusedError
    return kind(f"yookassa: {what}: {said} ({status} {code}{parameter}, error {body.get('id')})", code, status)


def _is_fresh(answer: httpx.Response, body: Mapping[str, Any]) -> bool:
    try:
        told = parsedate_to_datetime(answer.headers["date"])
        return abs(told - datetime.fromisoformat(body["created_at"])) <= _FRESH
    except (KeyError, ValueError, TypeError):
        return False


def _wait_s(body: Mapping[str, Any]) -> float:
    """`retry_after` is in milliseconds."""
    asked = body.get("retry_after")
    return max(0.01, asked / 1_000) if isinstance(asked, int | float) else 0.5
