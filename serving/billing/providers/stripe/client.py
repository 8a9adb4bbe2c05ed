"""Asking Stripe: one try within our patience, lists page by page, and its errors in our words."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import stripe
from stripe import StripeObject

from matinee.settings import Settings
from serving.billing.providers import keys
from serving.billing.providers.base import ProviderAwayError, ProviderError, ProviderRefusedError

T = TypeVar("T")
_PAGE = 100
_WAIT = ("idempotency_key_in_use", "lock_timeout", "rate_limit")


class Client:
    """The library's services in `api`; requests go through `ask` and `every`."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            SettingsError: there is no secret key, or it would go over the network in the clear.
        """
        url, self._secret_key = keys.stripe(settings)
        stripe.enable_telemetry = False
        logging.getLogger("stripe").setLevel(logging.WARNING)  # below, it writes addresses with e-mails in them
        self._patience_s = settings.payments_patience_s
        self._http = stripe.HTTPXClient(timeout=self._patience_s)
        # The library tries once: what nobody heard of stays pending and is asked about.
        client = stripe.StripeClient(
            self._secret_key, base_addresses={"api": url}, max_network_retries=0, http_client=self._http
        )
        self.api = client.v1

    async def ask(self, what: str, request: Awaitable[T]) -> T:
        """One request. A declined card (`stripe.CardError`) is its caller's to read.

        Raises: ProviderAwayError, ProviderRefusedError, stripe.CardError.
        """
        try:
            async with asyncio.timeout(self._patience_s):  # httpx counts each read anew
                return await request
        except TimeoutError:
            raise ProviderAwayError(f"stripe: {what}: no answer within {self._patience_s:g} s") from None
        except stripe.CardError:
            raise
        except stripe.StripeError as error:
            raise self.told(what, error) from None  # the library's error holds the whole answer

    async def every(self, what: str, listing: Callable[[Any], Awaitable[Any]], **parameters: Any) -> AsyncIterator[Any]:
        """What a list has on all its pages."""
        page = {"limit": _PAGE, **parameters}
        while True:
            found = await self.ask(what, listing(page))
            for each in found.data:
                yield each
            if not found.has_more or not found.data:
                return
            page["starting_after"] = found.data[-1].id

    def told(self, what: str, error: stripe.StripeError) -> ProviderError:
        """An error in our words, without our key."""
        status, code = error.http_status, error.code or ""
        if status is None or not 400 <= status < 500 or status in (408, 409, 425, 429) or code in _WAIT:
            return ProviderAwayError(f"stripe: {what}: no answer that says what was done ({status or 'not reached'})")
        body = _body(error)
        code = "method_gone" if body.get("param") == "payment_method" else code or str(body.get("type", "refused"))
        message = str(error.user_message or "")[:300].replace(self._secret_key, "sk_…")
        request = f", request {error.request_id}" if error.request_id else ""
        return ProviderRefusedError(f"stripe: {what}: {message} ({status} {code}{request})", code, status)

    def declined(self, what: str, error: stripe.CardError) -> str:
        """The id of the PaymentIntent whose card was declined.

        Raises: ProviderRefusedError: there is none.
        """
        intent = _body(error).get("payment_intent")
        if not isinstance(intent, dict) or "id" not in intent:
            raise self.told(what, error)
        return str(intent["id"])

    async def aclose(self) -> None:
        await self._http.close_async()


def replayed(answer: StripeObject) -> bool:
    """Whether this is what a former call with the same idempotency key was told."""
    told = answer.last_response
    return told is not None and (told.headers or {}).get("idempotent-replayed") == "true"


def _body(error: stripe.StripeError) -> dict[str, Any]:
    body = error.json_body.get("error") if isinstance(error.json_body, dict) else None
    return body if isinstance(body, dict) else {}
